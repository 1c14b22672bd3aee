"""``quartermaster up``, ``down``, ``status``, ``reset``: a whole GPU cluster in one process, until interrupted.

Here the parts meet: embedded API, simulated fleet, stages, exporters, and the controllers in `CONTROLLERS`. They know
each other through the API alone.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import json
import os
import random
import signal
import sys
from collections import Counter
from collections.abc import Callable, Coroutine
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from quartermaster.cli import instance
from quartermaster.controllers.scheduler import Scheduler
from quartermaster.kube.api import Api, Json
from quartermaster.local.apiserver.http import HttpServer
from quartermaster.local.apiserver.identity import write_kubeconfig
from quartermaster.local.apiserver.local import LocalApi
from quartermaster.local.apiserver.server import MASTER
from quartermaster.local.client import LocalClient
from quartermaster.local.clock import Clock, WallClock
from quartermaster.local.demo.day import Demo
from quartermaster.local.fleet.dcgm import Exporter
from quartermaster.local.fleet.endpoints import Endpoints
from quartermaster.local.fleet.operating import install
from quartermaster.local.fleet.presets import Fleet, default_fleet, read_fleet
from quartermaster.local.stages.player import Player
from quartermaster.local.stages.table import Stage, everything
from quartermaster.model.errors import InvalidInput

DAY_S = 24 * 3600.0
DEMO_SPEED = 60.0

Controller = Callable[[Api, Clock], Coroutine[Any, Any, None]]

CONTROLLERS: dict[str, Controller] = {
    "quartermaster-scheduler": lambda api, clock: Scheduler(api, clock=clock).run(),
}
"""What runs beside the API, by the name under which it writes."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Settings:
    """What was asked for."""

    port: int
    folder: Path | None
    kubeconfig: Path
    fleet: Fleet
    stages: tuple[Stage, ...]
    demo: bool


def command(options: argparse.Namespace) -> int:
    """Run a cluster; ends with Ctrl-C, ``quartermaster down`` or SIGTERM."""
    if options.demo and options.data_dir:
        raise InvalidInput("--demo", "with --data-dir", "a demonstration keeps nothing: leave one out")
    if not options.port.isdecimal() or int(options.port) > 65535:
        raise InvalidInput("--port", f"{options.port!r} is not a port", "give a number from 0 (any free one) to 65535")
    settings = Settings(
        port=int(options.port),
        folder=Path(options.data_dir).expanduser() if options.data_dir else None,
        kubeconfig=Path(options.kubeconfig).expanduser() if options.kubeconfig else instance.users_kubeconfig(),
        fleet=read_fleet(Path(options.fleet).expanduser()) if options.fleet else default_fleet(),
        stages=everything([Path(path).expanduser() for path in options.stages or ()]),
        demo=options.demo,
    )
    running = instance.read()
    if running is not None:
        raise InvalidInput("local cluster", f"is up already (process {running.pid})", "end it: quartermaster down")
    while asyncio.run(_serve(settings)):
        _drop(settings.folder)
        print("reset: starting afresh")
    return 0


async def _serve(settings: Settings) -> bool:
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
        self._controllers = [make(client(name), clock) for name, make in CONTROLLERS.items()]
        self._demo = Demo(client("demo"), clock=clock) if settings.demo else None

    async def run(self) -> None:
        """Until cancelled."""
        async with asyncio.TaskGroup() as group:
            group.create_task(self.player.run())
            for controller in self._controllers:
                group.create_task(controller)
            group.create_task(self.exporter.run())
            added = await install(self._admin, self._settings.fleet)
            _say(self._settings, len(added), self.endpoints.address)
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


def _drop(folder: Path | None) -> None:
    for path in folder.glob("objects.sqlite*") if folder is not None else ():
        path.unlink()


def down(options: argparse.Namespace) -> int:
    """End the running cluster and wait for it."""
    del options
    found = instance.read()
    if found is None:
        print("nothing is running")
        return 0
    asyncio.run(_answers(found))
    handle = os.pidfd_open(found.pid)
    signal.pidfd_send_signal(handle, signal.SIGTERM)
    _gone(handle)
    print("stopped")
    return 0


def _gone(handle: int) -> None:
    import select  # noqa: PLC0415  # only here

    ready, _, _ = select.select([handle], [], [], 15.0)
    os.close(handle)
    if not ready:
        raise InvalidInput("local cluster", "does not end", "look at its terminal")


async def _answers(found: instance.Instance) -> None:
    """The process of the file is the one that serves; raises InvalidInput otherwise."""
    async with instance.client(found.kubeconfig) as api:
        await api.send("GET", "/version")


def reset(options: argparse.Namespace) -> int:
    """Empty the running cluster and start its fleet again; without one, empty a data directory."""
    found = instance.read()
    if found is not None:
        asyncio.run(_answers(found))
        os.kill(found.pid, signal.SIGHUP)
        print("the cluster starts afresh")
        return 0
    if not options.data_dir:
        raise InvalidInput("local cluster", "is not running", "name what to empty: --data-dir DIR")
    _drop(Path(options.data_dir).expanduser())
    print("emptied")
    return 0


def status(options: argparse.Namespace) -> int:
    """Nodes, GPUs and pods of the running cluster."""
    found = asyncio.run(_status(options.kubeconfig))
    if options.output == "json":
        print(json.dumps(found, indent=1))
        return 0
    sys.stdout.write(summary(found))
    return 0


async def _status(kubeconfig: str | None) -> Json:
    running = instance.read()
    async with instance.client(kubeconfig) as api:
        nodes = (await api.send("GET", "/api/v1/nodes"))["items"]
        pods = (await api.send("GET", "/api/v1/pods"))["items"]
    return status_of(nodes, pods) | ({"api": running.url, "metrics": running.metrics} if running else {})


def status_of(nodes: list[Json], pods: list[Json]) -> Json:
    """Counts: nodes, GPUs, pods by phase."""
    from quartermaster.api import nodes as api_nodes  # noqa: PLC0415
    from quartermaster.api import pods as api_pods  # noqa: PLC0415

    ready = [
        node
        for node in nodes
        if any(c["type"] == "Ready" and c["status"] == "True" for c in node["status"].get("conditions", ()))
    ]
    held = [pod for pod in pods if api_pods.node_of(pod) and not api_pods.ended(pod)]
    gpus = [api_pods.spec_from(pod).gpu for pod in held]
    return {
        "nodes": {"ready": len(ready), "total": len(nodes)},
        "gpus": {
            "used": round(sum(gpu.count * gpu.share for gpu in gpus) / 1_000_000, 2),
            "total": sum(api_nodes.gpus_in(node) for node in nodes),
        },
        "pods": dict(sorted(Counter(pod["status"].get("phase", "Unknown") for pod in pods).items())),
    }


def summary(found: Json) -> str:
    """The counts for people."""
    nodes, gpus = found["nodes"], found["gpus"]
    lines = [f"api      {found['api']}"] if "api" in found else []
    lines += [f"metrics  {found['metrics']}/targets"] if "metrics" in found else []
    lines.append(f"nodes    {nodes['ready']} ready of {nodes['total']}")
    lines.append(f"GPUs     {gpus['used']:g} in use of {gpus['total']}")
    lines.append("pods     " + (", ".join(f"{count} {phase}" for phase, count in found["pods"].items()) or "none"))
    return "\n".join(lines) + "\n"
