"""``quartermaster controller``: the control plane of a cluster, until told to stop. What the chart runs."""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import os
import signal
import socket
import time
from collections.abc import Coroutine
from pathlib import Path
from random import Random, SystemRandom
from typing import Any

from prometheus_client import ProcessCollector

from quartermaster.cli import webhook
from quartermaster.cli.logs import set_up
from quartermaster.controllers.scheduler.scheduler import Options, Scheduler
from quartermaster.integrations.exposition import Exposition
from quartermaster.kube.clock import SteadyClock, WallClock
from quartermaster.kube.connecting import Connection, connect
from quartermaster.kube.http import HttpApi
from quartermaster.kube.leases import LeaderElector
from quartermaster.model.errors import InvalidInput


def command(options: argparse.Namespace) -> int:
    """Run; 0 when told to stop, 1 when leadership was lost, so that whoever watches over this starts it anew."""
    set_up(form=options.log_format, level=options.log_level)
    metrics_port = _port("--metrics-port", options.metrics_port)
    if not options.seed.isdecimal():
        raise InvalidInput("--seed", f"'{options.seed}' is no number", "give 0 or more")
    connection = connect(
        kubeconfig=Path(options.kubeconfig).expanduser() if options.kubeconfig else None,
        context=options.context,
        environment=os.environ,
        wall=time.time,
    )
    return asyncio.run(_run(options, connection, metrics_port=metrics_port))


def _port(name: str, text: str) -> int:
    if not text.isdecimal() or int(text) > 65535:
        raise InvalidInput(name, f"'{text}' is no port", "give 0 to 65535")
    return int(text)


async def _run(options: argparse.Namespace, connection: Connection, *, metrics_port: int) -> int:
    rng = SystemRandom()
    clock = WallClock()
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for name in (signal.SIGINT, signal.SIGTERM):
        loop.add_signal_handler(name, stop.set)
    async with contextlib.AsyncExitStack() as stack:
        api = await stack.enter_async_context(HttpApi(connection, agent="quartermaster", clock=clock, rng=rng))
        elector = _elector(options, api, connection, rng) if options.leader_elect else None
        scheduler = Scheduler(
            api,
            clock=clock,
            steady=SteadyClock(),
            leading=None if elector is None else (lambda: elector.leader),
            options=Options(
                names=frozenset(options.scheduler_name or ("quartermaster",)),
                default_queue=options.default_queue,
                instance=socket.gethostname(),
                seed=int(options.seed),
            ),
        )
        ProcessCollector(registry=scheduler.metrics.registry)
        served = await stack.enter_async_context(
            Exposition(
                scheduler.metrics.registry,
                host=options.metrics_host or "0.0.0.0",  # noqa: S104  # scraped from other machines
                port=metrics_port,
                healthy=scheduler.unhealthy,
                ready=scheduler.unready,
            )
        )
        print(f"metrics, healthz and readyz on port {served.port}", flush=True)
        hook = webhook.admission(options, api, clock=clock, known=scheduler.site.known)
        works = [scheduler.run()]
        if elector is not None:
            works.append(elector.run(scheduler.lead))
        if hook is not None:
            works.append(hook.run())
        return await _until(stop, works)


async def _until(stop: asyncio.Event, works: list[Coroutine[Any, Any, None]]) -> int:
    """0 when told to stop; 1 when one of the works ended by itself."""
    told: asyncio.Task[Any] = asyncio.create_task(stop.wait())
    tasks: list[asyncio.Task[Any]] = [asyncio.create_task(work) for work in works]
    try:
        await asyncio.wait((told, *tasks), return_when=asyncio.FIRST_COMPLETED)
        for ended in [task for task in tasks if task.done()]:
            ended.result()
        return 0 if told.done() else 1
    finally:
        for task in (told, *tasks):
            task.cancel()
        await asyncio.gather(told, *tasks, return_exceptions=True)


def _elector(options: argparse.Namespace, api: HttpApi, connection: Connection, rng: Random) -> LeaderElector:
    namespace, _, name = (options.lease or f"{connection.namespace}/quartermaster").partition("/")
    if not namespace or not name:
        raise InvalidInput("--lease", f"'{options.lease}' names none", "give NAMESPACE/NAME")
    identity = f"{socket.gethostname()}_{os.getpid()}_{rng.randrange(16**8):08x}"
    return LeaderElector(
        api, namespace=namespace, name=name, identity=identity, clock=SteadyClock(), wall=time.time, rng=rng
    )
