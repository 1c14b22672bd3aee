"""Pods as controllers judge and make them: ready, available, active; from a template; which to delete first.

The order of deletion is ActivePodsWithRanks of kubernetes/pkg/controller/controller_utils.go, with ages compared on a
logarithmic scale as there, so that a scale-down does not always hit the youngest.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable, Sequence
from typing import Any

from quartermaster.local.apiserver.codec import encode, seconds_of
from quartermaster.local.apiserver.selectors import Selector, from_object, matches
from quartermaster.local.controllers import conditions
from quartermaster.local.controllers.events import Note
from quartermaster.local.controllers.objects import (
    PODS,
    Json,
    Key,
    Objects,
    Resource,
    changed,
    controller_of,
    key_of,
)
from quartermaster.local.controllers.writes import Create, Delete, Update, Write

_LETTERS = "bcdfghjklmnpqrstvwxz2456789"


def phase(pod: Json) -> str:
    """Its phase; Pending if nobody has said."""
    return (pod.get("status") or {}).get("phase") or "Pending"


def is_finished(pod: Json) -> bool:
    """Whether all its containers have ended for good."""
    return phase(pod) in ("Succeeded", "Failed")


def is_going(value: Json) -> bool:
    """Whether an object is being deleted."""
    return bool(value["metadata"].get("deletionTimestamp"))


def is_active(pod: Json) -> bool:
    """Whether it counts as a replica: neither finished nor going."""
    return not is_finished(pod) and not is_going(pod)


def is_ready(pod: Json) -> bool:
    """Its condition Ready."""
    return conditions.is_true(pod, "Ready")


def available_at(pod: Json, min_ready: int) -> float | None:
    """When it has been, or will have been, ready for `min_ready` seconds; None if it is not ready."""
    ready = conditions.find(pod, "Ready")
    if ready is None or ready.get("status") != "True":
        return None
    since = seconds_of(ready.get("lastTransitionTime"))
    return 0.0 if not min_ready or since is None else since + min_ready


def is_available(pod: Json, min_ready: int, now: float) -> bool:
    """Whether it has been ready for `min_ready` seconds."""
    moment = available_at(pod, min_ready)
    return moment is not None and moment <= now


def next_available(pods: Iterable[Json], min_ready: int, now: float) -> float | None:
    """The next moment at which one more of `pods` becomes available if it stays ready."""
    moments = [available_at(pod, min_ready) for pod in pods]
    return min((moment for moment in moments if moment is not None and moment > now), default=None)


def short_hash(value: Any, salt: int | None = None, length: int = 10) -> str:
    """Letters that stand for a template; `salt` is the collision count.

    Not the digits of the real hash, which is one of Go's own printing: nothing but the controllers reads it.
    """
    digest = hashlib.sha256(encode(_ordered(value)) + (b"" if salt is None else str(salt).encode())).digest()
    return "".join(_LETTERS[byte % len(_LETTERS)] for byte in digest[:length])


def _ordered(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _ordered(value[key]) for key in sorted(value)}
    return [_ordered(item) for item in value] if isinstance(value, list) else value


def owner_reference(resource: Resource, owner: Json) -> Json:
    """What makes `owner` the controller of something."""
    about = owner["metadata"]
    return {
        "apiVersion": resource.api_version,
        "kind": resource.kind,
        "name": about["name"],
        "uid": about["uid"],
        "controller": True,
        "blockOwnerDeletion": True,
    }


def from_template(template: Json, resource: Resource, owner: Json, **metadata: Any) -> Json:
    """A pod of `owner`: its `metadata` besides the template's is name or generateName."""
    made = changed(template)
    about = made.get("metadata") or {}
    kept = {name: about[name] for name in ("labels", "annotations", "finalizers") if about.get(name)}
    return {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {
            **kept,
            "namespace": owner["metadata"]["namespace"],
            "ownerReferences": [owner_reference(resource, owner)],
            **metadata,
        },
        "spec": made["spec"],
    }


def create(pod: Json, resource: Resource, owner: Json) -> Create:
    """The write of a new pod, told of its owner."""
    told = Note(resource, owner, "SuccessfulCreate", "Created pod: {name}")
    return Create(PODS, pod, (told,), Note(resource, owner, "FailedCreate", "Error creating: {error}", warning=True))


def delete(pod: Json, resource: Resource, owner: Json, *why: Note) -> Delete:
    """The write that has a pod go, told of its owner."""
    return Delete(PODS, pod, notes=(*why, Note(resource, owner, "SuccessfulDelete", "Deleted pod: {name}")))


def claim(
    objects: Objects, resource: Resource, owned_by: Resource, owner: Json, selector: Selector | None
) -> tuple[list[Json], tuple[Write, ...]]:
    """What `owner` controls, and the writes that take in orphans and let go what its selector no longer matches.

    Where there are writes, the caller makes only them: what it would do next, it does when it sees them done.
    """
    namespace, uid = owner["metadata"]["namespace"], owner["metadata"]["uid"]
    owned, writes = [], list[Write]()
    for child in objects.children(resource, namespace, uid):
        if selector is None or matches(selector, child["metadata"].get("labels") or {}):
            owned.append(child)
        elif not is_going(owner):
            freed = changed(child)
            others = [item for item in freed["metadata"]["ownerReferences"] if item["uid"] != uid]
            freed["metadata"]["ownerReferences"] = others
            writes.append(Update(resource, freed))
    if selector and not is_going(owner):
        for orphan in objects.children(resource, namespace, ""):
            if is_going(orphan) or not matches(selector, orphan["metadata"].get("labels") or {}):
                continue
            if resource is PODS and is_finished(orphan):
                continue
            taken = changed(orphan)
            taken["metadata"].setdefault("ownerReferences", []).append(owner_reference(owned_by, owner))
            writes.append(Update(resource, taken))
    return owned, tuple(writes)


def concerned(resource: Resource) -> Callable[[Objects, Json], list[Key]]:
    """For the queue: which objects of `resource` something concerns: its controller, or who might adopt it."""

    def keys(objects: Objects, value: Json) -> list[Key]:
        namespace = value["metadata"].get("namespace", "")
        owner = controller_of(value)
        if owner is not None:
            mine = owner["kind"] == resource.kind and owner["apiVersion"] == resource.api_version
            return [(namespace, owner["name"])] if mine else []
        labels = value["metadata"].get("labels") or {}
        takers = objects.within(resource, namespace) if labels else []
        selectors = [(key_of(taker), from_object(taker["spec"].get("selector"))) for taker in takers]
        return [key for key, selector in selectors if selector and matches(selector, labels)]

    return keys


def deletion_order(pods: Sequence[Json], crowd: dict[str, int], now: float) -> list[Json]:
    """`pods`, the first to delete first. `crowd` has, per node, how many pods of the same kin run there."""
    return sorted(pods, key=lambda pod: _rank(pod, crowd, now))


def _rank(pod: Json, crowd: dict[str, int], now: float) -> tuple[Any, ...]:
    node = pod["spec"].get("nodeName", "")
    about = pod["metadata"]
    ready = conditions.find(pod, "Ready")
    since = seconds_of((ready or {}).get("lastTransitionTime")) if is_ready(pod) else None
    restarts = max(
        (item.get("restartCount", 0) for item in (pod.get("status") or {}).get("containerStatuses") or ()), default=0
    )
    cost = (about.get("annotations") or {}).get("controller.kubernetes.io/pod-deletion-cost", "0")
    return (
        bool(node),
        {"Pending": 0, "Unknown": 1}.get(phase(pod), 2),
        is_ready(pod),
        int(cost) if cost.lstrip("+-").isdecimal() else 0,
        -crowd.get(node, 0),
        _age_class(since, now),
        -restarts,
        _age_class(seconds_of(about.get("creationTimestamp")), now),
        about["uid"],
    )


def _age_class(since: float | None, now: float) -> int:
    """Powers of two of the age in nanoseconds."""
    age = int((now - since) * 1e9) if since is not None else 0
    return age.bit_length()
