"""ControllerRevisions: the templates that a StatefulSet or DaemonSet has had, so that it can have them again.

``kubectl rollout undo`` sends a revision's data back as a strategic merge patch, hence the ``$patch: replace`` in it.
"""

from __future__ import annotations

from dataclasses import dataclass

from quartermaster.local.apiserver.selectors import from_object
from quartermaster.local.controllers import pods
from quartermaster.local.controllers.objects import (
    DAEMON_SETS,
    REVISIONS,
    STATEFUL_SETS,
    Json,
    Objects,
    Resource,
    changed,
)
from quartermaster.local.controllers.writes import Create, Delete, Update, Write

HASHES = {STATEFUL_SETS.kind: "controller.kubernetes.io/hash", DAEMON_SETS.kind: "controller-revision-hash"}
"""The label that has the hash, by the kind of the owner."""


@dataclass(frozen=True, slots=True)
class History:
    """Revisions of an owner, oldest first; `newest` is the one of its template."""

    all: list[Json]
    newest: Json


def _data(owner: Json) -> Json:
    return {"spec": {"template": {**owner["spec"]["template"], "$patch": "replace"}}}


def template_of(revision: Json) -> Json:
    """The pod template that a revision keeps."""
    return {key: value for key, value in revision["data"]["spec"]["template"].items() if key != "$patch"}


def hash_of(revision: Json) -> str:
    """The label by which its pods are told apart."""
    labels = revision["metadata"].get("labels") or {}
    return str(next((labels[name] for name in HASHES.values() if name in labels), ""))


def history(objects: Objects, resource: Resource, owner: Json) -> tuple[History | None, tuple[Write, ...]]:
    """The revisions; or the writes that have to be made before there are."""
    selector = from_object(owner["spec"].get("selector"))
    found, claims = pods.claim(objects, REVISIONS, resource, owner, selector)
    if claims:
        return None, claims
    found.sort(key=lambda item: (item["revision"], item["metadata"]["name"]))
    data = _data(owner)
    above = max((item["revision"] for item in found), default=0)
    equal = next((item for item in reversed(found) if item["data"] == data), None)
    if equal is None:
        return None, (Create(REVISIONS, _made(objects, resource, owner, data, above + 1)),)
    if equal["revision"] < above:
        again = changed(equal)
        again["revision"] = above + 1
        return None, (Update(REVISIONS, again),)
    return History(found, equal), ()


def _made(objects: Objects, resource: Resource, owner: Json, data: Json, number: int) -> Json:
    about = owner["metadata"]
    salt: int | None = None
    digest = pods.short_hash(data)
    while objects.get(REVISIONS, (about["namespace"], f"{about['name']}-{digest}")) is not None:
        salt = (salt or 0) + 1
        digest = pods.short_hash(data, salt)
    labels = (owner["spec"]["template"].get("metadata") or {}).get("labels") or {}
    annotations = {
        key: value
        for key, value in (about.get("annotations") or {}).items()
        if key != "kubectl.kubernetes.io/last-applied-configuration"
    }
    return {
        "apiVersion": REVISIONS.api_version,
        "kind": REVISIONS.kind,
        "metadata": {
            "name": f"{about['name']}-{digest}",
            "namespace": about["namespace"],
            "labels": {**labels, HASHES[resource.kind]: digest},
            **({"annotations": annotations} if annotations else {}),
            "ownerReferences": [pods.owner_reference(resource, owner)],
        },
        "data": changed(data),
        "revision": number,
    }


def excess(kept: History, owner: Json, used: set[str]) -> tuple[Write, ...]:
    """Deletes the oldest revisions beyond revisionHistoryLimit that are not in `used` (names)."""
    idle = [item for item in kept.all if item is not kept.newest and item["metadata"]["name"] not in used]
    surplus = len(idle) - owner["spec"].get("revisionHistoryLimit", 10)
    return tuple(Delete(REVISIONS, item) for item in idle[: max(0, surplus)])
