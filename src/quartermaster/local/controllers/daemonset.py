"""DaemonSet: one pod on every node that it fits, pinned there by node affinity and bound by the scheduler like any.

Semantics: kubernetes/pkg/controller/daemon. Refuses the back-off of failing daemons: it would have to
remember them.
"""

from __future__ import annotations

from quartermaster.local.apiserver.selectors import from_object
from quartermaster.local.controllers import daemonset_rolling, nodefit, pods, revisions, scaling
from quartermaster.local.controllers.daemonset_rolling import hash_of as _hash
from quartermaster.local.controllers.events import Note
from quartermaster.local.controllers.objects import DAEMON_SETS, NODES, PODS, Json, Key, Objects, key_of
from quartermaster.local.controllers.writes import Outcome, Write, status

_GENERATION = "deprecated.daemonset.template.generation"
_TOLERATED = (
    ("node.kubernetes.io/not-ready", "NoExecute"),
    ("node.kubernetes.io/unreachable", "NoExecute"),
    ("node.kubernetes.io/disk-pressure", "NoSchedule"),
    ("node.kubernetes.io/memory-pressure", "NoSchedule"),
    ("node.kubernetes.io/pid-pressure", "NoSchedule"),
    ("node.kubernetes.io/unschedulable", "NoSchedule"),
)
"""Taints that say that a node is unwell: a daemon stays, it may be what mends it."""


def reconcile(objects: Objects, key: Key, now: float) -> Outcome:
    """Adopt; a pod where one is missing, none where none should be; roll; then the status."""
    found = objects.get(DAEMON_SETS, key)
    if found is None or pods.is_going(found):
        return Outcome()
    owned, claims = pods.claim(objects, PODS, DAEMON_SETS, found, from_object(found["spec"].get("selector")))
    if claims:
        return Outcome(claims)
    kept, writes = revisions.history(objects, DAEMON_SETS, found)
    if kept is None:
        return Outcome(writes)
    digest = revisions.hash_of(kept.newest)
    by_node: dict[str, list[Json]] = {}
    for pod in owned:
        by_node.setdefault(_node_of(pod), []).append(pod)
    nodes = list(objects.every(NODES))
    shape = _pod(found, digest, "")
    wanted = {node["metadata"]["name"] for node in nodes if _runs(shape, node)}
    stays = {node["metadata"]["name"] for node in nodes if _stays(shape, node)}
    surge, unavailable = _limits(found, len(wanted))
    minimum = found["spec"].get("minReadySeconds", 0)
    fleet = daemonset_rolling.Daemons(digest, by_node, wanted, surge, unavailable, minimum, now)
    steps = _place(found, fleet, stays) or _roll(found, fleet)
    used = {item["metadata"]["name"] for item in kept.all if revisions.hash_of(item) in map(_hash, owned)}
    told = _status(found, digest, by_node, wanted, now)
    return Outcome(
        (*steps, *status(DAEMON_SETS, found, told), *revisions.excess(kept, found, used)),
        again=pods.next_available(owned, found["spec"].get("minReadySeconds", 0), now),
    )


def _pod(found: Json, digest: str, node: str) -> Json:
    made = pods.from_template(
        found["spec"]["template"], DAEMON_SETS, found, generateName=f"{found['metadata']['name']}-"
    )
    labels = made["metadata"].setdefault("labels", {})
    labels[daemonset_rolling.REVISION] = digest
    if (generation := (found["metadata"].get("annotations") or {}).get(_GENERATION)) is not None:
        labels["pod-template-generation"] = generation
    spec = made["spec"]
    tolerations = spec.setdefault("tolerations", [])
    taints = [
        *_TOLERATED,
        *([("node.kubernetes.io/network-unavailable", "NoSchedule")] if spec.get("hostNetwork") else []),
    ]
    tolerations += [
        toleration
        for key, effect in taints
        if (toleration := {"key": key, "operator": "Exists", "effect": effect}) not in tolerations
    ]
    if node:
        affinity = spec.setdefault("affinity", {}).setdefault("nodeAffinity", {})
        field = {"key": "metadata.name", "operator": "In", "values": [node]}
        # The selector has been looked at: of the terms only the node itself is left.
        affinity["requiredDuringSchedulingIgnoredDuringExecution"] = {"nodeSelectorTerms": [{"matchFields": [field]}]}
    return made


def _node_of(pod: Json) -> str:
    if pod["spec"].get("nodeName"):
        return str(pod["spec"]["nodeName"])
    required = ((pod["spec"].get("affinity") or {}).get("nodeAffinity") or {}).get(
        "requiredDuringSchedulingIgnoredDuringExecution"
    ) or {}
    for term in required.get("nodeSelectorTerms") or ():
        for field in term.get("matchFields") or ():
            if field["key"] == "metadata.name" and field.get("values"):
                return str(field["values"][0])
    return ""


def _untolerated(shape: Json, node: Json, effects: tuple[str, ...]) -> bool:
    taints = (node.get("spec") or {}).get("taints") or ()
    return any(
        taint["effect"] in effects and not nodefit.tolerates(shape["spec"]["tolerations"], taint) for taint in taints
    )


def _runs(shape: Json, node: Json) -> bool:
    return nodefit.wants(shape["spec"], node) and not _untolerated(shape, node, ("NoSchedule", "NoExecute"))


def _stays(shape: Json, node: Json) -> bool:
    return nodefit.wants(shape["spec"], node) and not _untolerated(shape, node, ("NoExecute",))


def _place(found: Json, fleet: daemonset_rolling.Daemons, stays: set[str]) -> list[Write]:
    writes: list[Write] = []
    for node in sorted(fleet.wanted | set(fleet.by_node)):
        there = [pod for pod in fleet.by_node.get(node, ()) if not pods.is_going(pod)]
        alive = sorted((pod for pod in there if not pods.is_finished(pod)), key=_oldest)
        surplus = daemonset_rolling.surplus(fleet, alive) if node in stays else alive
        writes += [_ended(found, pod, node) for pod in there if pods.is_finished(pod)]
        writes += [pods.delete(pod, DAEMON_SETS, found) for pod in surplus]
        served = alive if fleet.surge else fleet.by_node.get(node)
        if node in fleet.wanted and not served:
            writes.append(pods.create(_pod(found, fleet.digest, node), DAEMON_SETS, found))
    return writes


def _ended(found: Json, pod: Json, node: str) -> Write:
    """A daemon has no end of its own: one that has come to it makes room for the next."""
    how, then = ("failed", "kill") if pods.phase(pod) == "Failed" else ("succeeded", "delete")
    said = f"Found {how} daemon pod {'/'.join(key_of(pod))} on node {node}, will try to {then} it"
    note = Note(DAEMON_SETS, found, f"{how.capitalize()}DaemonPod", said, warning=how == "failed")
    return pods.delete(pod, DAEMON_SETS, found, note)


def _oldest(pod: Json) -> tuple[bool, str, Key]:
    return not pod["spec"].get("nodeName"), pod["metadata"].get("creationTimestamp", ""), key_of(pod)


def _roll(found: Json, fleet: daemonset_rolling.Daemons) -> list[Write]:
    strategy = found["spec"].get("updateStrategy") or {}
    if strategy.get("type", "RollingUpdate") != "RollingUpdate":
        return []
    gone, new = daemonset_rolling.surging(fleet) if fleet.surge else (daemonset_rolling.replacing(fleet), [])
    return [
        *(pods.delete(pod, DAEMON_SETS, found) for pod in gone),
        *(pods.create(_pod(found, fleet.digest, node), DAEMON_SETS, found) for node in new),
    ]


def _limits(found: Json, nodes: int) -> tuple[int, int]:
    """(maxSurge, maxUnavailable): at least one of them lets something move."""
    rolling = (found["spec"].get("updateStrategy") or {}).get("rollingUpdate") or {}
    surge = scaling.resolve(rolling.get("maxSurge"), nodes, up=True)
    unavailable = scaling.resolve(rolling.get("maxUnavailable"), nodes, up=True, default=1)
    return surge, unavailable if surge else max(1, unavailable)


def _status(found: Json, digest: str, by_node: dict[str, list[Json]], wanted: set[str], now: float) -> Json:
    minimum = found["spec"].get("minReadySeconds", 0)
    serving = {
        node: min(alive, key=_oldest)
        for node, there in by_node.items()
        if (alive := [pod for pod in there if not pods.is_finished(pod)])
    }
    right = [pod for node, pod in serving.items() if node in wanted]
    available = sum(pods.is_available(pod, minimum, now) for pod in right)
    return {
        "currentNumberScheduled": len(right),
        "numberMisscheduled": len(serving) - len(right),
        "desiredNumberScheduled": len(wanted),
        "numberReady": sum(map(pods.is_ready, right)),
        "updatedNumberScheduled": sum(_hash(pod) == digest for pod in right) or None,
        "numberAvailable": available or None,
        "numberUnavailable": len(wanted) - available or None,
        "observedGeneration": found["metadata"].get("generation"),
        "collisionCount": (found.get("status") or {}).get("collisionCount"),
    }


def of_node(objects: Objects, node: Json) -> list[Key]:
    """All of them: any may want the node, or no longer."""
    del node
    return [key_of(found) for found in objects.every(DAEMON_SETS)]
