"""DELETE and DELETECOLLECTION: preconditions, finalizers, grace.

An object with finalizers is marked and waits for them. A pod that runs on a node is marked and waits for its kubelet,
who deletes it again with no grace; everything else goes at once. What depends on it is garbage.py's business.
"""

from __future__ import annotations

from dataclasses import dataclass

from quartermaster.local.apiserver.admission import Admission, Operation
from quartermaster.local.apiserver.cluster import Cluster
from quartermaster.local.apiserver.codec import load, timestamp
from quartermaster.local.apiserver.errors import (
    ApiError,
    Json,
    bad_request,
    conflict,
    forbidden,
    invalid,
    invalid_value,
    not_found,
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
        if propagation not in ("", "Background", "Foreground", "Orphan"):
            raise invalid(
                "DeleteOptions",
                "meta.k8s.io",
                "",
                [
                    invalid_value(
                        "propagationPolicy",
                        propagation,
                        'DeletionPropagationPolicy need to be one of "Foreground", "Background", "Orphan" or nil',
                    )
                ],
            )
        dry = body.get("dryRun") or ([query["dryRun"]] if query.get("dryRun") else [])
        try:
            return cls(
                grace=None if grace is None else int(grace),
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
            self._preconditions(target, record, options)
            value = load(record.raw)
            if kind.table == "namespaces" and target.key[1] in _PROTECTED and target.key[1] != "kube-node-lease":
                raise forbidden(kind.plural, kind.group, target.key[1], "this namespace may not be deleted")
            operation = Operation("DELETE", kind, "", target.key, value, load(record.raw), target.user, target.options)
            await self._admission.mutate(operation)
            await self._admission.validate(operation)
            if cluster.find(kind.table, target.key) is record:
                return self._commit(kind, record, load(record.raw), options)

    def _preconditions(self, target: Target, record: Record, options: DeleteOptions) -> None:
        kind = target.kind
        if options.uid and options.uid != record.uid:
            why = f"Precondition failed: UID in precondition: {options.uid}, UID in object meta: {record.uid}"
            raise conflict(kind.plural, kind.group, target.key[1], why)
        if options.revision and options.revision != str(record.revision):
            why = (
                f"Precondition failed: ResourceVersion in precondition: {options.revision}, "
                f"ResourceVersion in object meta: {record.revision}"
            )
            raise conflict(kind.plural, kind.group, target.key[1], why)

    def _commit(self, kind: Kind, record: Record, value: Json, options: DeleteOptions) -> Deleted:
        cluster = self._cluster
        metadata = value["metadata"]
        stored = cluster.registry.stored(kind.table) or kind
        grace = self._grace(kind, value, options)
        finalizers = self._finalizers(kind, metadata, options)
        waits = bool(finalizers) or grace > 0 or self._namespace_waits(kind, value)
        if not waits:
            if options.dry_run:
                return Deleted(value, gone=True)
            bare = load(record.raw)  # what is gone looks as it last was
            if kind.table == "pods":  # whose deletion is graceful, if only for no time
                last = bare["metadata"]
                if "deletionTimestamp" not in last and "generation" in last:
                    last["generation"] += 1
                last["deletionTimestamp"] = last.get("deletionTimestamp") or cluster.now()
                last["deletionGracePeriodSeconds"] = 0
            cluster.remove(stored, record, bare)
            return Deleted(bare, gone=True)
        before = dict(metadata)
        earlier = metadata.get("deletionTimestamp")
        shorter = grace < metadata.get("deletionGracePeriodSeconds", grace + 1)
        if not earlier or (kind.table == "pods" and shorter):
            metadata["deletionTimestamp"] = timestamp(cluster.clock() + grace)
            metadata["deletionGracePeriodSeconds"] = grace
            if "generation" in metadata and not earlier:
                metadata["generation"] += 1
        if finalizers:
            metadata["finalizers"] = finalizers
        else:
            metadata.pop("finalizers", None)
        if kind.table == "namespaces":
            value.setdefault("status", {})["phase"] = "Terminating"
        if metadata != before and not options.dry_run:
            value = load(cluster.put(stored, value, record).raw)
        return Deleted(value, gone=False)

    def _grace(self, kind: Kind, value: Json, options: DeleteOptions) -> int:
        if kind.table != "pods":
            return 0
        spec, status = value.get("spec", {}), value.get("status", {})
        if not spec.get("nodeName") or status.get("phase") in ("Succeeded", "Failed"):
            return 0
        asked = options.grace if options.grace is not None else spec.get("terminationGracePeriodSeconds", 30)
        return max(0, int(asked))

    def _finalizers(self, kind: Kind, metadata: Json, options: DeleteOptions) -> list[str]:
        finalizers = list(metadata.get("finalizers") or ())
        if kind.table == CRDS and not metadata.get("deletionTimestamp"):
            finalizers.append(CLEANUP)
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

    def _namespace_waits(self, kind: Kind, value: Json) -> bool:
        return kind.table == "namespaces" and bool(value.get("spec", {}).get("finalizers"))


def success(kind: Kind, value: Json) -> Json:
    """What is answered when an object is gone: most kinds say Success, some show the object."""
    if kind.table in _RETURNS_OBJECT:
        return value
    details: Json = {"name": value["metadata"]["name"]}
    if kind.group:
        details["group"] = kind.group
    details |= {"kind": kind.plural, "uid": value["metadata"]["uid"]}
    return {"kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Success", "details": details}


__all__ = ["ApiError", "DeleteOptions", "Deleted", "Deleter", "success"]
