"""The few commands that a simulated container knows. Pure.

`exec` is for people who look around and for probes in scripts; there is no process and no file system. So: a handful
of commands whose answers follow from the pod and its node, and for any other a shell's "not found" that says so.
Refused: input, pipes, anything that would change something.
"""

from __future__ import annotations

import shlex
from dataclasses import dataclass
from datetime import UTC, datetime

from quartermaster.kube.api import Json
from quartermaster.local.fleet.objects import gpu_uuid
from quartermaster.local.fleet.presets import presets
from quartermaster.local.stages.facts import devices_of
from quartermaster.local.stages.paths import look

KNOWN = ("cat /etc/hostname", "date", "echo", "env", "false", "hostname", "nvidia-smi -L", "printenv", "sh -c", "true")
NOT_FOUND = 127
_SHELLS = ("sh", "bash", "/bin/sh", "/bin/bash")
_SYNTAX = frozenset("|&;<>`$(){}*?\n")


@dataclass(frozen=True, slots=True)
class Result:
    """What a command wrote, and its exit code."""

    out: str = ""
    error: str = ""
    code: int = 0


def run(pod: Json, node: Json | None, container: str, command: list[str], *, now: float) -> Result:
    """Do a command in a container of a pod that runs on `node`."""
    if len(command) == 3 and command[0] in _SHELLS and command[1] == "-c" and not _SYNTAX & set(command[2]):
        try:
            command = shlex.split(command[2]) or ["true"]
        except ValueError:
            return Result(error=f"{command[0]}: syntax error: unterminated quoted string\n", code=2)
    match command:
        case ["true"]:
            return Result()
        case ["false"]:
            return Result(code=1)
        case ["echo", *words]:
            return Result(" ".join(words) + "\n")
        case ["date"]:
            return Result(datetime.fromtimestamp(now, UTC).strftime("%a %b %e %H:%M:%S UTC %Y\n"))
        case ["hostname"] | ["cat", "/etc/hostname"]:
            return Result(_hostname(pod) + "\n")
        case ["env"] | ["printenv", *_]:
            return _variables(environment(pod, node, container), command[1:])
        case ["nvidia-smi", "-L"] if devices_of(pod):
            name = _gpu_name(node)
            return Result("".join(f"GPU {index}: {name} (UUID: {uuid})\n" for index, uuid in _gpus(pod, node)))
    said = f"sh: {shlex.join(command)}: not found; a simulated container knows {', '.join(KNOWN)}\n"
    return Result(error=said, code=NOT_FOUND)


def _variables(known: dict[str, str], names: list[str]) -> Result:
    """All of them with their names, or the values of some."""
    if not names:
        return Result("".join(f"{name}={value}\n" for name, value in known.items()))
    out = "".join(f"{known[name]}\n" for name in names if name in known)
    return Result(out, code=0 if all(name in known for name in names) else 1)


def environment(pod: Json, node: Json | None, container: str) -> dict[str, str]:
    """The variables of a container: what runtime and device plugin set, then its own. Not those from other objects."""
    found = {
        "PATH": "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin",
        "HOSTNAME": _hostname(pod),
        "KUBERNETES_SERVICE_HOST": "10.96.0.1",
        "KUBERNETES_SERVICE_PORT": "443",
    }
    if devices_of(pod):
        found["NVIDIA_VISIBLE_DEVICES"] = ",".join(uuid for _, uuid in _gpus(pod, node))
    spec: Json = next((item for item in pod["spec"]["containers"] if item["name"] == container), {})
    for variable in spec.get("env") or ():
        field = look(variable, ".valueFrom.fieldRef.fieldPath")
        if field:
            found[variable["name"]] = str(look(pod, f".{field}") or "")
        elif "valueFrom" not in variable:
            found[variable["name"]] = variable.get("value", "")
    return found


def _hostname(pod: Json) -> str:
    return str(pod["spec"].get("hostname") or pod["metadata"]["name"])


def _gpus(pod: Json, node: Json | None) -> list[tuple[int, str]]:
    """(index inside the container, UUID) of its GPUs."""
    name = node["metadata"]["name"] if node else pod["spec"].get("nodeName", "")
    return [(index, gpu_uuid(name, device)) for index, device in enumerate(devices_of(pod))]


def _gpu_name(node: Json | None) -> str:
    kind = presets().machines.get(look(node, '.metadata.labels["node.kubernetes.io/instance-type"]') or "")
    return presets().gpus[kind.gpu].name if kind is not None and kind.gpu else "GPU"
