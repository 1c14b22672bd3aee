"""ResourceClaims of pods: made from templates, allocated on the node that a pod was bound to, given back afterwards.

In a real cluster the scheduler allocates before it binds. Here whoever binds need not know claims, so what the node
does not have shows only then: the pod waits there, and an event says why. All else is as there: the finalizer of
allocated claims, reservedFor, release when the last pod has ended. Semantics: kubernetes/pkg/controller/resourceclaim
and the DynamicResources plugin.
"""

from __future__ import annotations

from quartermaster.local.controllers import devices, pods
from quartermaster.local.controllers.devices import Identity
from quartermaster.local.controllers.events import Note
from quartermaster.local.controllers.objects import (
    CLAIM_TEMPLATES,
    DEVICE_CLASSES,
    PODS,
    RESOURCE_CLAIMS,
    RESOURCE_SLICES,
    Json,
    Key,
    Objects,
    changed,
    controller_of,
    key_of,
)
from quartermaster.local.controllers.writes import Create, Delete, Outcome, Update, Write, status

FINALIZER = "resource.kubernetes.io/delete-protection"
POD_CLAIM = "resource.kubernetes.io/pod-claim-name"
DEVICES = "quartermaster.dev/claimed-devices"
"""On a pod: DRIVER/POOL/DEVICE of all it has, once it has all; simulated kubelets wait for it."""
RETRY_S = 15.0


def of_pod(objects: Objects, key: Key, now: float) -> Outcome:
    """Make the claims of a pod's templates; when it is bound, allocate and reserve all its claims."""
    pod = objects.get(PODS, key)
    if pod is None or not pod["spec"].get("resourceClaims") or not pods.is_active(pod):
        return Outcome()
    made = _from_templates(objects, pod)
    if made is not None:
        return made
    named = _named(objects, pod)
    if not pod["spec"].get("nodeName") or any(claim is None for claim in named.values()):
        return Outcome()
    claims = [claim for claim in named.values() if claim is not None]
    guarded = [claim for claim in claims if FINALIZER not in (claim["metadata"].get("finalizers") or ())]
    if guarded:
        return Outcome(tuple(map(_guarded, guarded)))
    try:
        writes = _allocated(objects, pod, claims)
    except devices.Impossible as wrong:
        said = Note(PODS, pod, "FailedDeviceAllocation", str(wrong), warning=True)
        return Outcome(again=now + RETRY_S, notes=(said,))
    return Outcome(writes or _told(pod, claims))


def _from_templates(objects: Objects, pod: Json) -> Outcome | None:
    """The writes for claims that are still to be made, or to be named in the pod's status; None if there are none."""
    told = {item["name"]: item for item in (pod.get("status") or {}).get("resourceClaimStatuses") or ()}
    writes: list[Write] = []
    found: list[Json] = []
    for wanted in pod["spec"]["resourceClaims"]:
        template = wanted.get("resourceClaimTemplateName")
        if not template or wanted["name"] in told:
            continue
        owned = objects.children(RESOURCE_CLAIMS, pod["metadata"]["namespace"], pod["metadata"]["uid"])
        mine = [
            claim for claim in owned if (claim["metadata"].get("annotations") or {}).get(POD_CLAIM) == wanted["name"]
        ]
        if mine:
            found.append({"name": wanted["name"], "resourceClaimName": mine[0]["metadata"]["name"]})
        elif (source := objects.get(CLAIM_TEMPLATES, (pod["metadata"]["namespace"], template))) is not None:
            writes.append(_claim(pod, wanted["name"], source))
    if writes:
        return Outcome(tuple(writes))
    if found:
        listed = [*((pod.get("status") or {}).get("resourceClaimStatuses") or ()), *found]
        return Outcome(status(PODS, pod, dict(pod.get("status") or {}) | {"resourceClaimStatuses": listed}))
    return None


def _claim(pod: Json, name: str, template: Json) -> Create:
    given = template["spec"].get("metadata") or {}
    metadata = {
        "generateName": f"{pod['metadata']['name']}-{name}-",
        "namespace": pod["metadata"]["namespace"],
        "annotations": {**(given.get("annotations") or {}), POD_CLAIM: name},
        "ownerReferences": [pods.owner_reference(PODS, pod)],
    }
    if given.get("labels"):
        metadata["labels"] = given["labels"]
    body = {"apiVersion": RESOURCE_CLAIMS.api_version, "kind": RESOURCE_CLAIMS.kind, "metadata": metadata}
    return Create(RESOURCE_CLAIMS, body | {"spec": changed(template["spec"]["spec"])})


def _named(objects: Objects, pod: Json) -> dict[str, Json | None]:
    """The claims of a pod by its own names for them."""
    told = {item["name"]: item for item in (pod.get("status") or {}).get("resourceClaimStatuses") or ()}
    names = {
        wanted["name"]: wanted.get("resourceClaimName") or told.get(wanted["name"], {}).get("resourceClaimName", "")
        for wanted in pod["spec"]["resourceClaims"]
    }
    namespace = pod["metadata"]["namespace"]
    return {name: objects.get(RESOURCE_CLAIMS, (namespace, claim)) for name, claim in names.items()}


def _guarded(claim: Json) -> Update:
    kept = changed(claim)
    kept["metadata"].setdefault("finalizers", []).append(FINALIZER)
    return Update(RESOURCE_CLAIMS, kept)


def _allocated(objects: Objects, pod: Json, claims: list[Json]) -> tuple[Write, ...]:
    """The statuses that give `pod` its claims, all or none; raises Impossible."""
    node = pod["spec"]["nodeName"]
    missing = [claim for claim in claims if not (claim.get("status") or {}).get("allocation")]
    found = devices.allocate(
        missing,
        node=node,
        slices=objects.every(RESOURCE_SLICES),
        classes={item["metadata"]["name"]: item for item in objects.every(DEVICE_CLASSES)},
        taken=_taken(objects),
    )
    allocations = {claim["metadata"]["uid"]: allocation for claim, allocation in zip(missing, found, strict=True)}
    consumer = {"resource": "pods", "name": pod["metadata"]["name"], "uid": pod["metadata"]["uid"]}
    writes: list[Write] = []
    for claim in claims:
        told = dict(claim.get("status") or {})
        told.setdefault("allocation", allocations.get(claim["metadata"]["uid"]))
        if not _is_on(told["allocation"], node):
            raise devices.Impossible(f"claim {claim['metadata']['name']} is allocated on another node")
        reserved = told.get("reservedFor") or []
        if consumer not in reserved:
            told["reservedFor"] = [*reserved, consumer]
        writes += status(RESOURCE_CLAIMS, claim, told)
    return tuple(writes)


def _is_on(allocation: Json, node: str) -> bool:
    terms = (allocation.get("nodeSelector") or {}).get("nodeSelectorTerms")
    fields = [item for term in terms or () for item in term.get("matchFields") or ()]
    return not fields or any(node in item.get("values", ()) for item in fields)


def _taken(objects: Objects) -> set[Identity]:
    return {
        (item["driver"], item["pool"], item["device"])
        for claim in objects.every(RESOURCE_CLAIMS)
        for item in _results(claim)
        if not item.get("adminAccess")
    }


def _results(claim: Json) -> list[Json]:
    allocation = (claim.get("status") or {}).get("allocation") or {}
    found: list[Json] = (allocation.get("devices") or {}).get("results") or []
    return found


def _told(pod: Json, claims: list[Json]) -> tuple[Write, ...]:
    """Say on the pod what it has, so that its node can start it."""
    said = ",".join(f"{item['driver']}/{item['pool']}/{item['device']}" for claim in claims for item in _results(claim))
    if (pod["metadata"].get("annotations") or {}).get(DEVICES) == said:
        return ()
    marked = changed(pod)
    marked["metadata"].setdefault("annotations", {})[DEVICES] = said
    return (Update(PODS, marked),)


def of_claim(objects: Objects, key: Key, now: float) -> Outcome:
    """Take back what no pod uses any more; delete what was made for a pod that has ended."""
    del now
    claim = objects.get(RESOURCE_CLAIMS, key)
    if claim is None:
        return Outcome()
    told = dict(claim.get("status") or {})
    reserved = told.get("reservedFor") or []
    using = [item for item in reserved if _uses(objects, key[0], item)]
    if using != reserved:
        told["reservedFor"] = using or None
        if not using:
            told["allocation"] = None
        return Outcome(status(RESOURCE_CLAIMS, claim, told))
    owner = controller_of(claim)
    if not using and owner is not None and owner["kind"] == PODS.kind and not pods.is_going(claim):
        pod = objects.get(PODS, (key[0], owner["name"]))
        if pod is not None and pod["metadata"]["uid"] == owner["uid"] and pods.is_finished(pod):
            return Outcome((Delete(RESOURCE_CLAIMS, claim),))
    if pods.is_going(claim) and not told.get("allocation") and FINALIZER in (claim["metadata"].get("finalizers") or ()):
        freed = changed(claim)
        freed["metadata"]["finalizers"].remove(FINALIZER)
        return Outcome((Update(RESOURCE_CLAIMS, freed),))
    return Outcome()


def _uses(objects: Objects, namespace: str, consumer: Json) -> bool:
    if consumer["resource"] != "pods":
        return True
    pod = objects.get(PODS, (namespace, consumer["name"]))
    return pod is not None and pod["metadata"]["uid"] == consumer["uid"] and not pods.is_finished(pod)


def pods_of(objects: Objects, claim: Json) -> list[Key]:
    """Pods beside a claim or template that may use it."""
    return [
        key_of(pod) for pod in objects.within(PODS, claim["metadata"]["namespace"]) if pod["spec"].get("resourceClaims")
    ]


def claims_of(objects: Objects, pod: Json) -> list[Key]:
    """The claims that a pod uses."""
    if not pod["spec"].get("resourceClaims"):
        return []
    owned = objects.children(RESOURCE_CLAIMS, pod["metadata"]["namespace"], pod["metadata"]["uid"])
    named = [claim for claim in _named(objects, pod).values() if claim is not None]
    return list(dict.fromkeys(key_of(claim) for claim in [*owned, *named]))


def waiting(objects: Objects, value: Json) -> list[Key]:
    """Pods that are bound and may find their devices now that a slice or class has changed."""
    del value
    return [
        key_of(pod)
        for pod in objects.every(PODS)
        if pod["spec"].get("resourceClaims")
        and pod["spec"].get("nodeName")
        and DEVICES not in (pod["metadata"].get("annotations") or {})
    ]
