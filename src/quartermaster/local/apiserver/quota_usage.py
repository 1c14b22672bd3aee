"""What quotas say is used, after something went or changed: admission counts what comes (quota.py).

A controller manager's share, so a server without controllers never lowers ``status.used``.
"""

from __future__ import annotations

import asyncio

from quartermaster.local.apiserver import managers
from quartermaster.local.apiserver.cluster import Cluster
from quartermaster.local.apiserver.codec import load
from quartermaster.local.apiserver.quota import status_of
from quartermaster.local.apiserver.store import Change

_TABLE = "resourcequotas"


class QuotaUsage:
    """Counts again in the namespaces where something changed that a quota may be about."""

    def __init__(self, cluster: Cluster) -> None:
        self._cluster = cluster
        self._waiting: dict[str, None] = {}
        self._woken = asyncio.Event()
        cluster.store.listeners.append(self._changed)

    def _changed(self, table: str, change: Change) -> None:
        namespace = change.record.key[0]
        # Pods stop counting when they end, quotas may ask for more; whatever else is made was counted on its way in.
        if not namespace or not (change.deleted or table in (_TABLE, "pods")):
            return
        if self._cluster.store.table(_TABLE).objects.get(namespace):
            self._waiting[namespace] = None
            self._woken.set()

    async def run(self) -> None:
        """Until cancelled."""
        while True:
            await self._woken.wait()
            self._woken.clear()
            self.collect()

    def collect(self) -> None:
        """Write what is used now, where that is not what is said."""
        kind = self._cluster.registry.stored(_TABLE)
        assert kind is not None, "quotas are built in"
        type_ = self._cluster.schemas.of(kind.gvk)
        assert type_ is not None, "quotas have a published type"
        waiting, self._waiting = self._waiting, {}
        for namespace in waiting:
            for record in list(self._cluster.store.table(_TABLE).records(namespace)):
                quota = load(record.raw)
                status = status_of(self._cluster, namespace, quota)
                if quota.get("status") != status:
                    quota["status"] = status
                    managers.record_own_status(quota, load(record.raw), type_=type_, now=self._cluster.now())
                    self._cluster.put(kind, quota, record)
