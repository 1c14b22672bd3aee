"""The loop around the controllers outlives an API that is away for a while."""

import asyncio

from quartermaster.local.apiserver.transport import Request, Response
from quartermaster.local.controllers.manager import Manager
from quartermaster.local.controllers.registry import CONTROLLERS
from quartermaster.testing.controllers import APPS, workload
from quartermaster.testing.kubernetes import kubernetes


async def test_a_watch_that_ends_and_lists_that_fail_are_tried_until_they_work() -> None:
    async with kubernetes() as api:
        away = False
        waits: list[float] = []

        async def flaky(request: Request) -> Response:
            watching = "watch" in request.query
            if request.method == "GET" and (away or watching):
                return Response(410 if watching else 503, b"{}", "application/json")
            return await api.server.handle(request)

        async def sleep(seconds: float) -> None:
            nonlocal away
            waits.append(seconds)
            away = len(waits) < 100
            await asyncio.sleep(0)

        async with Manager(flaky, CONTROLLERS, clock=api.clock, sleep=sleep) as manager:
            away = True
            await api.create(f"{APPS}/deployments", workload("Deployment", replicas=2))
            for _ in range(10_000):  # every turn of the loop is one more attempt
                await asyncio.sleep(0)
                if not away:
                    break
            assert min(waits) == 1.0
            assert max(waits) > 8.0, "each wait is longer than the one before"
            for _ in range(100):
                await manager.step()
                await asyncio.sleep(0)
            assert len(await api.names("pods")) == 2
