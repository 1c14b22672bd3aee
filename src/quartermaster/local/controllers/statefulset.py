"""StatefulSet: pods with names that stay, made in order and unmade in reverse, each with claims of its own.

Semantics: kubernetes/pkg/controller/statefulset. Ordered sets take one step and wait for the pod to be available;
parallel ones take all. The claims' owners are statefulset_claims.py's.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

from quartermaster.local.apiserver.selectors import from_object
from quartermaster.local.controllers import pods, revisions, scaling, statefulset_claims
from quartermaster.local.controllers.events import Note
from quartermaster.local.controllers.objects import CLAIMS, PODS, STATEFUL_SETS, Json, Key, Objects, Resource, changed
from quartermaster.local.controllers.writes import Create, Delete, Outcome, Write, status

REVISION = "controller-revision-hash"


@dataclass(frozen=True, slots=True)
class Set:
    """A set with its revisions and its pods by ordinal."""

    value: Json
    history: revisions.History
    current: Json
    members: dict[int, Json]

    @property
    def ordinals(self) -> range:
        """Those it should have."""
        start = (self.value["spec"].get("ordinals") or {}).get("start", 0)
        return range(start, start + self.value["spec"].get("replicas", 1))

    @property
    def ordered(self) -> bool:
        """Whether one waits for another."""
        return bool(self.value["spec"].get("podManagementPolicy", "OrderedReady") == "OrderedReady")

    @property
    def update(self) -> str:
        """Name of the revision to come to."""
        return str(self.history.newest["metadata"]["name"])


def reconcile(objects: Objects, key: Key, now: float) -> Outcome:
    """Adopt; then one step of the pods; then the status."""
    found = objects.get(STATEFUL_SETS, key)
    if found is None:
        return Outcome()
    name = found["metadata"]["name"]
    owned, claims = pods.claim(objects, PODS, STATEFUL_SETS, found, from_object(found["spec"].get("selector")))
    if claims:
        return Outcome(claims)
    members = {ordinal: pod for pod in owned if (ordinal := _ordinal(name, pod)) is not None}
    kept, writes = revisions.history(objects, STATEFUL_SETS, found)
    if kept is None:
        return Outcome(writes)
    told = (found.get("status") or {}).get("currentRevision", "")
    current = next((item for item in kept.all if item["metadata"]["name"] == told), kept.newest)
    group = Set(found, kept, current, members)
    steps = [] if pods.is_going(found) else _steps(objects, group, now)
    used = {revision_of(pod) for pod in owned} | {current["metadata"]["name"]}
    minimum = found["spec"].get("minReadySeconds", 0)
    return Outcome(
        (*steps, *status(STATEFUL_SETS, found, _status(group, now)), *revisions.excess(kept, found, used)),
        again=pods.next_available(members.values(), minimum, now),
    )


def _ordinal(name: str, pod: Json) -> int | None:
    match = re.fullmatch(re.escape(name) + r"-(\d+)", pod["metadata"]["name"])
    return int(match[1]) if match else None


def revision_of(pod: Json) -> str:
    """Name of the revision that a pod was made from."""
    return str((pod["metadata"].get("labels") or {}).get(REVISION, ""))


def _steps(objects: Objects, group: Set, now: float) -> list[Write]:
    minimum = group.value["spec"].get("minReadySeconds", 0)
    writes: list[Write] = []

    def healthy(pod: Json) -> bool:
        return pods.phase(pod) == "Running" and pods.is_available(pod, minimum, now) and not pods.is_going(pod)

    for ordinal in group.ordinals:
        pod = group.members.get(ordinal)
        writes += _made(objects, group, ordinal)
        if group.ordered and (pod is None or pods.is_finished(pod) or not healthy(pod)):
            return writes
        if pod is not None and not pods.is_finished(pod):
            writes += statefulset_claims.owned(objects, group.value, pod, wanted=True)
    condemned = sorted((ordinal for ordinal in group.members if ordinal not in group.ordinals), reverse=True)
    for ordinal in condemned:
        writes += statefulset_claims.owned(objects, group.value, group.members[ordinal], wanted=False)
    broken = [o for o in sorted(group.members) if not healthy(group.members[o])]
    for ordinal in condemned:
        pod = group.members[ordinal]
        if group.ordered and (pods.is_going(pod) or (not healthy(pod) and ordinal != broken[0])):
            return writes
        writes += [] if pods.is_going(pod) else [_delete(group, pod)]
        if group.ordered:
            return writes
    return writes or _roll(group, healthy=[o for o in group.ordinals if o not in broken])


def _made(objects: Objects, group: Set, ordinal: int) -> list[Write]:
    """What has an ordinal's pod be there: without the one that has ended, with its claims."""
    pod = group.members.get(ordinal)
    if pod is None:
        made = _pod(group, ordinal)
        name = made["metadata"]["name"]
        if statefulset_claims.is_stale(objects, group.value, name):
            return []
        return [*_claims(objects, group, made), _create(group, PODS, made, what=f"Pod {name}")]
    if pods.is_going(pod):
        return []
    if pods.is_finished(pod):
        return [_delete(group, pod)]
    return _claims(objects, group, pod) if pods.phase(pod) == "Pending" else []


def _roll(group: Set, *, healthy: list[int]) -> list[Write]:
    """Delete pods of other revisions, highest ordinal first, as many as may be missing at once."""
    strategy = group.value["spec"].get("updateStrategy") or {}
    if strategy.get("type", "RollingUpdate") != "RollingUpdate":
        return []
    rolling = strategy.get("rollingUpdate") or {}
    replicas = len(group.ordinals)
    most = max(1, scaling.resolve(rolling.get("maxUnavailable"), replicas, up=True, default=1))
    spare = most - (replicas - len(healthy))
    lowest = rolling.get("partition", 0)
    stale = [
        pod
        for ordinal in reversed(group.ordinals[min(lowest, replicas) :])
        if (pod := group.members.get(ordinal)) is not None
        and revision_of(pod) != group.update
        and not pods.is_going(pod)
    ]
    return [_delete(group, pod) for pod in stale[: max(0, spare)]]


def _create(group: Set, resource: Resource, made: Json, *, what: str) -> Create:
    where = f"{what} in StatefulSet {group.value['metadata']['name']}"
    well = "success" if resource is CLAIMS else "successful"
    told = Note(STATEFUL_SETS, group.value, "SuccessfulCreate", f"Create {where} {well}")
    failed = Note(STATEFUL_SETS, group.value, "FailedCreate", f"Create {where} failed error: {{error}}", warning=True)
    return Create(resource, made, (told,), failed)


def _delete(group: Set, pod: Json) -> Delete:
    where = f"Pod {pod['metadata']['name']} in StatefulSet {group.value['metadata']['name']}"
    return Delete(
        PODS, pod, notes=(Note(STATEFUL_SETS, group.value, "SuccessfulDelete", f"Delete {where} successful"),)
    )


def _pod(group: Set, ordinal: int) -> Json:
    """The pod of an ordinal, of the current revision below the partition and of the new one from it on."""
    spec = group.value["spec"]
    strategy = spec.get("updateStrategy") or {}
    rolling = strategy.get("rollingUpdate")
    revision = group.history.newest
    if strategy.get("type", "RollingUpdate") == "RollingUpdate":
        told = (group.value.get("status") or {}).get("currentReplicas", 0)
        below = told if rolling is None else rolling.get("partition", 0)
        if ordinal < group.ordinals.start + below:
            revision = group.current
    prefix = f"{group.value['metadata']['name']}-"
    name = f"{prefix}{ordinal}"
    made = pods.from_template(
        revisions.template_of(revision), STATEFUL_SETS, group.value, name=name, generateName=prefix
    )
    labels = made["metadata"].setdefault("labels", {})
    labels |= {
        REVISION: revision["metadata"]["name"],
        "statefulset.kubernetes.io/pod-name": name,
        "apps.kubernetes.io/pod-index": str(ordinal),
    }
    pod = made["spec"]
    pod["hostname"] = name
    if spec.get("serviceName"):
        pod["subdomain"] = spec["serviceName"]
    templates = [item["metadata"]["name"] for item in spec.get("volumeClaimTemplates") or ()]
    if templates:
        others = [volume for volume in pod.get("volumes") or () if volume["name"] not in templates]
        bound = [{"name": item, "persistentVolumeClaim": {"claimName": f"{item}-{name}"}} for item in templates]
        pod["volumes"] = bound + others
    return made


def _claims(objects: Objects, group: Set, pod: Json) -> list[Write]:
    """Claims that the pod names and nobody has made."""
    namespace = group.value["metadata"]["namespace"]
    writes: list[Write] = []
    for template in group.value["spec"].get("volumeClaimTemplates") or ():
        name = f"{template['metadata']['name']}-{pod['metadata']['name']}"
        if objects.get(CLAIMS, (namespace, name)) is not None:
            continue
        made = changed(template)
        selector = group.value["spec"]["selector"].get("matchLabels") or {}
        about: Json = {"name": name, "namespace": namespace}
        about["labels"] = {**(made["metadata"].get("labels") or {}), **selector}
        if references := statefulset_claims.at_first(group.value):
            about["ownerReferences"] = references
        if made["metadata"].get("annotations"):
            about["annotations"] = made["metadata"]["annotations"]
        body = {"apiVersion": "v1", "kind": CLAIMS.kind, "metadata": about, "spec": made["spec"]}
        writes.append(_create(group, CLAIMS, body, what=f"Claim {name} Pod {pod['metadata']['name']}"))
    return writes


def _status(group: Set, now: float) -> Json:
    spec, old = group.value["spec"], group.value.get("status") or {}
    minimum = spec.get("minReadySeconds", 0)
    current, update = group.current["metadata"]["name"], group.update
    alive = [pod for pod in group.members.values() if not pods.is_finished(pod)]
    lasting = [pod for pod in alive if not pods.is_going(pod)]
    ready = [pod for pod in alive if pods.phase(pod) == "Running" and pods.is_ready(pod)]
    updated = sum(revision_of(pod) == update for pod in lasting)
    currents = sum(revision_of(pod) == current for pod in lasting)
    rolling = (spec.get("updateStrategy") or {}).get("type", "RollingUpdate") == "RollingUpdate"
    if rolling and updated == len(group.members) == len(ready) == len(group.ordinals):
        current, currents = update, updated
    return {
        "observedGeneration": group.value["metadata"].get("generation"),
        "replicas": len(alive),
        "readyReplicas": len(ready) or None,
        "availableReplicas": sum(pods.is_available(pod, minimum, now) for pod in ready),
        "currentReplicas": currents or None,
        "updatedReplicas": updated or None,
        "currentRevision": current,
        "updateRevision": update,
        "collisionCount": old.get("collisionCount", 0),
    }
