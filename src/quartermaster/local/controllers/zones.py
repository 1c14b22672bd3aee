"""How fast a zone loses the pods of nodes that are not ready: one node in ten seconds, slower or not at all in trouble.

If more than half of a zone is gone the fault is likelier in what lies between it and us, and if all of the cluster is
gone it is likelier in us. The last eviction of a zone is read off its taints, not remembered. Semantics:
handleDisruption and ReducedQPSFunc of kubernetes/pkg/controller/nodelifecycle, at kube-controller-manager's rates.
"""

from __future__ import annotations

from collections.abc import Iterable

from quartermaster.local.apiserver.codec import seconds_of
from quartermaster.local.controllers import conditions
from quartermaster.local.controllers.objects import Json

EVERY, SLOWLY_EVERY = 10.0, 100.0
"""Seconds between two nodes of a zone (--node-eviction-rate, --secondary-node-eviction-rate)."""
UNHEALTHY = 0.55
LARGE = 50
"""Nodes above which an unhealthy zone is evicted slowly and not spared (--large-cluster-size-threshold)."""

_REGION, _ZONE = "topology.kubernetes.io/region", "topology.kubernetes.io/zone"
_EXEMPT = "node.kubernetes.io/exclude-disruption"


def of(node: Json) -> tuple[str, str]:
    """The zone of a node; nodes without labels are one."""
    labels = node["metadata"].get("labels") or {}
    return labels.get(_REGION, ""), labels.get(_ZONE, "")


def alive(nodes: Iterable[Json]) -> bool:
    """Whether any node of the cluster is ready: otherwise nobody is evicted."""
    return any(conditions.is_true(node, "Ready") and not _exempt(node) for node in nodes)


def evicts_at(node: Json, nodes: Iterable[Json], evicting: set[str]) -> float | None:
    """The moment from which the pods of `node` may be evicted; None: not as its zone is.

    `evicting` are the keys of taints by which nodes that are not ready are evicted.
    """
    mine = [other for other in nodes if of(other) == of(node)]
    every = _pause([conditions.is_true(other, "Ready") for other in mine if not _exempt(other)])
    if every is None:
        return None
    last = [
        moment
        for other in mine
        for taint in (other.get("spec") or {}).get("taints") or ()
        if taint["key"] in evicting and taint["effect"] == "NoExecute"
        if (moment := seconds_of(taint.get("timeAdded"))) is not None
    ]
    return max(last) + every if last else 0.0


def _exempt(node: Json) -> bool:
    return _EXEMPT in (node["metadata"].get("labels") or {})


def _pause(ready: list[bool]) -> float | None:
    """Seconds between evictions of a zone whose nodes are so; None: none."""
    lost = len(ready) - sum(ready)
    if sum(ready) and lost > 2 and lost / len(ready) >= UNHEALTHY:
        return SLOWLY_EVERY if len(ready) > LARGE else None
    return EVERY
