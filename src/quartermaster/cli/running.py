"""A running local cluster: the one place where its parts meet.

The API server (servers.py), simulated fleet, stages, exporters and the controllers of `PARTS` know each other through
the API alone.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import random
import shutil
import signal
import sys
import tempfile
from collections.abc import Callable, Coroutine, Mapping
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

from quartermaster.cli import instance
from quartermaster.cli.servers import ADMIN, DEMO, KUBELET, SCHEDULER, Connect, embedded, needing, real, watch_over
from quartermaster.controllers.installing import install_definitions
from quartermaster.controllers.scheduler.scheduler import NAMES, Options, Scheduler
from quartermaster.kube.clock import Clock
from quartermaster.local.apiserver.http import HttpServer
from quartermaster.local.apiserver.identity import write_kubeconfig
from quartermaster.local.clock import WallClock
from quartermaster.local.controllers import nodes
from quartermaster.local.controllers.manager import AGENT, Manager
from quartermaster.local.controllers.registry import CONTROLLERS as WORKLOADS
from quartermaster.local.controllers.volumes import PROVISIONING
from quartermaster.local.demo.account import Account, keep
from quartermaster.local.demo.submitting import Demo
from quartermaster.local.fleet.chaos import Chaos, ChaosSet
from quartermaster.local.fleet.dcgm import Exporter
from quartermaster.local.fleet.endpoints import Endpoints
from quartermaster.local.fleet.operating import install
from quartermaster.local.fleet.presets import Fleet
from quartermaster.local.fleet.publishing import PUBLISHING
from quartermaster.local.kubelet.attach import attach
from quartermaster.local.real.controlplane import ControlPlane, NotReady, running
from quartermaster.local.stages.heartbeats import RENEWED_EVERY_S
from quartermaster.local.stages.player import Player
from quartermaster.local.stages.table import Stage
from quartermaster.model.errors import InvalidInput

DAY_S = 24 * 3600.0
ADMISSION = ("--enable-admission-plugins=ExtendedResourceToleration",)
"""What the embedded server has too: whoever asks for GPUs tolerates the taint of their nodes."""
OLDEST = (1, 34)
"""The first release with resource.k8s.io/v1, in which the fleet's devices are published."""

BEAT_S, SILENCE_S = 2.0, 10.0
"""Of the wall, at least, between heartbeats of nodes, and until they are missed: what delays them is this machine, and
a cluster at 240 times the speed would lose its nodes whenever we stumble for a fifth of a second."""

Part = Callable[[Connect, Clock, float], Coroutine[Any, Any, None]]
"""Runs on an API, at a clock, at a speed."""


async def _workloads(connect: Connect, clock: Clock, speed: float) -> None:
    """Deployments, Jobs and their kin, what watches over nodes, and the plugin that publishes their devices."""

    async def sleep(seconds: float) -> None:
        await clock.until(clock() + seconds)

    patient = partial(nodes.reconcile, grace=max(nodes.GRACE, SILENCE_S * speed))
    chosen = tuple(replace(each, reconcile=patient) if each.name == "node-lifecycle" else each for each in WORKLOADS)
    async with Manager(connect(AGENT), (*chosen, PUBLISHING, PROVISIONING), clock=clock, sleep=sleep) as manager:
        await manager.run()


SCHEDULED = NAMES | {"kai-scheduler", "volcano"}
"""Whose pods are scheduled: there is no other scheduler here, and manifests for one are to run unchanged."""


async def _schedule(connect: Connect, clock: Clock, speed: float) -> None:
    del speed
    await Scheduler(connect(SCHEDULER), clock=clock, options=Options(names=SCHEDULED)).run()


PARTS: tuple[Part, ...] = (_schedule, _workloads)
"""What runs beside API and fleet."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Settings:
    """What was asked for. `real`: the programs of a real control plane by name; None: the embedded one."""

    port: int
    folder: Path | None
    kubeconfig: Path
    fleet: Fleet
    stages: tuple[Stage, ...]
    demo: bool = False
    speed: float = 1.0
    """Of the demonstration's day."""
    hours: float | None = None
    """Of that day, after which to end."""
    real: Mapping[str, Path] | None = None
    chaos: ChaosSet | None = None


def run(settings: Settings) -> bool:
    """Run until told to stop; whether to start again with nothing. Raises InvalidInput, NotReady."""
    if settings.real is None:
        return asyncio.run(serve(settings))
    kept = settings.folder
    with contextlib.ExitStack() as stack:
        folder = kept or Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="quartermaster-")))
        with needing(settings.port):
            starting = running(settings.real, folder=folder, port=settings.port, keep=kept is not None, flags=ADMISSION)
            plane = stack.enter_context(starting)
        if plane.version() < OLDEST:
            raise InvalidInput(
                str(settings.real["kube-apiserver"]),
                f"is release {'.'.join(map(str, plane.version()))}, which has no resource.k8s.io/v1",
                f"use {'.'.join(map(str, OLDEST))} or newer",
            )
        return asyncio.run(serve(settings, plane))


async def serve(settings: Settings, plane: ControlPlane | None = None) -> bool:
    """The part of `run` that has an event loop."""
    stopped: asyncio.Queue[bool] = asyncio.Queue()
    loop = asyncio.get_running_loop()
    for name, again in ((signal.SIGINT, False), (signal.SIGTERM, False), (signal.SIGHUP, True)):
        loop.add_signal_handler(name, stopped.put_nowait, again)
    clock = _clock(settings)
    async with contextlib.AsyncExitStack() as stack:
        served = real(plane) if plane else embedded(port=settings.port, folder=settings.folder, clock=clock)
        server = await stack.enter_async_context(served)
        endpoints = HttpServer((parts := Parts(server.connect, settings, clock)).endpoints.handle)
        if server.server is not None:
            await attach(server.server, parts.player, clock=clock)
        await endpoints.start()
        stack.push_async_callback(endpoints.stop)
        parts.endpoints.address = f"127.0.0.1:{endpoints.port}"
        for path in (settings.kubeconfig, instance.own_kubeconfig()):
            write_kubeconfig(path, server.url, server.identity)
        folder = str(settings.folder or "")
        found = instance.Instance(os.getpid(), server.url, endpoints.url, str(instance.own_kubeconfig()), folder)
        instance.write(found)
        stack.callback(instance.clear)
        print(f"Kubernetes API at {server.url}, context quartermaster in {settings.kubeconfig}", flush=True)
        beside = ([parts.tell()] if settings.demo else []) + ([watch_over(plane)] if plane else [])
        return await _first(stopped.get(), parts.run(), *beside)


def _clock(settings: Settings) -> WallClock:
    if not settings.demo:
        return WallClock()
    if settings.real is not None:
        return WallClock(speed=settings.speed, ahead=DAY_S)
    return WallClock(behind=DAY_S, speed=settings.speed)


async def _first(*works: Coroutine[Any, Any, bool | None]) -> bool:
    """What the first to end says; the others are cancelled. That a server is gone comes before what follows from it."""
    tasks = [asyncio.create_task(work) for work in works]
    try:
        await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
    finally:
        for task in tasks:
            task.cancel()
        said = await asyncio.gather(*tasks, return_exceptions=True)
    errors = [each for each in said if isinstance(each, Exception)]
    errors.sort(key=lambda error: not isinstance(error, NotReady))
    if errors:
        raise errors[0]
    return any(each is True for each in said)


class Parts:
    """Everything that lives on the API of one cluster, whatever the clock."""

    def __init__(self, connect: Connect, settings: Settings, clock: Clock, *, seed: int | None = None) -> None:
        self._settings, self._clock = settings, clock
        self._installed = asyncio.Event()
        self._admin = connect(ADMIN)
        self.player = Player(
            connect(KUBELET),
            settings.stages,
            clock=clock,
            rng=random.Random(seed),  # noqa: S311  # no secrets
            beat=max(RENEWED_EVERY_S, BEAT_S * settings.speed),
        )
        self.exporter = Exporter(clock, self.player.nodes.objects.values, self.player.on)
        self.endpoints = Endpoints(self.exporter)
        self._parts = [part(connect, clock, settings.speed) for part in PARTS]
        self._chaos = Chaos(self._admin, settings.chaos, clock=clock) if settings.chaos else None
        self._demo = Demo(connect(DEMO), clock=clock) if settings.demo else None

    async def run(self) -> None:
        """Until cancelled."""
        async with asyncio.TaskGroup() as group:
            group.create_task(self.player.run())
            for part in self._parts:
                group.create_task(part)
            group.create_task(self.exporter.run())
            await install_definitions(self._admin)
            added = await install(self._admin, self._settings.fleet)
            _say(self._settings, len(added), self.endpoints.address)
            self._installed.set()
            if self._chaos is not None:
                group.create_task(self._chaos.run())
            if self._demo is not None:
                group.create_task(self._demo.run())

    async def tell(self) -> None:
        """An account of the demonstration, for as long as was asked for."""
        await self._installed.wait()
        nodes, pods = self.player.nodes.objects, self.player.pods.objects
        await keep(
            Account(),
            nodes=nodes.values,
            pods=pods.values,
            clock=self._clock,
            say=lambda text: print(text, flush=True),
            until=self._settings.hours,
        )


def _say(settings: Settings, nodes: int, metrics: str) -> None:
    print(f"{nodes} machines join; GPU metrics at http://{metrics}/nodes/NAME/metrics (Prometheus: /targets)")
    if settings.demo:
        print(f"a day of work runs at {settings.speed:g}x: kubectl -n demo get pods -o wide -w")
    path, me = Path(sys.argv[0]), "quartermaster"
    me = str(path) if path.name == me and not shutil.which(me) else me  # as it can be called here
    print(
        "try: kubectl get nodes -L nvidia.com/gpu.product\n"
        "     kubectl run hello --image=busybox --restart=Never --annotations=quartermaster.dev/run-seconds=30\n"
        f"     {me} status; {me} fleet break l40s-0 drain; {me} fleet presets\n"
        f"stop: Ctrl-C or {me} down",
        flush=True,
    )
