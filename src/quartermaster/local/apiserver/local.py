"""A whole local API: store, server, collector, certificate, socket. ``quartermaster api`` and tests run it."""

from __future__ import annotations

import asyncio
import contextlib
import gc
from pathlib import Path
from types import TracebackType
from typing import Self

from quartermaster.local.apiserver.access import MASTER
from quartermaster.local.apiserver.admission_builtin import taint_new_node
from quartermaster.local.apiserver.audit import AuditLog
from quartermaster.local.apiserver.bootstrap import bootstrap
from quartermaster.local.apiserver.cluster import Cluster
from quartermaster.local.apiserver.crds import install as install_definitions
from quartermaster.local.apiserver.expiring import EventExpiry
from quartermaster.local.apiserver.http import HttpServer
from quartermaster.local.apiserver.identity import Identity, identity, write_kubeconfig
from quartermaster.local.apiserver.mutating_policies import MutatingPolicies
from quartermaster.local.apiserver.persistence import Database, store_on
from quartermaster.local.apiserver.policies import Policies
from quartermaster.local.apiserver.quota import install as install_quota
from quartermaster.local.apiserver.quota_usage import QuotaUsage
from quartermaster.local.apiserver.rbac import Rbac
from quartermaster.local.apiserver.role_aggregation import RoleAggregation
from quartermaster.local.apiserver.server import ApiServer, Settings
from quartermaster.local.apiserver.webhooks import Resolve, Webhooks


class LocalApi:
    """An API server that is up between ``async with``.

    `port` 0 takes a free port; None serves in process only. `folder` keeps objects and identity; without it all is gone
    at the end. Without `controllers` it is as bare as a kube-apiserver alone: nothing is collected. Raises
    InvalidInput if the folder cannot be used, OSError if the port is taken.
    """

    def __init__(
        self,
        *,
        port: int | None = 0,
        host: str = "127.0.0.1",
        folder: Path | None = None,
        kubeconfig: Path | None = None,
        settings: Settings | None = None,
        cluster: Cluster | None = None,
        controllers: bool = True,
        audit: Path | None = None,
        resolve: Resolve | None = None,
    ) -> None:
        self._folder = folder
        self._kubeconfig = kubeconfig
        self._port = port
        self._host = host
        self._database = Database(folder / "objects.sqlite") if folder is not None else None
        self._controllers = controllers
        self.settings = settings or Settings()
        cluster = cluster or Cluster(store=store_on(self._database))
        if self.settings.authorizer is None:
            self.settings.authorizer = Rbac(cluster)
        self.server = ApiServer(cluster, self.settings)
        install_definitions(self.server)
        install_quota(self.server.admission, cluster, counting=controllers)
        EventExpiry(cluster).install(self.server.admission)
        webhooks = Webhooks(cluster, resolve)
        self.server.admission.mutating += [MutatingPolicies(cluster).mutate, webhooks.mutate]
        self.server.admission.validating = [
            Policies(cluster).check,
            webhooks.validate,
            *self.server.admission.validating,
        ]
        self._audit = AuditLog(audit) if audit is not None else None
        self.server.audit = self._audit
        if not controllers:
            self.server.admission.mutating.append(taint_new_node)
        self.http: HttpServer | None = None
        self.identity: Identity | None = None
        self._tasks: list[asyncio.Task[None]] = []

    async def __aenter__(self) -> Self:
        if self._database is not None:
            self._database.restore(self.server.cluster)
            self.server.aggregation.review()
        await bootstrap(self.server)
        self.server.garbage.whole = self._controllers
        self._tasks.append(asyncio.create_task(self.server.garbage.run(), name="garbage collector"))
        if self._controllers:
            aggregation = RoleAggregation(self.server.cluster)
            aggregation.collect()
            self._tasks.append(asyncio.create_task(aggregation.run(), name="aggregated roles"))
            usage = QuotaUsage(self.server.cluster)
            self._tasks.append(asyncio.create_task(usage.run(), name="usage of quotas"))
        if self._port is not None:
            self.identity = identity(self._folder)
            self.server.access.tokens[self.identity.token] = MASTER
            self.http = HttpServer(self.server.handle, host=self._host, port=self._port, tls=self.identity.server_tls())
            await self.http.start()
            if self._kubeconfig is not None:
                write_kubeconfig(self._kubeconfig, self.http.url, self.identity)
        # Collections over everything that is kept cost more than what they find: objects at rest have no cycles.
        gc.collect()
        gc.freeze()
        gc.set_threshold(50_000, 20, 50)
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for task in self._tasks:
            task.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await task
        if self.http is not None:
            await self.http.stop()
        if self._database is not None:
            self._database.close()
        if self._audit is not None:
            self._audit.close()
