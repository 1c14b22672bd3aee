"""Nodes that have stopped renewing their lease: marked unknown, tainted, and their pods no longer ready.

A heartbeat is the newer of the lease's renewTime and the Ready condition's lastHeartbeatTime, as the kubelet wrote
them: nothing is remembered between calls, so a controller that starts late judges at once where the real one waits
another grace period. Taints that evict get their timeAdded, which is when eviction.py begins to count.
How many nodes of a zone are evicted at a time is zones.py's. Semantics: kubernetes/pkg/controller/nodelifecycle.
"""

from __future__ import annotations

from quartermaster.local.apiserver.codec import seconds_of, timestamp
from quartermaster.local.controllers import conditions, pods, zones
from quartermaster.local.controllers.events import Note
from quartermaster.local.controllers.objects import LEASES, NODES, PODS, Json, Key, Objects, changed
from quartermaster.local.controllers.writes import Outcome, Update, Write, soonest, status

GRACE = 50.0
"""Seconds without a heartbeat until a node is unknown (--node-monitor-grace-period)."""

PERIOD = 5.0
"""Seconds between two looks at a node that is not ready (--node-monitor-period): its zone may have changed."""

NOT_READY, UNREACHABLE = "node.kubernetes.io/not-ready", "node.kubernetes.io/unreachable"
LEASE_NAMESPACE = "kube-node-lease"

_WATCHED = ("Ready", "MemoryPressure", "DiskPressure", "PIDPressure")
_TAINTS = {
    ("Ready", "False"): NOT_READY,
    ("Ready", "Unknown"): UNREACHABLE,
    ("MemoryPressure", "True"): "node.kubernetes.io/memory-pressure",
    ("DiskPressure", "True"): "node.kubernetes.io/disk-pressure",
    ("PIDPressure", "True"): "node.kubernetes.io/pid-pressure",
    ("NetworkUnavailable", "True"): "node.kubernetes.io/network-unavailable",
}
_UNSCHEDULABLE = "node.kubernetes.io/unschedulable"
_EVICTING = {NOT_READY, UNREACHABLE}
_OURS = {*_TAINTS.values(), _UNSCHEDULABLE}


def reconcile(objects: Objects, key: Key, now: float, *, grace: float = GRACE) -> Outcome:
    """Conditions first; when they stand, the taints that they mean and the pods that they are true of."""
    node = objects.get(NODES, key)
    if node is None or pods.is_going(node):
        return Outcome()
    heard = _heard(objects, node)
    again = heard + grace if heard + grace > now else None
    if again is None and (lost := _lost(node, now)):
        return Outcome(lost)
    ready = conditions.find(node, "Ready")
    if ready is not None and ready["status"] != "True":
        again = soonest(again, now + PERIOD)
    tainted = _tainted(objects, node, now)
    if tainted is not None:
        return Outcome((Update(NODES, tainted),), again=again)
    return Outcome(_unready_pods(objects, node, now), again=again)


def _heard(objects: Objects, node: Json) -> float:
    lease = objects.get(LEASES, (LEASE_NAMESPACE, node["metadata"]["name"]))
    ready = conditions.find(node, "Ready") or {}
    moments = (
        seconds_of(((lease or {}).get("spec") or {}).get("renewTime")),
        seconds_of(ready.get("lastHeartbeatTime")) if ready.get("status") != "Unknown" else None,
        seconds_of(node["metadata"].get("creationTimestamp")),
    )
    return max((moment for moment in moments if moment is not None), default=0.0)


def _lost(node: Json, now: float) -> tuple[Write, ...]:
    """All that the kubelet says about itself is unknown now."""
    told = dict(node.get("status") or {})
    listed: list[Json] = told.get("conditions") or []
    for kind in _WATCHED:
        current = conditions.find(node, kind)
        if current is not None and current["status"] == "Unknown":
            continue
        said = {"type": kind, "status": "Unknown", "reason": "NodeStatusUnknown"}
        message = "Kubelet stopped posting node status."
        if current is None:
            said["reason"], message = "NodeStatusNeverUpdated", "Kubelet never posted node status."
        elif "lastHeartbeatTime" in current:
            said["lastHeartbeatTime"] = current["lastHeartbeatTime"]
        listed = conditions.put(listed, said | {"message": message}, now)
    name, before = node["metadata"]["name"], conditions.is_true(node, "Ready")
    notes = [Note(NODES, node, "NodeNotReady", f"Node {name} status is now: NodeNotReady")] if before else []
    return status(NODES, node, told | {"conditions": listed}, *notes)


def _tainted(objects: Objects, node: Json, now: float) -> Json | None:
    """The node with the taints that its conditions mean; None if it has them."""
    spec = node.get("spec") or {}
    listed = (node.get("status") or {}).get("conditions") or ()
    meant = {(key, "NoSchedule") for item in listed if (key := _TAINTS.get((item["type"], item["status"])))}
    there = {(taint["key"], taint["effect"]) for taint in spec.get("taints") or ()}
    meant |= {(key, "NoExecute") for key, _ in meant if key in _EVICTING and _evicts(objects, node, there, now)}
    if spec.get("unschedulable"):
        meant.add((_UNSCHEDULABLE, "NoSchedule"))
    kept = list[Json]()
    for taint in spec.get("taints") or ():
        if taint["key"] in _OURS and (taint["key"], taint["effect"]) not in meant:
            continue
        counted = taint["effect"] == "NoExecute" and not taint.get("timeAdded")
        kept.append({**taint, "timeAdded": timestamp(now)} if counted else taint)
    for key, effect in sorted(meant - there, key=lambda mark: (mark[1] != "NoSchedule", mark[0])):
        kept.append({"key": key, "effect": effect, "timeAdded": timestamp(now)})
    if kept == (spec.get("taints") or []):
        return None
    wanted = changed(node)
    wanted.setdefault("spec", {})["taints"] = kept
    return wanted


def _evicts(objects: Objects, node: Json, there: set[tuple[str, str]], now: float) -> bool:
    """Whether the node's pods may be evicted now. What has begun goes on, unless the whole cluster is gone."""
    nodes = list(objects.every(NODES))
    if not zones.alive(nodes):
        return False
    if any((key, "NoExecute") in there for key in _EVICTING):
        return True
    moment = zones.evicts_at(node, nodes, _EVICTING)
    return moment is not None and moment <= now


def _unready_pods(objects: Objects, node: Json, now: float) -> tuple[Write, ...]:
    """Pods of a node that is known not to be ready are not ready either."""
    ready = conditions.find(node, "Ready")
    if ready is None or ready["status"] == "True":
        return ()
    writes: list[Write] = []
    for pod in filter(pods.is_ready, objects.on_node(node["metadata"]["name"])):
        before = conditions.find(pod, "Ready") or {}
        said = {key: before[key] for key in ("type", "reason", "message") if before.get(key)} | {"status": "False"}
        told = dict(pod["status"])
        note = Note(PODS, pod, "NodeNotReady", "Node is not ready", warning=True)
        writes += status(PODS, pod, told | {"conditions": conditions.put(told["conditions"], said, now)}, note)
    return tuple(writes)


def of_lease(objects: Objects, lease: Json) -> list[Key]:
    """The node whose lease it is."""
    del objects
    about = lease["metadata"]
    return [("", about["name"])] if about["namespace"] == LEASE_NAMESPACE else []


def of_pod(objects: Objects, pod: Json) -> list[Key]:
    """Its node, if that is not ready and the pod says that it is."""
    key = ("", pod["spec"].get("nodeName", ""))
    node = objects.get(NODES, key)
    return [key] if node is not None and pods.is_ready(pod) and not conditions.is_true(node, "Ready") else []
