"""Pods that do not tolerate their node's NoExecute taints, or no longer do, or whose node is gone.

Semantics: kubernetes/pkg/controller/{tainteviction,podgc}. Counts from the taint's timeAdded.
"""

from __future__ import annotations

from quartermaster.local.apiserver.codec import seconds_of
from quartermaster.local.controllers import conditions, nodefit, pods
from quartermaster.local.controllers.events import Note
from quartermaster.local.controllers.objects import NODES, PODS, Json, Key, Objects, key_of
from quartermaster.local.controllers.writes import Delete, Outcome, Write, status

ORPHAN_AFTER = 40.0
"""Seconds for which a pod without its node is left alone (the pod collector's quarantine)."""


def reconcile(objects: Objects, key: Key, now: float) -> Outcome:
    """Evict one pod, now or later."""
    pod = objects.get(PODS, key)
    if pod is None or not pod["spec"].get("nodeName"):
        return Outcome()
    node = objects.get(NODES, ("", pod["spec"]["nodeName"]))
    if node is None:
        return _orphan(pod, now)
    if pods.is_going(pod) or pods.is_finished(pod):
        return Outcome()
    moment = evicted_at(pod, node, now)
    if moment is None or moment > now:
        return Outcome(again=moment)
    return Outcome(
        (
            *_disrupted(pod, "DeletionByTaintManager", "Taint manager: deleting due to NoExecute taint", now),
            Delete(
                PODS, pod, notes=(Note(PODS, pod, "TaintManagerEviction", f"Marking for deletion Pod {'/'.join(key)}"),)
            ),
        )
    )


def evicted_at(pod: Json, node: Json, now: float) -> float | None:
    """When the node's taints will have the pod gone; None if never."""
    taints = [taint for taint in (node.get("spec") or {}).get("taints") or () if taint["effect"] == "NoExecute"]
    ends: list[float] = []
    for taint in taints:
        covering = [item for item in pod["spec"].get("tolerations") or () if nodefit.covers(item, taint)]
        if not covering:
            return now
        limits = [item["tolerationSeconds"] for item in covering if item.get("tolerationSeconds") is not None]
        since = seconds_of(taint.get("timeAdded"))
        if limits:
            ends.append((now if since is None else since) + max(0, min(limits)))
    return min(ends, default=None)


def _disrupted(pod: Json, reason: str, message: str, now: float, **more: str) -> tuple[Write, ...]:
    """Say why it goes, for those who count disruptions apart from failures."""
    said: Json = {"type": "DisruptionTarget", "status": "True", "reason": reason, "message": message}
    said["observedGeneration"] = pod["metadata"].get("generation")
    told = dict(pod.get("status") or {}) | more
    return status(PODS, pod, told | {"conditions": conditions.put(told.get("conditions") or [], said, now)})


def _orphan(pod: Json, now: float) -> Outcome:
    scheduled = conditions.find(pod, "PodScheduled") or {}
    since = seconds_of(scheduled.get("lastTransitionTime")) or seconds_of(pod["metadata"]["creationTimestamp"]) or 0.0
    if since + ORPHAN_AFTER > now:
        return Outcome(again=since + ORPHAN_AFTER)
    failed = (
        ()
        if pods.is_finished(pod)
        else _disrupted(pod, "DeletionByPodGC", "PodGC: node no longer exists", now, phase="Failed")
    )
    return Outcome((*failed, Delete(PODS, pod, grace=0)))


def of_node(objects: Objects, node: Json) -> list[Key]:
    """All pods on a node."""
    return [key_of(pod) for pod in objects.on_node(node["metadata"]["name"])]
