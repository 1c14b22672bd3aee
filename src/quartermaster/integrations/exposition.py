"""``/metrics``, ``/healthz`` and ``/readyz`` over plain HTTP: what Prometheus scrapes and a kubelet probes.

Health is a function that gives what is wrong, empty if nothing is. Metrics are those of a prometheus-client registry.
Refuses everything else; no credentials are asked for, so nothing secret may be measured.
"""

from __future__ import annotations

from collections.abc import Callable
from types import TracebackType
from typing import Self

from aiohttp import web
from prometheus_client import CollectorRegistry
from prometheus_client.exposition import CONTENT_TYPE_LATEST, generate_latest

from quartermaster.model.errors import InvalidInput

Check = Callable[[], str]


class Exposition:
    """Serves between ``async with``. Port 0 is any free one; `port` is the one that it became."""

    def __init__(self, registry: CollectorRegistry, *, host: str, port: int, healthy: Check, ready: Check) -> None:
        self.port = port
        self._host, self._registry = host, registry
        self._checks = {"/healthz": healthy, "/readyz": ready}
        self._runner: web.AppRunner | None = None

    async def __aenter__(self) -> Self:
        app = web.Application()
        app.router.add_get("/metrics", self._metrics)
        for path in self._checks:
            app.router.add_get(path, self._check)
        self._runner = web.AppRunner(app, access_log=None)
        await self._runner.setup()
        site = web.TCPSite(self._runner, self._host, self.port)
        try:
            await site.start()
        except OSError as wrong:
            await self._runner.cleanup()
            said = f"{self.port} cannot be used ({wrong.strerror})"
            raise InvalidInput("--metrics-port", said, "give another, or 0 for any") from None
        self.port = self._runner.addresses[0][1]
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._runner is not None:
            await self._runner.cleanup()

    async def _metrics(self, _request: web.Request) -> web.Response:
        return web.Response(body=generate_latest(self._registry), headers={"Content-Type": CONTENT_TYPE_LATEST})

    async def _check(self, request: web.Request) -> web.Response:
        wrong = self._checks[request.path]()
        return web.Response(text=wrong or "ok", status=500 if wrong else 200)
