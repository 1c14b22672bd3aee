"""Leader election: contenders with clocks of their own before an API that is slow, loses answers and fails."""

import asyncio
import contextlib
import random
from collections.abc import AsyncIterator
from typing import Any

import pytest

from quartermaster.kube.api import JSON, MERGE, Api, Body, Decoded, Refused, Unreachable
from quartermaster.kube.leases import LeaderElector, Times
from quartermaster.local.client import LocalClient
from quartermaster.local.clock import VirtualClock
from quartermaster.model.errors import InvalidInput
from quartermaster.testing.kubernetes import Kubernetes, kubernetes

LEASES = "/apis/coordination.k8s.io/v1/namespaces/kube-system/leases"


class Shifted:
    """The same time, counted from elsewhere: every machine has started at another moment."""

    def __init__(self, clock: VirtualClock, shift: float) -> None:
        self._clock, self._shift = clock, shift

    def __call__(self) -> float:
        return self._clock() + self._shift

    async def until(self, when: float) -> None:
        await self._clock.until(when - self._shift)


class Slow(Decoded):
    """Takes time before and after it acts; may fail before, or lose the answer after it has acted."""

    def __init__(self, api: Api, clock: VirtualClock, rng: random.Random) -> None:
        self._api, self._clock, self._rng = api, clock, rng
        self.slowest, self.failing, self.late, self.cut = 0.0, 0.0, 0.0, False
        self.requests = 0

    async def send_raw(self, method: str, path: str, body: Body | None = None, *, media: str = JSON) -> bytes:
        self.requests += 1
        acting = asyncio.ensure_future(self._act(method, path, body, media))
        # The server goes on with a request whose client has given up.
        return await asyncio.shield(acting)

    async def _act(self, method: str, path: str, body: Body | None, media: str) -> bytes:
        await self._clock.until(self._clock() + self.slowest * self._rng.random())
        if self.cut or self._rng.random() < self.failing:
            raise self._rng.choice((Unreachable("no answer"), Refused(500, "no"), Refused(429, "no")))
        try:
            return await self._api.send_raw(method, path, body, media=media)
        finally:
            await self._clock.until(self._clock() + self.late + self.slowest * self._rng.random())
            if self._rng.random() < self.failing:
                raise Unreachable("the answer was lost")


class Contender:
    """An elector that contends again whenever it has lost."""

    def __init__(self, api: Kubernetes, clock: VirtualClock, number: int, rng: random.Random) -> None:
        self.api = Slow(LocalClient(api.handler, agent="lease"), clock, rng)
        self.shift = rng.uniform(0, 1e6)
        self.wall_shift = 0.0
        self.acting = False
        self.terms = 0
        self.elector = LeaderElector(
            self.api,
            namespace="kube-system",
            name="quartermaster",
            identity=f"c{number}",
            clock=Shifted(clock, self.shift),
            wall=lambda: clock() + self.wall_shift,
            rng=rng,
        )

    async def lead(self) -> None:
        self.acting = True
        self.terms += 1
        try:
            await asyncio.Event().wait()
        finally:
            self.acting = False

    async def contend(self) -> None:
        while True:
            await self.elector.run(self.lead)


@contextlib.asynccontextmanager
async def contenders(
    count: int, *, seed: int = 0
) -> AsyncIterator[tuple[list[Contender], list["asyncio.Task[None]"], VirtualClock, Kubernetes]]:
    clock, rng = VirtualClock(), random.Random(seed)
    async with kubernetes() as api:
        them = [Contender(api, clock, number, rng) for number in range(count)]
        tasks = [asyncio.create_task(one.contend()) for one in them]
        try:
            yield them, tasks, clock, api
        finally:
            for task in tasks:
                task.cancel()
            for _ in range(200):
                await asyncio.sleep(0)
                clock.jump()
            await asyncio.gather(*tasks, return_exceptions=True)


async def pass_time(clock: VirtualClock, seconds: float, them: list[Contender]) -> list[str]:
    """Move on, moment by moment; who believes to lead at the end. Nobody may lead beside another at any moment."""
    end = clock.now + seconds
    while clock.now < end:
        for _ in range(20):
            await asyncio.sleep(0)
            believing = [one.elector for one in them if one.elector.leader]
            assert len(believing) <= 1, clock.now
        upcoming = clock.next()
        # Small steps as well as the moments that somebody waits for: beliefs end between those.
        clock.jump(min(end, clock.now + 0.25, upcoming if upcoming is not None else end))
    return [one.elector.holder for one in them if one.elector.leader]


async def test_one_leads_and_renews_and_the_others_know_who() -> None:
    async with contenders(3) as (them, _, clock, api):
        first = await pass_time(clock, 60, them)
        assert len(first) == 1
        assert [one.acting for one in them].count(True) == 1
        assert {one.elector.holder for one in them} == set(first)
        spec = (await api.get(f"{LEASES}/quartermaster"))["spec"]
        assert (spec["holderIdentity"], spec["leaseTransitions"], spec["leaseDurationSeconds"]) == (first[0], 0, 15)
        assert await pass_time(clock, 600, them) == first
        assert (await api.get(f"{LEASES}/quartermaster"))["spec"]["leaseTransitions"] == 0


async def test_a_leader_that_is_cut_off_stops_before_another_begins() -> None:
    async with contenders(3) as (them, _, clock, api):
        first = await pass_time(clock, 30, them)
        leader = next(one for one in them if one.acting)
        leader.api.cut = True
        assert len(await pass_time(clock, 10.5, them)) == 0, "its deadline has passed, the lease has not"
        assert not leader.acting
        second = await pass_time(clock, 15, them)
        assert second
        assert second != first
        assert (await api.get(f"{LEASES}/quartermaster"))["spec"]["leaseTransitions"] == 1


@pytest.mark.parametrize("seed", range(3))
async def test_belief_counts_from_when_the_renewal_was_sent(seed: int) -> None:
    async with contenders(6, seed=seed) as (them, _, clock, _):
        await pass_time(clock, 30, them)
        leader = next(one for one in them if one.acting)
        leader.api.late = 7.9  # in time, but others see the renewal long before the leader has its answer
        await pass_time(clock, 4, them)
        leader.api.cut = True
        await pass_time(clock, 40, them)
        assert sum(one.terms for one in them) > 1


async def test_a_leader_that_is_stopped_lets_others_in_at_once() -> None:
    async with contenders(2) as (them, tasks, clock, _):
        await pass_time(clock, 30, them)
        index = next(number for number, one in enumerate(them) if one.acting)
        tasks[index].cancel()
        assert await pass_time(clock, 5, them) == [f"c{1 - index}"]
        assert not them[index].acting


async def test_wall_clocks_may_jump_to_anywhere() -> None:
    async with contenders(3) as (them, _, clock, _):
        first = await pass_time(clock, 30, them)
        for shift in (-86_400.0, 86_400.0, -1e9, 0.0):
            for one in them:
                one.wall_shift = shift * (1 + them.index(one))
            assert await pass_time(clock, 60, them) == first


async def test_a_lease_taken_by_force_is_obeyed() -> None:
    async with contenders(2) as (them, _, clock, api):
        await pass_time(clock, 30, them)
        spec = {"holderIdentity": "somebody", "leaseDurationSeconds": 30}
        await LocalClient(api.handler, agent="x").send("PATCH", f"{LEASES}/quartermaster", {"spec": spec}, media=MERGE)
        assert await pass_time(clock, 5, them) == []
        assert {one.elector.holder for one in them} == {"somebody"}
        assert len(await pass_time(clock, 40, them)) == 1, "somebody did not renew"


async def test_a_leader_that_asks_little() -> None:
    async with contenders(1) as (them, _, clock, _):
        await pass_time(clock, 10, them)
        before = them[0].api.requests
        await pass_time(clock, 200, them)
        assert 90 <= them[0].api.requests - before <= 101, "one request per retry period"


async def test_work_that_ends_gives_the_lease_back_and_work_that_fails_says_so() -> None:
    async with contenders(1) as (them, tasks, clock, api):
        tasks[0].cancel()
        await pass_time(clock, 1, [])

        async def fail() -> None:
            raise ValueError("broken")

        with pytest.raises(ValueError, match="broken"):
            await them[0].elector.run(fail)
        assert (await api.get(f"{LEASES}/quartermaster"))["spec"]["holderIdentity"] == ""
        assert not them[0].elector.leader


@pytest.mark.parametrize("seed", range(12))
async def test_however_slow_and_broken_the_api_is_two_never_lead(seed: int) -> None:
    rng = random.Random(seed)
    async with contenders(rng.choice((2, 3, 5)), seed=seed) as (them, tasks, clock, _):
        for _ in range(25):
            for one in them:
                one.api.slowest = rng.choice((0.0, 0.1, 1.0, 4.0, 12.0, 40.0))
                one.api.failing = rng.choice((0.0, 0.0, 0.2, 0.6))
                one.api.cut = rng.random() < 0.15
                one.wall_shift = rng.choice((0.0, 0.0, rng.uniform(-1e6, 1e6)))
            if rng.random() < 0.1:
                index = rng.randrange(len(tasks))
                tasks[index].cancel()
                tasks[index] = asyncio.create_task(_after(tasks[index], them[index]))
            await pass_time(clock, rng.uniform(1, 40), them)
        for one in them:
            one.api.slowest = one.api.failing = 0.0
            one.api.cut = False
        await pass_time(clock, 90, them)
        assert len(await pass_time(clock, 1, them)) == 1, "in the end somebody leads"
        assert sum(one.terms for one in them) > 1, "there was something to survive"


async def _after(ended: "asyncio.Task[None]", one: Contender) -> None:
    with contextlib.suppress(asyncio.CancelledError):
        await ended
    await one.contend()


@pytest.mark.parametrize(
    ("times", "says"),
    [
        ({"renew_deadline": 15}, "renew_deadline: is 15, and the lease lasts 15; make it shorter"),
        ({"lease_duration": 10.9}, "renew_deadline: is 10, and the lease lasts 10"),
        ({"retry_period": 5}, "retry_period: is 5, up to 11 with jitter; stay below the deadline of 10"),
        ({"lease_duration": 0.5}, "lease_duration: is 0.5"),
    ],
)
def test_times_that_are_not_safe_are_refused(times: dict[str, Any], says: str) -> None:
    with pytest.raises(InvalidInput, match=says):
        Times(**times)
