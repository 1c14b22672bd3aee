"""What a stage may ask of an object beyond its fields: computed values by name. Pure.

Rates and durations are of a kind, not measurements of one site: 1.25 GiB/s for a pull (a 10 GbE registry mirror), image
sizes as published in registries in 2026, the kubelet's back-off (10 s doubling to 300 s), 0.15 s for each MIG instance
and 1 s of API for an agent, 240 s for mig-manager (3 to 5 minutes in practice).
"""

from __future__ import annotations

import zlib
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, Final

from quartermaster.kube.api import Json
from quartermaster.local.fleet import marks, mig
from quartermaster.local.fleet.objects import mig_labels
from quartermaster.local.stages.paths import look
from quartermaster.model.errors import InvalidInput

PULL_GIB_PER_SECOND: Final = 1.25
IMAGES_GIB: Final = (
    ("nvcr.io/nvidia/pytorch", 9.9),
    ("nvcr.io/nvidia/tritonserver", 8.1),
    ("nvcr.io/nvidia/nemo", 19.0),
    ("vllm/vllm-openai", 8.7),
    ("rayproject/ray", 2.4),
    ("jupyter", 2.2),
    ("busybox", 0.002),
    ("pause", 0.0003),
)
SMALL_IMAGE_GIB: Final = 0.25
JOB_SECONDS: Final = 60.0
"""Run time of a Job's pod that declares none."""

XIDS: Final = {
    13: ("Graphics engine exception", False),
    31: ("GPU memory page fault", False),
    43: ("GPU stopped processing", False),
    48: ("Double bit ECC error", True),
    63: ("ECC row remapping event", False),
    64: ("ECC row remapper failure", True),
    74: ("NVLink error", True),
    79: ("GPU has fallen off the bus", True),
    94: ("Contained ECC error", False),
    95: ("Uncontained ECC error", True),
    119: ("GSP RPC timeout", True),
    120: ("GSP error", True),
}
"""Xid: (text, whether the device is lost until it is reset), after NVIDIA's Xid catalogue."""

_HARMLESS: Final = frozenset((63,))


@dataclass(frozen=True, slots=True)
class Facts:
    """All a stage sees: an object, the time; of a pod also its node, of a node also its pods."""

    resource: str
    object: Json
    now: float
    node: Json | None = None
    pods: tuple[Json, ...] = ()

    def mark(self, name: str) -> str | None:
        """An annotation of the object."""
        return look(self.object, f'.metadata.annotations["{name}"]')

    def seconds(self, name: str) -> float | None:
        """An annotation that is a number of seconds; None if it is absent or no number."""
        return _number(self.mark(name))


def _number(text: str | None) -> float | None:
    try:
        value = float(text) if text is not None else None
    except ValueError:
        return None
    return value if value is not None and 0 <= value < 1e12 else None


def stamp(now: float) -> str:
    """A time as metav1.Time."""
    return datetime.fromtimestamp(now, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def compute(name: str, facts: Facts, arguments: Json) -> Any:
    """A value by name; raises InvalidInput for a name that is not there."""
    try:
        function = _FUNCTIONS[name]
    except KeyError:
        raise InvalidInput(
            f"stage: ={name}", "does not exist", f"use one of: {', '.join(sorted(_FUNCTIONS))}"
        ) from None
    return function(facts, **{key.replace("-", "_"): value for key, value in arguments.items()})


# ---- pods


def _pull_seconds(facts: Facts) -> float:
    declared = facts.seconds(marks.IMAGE_GIB)
    if declared is None:
        images = {container.get("image", "") for container in facts.object["spec"].get("containers") or ()}
        declared = sum(_image_gib(image) for image in images)
    return declared / PULL_GIB_PER_SECOND


def _image_gib(image: str) -> float:
    return next((gib for part, gib in IMAGES_GIB if part in image), SMALL_IMAGE_GIB)


def _run_seconds(facts: Facts) -> float | None:
    declared = facts.seconds(marks.RUN_SECONDS)
    if declared is None:
        declared = JOB_SECONDS if look(facts.object, ".metadata.ownerReferences[kind=Job]") else None
    slower = _number(look(facts.node, f'.metadata.annotations["{marks.SLOWDOWN}"]')) or 1.0
    return None if declared is None else declared * max(1.0, slower)


def _outcome(facts: Facts) -> str | None:
    """How it will end; None: it runs until it is told to stop."""
    if _run_seconds(facts) is None:
        return None
    wanted = facts.mark(marks.OUTCOME) or "succeed"
    # A container under restartPolicy Always that ends well is started again: nothing to be seen of that here.
    return None if wanted == "succeed" and facts.object["spec"].get("restartPolicy") == "Always" else wanted


def _restarts(facts: Facts) -> bool:
    return facts.object["spec"].get("restartPolicy", "Always") != "Never"


def _backoff_seconds(facts: Facts) -> float:
    count = look(facts.object, ".status.containerStatuses[0].restartCount") or 0
    return 0.0 if not count else min(300.0, 10.0 * 2 ** (min(count, 10) - 1))


def _start_seconds(facts: Facts) -> float:
    declared = facts.seconds(marks.START_SECONDS)
    return (1.0 if declared is None else declared) + _backoff_seconds(facts)


def _ready_seconds(facts: Facts) -> float | None:
    return facts.seconds(marks.READY_SECONDS)


def _node_up(facts: Facts) -> bool:
    ready = look(facts.node, ".status.conditions[type=Ready].status") == "True"
    return ready and look(facts.node, f'.metadata.annotations["{marks.FAULT}"]') != "not-ready"


def _prepared(facts: Facts) -> bool:
    """Whether a pod has the devices that it claims; True if it claims none."""
    return not facts.object["spec"].get("resourceClaims") or facts.mark(marks.CLAIMED) is not None


def _pod_ip(facts: Facts) -> str:
    """Stable, from the uid; a simulated address needs no route."""
    number = zlib.crc32(str(facts.object["metadata"].get("uid", facts.object["metadata"]["name"])).encode())
    return f"10.{64 + (number >> 16) % 64}.{number >> 8 & 255}.{1 + number % 254}"


def _host_ip(facts: Facts) -> str | None:
    return look(facts.node, ".status.addresses[type=InternalIP].address")


def _containers(
    facts: Facts,
    *,
    state: str,
    of: str = "containers",
    reason: str = "",
    exit_code: int = 0,
    ready: bool = False,
    restarted: bool = False,
    message: str = "",
) -> list[Json] | None:
    """Statuses of all containers, in one state."""
    specs = facts.object["spec"].get(of) or ()
    key = "containerStatuses" if of == "containers" else "initContainerStatuses"
    known = {status["name"]: status for status in look(facts.object, f".status.{key}") or ()}
    found = []
    for spec in specs:
        old = known.get(spec["name"], {})
        began = look(old, ".state.running.startedAt") or stamp(facts.now)
        detail: Json = {}
        if state == "running":
            detail = {"startedAt": began}
        elif state == "waiting":
            detail = {"reason": reason} | ({"message": message} if message else {})
        else:
            detail = {"exitCode": exit_code, "reason": reason, "startedAt": began, "finishedAt": stamp(facts.now)}
            detail |= {"message": message} if message else {}
        status: Json = {
            "name": spec["name"],
            "image": spec.get("image", ""),
            "imageID": f"simulated://{spec.get('image', '')}" if state != "waiting" or old.get("imageID") else "",
            "ready": ready,
            "started": state == "running",
            "restartCount": old.get("restartCount", 0) + (1 if restarted else 0),
            "state": {state: detail},
        }
        if state != "waiting":
            status["containerID"] = f"simulated://{zlib.crc32(spec['name'].encode()):08x}"
        if restarted:
            status["lastState"] = {
                "terminated": {
                    "exitCode": exit_code,
                    "reason": "OOMKilled" if exit_code == 137 else "Error",
                    "startedAt": began,
                    "finishedAt": stamp(facts.now),
                }
            }
        elif old.get("lastState"):
            status["lastState"] = old["lastState"]
        found.append(status)
    return found or None


def _condition(facts: Facts, *, type: str, status: str, reason: str = "", message: str = "") -> Json:  # noqa: A002
    """A condition; its transition time moves only when its status does."""
    old = look(facts.object, f".status.conditions[type={type}]") or {}
    since = old.get("lastTransitionTime") if old.get("status") == status else None
    made: Json = {"type": type, "status": status, "lastTransitionTime": since or stamp(facts.now)}
    if facts.resource == "nodes":
        made["lastHeartbeatTime"] = stamp(facts.now)
    return made | ({"reason": reason} if reason else {}) | ({"message": message} if message else {})


# ---- Xid errors


def xid_of(node: Json | None) -> tuple[int, tuple[int, ...]] | None:
    """Code and devices of the Xid error that a node is marked with; None if there is none that can be read."""
    text = look(node, f'.metadata.annotations["{marks.XID}"]')
    if text is None:
        return None
    code, _, devices = str(text).partition(":")
    try:
        return int(code), tuple(sorted({int(device) for device in devices.split(",")}))
    except ValueError:
        return None


def devices_of(pod: Json) -> tuple[int, ...]:
    """The GPUs that a pod has, by index."""
    text = look(pod, f'.metadata.annotations["{marks.DEVICES}"]') or ""
    return tuple(int(part) for part in text.split(",") if part.isdecimal())


def _hit_by_xid(facts: Facts) -> bool:
    error = xid_of(facts.node)
    if error is None or error[0] in _HARMLESS:
        return False
    return bool(set(error[1]) & set(devices_of(facts.object)))


def _xid_message(facts: Facts) -> str:
    error = xid_of(facts.object if facts.resource == "nodes" else facts.node)
    if error is None:
        return "no Xid errors"
    return f"Xid {error[0]} on GPU {', '.join(map(str, error[1]))}: {XIDS.get(error[0], ('unknown', True))[0]}"


def _xid_told(facts: Facts) -> bool:
    told = look(facts.object, ".status.conditions[type=GpuHealthy].message")
    return told == _xid_message(facts) or (told is None and xid_of(facts.object) is None)


def _gpu_status(facts: Facts) -> str:
    error = xid_of(facts.object)
    return "False" if error is not None and XIDS.get(error[0], ("", True))[1] else "True"


def _healthy_gpus(facts: Facts) -> str:
    capacity = int(look(facts.object, f'.status.capacity["{marks.WHOLE_GPU}"]') or 0)
    error = xid_of(facts.object)
    lost = len([device for device in error[1] if device < capacity]) if error and _gpu_status(facts) == "False" else 0
    return str(capacity - lost)


# ---- nodes


def _taints(facts: Facts, *, add: list[Json] | None = None, remove: list[str] | None = None) -> list[Json]:
    """All taints of a node with some added and those of some keys gone."""
    gone = {*(remove or ()), *(taint["key"] for taint in add or ())}
    old = [taint for taint in facts.object.get("spec", {}).get("taints") or () if taint["key"] not in gone]
    return [*old, *(add or ())]


def _mig_wanted(facts: Facts) -> bool:
    wanted = look(facts.object, f'.metadata.labels["{marks.MIG_CONFIG}"]')
    return wanted is not None and wanted != facts.mark(marks.MIG_TRIED)


def _mig_possible(facts: Facts) -> bool:
    try:
        _mig_instances(facts)
    except InvalidInput:
        return False
    return True


def _mig_instances(facts: Facts) -> int:
    wanted = look(facts.object, f'.metadata.labels["{marks.MIG_CONFIG}"]') or "all-disabled"
    return len(mig.layout(facts.mark(marks.GPU) or "", wanted)) * _gpu_count(facts)


def _gpu_count(facts: Facts) -> int:
    return int(look(facts.object, f'.metadata.labels["{marks.GPU_COUNT}"]') or 0)


def _mig_seconds(facts: Facts) -> float:
    return 240.0 if facts.mark(marks.MIG_PATH) == "mig-manager" else 1.0 + 0.15 * _mig_instances(facts)


def _mig_resources(facts: Facts) -> Json:
    """Resources under the wanted configuration; what was there under another goes to 0."""
    wanted = look(facts.object, f'.metadata.labels["{marks.MIG_CONFIG}"]')
    old = [name for name in look(facts.object, ".status.capacity") or {} if name.startswith("nvidia.com/mig-")]
    found = mig.resources(facts.mark(marks.GPU) or "", wanted, _gpu_count(facts))
    return dict.fromkeys(old, "0") | {name: str(amount) for name, amount in found.items()}


def _mig_labels(facts: Facts) -> Json:
    """What gpu-feature-discovery and mig-manager say of the wanted configuration; None takes a label away."""
    labels = look(facts.object, ".metadata.labels") or {}
    gone = {name: None for name in labels if name.startswith("nvidia.com/mig-")}
    wanted, product = labels.get(marks.MIG_CONFIG, ""), labels.get("nvidia.com/gpu.product", "")
    found = mig_labels(facts.mark(marks.GPU) or "", product, wanted, _gpu_count(facts))
    return gone | found | {marks.MIG_STATE: "success"}


def _gpus_busy(facts: Facts) -> bool:
    """Whether a pod that runs here has a GPU or a part of one."""
    return any(
        name == marks.WHOLE_GPU or name.startswith("nvidia.com/mig-")
        for pod in facts.pods
        if look(pod, ".status.phase") in ("Pending", "Running")
        for container in pod["spec"].get("containers") or ()
        for name in look(container, ".resources.requests") or {}
    )


_FUNCTIONS: Final[dict[str, Callable[..., Any]]] = {
    "now": lambda facts: stamp(facts.now),
    "pull-seconds": _pull_seconds,
    "run-seconds": _run_seconds,
    "start-seconds": _start_seconds,
    "ready-seconds": _ready_seconds,
    "outcome": _outcome,
    "restarts": _restarts,
    "node-up": _node_up,
    "prepared": _prepared,
    "pod-ip": _pod_ip,
    "host-ip": _host_ip,
    "containers": _containers,
    "condition": _condition,
    "hit-by-xid": _hit_by_xid,
    "xid-message": _xid_message,
    "xid-told": _xid_told,
    "gpu-status": _gpu_status,
    "healthy-gpus": _healthy_gpus,
    "taints": _taints,
    "mig-wanted": _mig_wanted,
    "mig-possible": _mig_possible,
    "mig-seconds": _mig_seconds,
    "mig-labels": _mig_labels,
    "mig-resources": _mig_resources,
    "gpus-busy": _gpus_busy,
}
