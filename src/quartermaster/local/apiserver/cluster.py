"""The cluster as the server's parts see it: kinds, types, objects, time and chance, and the making of records.

A write ends in `put` or `remove`: they stamp the revision, encode once and commit. Nothing here decides whether a
write is allowed.
"""

from __future__ import annotations

import random
import time
import uuid
from collections.abc import Callable
from dataclasses import dataclass, field

from quartermaster.local.apiserver.codec import encode, load, timestamp
from quartermaster.local.apiserver.errors import Json
from quartermaster.local.apiserver.fields import extract
from quartermaster.local.apiserver.kinds import Kind, Registry, builtin_registry
from quartermaster.local.apiserver.schemas import Schemas
from quartermaster.local.apiserver.store import NO_LABELS, Change, Key, Record, Store

_SUFFIX = "bcdfghjklmnpqrstvwxz2456789"
"""Letters of generated names: none that make words or look alike."""


@dataclass(slots=True)
class Cluster:
    """What all parts share. `clock` gives seconds since 1970; `rng` makes uids and name suffixes."""

    store: Store = field(default_factory=Store)
    registry: Registry = field(default_factory=builtin_registry)
    schemas: Schemas = field(default_factory=Schemas)
    clock: Callable[[], float] = time.time
    rng: random.Random = field(default_factory=random.SystemRandom)

    def now(self) -> str:
        """The time as metav1.Time."""
        return timestamp(self.clock())

    def new_uid(self) -> str:
        """A random UUID."""
        return str(uuid.UUID(int=self.rng.getrandbits(128), version=4))

    def name_suffix(self) -> str:
        """Five letters for generateName."""
        return "".join(self.rng.choices(_SUFFIX, k=5))

    def find(self, table: str, key: Key) -> Record | None:
        """An object now."""
        return self.store.table(table).get(key)

    def object(self, table: str, key: Key) -> Json | None:
        """An object now, decoded afresh: the caller owns it."""
        record = self.find(table, key)
        return None if record is None else load(record.raw)

    def put(self, kind: Kind, value: Json, previous: Record | None) -> Record:
        """Commit an object of its storage `kind`. `value` gets its revision; the caller gives it up."""
        record = self.record(kind, value, self.store.revision + 1)
        self.store.commit(kind.table, Change(record=record, previous=previous, deleted=False))
        return record

    def remove(self, kind: Kind, record: Record, value: Json | None = None) -> Record:
        """Commit a deletion; `value` is the last state of the object, if it differs from the stored."""
        last = self.record(kind, value if value is not None else load(record.raw), self.store.revision + 1)
        self.store.commit(kind.table, Change(record=last, previous=record, deleted=True))
        return last

    def record(self, kind: Kind, value: Json, revision: int) -> Record:
        """The object at `revision`, encoded, with its kind first so that lists can leave that out."""
        metadata = value["metadata"]
        metadata["resourceVersion"] = str(revision)
        value["kind"], value["apiVersion"] = kind.kind, kind.api_version
        raw = encode({"kind": kind.kind, "apiVersion": kind.api_version} | value)
        owners = metadata.get("ownerReferences")
        return Record(
            key=(metadata.get("namespace", ""), metadata["name"]),
            revision=revision,
            raw=raw,
            uid=metadata["uid"],
            labels=metadata.get("labels") or NO_LABELS,
            fields=extract(kind, value),
            owners=tuple(owner.get("uid", "") for owner in owners) if owners else (),
        )


def head(kind: Kind) -> bytes:
    """How the encoding of every stored object of `kind` begins."""
    return encode({"kind": kind.kind, "apiVersion": kind.api_version})[:-1] + b","
