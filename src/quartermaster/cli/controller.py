"""``quartermaster controller``: the control plane of a cluster, until told to stop. What the chart runs."""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import os
import signal
import time
from pathlib import Path
from random import SystemRandom

from quartermaster.cli.logs import set_up
from quartermaster.controllers.scheduler.metrics import Metrics
from quartermaster.controllers.scheduler.scheduler import Options, Scheduler
from quartermaster.integrations.exposition import Exposition
from quartermaster.kube.clock import WallClock
from quartermaster.kube.connecting import Connection, connect
from quartermaster.kube.http import HttpApi
from quartermaster.model.errors import InvalidInput


def command(options: argparse.Namespace) -> int:
    """Run; 0 when told to stop."""
    set_up(form=options.log_format, level=options.log_level)
    if not options.metrics_port.isdecimal() or int(options.metrics_port) > 65535:
        raise InvalidInput("--metrics-port", f"'{options.metrics_port}' is no port", "give 0 to 65535")
    if not options.seed.isdecimal():
        raise InvalidInput("--seed", f"'{options.seed}' is no number", "give 0 or more")
    connection = connect(
        kubeconfig=Path(options.kubeconfig).expanduser() if options.kubeconfig else None,
        context=options.context,
        environment=os.environ,
        wall=time.time,
    )
    asyncio.run(_run(options, connection))
    return 0


async def _run(options: argparse.Namespace, connection: Connection) -> None:
    rng = SystemRandom()
    clock = WallClock()
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for name in (signal.SIGINT, signal.SIGTERM):
        loop.add_signal_handler(name, stop.set)
    metrics = Metrics()
    async with HttpApi(connection, agent="quartermaster", clock=clock, rng=rng) as api:
        scheduler = Scheduler(
            api,
            clock=clock,
            metrics=metrics,
            options=Options(
                names=frozenset(options.scheduler_name or ("quartermaster",)),
                default_queue=options.default_queue,
                seed=int(options.seed),
            ),
        )
        async with Exposition(
            metrics.registry,
            host=options.metrics_host or "0.0.0.0",  # noqa: S104  # scraped from other machines
            port=int(options.metrics_port),
            healthy=scheduler.unhealthy,
            ready=scheduler.unready,
        ) as served:
            print(f"metrics, healthz and readyz on port {served.port}", flush=True)
            work = asyncio.create_task(scheduler.run(), name="scheduler")
            told = asyncio.create_task(stop.wait(), name="signals")
            try:
                await asyncio.wait((work, told), return_when=asyncio.FIRST_COMPLETED)
                if work.done():
                    work.result()
            finally:
                for task in (work, told):
                    task.cancel()
                    with contextlib.suppress(asyncio.CancelledError):
                        await task
