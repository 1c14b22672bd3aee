"""What a scheduler counts, in a cluster on virtual time."""

import asyncio
import contextlib
from collections.abc import AsyncIterator

from quartermaster.controllers.scheduler.metrics import Metrics
from quartermaster.controllers.scheduler.scheduler import Options, Scheduler
from quartermaster.local.client import LocalClient
from tests.unit.cli.cluster import Local, local
from tests.unit.controllers.test_scheduling import OWN, job, queue, submit


@contextlib.asynccontextmanager
async def beside(it: Local, *names: str) -> AsyncIterator[Metrics]:
    """The numbers of a second scheduler, for pods of these schedulerNames."""
    client = LocalClient(it.server.handle, agent="second")
    scheduler = Scheduler(client, clock=it.clock, options=Options(names=frozenset(names)))
    task = asyncio.create_task(scheduler.run())
    try:
        yield scheduler.metrics
    finally:
        task.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await task


def value(metrics: Metrics, name: str, **labels: str) -> float | None:
    return metrics.registry.get_sample_value(f"quartermaster_{name}", labels)


async def test_queues_that_are_gone_are_gone_from_the_gauges() -> None:
    async with local() as it, beside(it, "second") as metrics:
        await it.after(5)
        await queue(it, "a", gpu={"deserved": 3, "limit": 5})
        await queue(it, "b", gpu={"deserved": 4})
        await it.after(5)
        assert value(metrics, "queue_gpus", queue="a", what="deserved") == 3
        assert value(metrics, "queue_gpus", queue="a", what="limit") == 5
        assert value(metrics, "queue_gpus", queue="b", what="limit") == float("inf")
        await it.client.send("DELETE", f"{OWN}/queues/a")
        await it.after(5)
        assert value(metrics, "queue_gpus", queue="a", what="deserved") is None
        assert value(metrics, "queue_groups", queue="a", state="waiting") is None
        assert value(metrics, "queue_gpus", queue="b", what="deserved") == 4


async def test_evictions_are_counted_by_rule_and_as_writes() -> None:
    async with local() as it, beside(it, "second") as metrics:
        await it.after(5)
        await queue(it, "research", gpu={"deserved": 8})
        await queue(it, "production", gpu={"deserved": 8})
        for name, pods, whose in (("low", 2, "research"), ("urgent", 1, "production")):
            body = job(name, pods, least=1, queue=whose)
            body["spec"]["template"]["spec"]["schedulerName"] = "second"
            await submit(it, body)
            await it.after(60)
        assert value(metrics, "evictions_total", action="reclaim") == 1
        assert value(metrics, "api_writes_total", purpose="eviction") == 1
        assert value(metrics, "api_writes_total", purpose="binding") == 3
        assert value(metrics, "bindings_total", result="bound") == 3
        assert value(metrics, "queue_gpus", queue="production", what="allocated") == 8
        assert value(metrics, "groups_running") == 2
        assert (value(metrics, "api_writes_total", purpose="event") or 0) >= 2
