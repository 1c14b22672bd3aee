"""The loop around the controllers outlives an API that is away for a while."""

import asyncio

from quartermaster.local.apiserver.transport import Request, Response
from quartermaster.local.client import LocalClient
from quartermaster.local.controllers.manager import AGENT, Manager
from quartermaster.local.controllers.registry import CONTROLLERS
from quartermaster.testing.controllers import APPS, workload
from quartermaster.testing.kubernetes import kubernetes


async def test_lists_that_fail_are_tried_until_they_work_and_longer_each_time() -> None:
    async with kubernetes() as api:
        waits: list[float] = []

        async def flaky(request: Request) -> Response:
            if request.method == "GET" and sum(wait < 60 for wait in waits) < 8:
                return Response(503, b"{}", "application/json")
            return await api.server.handle(request)

        async def sleep(seconds: float) -> None:
            waits.append(seconds)
            if seconds > 60:  # how long a watch may be silent; none is
                await asyncio.Event().wait()
            await asyncio.sleep(0)

        await api.create(f"{APPS}/deployments", workload("Deployment", replicas=2))
        client = LocalClient(flaky, agent=AGENT)
        async with Manager(client, CONTROLLERS, clock=api.clock, sleep=sleep) as manager:
            attempts = [wait for wait in waits if wait < 60]
            assert len(attempts) >= 8
            assert max(attempts) > 8.0, "each wait is longer than the one before"
            for _ in range(100):
                await manager.step()
                await asyncio.sleep(0)
            assert len(await api.names("pods")) == 2
