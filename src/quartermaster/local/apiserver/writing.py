"""CREATE, UPDATE and PATCH: one path for all kinds.

Decode strictly → default → restore what this path may not touch → mutate by admission → validate → record who owns
which field → validate by admission → commit. An update works on freshly decoded copies, so a failure at any step
leaves nothing behind; it is tried again if someone else committed while admission was waiting. An update that changes
nothing commits nothing, as with the real server.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

from quartermaster.local.apiserver import managers
from quartermaster.local.apiserver.admission import Admission, Operation
from quartermaster.local.apiserver.bodies import strict, to_normal, unknown_fields
from quartermaster.local.apiserver.cluster import Cluster
from quartermaster.local.apiserver.codec import encode, load
from quartermaster.local.apiserver.conversion import convert
from quartermaster.local.apiserver.defaults import set_defaults
from quartermaster.local.apiserver.errors import (
    MODIFIED,
    ApiError,
    Cause,
    Json,
    already_exists,
    bad_request,
    conflict,
    invalid,
    not_found,
)
from quartermaster.local.apiserver.kinds import Kind
from quartermaster.local.apiserver.normal import settle
from quartermaster.local.apiserver.options import WriteOptions
from quartermaster.local.apiserver.placing import place, place_again
from quartermaster.local.apiserver.schemas import Type
from quartermaster.local.apiserver.storage_keys import uid_mismatch
from quartermaster.local.apiserver.store import Key, Record
from quartermaster.local.apiserver.strategy import own_status, prepare_create, prepare_update
from quartermaster.local.apiserver.transport import User
from quartermaster.local.apiserver.validation import validate, validate_update

_ATTEMPTS = 6

Mutation = Callable[[Json], Json]
"""From the object now (which it may change) to the object wanted, both in the version of the request."""


@dataclass(slots=True)
class Written:
    """What a write did. `value` is set instead of a record by dry runs."""

    record: Record | None = None
    value: Json | None = None
    created: bool = False
    deleted: bool = False
    warnings: list[str] = field(default_factory=list)


@dataclass(slots=True)
class Target:
    """What is written, by whom and how."""

    kind: Kind
    key: Key
    user: User
    options: WriteOptions
    subresource: str = ""


class Writer:
    """Writes to one cluster."""

    def __init__(self, cluster: Cluster, admission: Admission) -> None:
        self._cluster = cluster
        self._admission = admission

    async def create(
        self, target: Target, value: Json, *, applied: bool = False, unknown: list[str] | None = None
    ) -> Written:
        """Create an object; raises ApiError 400, 403, 409 or 422."""
        kind, cluster = target.kind, self._cluster
        metadata = self._metadata(target, value)
        warnings = self.decode(kind, value, unknown or [], target.options.validation)
        stored = cluster.registry.stored(kind.table) or kind
        value = convert(value, kind, stored)
        metadata["creationTimestamp"] = cluster.now()
        metadata["uid"] = cluster.new_uid()
        if not applied:
            metadata.pop("managedFields", None)
        metadata.pop("resourceVersion", None)
        set_defaults(stored, value)
        if not applied:
            self.own(target, stored, value, None, metadata["creationTimestamp"])
        self._settle(target, stored, value)
        if not metadata.get("name") and metadata.get("generateName"):
            metadata["name"] = self._generated(kind, target.key[0], metadata["generateName"])
        name = metadata.get("name", "")
        key = (target.key[0], name)
        prepare_create(stored, value, self.type_of(stored))
        place(stored, value, cluster, dry_run=target.options.dry_run)
        operation = Operation("CREATE", kind, target.subresource, key, value, None, target.user, target.options)
        await self._admission.mutate(operation)
        value = operation.value
        metadata = value["metadata"]
        warnings += operation.warnings
        causes = validate(kind, stored, value, cluster)
        if causes:
            raise invalid(stored.kind, stored.group, name or metadata.get("generateName", ""), causes)
        existing = cluster.find(kind.table, key)
        if existing is not None:
            raise self._there(kind, existing)
        await self._admission.validate(operation)
        warnings += operation.warnings[len(warnings) :] if operation.warnings else []
        existing = cluster.find(kind.table, key)
        if existing is not None:
            raise self._there(kind, existing)
        if target.options.dry_run:
            return Written(value=convert(value, stored, kind), created=True, warnings=warnings)
        return Written(record=cluster.put(stored, value, None), created=True, warnings=warnings)

    def _there(self, kind: Kind, existing: Record) -> ApiError:
        error = already_exists(kind.plural, kind.group, existing.key[1])
        if "deletionTimestamp" in load(existing.raw)["metadata"]:
            error.message = f"object is being deleted: {error.message}"
        return error

    def _metadata(self, target: Target, value: Json) -> Json:
        kind = target.kind
        metadata = value.get("metadata")
        if metadata is None:
            metadata = value["metadata"] = {}
        if not isinstance(metadata, dict):
            raise bad_request(
                f'{kind.kind} in version "{kind.version}" cannot be handled as a {kind.kind}: metadata is not an object'
            )
        if metadata.get("resourceVersion") not in (None, ""):
            raise ApiError(500, "", "resourceVersion should not be set on objects to be created")
        self._place(target, metadata)
        return metadata

    def _place(self, target: Target, metadata: Json) -> None:
        namespace, name = target.key
        if target.kind.namespaced:
            said = metadata.get("namespace") or namespace
            if said != namespace:
                raise bad_request(
                    "the namespace of the provided object does not match the namespace sent on the request"
                )
            metadata["namespace"] = namespace
        else:
            metadata.pop("namespace", None)
        if name:
            said = metadata.get("name") or name
            if said != name:
                raise bad_request(f"the name of the object ({said}) does not match the name on the URL ({name})")
            metadata["name"] = name

    def _generated(self, kind: Kind, namespace: str, prefix: object) -> str:
        for _ in range(8):
            name = f"{str(prefix)[:58]}{self._cluster.name_suffix()}"
            if self._cluster.find(kind.table, (namespace, name)) is None:
                return name
        raise already_exists(kind.plural, kind.group, name)

    def decode(self, kind: Kind, value: Json, repeated: list[str], validation: str) -> list[str]:
        """Bring an object to normal form, in place; returns warnings. Raises ApiError 400."""
        if kind.custom is not None:
            unknown = kind.custom.decode(value)
        else:
            type_ = self._cluster.schemas.of(kind.gvk)
            unknown = to_normal(value, type_, kind.kind, kind.version) if type_ is not None else []
        return strict(kind.kind, kind.version, unknown_fields(unknown) + repeated, validation)

    def own(self, target: Target, stored: Kind, value: Json, old: Json | None, now: str) -> None:
        """Record who owns what, in the version of the request."""
        kind = target.kind if target.kind.table == stored.table else stored
        new, before = value, old
        if kind is not stored:
            new = convert(load(encode(value)), stored, kind)
            before = convert(load(encode(old)), stored, kind) if old is not None else None
        managers.record_update(
            new,
            before,
            type_=self.type_of(kind),
            manager=target.options.manager,
            subresource=target.subresource,
            now=now,
            api_version=kind.api_version,
            own_status=own_status(kind),
        )
        if new is not value:
            managers.carried(value, new)

    def _settle(self, target: Target, stored: Kind, value: Json) -> None:
        if stored.custom is None and not target.options.dry_run:
            settle(value, self.type_of(stored))

    def type_of(self, kind: Kind) -> Type:
        """The type that merges and ownership go by."""
        if kind.custom is not None:
            custom: Type = kind.custom.type
            return custom
        found = self._cluster.schemas.of(kind.gvk)
        assert found is not None, "built-in kinds have published types"
        return found

    async def update(
        self,
        target: Target,
        mutation: Mutation,
        *,
        create: Callable[[], Json] | None = None,
        applied: bool = False,
        decoded: bool = False,
        uid: str = "",
        unknown: list[str] | None = None,
        unconditional: bool = True,
    ) -> Written:
        """Change an object by `mutation`; `create` makes one if there is none.

        `applied`: ownership is recorded. `decoded`: what `mutation` makes is in normal form. `uid`: whom it is for.

        Raises ApiError 400, 403, 404, 409 or 422.
        """
        kind = target.kind
        for _ in range(_ATTEMPTS):
            record = self._cluster.find(kind.table, target.key)
            if record is None:
                if create is None:
                    raise not_found(kind.plural, kind.group, target.key[1])
                return await self.create(target, create(), applied=applied)
            self._same_uid(target, uid, record)
            written = await self._attempt(
                target,
                record,
                mutation,
                applied=applied,
                unknown=None if decoded else unknown or [],
                unconditional=unconditional,
            )
            if written is not None:
                return written
        raise conflict(kind.plural, kind.group, target.key[1], MODIFIED)

    async def _attempt(
        self,
        target: Target,
        record: Record,
        mutation: Mutation,
        *,
        applied: bool,
        unknown: list[str] | None,
        unconditional: bool,
    ) -> Written | None:
        kind, cluster = target.kind, self._cluster
        stored = cluster.registry.stored(kind.table) or kind
        old = load(record.raw)
        value = mutation(convert(load(record.raw), stored, kind))
        warnings = [] if unknown is None else self.decode(kind, value, unknown, target.options.validation)
        metadata = value.get("metadata")
        if not isinstance(metadata, dict):
            raise bad_request("metadata: Invalid value: an object is required")
        self._check_revision(target, metadata, record, unconditional=unconditional)
        self._place(target, metadata)
        value = convert(value, kind, stored)
        metadata = value["metadata"]
        set_defaults(stored, value)
        prepare_update(stored, value, old, subresource=target.subresource)
        if not applied:
            self.own(target, stored, value, old, cluster.now())
        if target.subresource != "status":
            place_again(stored, value, old, cluster, dry_run=target.options.dry_run)
        self._settle(target, stored, value)
        metadata = value["metadata"]
        operation = Operation("UPDATE", kind, target.subresource, target.key, value, old, target.user, target.options)
        await self._admission.mutate(operation)
        value = operation.value
        metadata = value["metadata"]
        metadata["resourceVersion"] = str(record.revision)
        causes = validate_update(kind, stored, value, old, subresource=target.subresource)
        if causes:
            raise invalid(stored.kind, stored.group, target.key[1], causes)
        await self._admission.validate(operation)
        warnings += operation.warnings
        if cluster.find(kind.table, target.key) is not record:
            return None
        if target.options.dry_run:
            return Written(value=convert(value, stored, kind), warnings=warnings)
        if not metadata.get("finalizers") and self._done(stored, value, old):
            cluster.remove(stored, record)  # watchers see it as it last was, the writer what it wrote
            return Written(value=convert(value, stored, kind), deleted=True, warnings=warnings)
        if same(value, old):
            return Written(record=record, warnings=warnings)
        return Written(record=cluster.put(stored, value, record), warnings=warnings)

    def _done(self, kind: Kind, value: Json, old: Json) -> bool:
        """Whether an object that was being deleted has nothing left to wait for."""
        if kind.table == "namespaces" and value.get("spec", {}).get("finalizers"):
            return False
        known = old["metadata"]
        return "deletionTimestamp" in known and not known.get("deletionGracePeriodSeconds")

    def _check_revision(self, target: Target, metadata: Json, record: Record, *, unconditional: bool) -> None:
        kind = target.kind
        said = metadata.get("resourceVersion") or ""
        if not said and not unconditional:
            raise invalid(
                kind.plural,
                kind.group,
                target.key[1],
                [
                    Cause(
                        "FieldValueInvalid",
                        "Invalid value: 0: must be specified for an update",
                        "metadata.resourceVersion",
                    )
                ],
            )
        if said not in ("", "0", str(record.revision)):
            raise conflict(kind.plural, kind.group, target.key[1], MODIFIED)

    def _same_uid(self, target: Target, said: str, record: Record) -> None:
        """Whether what a client replaces is what it has read."""
        if said and said != record.uid:
            kind, name = target.kind, target.key[1]
            raise conflict(kind.plural, kind.group, name, uid_mismatch(kind, target.key, said, record.uid))


def same(value: Json, old: Json) -> bool:
    """Whether two states differ in nothing that counts: revision and times of ownership do not."""
    if value.keys() != old.keys():
        return False
    for key, item in value.items():
        if key == "metadata":
            if _counting(item) != _counting(old[key]):
                return False
        elif item != old[key]:
            return False
    return True


def _counting(metadata: Json) -> Json:
    found = {key: item for key, item in metadata.items() if key not in ("resourceVersion", "managedFields")}
    found["managedFields"] = [
        {key: item for key, item in entry.items() if key != "time"} for entry in metadata.get("managedFields") or ()
    ]
    return found


__all__ = ["ApiError", "Target", "Writer", "Written", "same"]
