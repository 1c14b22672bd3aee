"""Bindings are true until the API has said otherwise for certain, and a gang stands or falls as one."""

import asyncio
import contextlib
from collections.abc import AsyncIterator
from random import Random

from quartermaster.controllers.scheduler.executor import Binding, Executor, Gang
from quartermaster.controllers.scheduler.provisioning import Send, Work
from quartermaster.kube.api import Refused
from quartermaster.local.clock import VirtualClock
from tests.unit.controllers.cluster import FakeApi, pod, settle

POD = "/api/v1/namespaces/team/pods"


class Bench:
    """An executor at work."""

    def __init__(self, width: int) -> None:
        self.clock = VirtualClock()
        self.api = FakeApi(self.clock)
        self.done: list[Gang] = []
        self.leading = True
        self.before: Work | None = None
        self.executor = Executor(
            self.api,
            clock=self.clock,
            rng=Random(1),
            done=self.done.append,
            leading=lambda: self.leading,
            before=lambda _: self.before,
            width=width,
        )

    def bind(self, *names: str, group: str = "g") -> Gang:
        gang = Gang(group, [Binding(name, pod(name), "n", (0,)) for name in names])
        self.executor.bind(gang)
        return gang


@contextlib.asynccontextmanager
async def bench(width: int = 4) -> AsyncIterator[Bench]:
    it = Bench(width)
    task = asyncio.create_task(it.executor.run())
    await asyncio.sleep(0)
    try:
        yield it
    finally:
        task.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await task


async def test_a_gang_is_bound_pod_by_pod_and_told_once() -> None:
    async with bench() as it:
        gang = it.bind("a", "b", "c")
        await settle(it.clock)
        assert it.done == [gang]
        assert sorted(gang.bound) == ["a", "b", "c"]
        assert not gang.refused
        assert it.api.paths("POST") == [f"{POD}/{name}/binding" for name in "abc"]
        assert it.executor.in_flight == 0


async def test_gangs_are_sent_in_the_order_of_the_plan() -> None:
    async with bench(width=1) as it:
        it.bind("a", "b", group="first")
        it.bind("c", group="second")
        await settle(it.clock)
        assert [gang.group for gang in it.done] == ["first", "second"]


async def test_after_a_refusal_for_good_the_rest_is_not_sent() -> None:
    async with bench(width=1) as it:
        it.api.answer("POST", f"{POD}/b/binding", Refused(403, "no"))
        gang = it.bind("a", "b", "c", "d")
        await settle(it.clock)
        assert (gang.bound, list(gang.refused), gang.dropped) == (["a"], ["b"], ["c", "d"])
        assert f"{POD}/c/binding" not in it.api.paths("POST")


async def test_what_an_overloaded_server_says_is_no_refusal() -> None:
    async with bench() as it:
        it.api.answer("POST", f"{POD}/a/binding", Refused(429, "later"), Refused(500, "etcd"), OSError("reset"), {})
        it.api.answer("GET", f"{POD}/a", {"metadata": {"uid": "uid-a"}, "spec": {}})
        gang = it.bind("a")
        await settle(it.clock)
        assert not it.done
        await settle(it.clock, 10)
        assert gang.bound == ["a"]


async def test_after_a_lost_answer_the_pod_is_asked_before_it_is_bound_again() -> None:
    async with bench() as it:
        it.api.answer("POST", f"{POD}/a/binding", TimeoutError())
        it.api.answer("GET", f"{POD}/a", OSError("down"), {"metadata": {"uid": "uid-a"}, "spec": {"nodeName": "n"}})
        gang = it.bind("a")
        await settle(it.clock, 10)
        assert gang.bound == ["a"]
        assert it.api.paths("POST") == [f"{POD}/a/binding"]


async def test_a_conflict_is_fine_if_the_pod_is_where_it_was_to_be() -> None:
    for where, bound in (("n", ["a"]), ("m", []), (None, [])):
        async with bench() as it:
            it.api.answer("POST", f"{POD}/a/binding", Refused(409, "already assigned"))
            it.api.answer("GET", f"{POD}/a", {"metadata": {"uid": "uid-a"}, "spec": {"nodeName": where}})
            gang = it.bind("a")
            await settle(it.clock)
            assert gang.bound == bound
            assert bool(gang.refused) is not bool(bound)


async def test_a_pod_of_that_name_which_is_another_is_not_ours() -> None:
    async with bench() as it:
        it.api.answer("POST", f"{POD}/a/binding", TimeoutError(), Refused(404, "gone"))
        it.api.answer("GET", f"{POD}/a", {"metadata": {"uid": "other"}, "spec": {"nodeName": "n"}})
        gang = it.bind("a")
        await settle(it.clock, 10)
        assert (gang.gone, gang.refused) == (["a"], {})


async def test_nothing_is_sent_by_who_does_not_lead() -> None:
    async with bench() as it:
        it.leading = False
        gang = it.bind("a", "b")
        await settle(it.clock)
        assert gang.dropped == ["a", "b"]
        assert not it.api.sent


async def test_what_comes_before_a_gang_takes_no_place_and_its_bindings_follow() -> None:
    async with bench(width=1) as it:
        go = asyncio.Event()

        async def work(send: Send) -> dict[str, str]:
            await send("PATCH", "/claim", {})
            await go.wait()
            return {}

        it.before = work
        first = it.bind("a", "b", group="first")
        it.before = None
        it.bind("c", group="second")
        await settle(it.clock, 100)
        assert it.api.paths("PATCH") == ["/claim"]
        assert it.api.paths("POST") == [f"{POD}/c/binding"]
        assert it.executor.in_flight == 2
        go.set()
        await settle(it.clock)
        assert first.bound == ["a", "b"]
        assert it.executor.in_flight == 0


async def test_where_that_fails_nothing_of_the_gang_is_sent() -> None:
    async with bench() as it:

        async def work(_: Send) -> dict[str, str]:
            return {"b": "no volume"}

        it.before = work
        gang = it.bind("a", "b", "c")
        await settle(it.clock)
        assert it.done == [gang]
        assert (gang.bound, gang.refused, gang.dropped) == ([], {"b": "no volume"}, ["a", "c"])
        assert not it.api.sent
        assert it.executor.in_flight == 0


async def test_who_leads_no_more_writes_nothing_before_a_gang_either() -> None:
    async with bench() as it:
        refusals: list[Refused] = []

        async def work(send: Send) -> dict[str, str]:
            try:
                await send("PATCH", "/claim", {})
            except Refused as wrong:
                refusals.append(wrong)
            return {}

        it.leading, it.before = False, work
        gang = it.bind("a")
        await settle(it.clock)
        assert len(refusals) == 1
        assert gang.dropped == ["a"]
        assert not it.api.sent


async def test_an_eviction_says_why_before_it_asks() -> None:
    async with bench() as it:
        assert await it.executor.evict(pod("a"), "reclaimed by team-b") == ""
        (patch, path, status), (post, target, body) = it.api.sent
        assert (patch, path) == ("PATCH", f"{POD}/a/status")
        assert status is not None
        (condition,) = status["status"]["conditions"]
        assert (condition["type"], condition["status"], condition["message"]) == (
            "DisruptionTarget",
            "True",
            "reclaimed by team-b",
        )
        assert (post, target) == ("POST", f"{POD}/a/eviction")
        assert body is not None
        assert body["deleteOptions"]["preconditions"] == {"uid": "uid-a"}


async def test_a_budget_that_is_spent_is_an_answer_and_a_pod_that_is_gone_is_evicted() -> None:
    async with bench() as it:
        it.api.answer("POST", f"{POD}/a/eviction", Refused(429, "budget"))
        assert "budget" in await it.executor.evict(pod("a"), "why")
        it.api.answer("PATCH", f"{POD}/b/status", Refused(404, "gone"))
        assert await it.executor.evict(pod("b"), "why") == ""


async def test_who_does_not_lead_any_more_evicts_nobody() -> None:
    async with bench() as it:
        it.leading = False
        assert "another leads" in await it.executor.evict(pod("a"), "why")
        assert not it.api.sent


async def test_who_loses_the_lead_between_attempts_gives_up_without_a_refusal() -> None:
    async with bench() as it:
        it.api.answer("POST", f"{POD}/a/binding", Refused(503, "away"))
        it.api.answer("GET", f"{POD}/a", Refused(503, "away"))
        gang = it.bind("a")
        await settle(it.clock)
        it.leading = False
        await settle(it.clock, 10)
        assert (gang.dropped, gang.refused) == (["a"], {})


async def test_a_conflict_that_passes_is_no_refusal_and_one_that_stays_is() -> None:
    async with bench() as it:
        it.api.answer("POST", f"{POD}/a/binding", Refused(409, "modified"), Refused(409, "modified"), {})
        it.api.answer("POST", f"{POD}/b/binding", Refused(409, "for ever"))
        for name in "ab":
            it.api.answer("GET", f"{POD}/{name}", {"metadata": {"uid": f"uid-{name}"}, "spec": {}})
        gang = it.bind("a", "b")
        await settle(it.clock, 60)
        assert gang.bound == ["a"]
        assert "for ever" in gang.refused["b"]
        assert 4 < len([path for path in it.api.paths("POST") if "/b/" in path]) < 12


async def test_a_pod_that_is_being_deleted_is_gone() -> None:
    async with bench() as it:
        it.api.answer("POST", f"{POD}/a/binding", Refused(409, "is being deleted"))
        leaving = {"uid": "uid-a", "deletionTimestamp": "2026-01-01T00:00:00Z"}
        it.api.answer("GET", f"{POD}/a", {"metadata": leaving, "spec": {}})
        gang = it.bind("a", "b")
        await settle(it.clock)
        assert (gang.gone, gang.bound, gang.refused) == (["a"], ["b"], {})


async def test_a_pause_that_the_api_asks_for_is_kept() -> None:
    async with bench() as it:
        it.api.answer("POST", f"{POD}/a/binding", Refused(429, "later", retry_after=7), {})
        it.api.answer("GET", f"{POD}/a", {"metadata": {"uid": "uid-a"}, "spec": {}})
        gang = it.bind("a")
        await settle(it.clock, 6)
        assert not gang.bound
        await settle(it.clock, 6)
        assert gang.bound == ["a"]


async def test_who_may_not_read_a_pod_keeps_asking_where_it_is() -> None:
    async with bench() as it:
        it.api.answer("POST", f"{POD}/a/binding", TimeoutError())
        it.api.answer("GET", f"{POD}/a", Refused(403, "no"), {"metadata": {"uid": "uid-a"}, "spec": {"nodeName": "n"}})
        gang = it.bind("a")
        await settle(it.clock, 2)
        assert gang.bound == ["a"]
