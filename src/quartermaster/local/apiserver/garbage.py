"""What goes when something goes: dependents of owners, the content of namespaces, the objects of a definition.

In a cluster this is the controller manager's work; here it is part of the server, because a local cluster has none.
An index of owners follows every change; `collect` works off what became due, and `run` does so as it comes. Objects
whose owner never existed are collected too, as the real collector does. Claims and volumes that are to go wait until
nothing uses them.
"""

from __future__ import annotations

import asyncio
from collections import deque

from quartermaster.local.apiserver.admission_builtin import PROTECTION
from quartermaster.local.apiserver.cluster import Cluster
from quartermaster.local.apiserver.codec import load
from quartermaster.local.apiserver.deleting import CLEANUP, CRDS, FOREGROUND, ORPHAN, DeleteOptions, Deleter
from quartermaster.local.apiserver.errors import ApiError, Json
from quartermaster.local.apiserver.options import WriteOptions
from quartermaster.local.apiserver.store import Change, Key
from quartermaster.local.apiserver.transport import User
from quartermaster.local.apiserver.writing import Target, Writer

COLLECTOR = User("system:serviceaccount:kube-system:generic-garbage-collector", ("system:masters",))

Place = tuple[str, Key]
_BACKGROUND = DeleteOptions(propagation="Background")


class Garbage:
    """The collector of one cluster."""

    def __init__(self, cluster: Cluster, deleter: Deleter, writer: Writer) -> None:
        self._cluster = cluster
        self._deleter = deleter
        self._writer = writer
        self._where: dict[str, Place] = {}
        self._dependents: dict[str, set[Place]] = {}
        self._due: deque[tuple[str, str, Key]] = deque()
        self._queued: set[tuple[str, str, Key]] = set()
        self._terminating: set[str] = set()
        self._dying_kinds: dict[str, str] = {}
        self._protected: set[Place] = set()
        self._woken = asyncio.Event()
        self.whole = True
        """Whether it does a controller manager's work too, and not only what an API server does by itself."""
        cluster.store.listeners.append(self._changed)

    def _push(self, what: str, table: str, key: Key) -> None:
        item = (what, table, key)
        if item not in self._queued:
            self._queued.add(item)
            self._due.append(item)
            self._woken.set()

    def _changed(self, table: str, change: Change) -> None:
        """Keep the indices, and note what became due."""
        record = change.record
        place = (table, record.key)
        if change.previous is not None and change.previous.owners != record.owners:
            for uid in change.previous.owners:
                self._dependents.get(uid, set()).discard(place)
        if table in PROTECTION:
            self._note_protected(table, change)
        elif table == "pods" and (change.deleted or b'"deletionTimestamp"' in record.raw):
            for key in self._protected:
                if key[1][0] == record.key[0]:
                    self._push("protection", *key)
        if change.deleted:
            self._where.pop(record.uid, None)
            for uid in record.owners:
                self._dependents.get(uid, set()).discard(place)
                owner = self._where.get(uid)
                if owner is not None:
                    self._push("finalizers", *owner)
            if self._dependents.get(record.uid):
                self._push("absent", record.uid, record.key)
            else:
                self._dependents.pop(record.uid, None)
            if record.key[0] in self._terminating:
                self._push("namespace", "namespaces", ("", record.key[0]))
            if table in self._dying_kinds:
                self._push("definition", CRDS, ("", self._dying_kinds[table]))
            if table == "namespaces":
                self._terminating.discard(record.key[1])
            return
        if change.previous is None:
            self._where[record.uid] = place
        for uid in record.owners:
            self._dependents.setdefault(uid, set()).add(place)
            if uid not in self._where:
                self._push("absent", uid, record.key)
        if b'"deletionTimestamp"' in record.raw:
            if table == "namespaces":
                self._terminating.add(record.key[1])
                self._push("namespace", table, record.key)
            elif table == CRDS:
                self._push("definition", table, record.key)
            if record.key and (ORPHAN.encode() in record.raw or FOREGROUND.encode() in record.raw):
                self._push("finalizers", table, record.key)

    def _note_protected(self, table: str, change: Change) -> None:
        place = (table, change.record.key)
        if change.deleted:
            self._protected.discard(place)
        elif b'"deletionTimestamp"' in change.record.raw and PROTECTION[table].encode() in change.record.raw:
            self._protected.add(place)
            self._push("protection", *place)

    async def run(self) -> None:
        """Collect as it comes, until cancelled."""
        while True:
            await self._woken.wait()
            await self.collect()

    async def collect(self) -> None:
        """Work off what is due, and what becomes due by that."""
        while self._due:
            item = self._due.popleft()
            self._queued.discard(item)
            what, table, key = item
            if what != "definition" and not self.whole:
                continue
            if what == "absent":
                await self._absent(table)
            elif what == "finalizers":
                await self._finalizers(table, key)
            elif what == "namespace":
                await self._namespace(key)
            elif what == "protection":
                await self._protection(table, key)
            else:
                await self._definition(key)
        self._woken.clear()

    def _target(self, table: str, key: Key) -> Target | None:
        kind = self._cluster.registry.stored(table)
        options = WriteOptions(manager="kube-controller-manager", validation="Ignore")
        return None if kind is None else Target(kind, key, COLLECTOR, options)

    async def _delete(self, place: Place, options: DeleteOptions = _BACKGROUND) -> None:
        target = self._target(*place)
        if target is None:
            return
        try:
            await self._deleter.delete(target, options)
        except ApiError as error:
            if error.code not in (403, 404, 409):
                raise

    async def _change(self, place: Place, mutation: object, *, subresource: str = "") -> None:
        target = self._target(*place)
        if target is None:
            return
        target.subresource = subresource
        try:
            await self._writer.update(target, mutation)  # type: ignore[arg-type]
        except ApiError as error:
            if error.code not in (403, 404, 409, 422):
                raise

    async def _absent(self, uid: str) -> None:
        """Dependents of an owner that is not there: gone with it, unless another owner lives."""
        if uid in self._where:
            return
        for table, key in sorted(self._dependents.get(uid, ())):
            record = self._cluster.find(table, key)
            if record is None:
                continue
            if any(owner in self._where for owner in record.owners):
                await self._change((table, key), _without_owner(uid))
            else:
                await self._delete((table, key))
        if not self._dependents.get(uid):
            self._dependents.pop(uid, None)

    async def _finalizers(self, table: str, key: Key) -> None:
        record = self._cluster.find(table, key)
        if record is None:
            return
        metadata = load(record.raw)["metadata"]
        finalizers = metadata.get("finalizers") or []
        if not metadata.get("deletionTimestamp"):
            return
        dependents = sorted(self._dependents.get(record.uid, ()))
        if ORPHAN in finalizers:
            for place in dependents:
                await self._change(place, _without_owner(record.uid))
            await self._change((table, key), _without_finalizer(ORPHAN))
        elif FOREGROUND in finalizers:
            blocking = False
            for place in dependents:
                found = self._cluster.find(*place)
                if found is None:
                    continue
                about = load(found.raw)["metadata"]
                owners = about.get("ownerReferences", ())
                blocking |= any(owner["uid"] == record.uid and owner.get("blockOwnerDeletion") for owner in owners)
                if not about.get("deletionTimestamp"):
                    await self._delete(place, DeleteOptions(propagation="Foreground"))
            left = [place for place in sorted(self._dependents.get(record.uid, ())) if self._cluster.find(*place)]
            if not left or not blocking:
                await self._change((table, key), _without_finalizer(FOREGROUND))

    async def _protection(self, table: str, key: Key) -> None:
        """Let a claim or volume go that nothing uses."""
        record = self._cluster.find(table, key)
        if record is None:
            return
        if table == "persistentvolumes":
            used = load(record.raw).get("status", {}).get("phase") == "Bound"
        else:
            pods = self._cluster.store.table("pods").records(key[0])
            used = any(_uses_claim(load(pod.raw), key[1]) for pod in pods if key[1].encode() in pod.raw)
        if not used:
            await self._change((table, key), _without_finalizer(PROTECTION[table]))

    async def _namespace(self, key: Key) -> None:
        """Empty a namespace that is going, then let it go."""
        name = key[1]
        record = self._cluster.find("namespaces", key)
        if record is None:
            return
        left = 0
        for table in list(self._cluster.store.tables.values()):
            for content in list(table.records(name)):
                if b'"deletionTimestamp"' not in content.raw:
                    await self._delete((table.name, content.key))
            left += len(table.objects.get(name, ()))
        if left == 0:
            await self._change(("namespaces", key), _without_content, subresource="finalize")

    async def _definition(self, key: Key) -> None:
        """Remove the objects of a definition that is going, then let it go."""
        record = self._cluster.find(CRDS, key)
        if record is None:
            self._dying_kinds = {table: name for table, name in self._dying_kinds.items() if name != key[1]}
            return
        spec = load(record.raw)["spec"]
        table = f"{spec['names']['plural']}.{spec['group']}"
        self._dying_kinds[table] = key[1]
        for content in list(self._cluster.store.table(table).records()):
            if b'"deletionTimestamp"' not in content.raw:
                await self._delete((table, content.key))
        if len(self._cluster.store.table(table)) == 0:
            await self._change((CRDS, key), _without_finalizer(CLEANUP))


def _without_content(namespace: Json) -> Json:
    namespace["spec"] = {}
    return namespace


def _uses_claim(pod: Json, name: str) -> bool:
    if pod.get("status", {}).get("phase") in ("Succeeded", "Failed"):
        return False
    volumes = pod.get("spec", {}).get("volumes") or ()
    return any((volume.get("persistentVolumeClaim") or {}).get("claimName") == name for volume in volumes)


class _without_owner:  # noqa: N801  # reads as the function that it is
    def __init__(self, uid: str) -> None:
        self._uid = uid

    def __call__(self, value: Json) -> Json:
        owners = [owner for owner in value["metadata"].get("ownerReferences", ()) if owner.get("uid") != self._uid]
        if owners:
            value["metadata"]["ownerReferences"] = owners
        else:
            value["metadata"].pop("ownerReferences", None)
        return value


class _without_finalizer:  # noqa: N801
    def __init__(self, name: str) -> None:
        self._name = name

    def __call__(self, value: Json) -> Json:
        kept = [name for name in value["metadata"].get("finalizers", ()) if name != self._name]
        if kept:
            value["metadata"]["finalizers"] = kept
        else:
            value["metadata"].pop("finalizers", None)
        return value
