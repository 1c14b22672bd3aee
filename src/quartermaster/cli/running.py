"""A running local cluster: the one place where its parts meet.

Embedded API, simulated fleet, stages, exporters and the controllers of `PARTS` know each other through the API
alone.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import random
import signal
from collections.abc import Callable, Coroutine
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from quartermaster.cli import instance
from quartermaster.controllers.scheduler import Scheduler
from quartermaster.kube.clock import Clock
from quartermaster.local.apiserver.admission_builtin import tolerate_extended_resources
from quartermaster.local.apiserver.http import HttpServer
from quartermaster.local.apiserver.identity import write_kubeconfig
from quartermaster.local.apiserver.local import LocalApi
from quartermaster.local.apiserver.server import MASTER
from quartermaster.local.apiserver.transport import Handler
from quartermaster.local.client import LocalClient
from quartermaster.local.clock import WallClock
from quartermaster.local.controllers.manager import Manager
from quartermaster.local.controllers.registry import CONTROLLERS as WORKLOADS
from quartermaster.local.demo.day import Demo
from quartermaster.local.fleet.chaos import Chaos, ChaosSet
from quartermaster.local.fleet.dcgm import Exporter
from quartermaster.local.fleet.endpoints import Endpoints
from quartermaster.local.fleet.operating import install
from quartermaster.local.fleet.presets import Fleet
from quartermaster.local.fleet.publishing import PUBLISHING
from quartermaster.local.stages.player import Player
from quartermaster.local.stages.table import Stage
from quartermaster.model.errors import InvalidInput

DAY_S = 24 * 3600.0
DEMO_SPEED = 60.0

Part = Callable[[Handler, Clock], Coroutine[Any, Any, None]]


async def _workloads(handler: Handler, clock: Clock) -> None:
    """Deployments, Jobs and their kin, what watches over nodes, and the plugin that publishes their devices."""

    async def sleep(seconds: float) -> None:
        await clock.until(clock() + seconds)

    async with Manager(handler, (*WORKLOADS, PUBLISHING), clock=clock, sleep=sleep) as manager:
        await manager.run()


async def _schedule(handler: Handler, clock: Clock) -> None:
    await Scheduler(LocalClient(handler, agent="quartermaster-scheduler", user=MASTER), clock=clock).run()


PARTS: tuple[Part, ...] = (_schedule, _workloads)
"""What runs beside API and fleet."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Settings:
    """What was asked for."""

    port: int
    folder: Path | None
    kubeconfig: Path
    fleet: Fleet
    stages: tuple[Stage, ...]
    demo: bool
    chaos: ChaosSet | None = None


async def serve(settings: Settings) -> bool:
    """Run until told to stop; whether to start again with nothing."""
    stopped: asyncio.Queue[bool] = asyncio.Queue()
    loop = asyncio.get_running_loop()
    for name, again in ((signal.SIGINT, False), (signal.SIGTERM, False), (signal.SIGHUP, True)):
        loop.add_signal_handler(name, stopped.put_nowait, again)
    clock = WallClock(behind=DAY_S, speed=DEMO_SPEED) if settings.demo else WallClock()
    try:
        async with contextlib.AsyncExitStack() as stack:
            api = LocalApi(port=settings.port, folder=settings.folder)
            api.server.cluster.clock = clock
            api.server.admission.mutating.append(tolerate_extended_resources)
            await stack.enter_async_context(api)
            assert api.http is not None, "a port was given"
            assert api.identity is not None, "a server on a port has an identity"
            endpoints = HttpServer((parts := Parts(api, settings, clock)).endpoints.handle)
            await endpoints.start()
            stack.push_async_callback(endpoints.stop)
            parts.endpoints.address = f"127.0.0.1:{endpoints.port}"
            for path in (settings.kubeconfig, instance.own_kubeconfig()):
                write_kubeconfig(path, api.http.url, api.identity)
            folder = str(settings.folder or "")
            found = instance.Instance(os.getpid(), api.http.url, endpoints.url, str(instance.own_kubeconfig()), folder)
            instance.write(found)
            stack.callback(instance.clear)
            work = asyncio.create_task(parts.run(), name="parts")
            stack.push_async_callback(_cancelled, work)
            waiting = asyncio.create_task(stopped.get())
            print(f"Kubernetes API at {api.http.url}, context quartermaster in {settings.kubeconfig}", flush=True)
            try:
                await asyncio.wait((waiting, work), return_when=asyncio.FIRST_COMPLETED)
                if work.done():
                    work.result()
                return waiting.result()
            finally:
                waiting.cancel()
    except OSError as wrong:
        raise InvalidInput(
            "--port", f"{settings.port} cannot be used ({wrong.strerror})", "give another, or 0 for any"
        ) from None


async def _cancelled(task: asyncio.Task[None]) -> None:
    task.cancel()
    with contextlib.suppress(asyncio.CancelledError):
        await task


class Parts:
    """Everything that lives on the API of one cluster, whatever the clock."""

    def __init__(self, api: LocalApi, settings: Settings, clock: Clock, *, seed: int | None = None) -> None:
        def client(agent: str) -> LocalClient:
            return LocalClient(api.server.handle, agent=agent, user=MASTER)

        self._settings = settings
        self._admin = client("quartermaster")
        self.player = Player(client("kubelet"), settings.stages, clock=clock, rng=random.Random(seed))  # noqa: S311  # no secrets
        self.exporter = Exporter(clock, self.player.nodes.objects.values, self.player.on)
        self.endpoints = Endpoints(self.exporter)
        self._parts = [part(api.server.handle, clock) for part in PARTS]
        self._chaos = Chaos(self._admin, settings.chaos, clock=clock) if settings.chaos else None
        self._demo = Demo(client("demo"), clock=clock) if settings.demo else None

    async def run(self) -> None:
        """Until cancelled."""
        async with asyncio.TaskGroup() as group:
            group.create_task(self.player.run())
            for part in self._parts:
                group.create_task(part)
            group.create_task(self.exporter.run())
            added = await install(self._admin, self._settings.fleet)
            _say(self._settings, len(added), self.endpoints.address)
            if self._chaos is not None:
                group.create_task(self._chaos.run())
            if self._demo is not None:
                group.create_task(self._demo.run())


def _say(settings: Settings, nodes: int, metrics: str) -> None:
    print(f"{nodes} machines join; GPU metrics at http://{metrics}/nodes/NAME/metrics (Prometheus: /targets)")
    if settings.demo:
        print("a day of work runs at 60x: kubectl -n demo get pods -o wide -w")
    print(
        "try: kubectl get nodes -L nvidia.com/gpu.product\n"
        "     kubectl run hello --image=busybox --restart=Never --annotations=quartermaster.dev/run-seconds=30\n"
        "     quartermaster status; quartermaster fleet break l40s-0 drain; quartermaster fleet presets\n"
        "stop: Ctrl-C or quartermaster down",
        flush=True,
    )
