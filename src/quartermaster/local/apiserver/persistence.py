"""Objects on disk: SQLite in WAL mode, one row per object, one transaction per turn of the event loop.

The store stays the truth while the server runs; this is what it starts from next time. History is not kept: after a
restart every watch is told to list again, as after a compaction.
"""

from __future__ import annotations

import asyncio
import contextlib
import sqlite3
from pathlib import Path

from quartermaster.local.apiserver.cluster import Cluster
from quartermaster.local.apiserver.codec import load
from quartermaster.local.apiserver.store import Change, Store
from quartermaster.model.errors import InvalidInput

_SCHEMA = """
CREATE TABLE IF NOT EXISTS objects (
  resource TEXT, namespace TEXT, name TEXT, raw BLOB NOT NULL, PRIMARY KEY (resource, namespace, name)
) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS facts (name TEXT PRIMARY KEY, value INTEGER NOT NULL) WITHOUT ROWID;
"""


class Database:
    """A journal of changes. Raises InvalidInput if `path` is not a database of ours."""

    def __init__(self, path: Path) -> None:
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            self._connection = sqlite3.connect(path, isolation_level=None)
            self._connection.execute("PRAGMA journal_mode=WAL")
            self._connection.execute("PRAGMA synchronous=NORMAL")
            self._connection.executescript(_SCHEMA)
        except (sqlite3.Error, OSError) as wrong:
            raise InvalidInput(
                f"--data-dir {path.parent}", f"cannot be used ({wrong})", "name another directory"
            ) from None
        self._open = False

    def revision(self) -> int:
        """The last revision that was kept; 1 if none was."""
        row = self._connection.execute("SELECT value FROM facts WHERE name = 'revision'").fetchone()
        return int(row[0]) if row else 1

    def restore(self, cluster: Cluster) -> None:
        """Put all kept objects back, definitions of custom resources first."""
        order = "resource <> 'customresourcedefinitions.apiextensions.k8s.io', resource, namespace, name"
        rows = self._connection.execute(f"SELECT resource, raw FROM objects ORDER BY {order}")  # noqa: S608  # our own
        for resource, raw in rows.fetchall():
            kind = cluster.registry.stored(resource)
            if kind is None:
                continue
            value = load(raw)
            record = cluster.record(kind, value, int(value["metadata"]["resourceVersion"]))
            change = Change(record=record, previous=None, deleted=False)
            table = cluster.store.table(resource)
            table.apply(change)
            for listener in cluster.store.listeners:
                listener(resource, change)
        for table in cluster.store.tables.values():
            table.compact(cluster.store.revision)

    def append(self, table: str, change: Change) -> None:
        """Keep one change."""
        if not self._open:
            self._connection.execute("BEGIN")
            self._open = True
            with contextlib.suppress(RuntimeError):  # without a loop the caller flushes
                asyncio.get_running_loop().call_soon(self.flush)
        namespace, name = change.record.key
        if change.deleted:
            self._connection.execute(
                "DELETE FROM objects WHERE resource = ? AND namespace = ? AND name = ?", (table, namespace, name)
            )
        else:
            self._connection.execute(
                "INSERT OR REPLACE INTO objects VALUES (?, ?, ?, ?)", (table, namespace, name, change.record.raw)
            )
        self._connection.execute("INSERT OR REPLACE INTO facts VALUES ('revision', ?)", (change.revision,))

    def flush(self) -> None:
        """End the transaction."""
        if self._open:
            self._open = False
            self._connection.execute("COMMIT")

    def close(self) -> None:
        """Flush and let go."""
        self.flush()
        self._connection.close()


def store_on(database: Database | None, *, history: int = 16_384) -> Store:
    """A store that continues where `database` left off."""
    if database is None:
        return Store(history=history)
    return Store(history=history, revision=database.revision(), journal=database)
