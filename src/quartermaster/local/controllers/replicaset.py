"""ReplicaSet: as many pods as it says, of those that are there the ones kept that matter most.

Semantics: kubernetes/pkg/controller/replicaset. Instead of expectations about writes under way, the view has them.
"""

from __future__ import annotations

from quartermaster.local.apiserver.selectors import from_object
from quartermaster.local.controllers import conditions, pods
from quartermaster.local.controllers.objects import PODS, REPLICA_SETS, Json, Key, Objects, controller_of
from quartermaster.local.controllers.writes import Outcome, Write, status


def reconcile(objects: Objects, key: Key, now: float) -> Outcome:
    """Adopt, then create or delete pods, then say how many there are."""
    found = objects.get(REPLICA_SETS, key)
    if found is None:
        return Outcome()
    spec = found["spec"]
    owned, claims = pods.claim(objects, PODS, REPLICA_SETS, found, from_object(spec.get("selector")))
    if claims:
        return Outcome(claims)
    active = [pod for pod in owned if pods.is_active(pod)]
    surplus = 0 if pods.is_going(found) else len(active) - spec.get("replicas", 1)
    writes: list[Write] = []
    if surplus < 0:
        prefix = f"{found['metadata']['name']}-"
        made = pods.from_template(spec["template"], REPLICA_SETS, found, generateName=prefix)
        writes += [pods.create(made, REPLICA_SETS, found) for _ in range(-surplus)]
    elif surplus > 0:
        chosen = pods.deletion_order(active, _crowd(objects, found), now)[:surplus]
        writes += [pods.delete(pod, REPLICA_SETS, found) for pod in chosen]
    counts = _counts(found, owned, active, now)
    verb = "create" if surplus < 0 else "delete"

    def refused(message: str) -> tuple[Write, ...]:
        if any(item["type"] == "ReplicaFailure" for item in _conditions(found)):
            return ()  # the message names a pod that never was, another each time: saying it again would never end
        failure = {"type": "ReplicaFailure", "status": "True", "reason": f"Failed{verb.capitalize()}"}
        listed = conditions.put(_conditions(found), failure | {"message": message}, now)
        return status(REPLICA_SETS, found, counts | {"conditions": listed})

    listed = conditions.without(_conditions(found), "ReplicaFailure")
    return Outcome(
        (*writes, *status(REPLICA_SETS, found, counts | {"conditions": listed or None})),
        again=pods.next_available(active, spec.get("minReadySeconds", 0), now),
        refused=refused,
    )


def _conditions(found: Json) -> list[Json]:
    return (found.get("status") or {}).get("conditions") or []


def _counts(found: Json, owned: list[Json], active: list[Json], now: float) -> Json:
    spec = found["spec"]
    wanted = (spec["template"].get("metadata") or {}).get("labels") or {}
    labelled = [pod for pod in active if wanted.items() <= (pod["metadata"].get("labels") or {}).items()]
    minimum = spec.get("minReadySeconds", 0)
    return {
        "replicas": len(active),
        "fullyLabeledReplicas": len(labelled) or None,
        "readyReplicas": sum(map(pods.is_ready, active)) or None,
        "availableReplicas": sum(pods.is_available(pod, minimum, now) for pod in active) or None,
        "terminatingReplicas": sum(pods.is_going(pod) and not pods.is_finished(pod) for pod in owned),
        "observedGeneration": found["metadata"].get("generation"),
    }


def _crowd(objects: Objects, found: Json) -> dict[str, int]:
    """Active pods per node of all replica sets of the same deployment."""
    owner = controller_of(found)
    namespace = found["metadata"]["namespace"]
    kin = [found] if owner is None else objects.children(REPLICA_SETS, namespace, owner["uid"])
    crowd: dict[str, int] = {}
    for sibling in kin:
        for pod in objects.children(PODS, namespace, sibling["metadata"]["uid"]):
            node = pod["spec"].get("nodeName")
            if node and pods.is_active(pod):
                crowd[node] = crowd.get(node, 0) + 1
    return crowd
