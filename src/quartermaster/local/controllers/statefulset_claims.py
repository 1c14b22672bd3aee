"""To whom the claims of a StatefulSet's pods belong: to nobody, to the set, or to the pod that it no longer wants.

The garbage collector does the rest. Semantics: kubernetes/pkg/controller/statefulset/stateful_set_utils.go.
"""

from __future__ import annotations

from quartermaster.local.controllers import pods
from quartermaster.local.controllers.events import Note
from quartermaster.local.controllers.objects import CLAIMS, PODS, STATEFUL_SETS, Json, Objects, Resource, changed
from quartermaster.local.controllers.writes import Update, Write


def names(owner: Json, pod_name: str) -> list[str]:
    """The claims of one pod."""
    return [
        f"{template['metadata']['name']}-{pod_name}" for template in owner["spec"].get("volumeClaimTemplates") or ()
    ]


def at_first(owner: Json) -> list[Json]:
    """To whom a new claim belongs."""
    return [pods.owner_reference(STATEFUL_SETS, owner)] if _policy(owner)[0] == "Delete" else []


def is_stale(objects: Objects, owner: Json, pod_name: str) -> bool:
    """Whether a claim goes with a pod of this name that is no more: another pod would lose it at once."""
    if _policy(owner)[1] != "Delete":
        return False
    namespace = owner["metadata"]["namespace"]
    there = objects.get(PODS, (namespace, pod_name))
    uid = there["metadata"]["uid"] if there is not None else ""
    claims = [objects.get(CLAIMS, (namespace, name)) for name in names(owner, pod_name)]
    return any(
        _is_of(reference, PODS, pod_name) and reference["uid"] != uid
        for claim in claims
        if claim is not None
        for reference in claim["metadata"].get("ownerReferences") or ()
    )


def owned(objects: Objects, owner: Json, pod: Json, *, wanted: bool) -> list[Write]:
    """The writes that give a pod's claims to whom the policy says; `wanted`: the set still has its ordinal."""
    namespace = owner["metadata"]["namespace"]
    writes: list[Write] = []
    where = f"Pod {pod['metadata']['name']} in StatefulSet {owner['metadata']['name']}"
    told = (Note(STATEFUL_SETS, owner, "SuccessfulUpdate", f"Update {where} successful"),) if wanted else ()
    for name in names(owner, pod["metadata"]["name"]):
        claim = objects.get(CLAIMS, (namespace, name))
        if claim is None:
            continue
        before = claim["metadata"].get("ownerReferences") or []
        after = _owners(before, owner, pod, wanted=wanted)
        if after != before:
            given = changed(claim)
            given["metadata"]["ownerReferences"] = after
            writes.append(Update(CLAIMS, given, notes=() if writes else told))
    return writes


def _policy(owner: Json) -> tuple[str, str]:
    policy = owner["spec"].get("persistentVolumeClaimRetentionPolicy") or {}
    return policy.get("whenDeleted", "Retain"), policy.get("whenScaled", "Retain")


def _is_of(reference: Json, resource: Resource, name: str) -> bool:
    return (reference["apiVersion"], reference["kind"], reference["name"]) == (
        resource.api_version,
        resource.kind,
        name,
    )


def _owners(before: list[Json], owner: Json, pod: Json, *, wanted: bool) -> list[Json]:
    ours = {
        uid: reference
        for resource, value in ((STATEFUL_SETS, owner), (PODS, pod))
        for uid, reference in [(value["metadata"]["uid"], pods.owner_reference(resource, value))]
    }
    names_of = ((STATEFUL_SETS, owner["metadata"]["name"]), (PODS, pod["metadata"]["name"]))
    mine = [item for item in before if any(_is_of(item, resource, name) for resource, name in names_of)]
    if any(item["uid"] not in ours for item in mine):
        return before  # of one of that name that is gone: the collector is at it
    others = [item for item in before if item not in mine]
    deleted, scaled = _policy(owner)
    if any(item.get("controller") for item in others) and (deleted, scaled) != ("Retain", "Retain"):
        return others
    keeper = None
    if not wanted and scaled == "Delete":
        keeper = pod
    elif deleted == "Delete":
        keeper = owner
    wished = [ours[keeper["metadata"]["uid"]]] if keeper is not None else []
    return before if mine == wished else [*others, *wished]
