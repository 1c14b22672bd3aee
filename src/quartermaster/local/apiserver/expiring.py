"""Events are forgotten an hour after they were last written, as kube-apiserver's --event-ttl has it.

Nothing watches the clock: whoever writes an event has those that are over taken away first, so there are never more
than an hour's. Refuses to expire anything else: nothing else expires.
"""

from __future__ import annotations

from collections import deque
from typing import Final

from quartermaster.local.apiserver.admission import Admission, Operation
from quartermaster.local.apiserver.cluster import Cluster
from quartermaster.local.apiserver.store import Change, Key

EVENT_TTL_S: Final = 3600.0
_TABLE: Final = "events"


class EventExpiry:
    """The order in which events are over."""

    def __init__(self, cluster: Cluster) -> None:
        self._cluster = cluster
        self._due: deque[tuple[float, Key, int]] = deque()
        cluster.store.listeners.append(self._changed)

    def install(self, admission: Admission) -> None:
        """Look at every event that is about to be written."""
        admission.mutating.append(self.admit)

    def admit(self, operation: Operation) -> None:
        """Take away what is over."""
        if operation.kind.table != _TABLE or operation.verb != "CREATE":
            return
        now = self._cluster.clock()
        while self._due and self._due[0][0] <= now:
            _, key, revision = self._due.popleft()
            record = self._cluster.find(_TABLE, key)
            kind = self._cluster.registry.stored(_TABLE)
            if record is not None and kind is not None and record.revision == revision:
                self._cluster.remove(kind, record)

    def _changed(self, table: str, change: Change) -> None:
        if table == _TABLE and not change.deleted:
            self._due.append((self._cluster.clock() + EVENT_TTL_S, change.record.key, change.record.revision))
