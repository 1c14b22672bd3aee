"""Objects at rest: bytes, one revision for everything, and a log per table that watches read.

The truth is the encoded object; beside it lie only what selects without decoding (labels, selectable fields, owner
uids). A table keeps its last changes in a log. A watch is a place in that log, so a slow watcher holds nothing up and
costs nothing: when the log moves past its place it is told so (410) and lists again. The same log answers what the
table looked like at an earlier revision, which makes pages of a long list consistent.

One event loop, no locks, no clocks. Refuses to know what the objects mean.
"""

from __future__ import annotations

import asyncio
from bisect import bisect_right
from collections.abc import Callable, Iterator
from typing import Protocol

Key = tuple[str, str]
"""(namespace, name); namespace is empty for cluster-scoped objects."""

Labels = dict[str, str]

NO_LABELS: Labels = {}


class Record:
    """One object at one revision. Never changed: a write makes another."""

    __slots__ = ("fields", "key", "labels", "owners", "raw", "revision", "uid")

    def __init__(
        self,
        *,
        key: Key,
        revision: int,
        raw: bytes,
        uid: str,
        labels: Labels = NO_LABELS,
        fields: tuple[str, ...] = (),
        owners: tuple[str, ...] = (),
    ) -> None:
        self.key = key
        self.revision = revision
        self.raw = raw
        self.uid = uid
        self.labels = labels
        self.fields = fields
        self.owners = owners


class Change:
    """One step of a table: `record` is the object after it, or as it was when it went (`deleted`)."""

    __slots__ = ("deleted", "forms", "previous", "record", "revision")

    def __init__(self, *, record: Record, previous: Record | None, deleted: bool) -> None:
        self.revision = record.revision
        self.record = record
        self.previous = previous
        self.deleted = deleted
        self.forms: dict[object, bytes] | None = None
        """Encodings other than the stored one, made once for all watchers that want them."""


class Table:
    """All objects of one resource, and its recent changes."""

    def __init__(self, name: str, *, history: int, since: int) -> None:
        self.name = name
        self.objects: dict[str, dict[str, Record]] = {}
        self.log: list[Change] = []
        self.base = 0
        """Number of changes that are no longer in `log`."""
        self.compacted = since
        """Changes up to this revision are no longer in `log`."""
        self.opened = since
        """Watches may start here at the earliest."""
        self._history = history
        self._sorted: dict[str, list[str]] = {}
        self._waiters: list[asyncio.Future[None]] = []

    def get(self, key: Key) -> Record | None:
        """The object now."""
        shelf = self.objects.get(key[0])
        return shelf.get(key[1]) if shelf else None

    def __len__(self) -> int:
        return sum(map(len, self.objects.values()))

    def records(self, namespace: str | None = None, *, after: Key | None = None) -> Iterator[Record]:
        """In key order; all namespaces if None; only those after `after`."""
        for name in [namespace] if namespace is not None else sorted(self.objects):
            if after and name < after[0]:
                continue
            shelf = self.objects.get(name, {})
            names = self._names(name)
            start = bisect_right(names, after[1]) if after and after[0] == name else 0
            for key in names[start:] if start else names:
                record = shelf.get(key)
                if record is not None:
                    yield record

    def _names(self, namespace: str) -> list[str]:
        names = self._sorted.get(namespace)
        shelf = self.objects.get(namespace, {})
        if names is None or len(names) != len(shelf):
            names = self._sorted[namespace] = sorted(shelf)
        return names

    def records_at(self, revision: int, namespace: str | None = None, *, after: Key | None = None) -> list[Record]:
        """The table as it was at `revision`; the caller has checked that `revision` >= `compacted`."""
        undone: dict[Key, Record | None] = {}
        for change in reversed(self.log):
            if change.revision <= revision:
                break
            undone[change.record.key] = change.previous
        if not undone:
            return list(self.records(namespace, after=after))
        found = {record.key: record for record in self.records(namespace, after=after)}
        for key, record in undone.items():
            if (namespace is not None and key[0] != namespace) or (after is not None and key <= after):
                continue
            if record is None:
                found.pop(key, None)
            else:
                found[key] = record
        return [found[key] for key in sorted(found)]

    def place(self, revision: int) -> int:
        """The number of the first change after `revision`."""
        return self.base + bisect_right(self.log, revision, key=lambda change: change.revision)

    def apply(self, change: Change) -> None:
        """Take a change in and wake who waits for it."""
        namespace, name = change.record.key
        if change.deleted:
            shelf = self.objects[namespace]
            del shelf[name]
            self._sorted.pop(namespace, None)
            if not shelf:
                del self.objects[namespace]
        else:
            self.objects.setdefault(namespace, {})[name] = change.record
            if change.previous is None:
                names = self._sorted.get(namespace)
                if names is not None and (not names or names[-1] < name):
                    names.append(name)
                else:
                    self._sorted.pop(namespace, None)
        self.log.append(change)
        if len(self.log) > 2 * self._history:
            self.compact(self.log[-self._history - 1].revision)
        if self._waiters:
            self._wake()

    def compact(self, revision: int) -> None:
        """Forget changes up to `revision`; watches behind it will be told to list again."""
        cut = bisect_right(self.log, revision, key=lambda change: change.revision)
        del self.log[:cut]
        self.base += cut
        self.compacted = max(self.compacted, revision)
        self._wake()

    def changed(self) -> asyncio.Future[None]:
        """Done at the next change."""
        waiter = asyncio.get_running_loop().create_future()
        self._waiters.append(waiter)
        return waiter

    def forget(self, waiter: asyncio.Future[None]) -> None:
        """Nobody waits for it any more."""
        if waiter in self._waiters:
            self._waiters.remove(waiter)

    def _wake(self) -> None:
        waiters, self._waiters = self._waiters, []
        for waiter in waiters:
            if not waiter.done():
                waiter.set_result(None)


class Journal(Protocol):
    """Where changes go to survive the process."""

    def append(self, table: str, change: Change) -> None:
        """Keep one change; called in order, before anyone sees it."""


class Store:
    """All tables under one revision. `history` is how many changes each table remembers at least."""

    def __init__(self, *, history: int = 16_384, revision: int = 1, journal: Journal | None = None) -> None:
        self.revision = revision
        self.tables: dict[str, Table] = {}
        self.listeners: list[Callable[[str, Change], None]] = []
        """Called after each change, in the same step: indices, not reactions."""
        self.journal = journal
        self._history = history
        self._opened = revision

    def table(self, name: str) -> Table:
        """The table, made empty if it was never used."""
        table = self.tables.get(name)
        if table is None:
            # A table that nobody wrote to has seen every revision since the store was opened.
            table = self.tables[name] = Table(name, history=self._history, since=self._opened)
        return table

    def commit(self, table: str, change: Change) -> None:
        """Take in a change whose revision is `self.revision + 1`."""
        assert change.revision == self.revision + 1, "a change was made for another revision"
        if self.journal is not None:
            self.journal.append(table, change)
        self.revision = change.revision
        self.table(table).apply(change)
        for listener in self.listeners:
            listener(table, change)
