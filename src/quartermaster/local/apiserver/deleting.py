"""DELETE and DELETECOLLECTION: preconditions, finalizers, grace.

An object with finalizers is marked and waits for them. A pod that runs on a node is marked and waits for its kubelet,
who deletes it again with no grace. Any other pod is marked too, so that watchers see that it is going, and goes at
once; everything else just goes. What depends on it is garbage.py's business.
"""

from __future__ import annotations

from dataclasses import dataclass

from quartermaster.local.apiserver.admission import Admission, Operation
from quartermaster.local.apiserver.cluster import Cluster
from quartermaster.local.apiserver.codec import load, seconds_of, timestamp
from quartermaster.local.apiserver.errors import (
    ApiError,
    Json,
    bad_request,
    conflict,
    forbidden,
    invalid,
    invalid_value,
    not_found,
    unsupported_value,
)
from quartermaster.local.apiserver.kinds import Kind
from quartermaster.local.apiserver.store import Record
from quartermaster.local.apiserver.writing import Target

CRDS = "customresourcedefinitions.apiextensions.k8s.io"
CLEANUP = "customresourcecleanup.apiextensions.k8s.io"
ORPHAN = "orphan"
FOREGROUND = "foregroundDeletion"

_RETURNS_OBJECT = frozenset(
    (
        "pods",
        "persistentvolumes",
        "persistentvolumeclaims",
        "podtemplates",
        "resourcequotas",
        "services",
        "serviceaccounts",
        *(f"{name}.resource.k8s.io" for name in ("deviceclasses", "resourceclaims", "resourceclaimtemplates")),
        "resourceslices.resource.k8s.io",
        *(f"{name}.storage.k8s.io" for name in ("storageclasses", "csidrivers", "csinodes", "volumeattachments")),
    )
)
_ORPHANS = frozenset(("replicationcontrollers", "jobs.batch"))
"""What lets its dependents go if nobody says otherwise."""

_POLICIES = ("Foreground", "Background", "Orphan")
_ORPHANED = (
    "child pods are preserved by default when jobs are deleted; set propagationPolicy=Background to remove them or set "
    "propagationPolicy=Orphan to suppress this warning"
)

_PROTECTED = frozenset(("default", "kube-system", "kube-public", "kube-node-lease"))


@dataclass(frozen=True, slots=True)
class DeleteOptions:
    """`grace` in seconds; `propagation` Background, Foreground, Orphan or empty for the kind's own."""

    grace: int | None = None
    uid: str = ""
    revision: str = ""
    propagation: str = ""
    dry_run: bool = False

    @classmethod
    def of(cls, body: Json, query: dict[str, str] | None = None) -> DeleteOptions:
        """From a body and a query; raises ApiError 400 or 422."""
        query = query or {}
        grace = body.get("gracePeriodSeconds", query.get("gracePeriodSeconds"))
        preconditions = body.get("preconditions") or {}
        propagation = body.get("propagationPolicy") or query.get("propagationPolicy", "")
        orphan = body.get("orphanDependents", query.get("orphanDependents"))
        if orphan is not None and propagation:
            raise invalid(
                "DeleteOptions",
                "meta.k8s.io",
                "",
                [
                    invalid_value(
                        "propagationPolicy", propagation, "orphanDependents and deletionPropagation cannot be both set"
                    )
                ],
            )
        if orphan in (True, "true"):
            propagation = "Orphan"
        if propagation not in ("", *_POLICIES):
            cause = unsupported_value("propagationPolicy", propagation, (*_POLICIES, "nil"))
            raise invalid("DeleteOptions", "meta.k8s.io", "", [cause])
        dry = body.get("dryRun") or ([query["dryRun"]] if query.get("dryRun") else [])
        try:
            return cls(
                grace=None if grace is None else _positive(int(grace)),
                uid=preconditions.get("uid") or "",
                revision=preconditions.get("resourceVersion") or "",
                propagation=propagation,
                dry_run="All" in dry,
            )
        except (TypeError, ValueError, AttributeError):
            raise bad_request(
                "DeleteOptions: gracePeriodSeconds is not a number or preconditions is not an object"
            ) from None


@dataclass(slots=True)
class Deleted:
    """`value` is the object as it is now or was last; `gone` whether it is gone."""

    value: Json
    gone: bool


class Deleter:
    """Deletes from one cluster."""

    def __init__(self, cluster: Cluster, admission: Admission) -> None:
        self._cluster = cluster
        self._admission = admission

    async def delete(self, target: Target, options: DeleteOptions) -> Deleted:
        """Delete one object, or mark it; raises ApiError 403, 404 or 409."""
        kind, cluster = target.kind, self._cluster
        while True:
            record = cluster.find(kind.table, target.key)
            if record is None:
                raise not_found(kind.plural, kind.group, target.key[1])
            self.check(target, record, options)
            value = load(record.raw)
            if kind.table == "namespaces" and target.key[1] in _PROTECTED and target.key[1] != "kube-node-lease":
                raise forbidden(kind.plural, kind.group, target.key[1], "this namespace may not be deleted")
            operation = Operation("DELETE", kind, "", target.key, value, load(record.raw), target.user, target.options)
            await self._admission.mutate(operation)
            await self._admission.validate(operation)
            if cluster.find(kind.table, target.key) is record:
                return self._commit(kind, record, load(record.raw), options)

    def check(self, target: Target, record: Record, options: DeleteOptions) -> None:
        """Whether it is what the client means; raises ApiError 409."""
        kind = target.kind
        if options.uid and options.uid != record.uid:
            why = (
                f"the UID in the precondition ({options.uid}) does not match the UID in record ({record.uid}). "
                "The object might have been deleted and then recreated"
            )
        elif options.revision and options.revision != str(record.revision):
            why = (
                f"the ResourceVersion in the precondition ({options.revision}) does not match the ResourceVersion in "
                f"record ({record.revision}). The object might have been modified"
            )
        else:
            return
        stored = self._cluster.registry.stored(kind.table) or kind
        raise conflict(stored.kind, stored.group, target.key[1], why)

    def _commit(self, kind: Kind, record: Record, value: Json, options: DeleteOptions) -> Deleted:
        stored = self._cluster.registry.stored(kind.table) or kind
        if kind.table == "namespaces" and self._namespace_waits(value):
            return self._terminate(stored, record, value, options)
        if kind.table == CRDS:
            return self._retire(stored, record, value, options)
        grace = self._grace(value, options) if kind.table == "pods" else None
        if grace is not None and grace < 0:
            return Deleted(value, gone=False)
        finalizers = self._finalizers(kind, value["metadata"], options)
        if finalizers and grace is None:
            self._mark(value["metadata"], 0)
        if finalizers or grace is not None:
            _set_finalizers(value["metadata"], finalizers)
            record, value = self._put(stored, record, value, options)
            if finalizers or grace:
                return Deleted(value, gone=False)
        if options.dry_run:
            return Deleted(value, gone=True)
        return Deleted(load(self._cluster.remove(stored, record, value).raw), gone=True)

    def _put(self, kind: Kind, record: Record, value: Json, options: DeleteOptions) -> tuple[Record, Json]:
        if options.dry_run or value == load(record.raw):
            return record, value
        record = self._cluster.put(kind, value, record)
        return record, load(record.raw)

    def _grace(self, value: Json, options: DeleteOptions) -> int | None:
        """Mark a pod and say how many seconds it has; -1 if it has less already, None if it is past all grace."""
        metadata, spec = value["metadata"], value.get("spec", {})
        if metadata.get("deletionTimestamp"):
            left = metadata.get("deletionGracePeriodSeconds", 0)
            if not left:
                return None
            if options.grace is None or options.grace >= left:
                return -1
            due = (seconds_of(metadata["deletionTimestamp"]) or 0.0) - left + options.grace
            now, grace = self._cluster.clock(), options.grace
            if due < now:
                due, grace = now, min(grace, 1)
            metadata |= {"deletionTimestamp": timestamp(due), "deletionGracePeriodSeconds": grace}
            return grace
        grace = _positive(options.grace if options.grace is not None else spec.get("terminationGracePeriodSeconds", 0))
        if not spec.get("nodeName") or value.get("status", {}).get("phase") in ("Succeeded", "Failed"):
            grace = 0
        self._mark(metadata, grace)
        return grace

    def _mark(self, metadata: Json, grace: int) -> None:
        """Say that it is going; watchers of its generation learn it too."""
        now = self._cluster.clock()
        if "deletionTimestamp" not in metadata and "generation" in metadata:
            metadata["generation"] += 1
        due = seconds_of(metadata.get("deletionTimestamp"))
        if due is None or due > now:
            metadata["deletionTimestamp"] = timestamp(now + grace)
        metadata["deletionGracePeriodSeconds"] = grace

    def _retire(self, kind: Kind, record: Record, value: Json, options: DeleteOptions) -> Deleted:
        """A definition's objects go first: it says so, and waits."""
        metadata, now = value["metadata"], self._cluster.now()
        if "deletionTimestamp" not in metadata:
            _set_finalizers(metadata, [*self._finalizers(kind, metadata, options), CLEANUP])
            metadata["deletionTimestamp"] = now
            value.setdefault("status", {}).setdefault("conditions", []).append(
                {
                    "type": "Terminating",
                    "status": "True",
                    "lastTransitionTime": now,
                    "reason": "InstanceDeletionPending",
                    "message": "CustomResourceDefinition marked for deletion; CustomResource deletion will begin soon",
                }
            )
        return Deleted(self._put(kind, record, value, options)[1], gone=False)

    def _terminate(self, kind: Kind, record: Record, value: Json, options: DeleteOptions) -> Deleted:
        """A namespace is emptied first: whoever does that sees it in its phase."""
        metadata = value["metadata"]
        if "deletionTimestamp" not in metadata:
            metadata["deletionTimestamp"] = self._cluster.now()
            value.setdefault("status", {})["phase"] = "Terminating"
            _set_finalizers(metadata, self._finalizers(kind, metadata, options))
        return Deleted(self._put(kind, record, value, options)[1], gone=False)

    def _finalizers(self, kind: Kind, metadata: Json, options: DeleteOptions) -> list[str]:
        finalizers = list(metadata.get("finalizers") or ())
        if metadata.get("deletionTimestamp") and not options.propagation:
            return finalizers
        policy = options.propagation or ("Orphan" if kind.table in _ORPHANS else "")
        if not policy:
            return finalizers
        kept = [item for item in finalizers if item not in (ORPHAN, FOREGROUND)]
        if policy == "Orphan":
            kept.append(ORPHAN)
        elif policy == "Foreground":
            kept.append(FOREGROUND)
        return kept

    def _namespace_waits(self, value: Json) -> bool:
        return "deletionTimestamp" not in value["metadata"] or bool(value.get("spec", {}).get("finalizers"))


def _positive(grace: int) -> int:
    """A negative grace is one second."""
    return grace if grace >= 0 else 1


def _set_finalizers(metadata: Json, finalizers: list[str]) -> None:
    if finalizers:
        metadata["finalizers"] = finalizers
    else:
        metadata.pop("finalizers", None)


def warnings_of(kind: Kind, options: DeleteOptions) -> list[str]:
    """What is said to whoever deletes this way, whether it succeeds or not."""
    return [_ORPHANED] if kind.table == "jobs.batch" and not options.propagation else []


def success(kind: Kind, value: Json) -> Json:
    """What is answered when an object is gone: most kinds say Success, some show the object."""
    if kind.table in _RETURNS_OBJECT:
        return value
    details: Json = {"name": value["metadata"]["name"]}
    if kind.group:
        details["group"] = kind.group
    details |= {"kind": kind.plural, "uid": value["metadata"]["uid"]}
    return {"kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Success", "details": details}


__all__ = ["ApiError", "DeleteOptions", "Deleted", "Deleter", "success", "warnings_of"]
