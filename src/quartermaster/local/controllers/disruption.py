"""PodDisruptionBudget: how many of its pods are healthy, have to be, and may therefore be evicted.

The API server decides evictions by this status and counts down disruptionsAllowed itself; evicted pods stand in
disruptedPods until they are seen to go. Semantics: kubernetes/pkg/controller/disruption.
"""

from __future__ import annotations

from quartermaster.local.apiserver.codec import seconds_of
from quartermaster.local.apiserver.selectors import from_object, matches
from quartermaster.local.controllers import conditions, pods, scaling
from quartermaster.local.controllers.objects import (
    BUDGETS,
    DEPLOYMENTS,
    PODS,
    REPLICA_SETS,
    STATEFUL_SETS,
    Json,
    Key,
    Objects,
    controller_of,
    key_of,
)
from quartermaster.local.controllers.writes import Outcome, soonest, status

_FORGOTTEN_AFTER = 120.0
"""Seconds after which an eviction that was not followed by a deletion is taken as failed."""


def reconcile(objects: Objects, key: Key, now: float) -> Outcome:
    """The status of one budget."""
    budget = objects.get(BUDGETS, key)
    if budget is None or pods.is_going(budget):
        return Outcome()
    spec = budget["spec"]
    selector = from_object(spec.get("selector"))
    found = [
        pod
        for pod in objects.within(PODS, key[0])
        if selector is not None and matches(selector, pod["metadata"].get("labels") or {})
    ]
    listed = (budget.get("status") or {}).get("conditions") or []
    try:
        expected, desired = _wanted(objects, spec, found)
    except LookupError as wrong:
        failed = _condition(budget, "False", "SyncFailed", str(wrong.args[0]))
        old = dict(budget.get("status") or {})
        told = old | {"disruptionsAllowed": 0, "conditions": conditions.put(listed, failed, now)}
        return Outcome(status(BUDGETS, budget, told))
    disrupted, again = _disrupted(budget, found, now)
    healthy = [
        pod for pod in found if pods.is_active(pod) and pods.is_ready(pod) and pod["metadata"]["name"] not in disrupted
    ]
    allowed = max(0, len(healthy) - desired) if expected > 0 else 0
    enough = _condition(budget, *(("True", "SufficientPods") if allowed else ("False", "InsufficientPods")))
    told = {
        "observedGeneration": budget["metadata"].get("generation"),
        "disruptedPods": disrupted or None,
        "disruptionsAllowed": allowed,
        "currentHealthy": len(healthy),
        "desiredHealthy": desired,
        "expectedPods": expected,
        "conditions": conditions.put(listed, enough, now),
    }
    return Outcome(status(BUDGETS, budget, told), again=again)


def _condition(budget: Json, truth: str, reason: str, message: str = "") -> Json:
    generation = budget["metadata"].get("generation")
    said = {"type": "DisruptionAllowed", "status": truth, "reason": reason, "message": message}
    return said | {"observedGeneration": generation}


def _wanted(objects: Objects, spec: Json, found: list[Json]) -> tuple[int, int]:
    """(expected, desired healthy); raises LookupError if a share is asked of pods that nobody scales."""
    most, least = spec.get("maxUnavailable"), spec.get("minAvailable")
    if most is not None:
        expected = _expected(objects, found)
        return expected, max(0, expected - scaling.resolve(most, expected, up=True))
    if isinstance(least, str):
        expected = _expected(objects, found)
        return expected, scaling.resolve(least, expected, up=True)
    return len(found), least if least is not None else 0


def _expected(objects: Objects, found: list[Json]) -> int:
    """The replicas that the pods' controllers say, each once."""
    totals: dict[str, int] = {}
    for pod in found:
        owner = controller_of(pod)
        if owner is None or owner["uid"] in totals:  # who has no controller counts for nothing
            continue
        scaler = _scaler(objects, pod["metadata"]["namespace"], owner)
        if scaler is None:
            raise LookupError(f"found no controllers for pod {_quoted(pod)}")
        totals[scaler["metadata"]["uid"]] = scaler["spec"].get("replicas", 1)
    return sum(totals.values())


def _quoted(pod: Json) -> str:
    return '"' + "/".join(key_of(pod)) + '"'


def _scaler(objects: Objects, namespace: str, owner: Json) -> Json | None:
    """What has the replicas: the set, or the deployment that rolls it."""
    if owner["kind"] == "StatefulSet":
        return objects.get(STATEFUL_SETS, (namespace, owner["name"]))
    if owner["kind"] != "ReplicaSet":
        return None
    found = objects.get(REPLICA_SETS, (namespace, owner["name"]))
    above = controller_of(found) if found is not None else None
    if above is not None and above["kind"] == "Deployment":
        return objects.get(DEPLOYMENTS, (namespace, above["name"])) or found
    return found


def _disrupted(budget: Json, found: list[Json], now: float) -> tuple[dict[str, str], float | None]:
    """Evicted pods that are still there and not yet going, and when the first of them is given up."""
    there = {pod["metadata"]["name"] for pod in found if not pods.is_going(pod)}
    kept: dict[str, str] = {}
    ends: list[float] = []
    for name, since in ((budget.get("status") or {}).get("disruptedPods") or {}).items():
        end = (seconds_of(since) or 0.0) + _FORGOTTEN_AFTER
        if name in there and end > now:
            kept[name] = since
            ends.append(end)
    return kept, soonest(*ends)


def of_pod(objects: Objects, pod: Json) -> list[Key]:
    """Budgets that select a pod."""
    labels = pod["metadata"].get("labels") or {}
    budgets = objects.within(BUDGETS, pod["metadata"]["namespace"])
    return [
        key_of(budget)
        for budget in budgets
        if (selector := from_object(budget["spec"].get("selector"))) is not None and matches(selector, labels)
    ]


def of_namespace(objects: Objects, value: Json) -> list[Key]:
    """All budgets beside an object: its replicas may be what they are shares of."""
    return [key_of(budget) for budget in objects.within(BUDGETS, value["metadata"]["namespace"])]
