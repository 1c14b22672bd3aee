"""The row of a pod: the state that people read, worked out as kubectl shows it."""

from __future__ import annotations

from typing import Any

from quartermaster.local.apiserver.ages import age, human
from quartermaster.local.apiserver.codec import seconds_of
from quartermaster.local.apiserver.errors import Json

_NONE = "<none>"


def pod(value: Json, now: float) -> list[Any]:
    """Name, Ready, Status, Restarts, Age, IP, Node, Nominated Node, Readiness Gates."""
    metadata, spec, status = value["metadata"], value.get("spec", {}), value.get("status", {})
    reason = status.get("reason") or status.get("phase", "")
    conditions = {item.get("type"): item for item in status.get("conditions") or ()}
    scheduled = conditions.get("PodScheduled", {})
    if scheduled.get("reason") == "SchedulingGated":
        reason = "SchedulingGated"
    sidecars = {item["name"] for item in spec.get("initContainers") or () if item.get("restartPolicy") == "Always"}
    total = len(spec.get("containers") or ()) + len(sidecars)
    reason, initializing, ready, restarts, last = _init(spec, status, reason, sidecars)
    if not initializing or _initialized(conditions):
        reason, main_ready, main_restarts, ended, running = _main(status, reason)
        ready, restarts = ready + main_ready, _side(status, sidecars) + main_restarts
        last = max((item for item in (last, ended) if item is not None), default=None)
        if reason == "Completed" and running:
            reason = "Running" if conditions.get("Ready", {}).get("status") == "True" else "NotReady"
    if metadata.get("deletionTimestamp"):
        if status.get("reason") == "NodeLost":
            reason = "Unknown"
        elif status.get("phase") not in ("Failed", "Succeeded"):
            reason = "Terminating"
    shown: str = str(restarts)
    if restarts and last is not None:
        shown = f"{restarts} ({human(now - last)} ago)"
    gates = spec.get("readinessGates") or ()
    met = sum(conditions.get(gate.get("conditionType"), {}).get("status") == "True" for gate in gates)
    ips = status.get("podIPs") or ()
    return [
        metadata["name"],
        f"{ready}/{total}",
        reason,
        shown,
        age(metadata.get("creationTimestamp"), now),
        status.get("podIP") or (ips[0].get("ip") if ips else "") or _NONE,
        spec.get("nodeName") or _NONE,
        status.get("nominatedNodeName") or _NONE,
        f"{met}/{len(gates)}" if gates else _NONE,
    ]


def _initialized(conditions: dict[Any, Json]) -> bool:
    return conditions.get("Initialized", {}).get("status") == "True"


def _side(status: Json, sidecars: set[str]) -> int:
    return sum(
        item.get("restartCount", 0)
        for item in status.get("initContainerStatuses") or ()
        if item.get("name") in sidecars
    )


def _finished(container: Json) -> float | None:
    ended = container.get("lastState", {}).get("terminated", {}).get("finishedAt")
    return seconds_of(ended) if ended else None


def _init(spec: Json, status: Json, reason: str, sidecars: set[str]) -> tuple[str, bool, int, int, float | None]:
    """(reason, whether it is still initializing, ready sidecars, restarts, last restart)."""
    ready = restarts = 0
    last: float | None = None
    statuses = status.get("initContainerStatuses") or ()
    total = len(spec.get("initContainers") or ())
    for index, container in enumerate(statuses):
        restarts += container.get("restartCount", 0)
        ended = _finished(container)
        last = ended if last is None else max(last, ended or last)
        state = container.get("state", {})
        terminated, waiting = state.get("terminated"), state.get("waiting")
        if terminated is not None and terminated.get("exitCode", 0) == 0:
            continue
        if container.get("name") in sidecars and container.get("started"):
            ready += bool(container.get("ready"))
            continue
        if terminated is not None:
            return f"Init:{terminated_as(terminated)}", True, ready, restarts, last
        if waiting and waiting.get("reason") and waiting["reason"] != "PodInitializing":
            return f"Init:{waiting['reason']}", True, ready, restarts, last
        return f"Init:{index}/{total}", True, ready, restarts, last
    return reason, False, ready, 0, last


def terminated_as(terminated: Json) -> str:
    """Why a container ended."""
    if terminated.get("reason"):
        reason: str = terminated["reason"]
        return reason
    if terminated.get("signal"):
        return f"Signal:{terminated['signal']}"
    return f"ExitCode:{terminated.get('exitCode', 0)}"


def _main(status: Json, reason: str) -> tuple[str, int, int, float | None, bool]:
    """(reason, ready, restarts, last restart, whether any container runs)."""
    ready = restarts = 0
    last: float | None = None
    running = False
    for container in reversed(status.get("containerStatuses") or ()):
        restarts += container.get("restartCount", 0)
        ended = _finished(container)
        if ended is not None:
            last = ended if last is None else max(last, ended)
        state = container.get("state", {})
        waiting, terminated = state.get("waiting") or {}, state.get("terminated")
        if waiting.get("reason"):
            reason = waiting["reason"]
        elif terminated is not None:
            reason = terminated_as(terminated)
        elif container.get("ready") and state.get("running") is not None:
            running = True
            ready += 1
    return reason, ready, restarts, last, running
