"""The loop around the controllers outlives an API that is away for a while."""

import asyncio

from quartermaster.local.apiserver.transport import Request, Response
from quartermaster.local.client import LocalClient
from quartermaster.local.controllers.manager import AGENT, Manager
from quartermaster.local.controllers.registry import CONTROLLERS
from quartermaster.testing.controllers import APPS, workload
from quartermaster.testing.kubernetes import kubernetes


class Steady:
    """Time that passes as soon as somebody waits for it, but for silence."""

    def __init__(self) -> None:
        self.now = 0.0
        self.waits: list[float] = []

    def __call__(self) -> float:
        return self.now

    async def until(self, when: float) -> None:
        wait = when - self.now
        if wait > 60:  # how long a watch may be silent; none is
            await asyncio.Event().wait()
        self.waits.append(wait)
        await asyncio.sleep(0)
        self.now = max(self.now, when)


async def test_lists_that_fail_are_tried_until_they_work_and_longer_each_time() -> None:
    async with kubernetes() as api:
        clock = Steady()

        async def flaky(request: Request) -> Response:
            if request.method == "GET" and len(clock.waits) < 8:
                return Response(503, b"{}", "application/json")
            return await api.server.handle(request)

        await api.create(f"{APPS}/deployments", workload("Deployment", replicas=2))
        client = LocalClient(flaky, agent=AGENT)
        async with Manager(client, CONTROLLERS, clock=api.clock, steady=clock) as manager:
            assert len(clock.waits) >= 8
            assert max(clock.waits) > 8.0, "each wait is longer than the one before"
            for _ in range(100):
                await manager.step()
                await asyncio.sleep(0)
            assert len(await api.names("pods")) == 2
