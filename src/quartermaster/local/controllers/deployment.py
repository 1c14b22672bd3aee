"""Deployment: replica sets by revision, rolled from one to the next without leaving the fences.

Each pass looks at what is there and moves one step; the next pass is brought by what that step changes. Which set is
the current one is found by comparing templates, so a rollback is an old template again, and its set with it.
Semantics: kubernetes/pkg/controller/deployment. The numbers are scaling.py's.
"""

from __future__ import annotations

from dataclasses import dataclass

from quartermaster.local.apiserver.selectors import from_object
from quartermaster.local.controllers import deployment_status, pods, scaling
from quartermaster.local.controllers.events import Note
from quartermaster.local.controllers.objects import (
    DEPLOYMENTS,
    PODS,
    REPLICA_SETS,
    Json,
    Key,
    Objects,
    changed,
    controller_of,
)
from quartermaster.local.controllers.writes import Create, Delete, Outcome, Update, Write, status

HASH = "pod-template-hash"
REVISION = "deployment.kubernetes.io/revision"
HISTORY = "deployment.kubernetes.io/revision-history"
DESIRED = "deployment.kubernetes.io/desired-replicas"
LARGEST = "deployment.kubernetes.io/max-replicas"
_OWN = {REVISION, HISTORY, DESIRED, LARGEST, "kubectl.kubernetes.io/last-applied-configuration"}


@dataclass(frozen=True, slots=True)
class Rollout:
    """A deployment, the set of its template, and the others, oldest first."""

    deployment: Json
    new: Json | None
    old: list[Json]
    surge: int
    unavailable: int

    @property
    def replicas(self) -> int:
        """How many pods it wants."""
        return int(self.deployment["spec"].get("replicas", 1))

    @property
    def sets(self) -> list[Json]:
        """All its sets."""
        return [*self.old, *([self.new] if self.new is not None else [])]


def reconcile(objects: Objects, key: Key, now: float) -> Outcome:
    """One step: adopt; make or revise the new set; scale; clean up; then the status."""
    deployment = objects.get(DEPLOYMENTS, key)
    if deployment is None:
        return Outcome()
    selector = from_object(deployment["spec"].get("selector"))
    sets, claims = pods.claim(objects, REPLICA_SETS, DEPLOYMENTS, deployment, selector)
    if claims:
        return Outcome(claims)
    rollout = _rollout(deployment, sets)
    if not pods.is_going(deployment):
        outcome = _step(objects, rollout, now)
        if outcome is not None:
            return outcome
    wanted, again = deployment_status.status_of(deployment, rollout.new, rollout.sets, rollout.unavailable, now)
    return Outcome(status(DEPLOYMENTS, deployment, wanted), again=again)


def _rollout(deployment: Json, sets: list[Json]) -> Rollout:
    spec = deployment["spec"]
    replicas = spec.get("replicas", 1)
    strategy = spec.get("strategy") or {}
    surge = unavailable = 0
    if strategy.get("type", "RollingUpdate") == "RollingUpdate":
        rolling = strategy.get("rollingUpdate") or {}
        surge, unavailable = scaling.fenceposts(rolling.get("maxSurge"), rolling.get("maxUnavailable"), replicas)
        unavailable = min(unavailable, replicas)
    ordered = sorted(sets, key=_age)
    template = _bare(spec["template"])
    new = next((item for item in ordered if _bare(item["spec"]["template"]) == template), None)
    return Rollout(deployment, new, [item for item in ordered if item is not new], surge, unavailable)


def _age(value: Json) -> tuple[str, str]:
    return value["metadata"].get("creationTimestamp", ""), value["metadata"]["name"]


def _bare(template: Json) -> Json:
    """A template without the label by which its set tells its pods apart."""
    about = template.get("metadata") or {}
    labels = {key: value for key, value in (about.get("labels") or {}).items() if key != HASH}
    kept = {key: value for key, value in about.items() if key not in ("labels", "creationTimestamp") and value}
    return {**template, "metadata": {**kept, "labels": labels}}


def _step(objects: Objects, rollout: Rollout, now: float) -> Outcome | None:
    """What to do before the status can be told; None if nothing is."""
    spec = rollout.deployment["spec"]
    if (told := deployment_status.needs_condition(rollout.deployment, now)) is not None:
        return Outcome(told)
    recreate = (spec.get("strategy") or {}).get("type") == "Recreate"
    if spec.get("paused") or _scaled(rollout):
        sizes = _revised(rollout) | _rescaled(rollout, recreate=recreate)
        return _writes(rollout, sizes) or (None if spec.get("paused") else _writes(rollout, _annotated(rollout)))
    return _recreate(objects, rollout, now) if recreate else _roll(objects, rollout, now)


def _recreate(objects: Objects, rollout: Rollout, now: float) -> Outcome | None:
    """Nothing of the old, then all of the new."""
    sizes = {item["metadata"]["name"]: 0 for item in rollout.old}
    if (outcome := _writes(rollout, sizes, annotate=False)) is not None:
        return outcome
    if _running(objects, rollout):
        return None
    if rollout.new is None:
        return _create(objects, rollout, now)
    sizes = {rollout.new["metadata"]["name"]: rollout.replicas}
    return _writes(rollout, sizes, annotate=False) or _clean(rollout)


def _roll(objects: Objects, rollout: Rollout, now: float) -> Outcome | None:
    """More of the new as far as the surge permits, then less of the old as far as enough is available."""
    if rollout.new is None:
        return _create(objects, rollout, now)
    new = _size(rollout.new)
    target = scaling.of_new(new, _total(rollout.old), replicas=rollout.replicas, surge=rollout.surge)
    if (outcome := _writes(rollout, {rollout.new["metadata"]["name"]: target}, annotate=False)) is not None:
        return outcome
    old = [_size(item) for item in rollout.old]
    sizes = scaling.of_old(old, new, replicas=rollout.replicas, unavailable=rollout.unavailable)
    named = {item["metadata"]["name"]: size for item, size in zip(rollout.old, sizes, strict=True)}
    return _writes(rollout, named, annotate=False) or _clean(rollout)


def _size(found: Json) -> scaling.Size:
    annotations = found["metadata"].get("annotations") or {}
    largest = annotations.get(LARGEST, "")
    return scaling.Size(
        replicas=found["spec"].get("replicas", 1),
        available=(found.get("status") or {}).get("availableReplicas", 0),
        largest=int(largest) if largest.isdecimal() else 0,
    )


def _total(sets: list[Json]) -> int:
    return sum(item["spec"].get("replicas", 1) for item in sets)


def _running(objects: Objects, rollout: Rollout) -> bool:
    """Whether a pod of an old set still holds what the new one will want."""
    namespace = rollout.deployment["metadata"]["namespace"]
    return any(
        not pods.is_finished(pod)
        for item in rollout.old
        for pod in objects.children(PODS, namespace, item["metadata"]["uid"])
    )


def _scaled(rollout: Rollout) -> bool:
    """Whether somebody has changed the replicas since the sets were last written."""
    wanted = str(rollout.replicas)
    return any(
        (item["metadata"].get("annotations") or {}).get(DESIRED, wanted) != wanted
        for item in rollout.sets
        if item["spec"].get("replicas", 1) > 0
    )


def _rescaled(rollout: Rollout, *, recreate: bool) -> dict[str, int]:
    """Sizes for a new number of replicas: the only set follows; several share, largest first."""
    active = [item for item in rollout.sets if item["spec"].get("replicas", 1) > 0]
    if len(active) <= 1:
        only = active[0] if active else rollout.new or (rollout.old[-1] if rollout.old else None)
        return {} if only is None else {only["metadata"]["name"]: rollout.replicas}
    new = rollout.new
    if new is not None and _saturated(new, rollout.replicas):
        return {item["metadata"]["name"]: 0 for item in rollout.old}
    if recreate:
        return {}
    growing = rollout.replicas + rollout.surge > _total(active)
    # Of equal sets the newest grows first and the oldest shrinks first.
    aged = sorted(active, key=_age, reverse=growing)
    ordered = sorted(aged, key=lambda item: -item["spec"].get("replicas", 1))
    sizes = scaling.proportional(
        [_size(item) for item in ordered],
        replicas=rollout.replicas,
        surge=rollout.surge,
        current=(rollout.deployment.get("status") or {}).get("replicas", 0),
    )
    return {item["metadata"]["name"]: size for item, size in zip(ordered, sizes, strict=True)}


def _saturated(found: Json, replicas: int) -> bool:
    noted = (found["metadata"].get("annotations") or {}).get(DESIRED)
    available = (found.get("status") or {}).get("availableReplicas", 0)
    return bool(found["spec"].get("replicas", 1) == replicas and noted == str(replicas) and available == replicas)


def _annotated(rollout: Rollout) -> dict[str, int]:
    """All active sets as they are: written only to note down the new number."""
    return {
        item["metadata"]["name"]: item["spec"]["replicas"]
        for item in rollout.sets
        if item["spec"].get("replicas", 1) > 0
    }


def _revised(rollout: Rollout) -> dict[str, int]:
    """The new set at its size, so that what else it says is brought up to date."""
    return {} if rollout.new is None else {rollout.new["metadata"]["name"]: rollout.new["spec"].get("replicas", 1)}


def _writes(rollout: Rollout, sizes: dict[str, int], *, annotate: bool = True) -> Outcome | None:
    """Bring sets to `sizes`, with what they note down; None if all is so already."""
    writes: list[Write] = []
    for item in rollout.sets:
        size = sizes.get(item["metadata"]["name"])
        if size is None:
            continue
        wanted = changed(item)
        wanted["spec"]["replicas"] = size
        annotations = wanted["metadata"].setdefault("annotations", {})
        moved = size != item["spec"].get("replicas", 1)
        if moved or (annotate and size > 0):
            annotations |= _notes(rollout)
        if item is rollout.new:
            _revise(rollout, wanted)
        if wanted["spec"] != item["spec"] or annotations != (item["metadata"].get("annotations") or {}):
            writes.append(Update(REPLICA_SETS, wanted, notes=(_scaling(rollout, item, size),) if moved else ()))
    if rollout.new is not None:
        revision = _revision_of(rollout)
        if (rollout.deployment["metadata"].get("annotations") or {}).get(REVISION) != revision:
            marked = changed(rollout.deployment)
            marked["metadata"].setdefault("annotations", {})[REVISION] = revision
            writes.append(Update(DEPLOYMENTS, marked, "status"))  # as the real one: elsewhere annotations count
    return Outcome(tuple(writes)) if writes else None


def _scaling(rollout: Rollout, found: Json, size: int) -> Note:
    before = found["spec"].get("replicas", 1)
    way = "up" if before < size else "down"
    said = f"Scaled {way} replica set {{name}} from {before} to {size}"
    return Note(DEPLOYMENTS, rollout.deployment, "ScalingReplicaSet", said)


def _notes(rollout: Rollout) -> dict[str, str]:
    return {DESIRED: str(rollout.replicas), LARGEST: str(rollout.replicas + rollout.surge)}


def _revision(value: Json) -> int:
    text = (value["metadata"].get("annotations") or {}).get(REVISION, "")
    return int(text) if text.isdecimal() else 0


def _revision_of(rollout: Rollout) -> str:
    """The revision of the new set: above those of all others."""
    above = max(map(_revision, rollout.old), default=0) + 1
    return str(max(above, _revision(rollout.new) if rollout.new is not None else 0))


def _revise(rollout: Rollout, wanted: Json) -> None:
    """Annotations of the deployment, the revision and minReadySeconds, on its new set."""
    annotations = wanted["metadata"].setdefault("annotations", {})
    own = rollout.deployment["metadata"].get("annotations") or {}
    annotations |= {key: value for key, value in own.items() if key not in _OWN}
    before, after = annotations.get(REVISION), _revision_of(rollout)
    if before and before != after:
        history = annotations.get(HISTORY, "")
        annotations[HISTORY] = ",".join(filter(None, [history, before]))
    annotations[REVISION] = after
    minimum = rollout.deployment["spec"].get("minReadySeconds", 0)
    if minimum != wanted["spec"].get("minReadySeconds", 0):
        wanted["spec"]["minReadySeconds"] = minimum


def _create(objects: Objects, rollout: Rollout, now: float) -> Outcome:
    """A set for the deployment's template; a name that is taken by another template takes another hash next time."""
    deployment = rollout.deployment
    about, spec = deployment["metadata"], deployment["spec"]
    collisions = (deployment.get("status") or {}).get("collisionCount")
    digest = pods.short_hash(spec["template"], collisions)
    name = f"{about['name']}-{digest}"
    taken = objects.get(REPLICA_SETS, (about["namespace"], name))
    told = dict(deployment.get("status") or {})
    if taken is not None:
        return Outcome(status(DEPLOYMENTS, deployment, told | {"collisionCount": (collisions or 0) + 1}))
    template = changed(spec["template"])
    labels = {**((template.get("metadata") or {}).get("labels") or {}), HASH: digest}
    template["metadata"] = (template.get("metadata") or {}) | {"labels": labels}
    selector = changed(spec["selector"])
    selector["matchLabels"] = (selector.get("matchLabels") or {}) | {HASH: digest}
    size = scaling.of_new(scaling.Size(0), _total(rollout.old), replicas=rollout.replicas, surge=rollout.surge)
    made: Json = {
        "apiVersion": REPLICA_SETS.api_version,
        "kind": REPLICA_SETS.kind,
        "metadata": {
            "name": name,
            "namespace": about["namespace"],
            "labels": labels,
            "annotations": _notes(rollout),
            "ownerReferences": [pods.owner_reference(DEPLOYMENTS, deployment)],
        },
        "spec": {"replicas": size, "selector": selector, "template": template},
    }
    _revise(rollout, made)
    progress = {"type": "Progressing", "status": "True", "reason": "NewReplicaSetCreated"}
    message = f'Created new replica set "{name}"'
    listed = told.get("conditions") or []

    def refused(why: str) -> tuple[Write, ...]:
        failed = {"type": "Progressing", "status": "False", "reason": "ReplicaSetCreateError"}
        text = f'Failed to create new replica set "{name}": {why}'
        return status(
            DEPLOYMENTS,
            deployment,
            told | {"conditions": deployment_status.put(listed, failed | {"message": text}, now)},
        )

    told["conditions"] = deployment_status.put(listed, progress | {"message": message}, now)
    scaled = Note(DEPLOYMENTS, deployment, "ScalingReplicaSet", f"Scaled up replica set {{name}} from 0 to {size}")
    failed = f'Failed to create new replica set "{name}": {{error}}'
    complaint = Note(DEPLOYMENTS, deployment, "ReplicaSetCreateError", failed, warning=True)
    create = Create(REPLICA_SETS, made, (scaled,) if size else (), complaint)
    return Outcome((create, *status(DEPLOYMENTS, deployment, told)), refused=refused)


def _clean(rollout: Rollout) -> Outcome | None:
    """Old sets beyond revisionHistoryLimit, once the rollout is complete."""
    told = rollout.deployment.get("status") or {}
    done = told.get("updatedReplicas", 0) == told.get("replicas", 0) == told.get("availableReplicas", 0)
    limit = rollout.deployment["spec"].get("revisionHistoryLimit", 10)
    if not done or told.get("replicas", 0) != rollout.replicas:
        return None
    empty = [
        item
        for item in sorted(rollout.old, key=lambda found: (_revision(found), *_age(found)))
        if not item["spec"].get("replicas", 1)
        and not (item.get("status") or {}).get("replicas")
        and not pods.is_going(item)
    ]
    excess = len([item for item in rollout.old if not pods.is_going(item)]) - limit
    gone = [Delete(REPLICA_SETS, item) for item in empty[: max(0, excess)]]
    return Outcome(tuple(gone)) if gone else None


def of_pod(objects: Objects, pod: Json) -> list[Key]:
    """The deployment of a pod's replica set: Recreate waits for pods to go."""
    owner = controller_of(pod)
    if owner is None or owner["kind"] != "ReplicaSet":
        return []
    found = objects.get(REPLICA_SETS, (pod["metadata"]["namespace"], owner["name"]))
    return [] if found is None else pods.concerned(DEPLOYMENTS)(objects, found)
