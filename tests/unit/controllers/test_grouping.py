"""Groups of pods that come, go and lose their nodes; and what becomes of a gang of which not all is bound."""

import asyncio
import contextlib
from collections.abc import AsyncIterator
from random import Random
from typing import Any, cast

import msgspec

from quartermaster.api.objects import PodObject
from quartermaster.controllers.scheduler.effects import Effects
from quartermaster.controllers.scheduler.executor import Binding, Executor, Gang
from quartermaster.controllers.scheduler.grouping import Grouping, Known
from quartermaster.controllers.scheduler.metrics import Metrics
from quartermaster.controllers.scheduler.narrator import Narrator
from quartermaster.controllers.scheduler.occupancy import Occupancy
from quartermaster.controllers.scheduler.scheduler import Scheduler
from quartermaster.controllers.scheduler.site import Site
from quartermaster.controllers.scheduler.teller import Teller
from quartermaster.kube.events import Events
from quartermaster.local.clock import VirtualClock
from quartermaster.scheduling.presence import Presence
from quartermaster.workloads.members import membership
from tests.unit.controllers.cluster import FakeApi, node, pod, settle

LABEL, COUNT = "kueue.x-k8s.io/pod-group-name", "kueue.x-k8s.io/pod-group-total-count"


class Lot:
    """One queue for all, and pods of the gang `g`."""

    topologies: dict[str, Any] = {}  # noqa: RUF012  # never written

    def __init__(self) -> None:
        self.occupancy = Occupancy(now=lambda: 100.0)
        self.grouping = Grouping(self.occupancy, cast("Site", self))

    def resolve(self, queue: str, namespace: str) -> str:  # noqa: ARG002
        return queue or "default"

    def put(self, name: str, *, of: int, node: str = "", **more: Any) -> PodObject:
        value = pod(name, node=node, labels={LABEL: "g"}, annotations={COUNT: str(of)}, **more)
        self.occupancy.pod_changed(f"team/{name}", value)
        self.grouping.join(f"team/{name}", membership(msgspec.to_builtins(value), ()))
        return value

    def take(self, name: str) -> None:
        self.occupancy.pod_changed(f"team/{name}", None)
        self.grouping.leave(f"team/{name}")

    def look(self) -> Known:
        self.grouping.refresh()
        (known,) = self.grouping.groups.values()
        return known


def test_a_gang_that_is_short_waits_for_its_pods_and_is_not_decided_on() -> None:
    it = Lot()
    it.put("a", of=2)
    known = it.look()
    assert (known.value, known.incomplete) == (None, True)
    it.put("b", of=2)
    known = it.look()
    assert known.value is not None
    assert known.waits
    assert not known.wrong


def test_a_gang_that_runs_and_lost_a_pod_is_broken_and_nothing_of_it_is_placed() -> None:
    it = Lot()
    it.occupancy.node_changed(None, node())
    for name in "abc":
        it.put(name, of=3, node="" if name == "c" else "n")
    it.look()
    it.take("a")
    known = it.look()
    assert known.incomplete
    assert (known.runs, known.waits) == (True, False)
    assert known.value is not None, "its grace has to run"
    presence = Presence(it.occupancy.state.pods, it.occupancy.state.leaving)
    assert not presence.satisfied(known.value.root)
    assert not presence.waits(known.value)
    assert it.grouping.running
    assert not it.grouping.waiting
    it.put("d", of=3)
    known = it.look()
    assert known.waits
    assert not known.wrong


def test_a_pod_whose_node_is_gone_is_not_placed_beside_one_that_waits() -> None:
    it = Lot()
    it.occupancy.node_changed(None, node())
    it.occupancy.node_changed(None, node("m"))
    it.put("a", of=3, node="n")
    it.put("b", of=3, node="m")
    it.put("c", of=3)
    it.look()
    it.occupancy.node_changed(node(), None)
    it.grouping.touch("team/a")
    known = it.look()
    assert known.value is not None
    presence = Presence(it.occupancy.state.pods, it.occupancy.state.leaving)
    assert [each.name for leaf in known.value.root.leaves() for each in presence.waiting(leaf)] == ["team/c"]
    assert not presence.satisfied(known.value.root)


def test_a_group_that_was_not_looked_at_since_its_pods_changed_has_no_owner_yet() -> None:
    clock = VirtualClock()
    assert Scheduler(FakeApi(clock), clock=clock)._owner_of(Known("g")) is None


def test_a_group_without_pods_is_forgotten() -> None:
    it = Lot()
    it.put("a", of=1)
    it.look()
    it.take("a")
    assert it.grouping.refresh() == []
    assert not it.grouping.groups
    assert not it.grouping.waiting


class Bench(Lot):
    """Effects on an API that says yes."""

    def __init__(self) -> None:
        super().__init__()
        self.clock = VirtualClock()
        self.api = FakeApi(self.clock)
        self.changes = 0
        events = Events(self.api, component="t", instance="t", clock=self.clock, wall=self.clock)
        narrator = Narrator(
            self.occupancy, Teller(self.api, clock=self.clock), events, clock=self.clock, owner=lambda _: None
        )
        self.effects = Effects(
            self.occupancy,
            self.grouping,
            narrator,
            clock=self.clock,
            steady=self.clock,
            metrics=Metrics(),
            changed=self.changed,
        )

    def changed(self) -> None:
        self.changes += 1

    def assume(self, *names: str) -> Gang:
        """A gang as it is when it was sent."""
        bindings = []
        for index, name in enumerate(names):
            full = f"team/{name}"
            self.occupancy.assume(full, "n", (index,))
            self.grouping.touch(full)
            bindings.append(Binding(full, self.occupancy.records[full].pod, "n", (index,)))
        return Gang(next(iter(self.grouping.groups)), bindings)

    @property
    def evicted(self) -> list[str]:
        return [path.split("/")[-2] for path in self.api.paths("POST") if path.endswith("/eviction")]


@contextlib.asynccontextmanager
async def bench() -> AsyncIterator[Bench]:
    with contextlib.suppress(asyncio.CancelledError):
        async with asyncio.TaskGroup() as group:
            it = Bench()
            executor = Executor(it.api, clock=it.clock, rng=Random(1), done=it.effects.settled)
            it.effects.start(executor, group)
            it.occupancy.node_changed(None, node())
            yield it
            for task in group._tasks:
                task.cancel()


async def test_what_was_bound_of_a_gang_that_is_refused_is_taken_back_and_it_is_left_alone_longer_each_time() -> None:
    async with bench() as it:
        for name in "ab":
            it.put(name, of=2)
        known = it.look()
        waits = []
        for _ in range(3):
            gang = it.assume("a")
            gang.bound, gang.refused = [], {"team/a": "no"}
            it.effects.settled(gang)
            waits.append(known.not_before - it.clock())
        assert waits == [1, 2, 4]
        gang = it.assume("a", "b")
        gang.bound, gang.refused = ["team/a"], {"team/b": "no"}
        it.effects.settled(gang)
        await settle(it.clock)
        assert it.evicted == ["a"]
        assert "team/b" not in it.occupancy.state.pods


async def test_an_elastic_gang_that_is_whole_without_what_was_refused_keeps_the_rest() -> None:
    async with bench() as it:
        for name in "abc":
            it.put(name, of=2)
        it.look()
        gang = it.assume("a", "b", "c")
        gang.bound, gang.refused = ["team/a", "team/b"], {"team/c": "no"}
        it.effects.settled(gang)
        await settle(it.clock)
        assert it.evicted == []


async def test_a_pod_that_is_gone_takes_nobody_with_it_and_keeps_its_room_until_its_event() -> None:
    async with bench() as it:
        for name in "ab":
            it.put(name, of=2)
        known = it.look()
        gang = it.assume("a", "b")
        gang.bound, gang.gone = ["team/a"], ["team/b"]
        it.effects.settled(gang)
        await settle(it.clock)
        assert it.evicted == []
        assert "team/b" in it.occupancy.state.pods
        assert (it.changes, known.backoff) == (1, 0.0)
        assert not it.effects.held_back


async def test_what_a_refusal_looked_at_is_looked_at_again_by_the_next_cycle() -> None:
    async with bench() as it:
        for name in "ab":
            it.put(name, of=2)
        it.look()
        gang = it.assume("a", "b")
        gang.dropped, gang.refused = ["team/a"], {"team/b": "no"}
        it.effects.settled(gang)
        assert [known.name for known in it.grouping.refresh()] == [gang.group]


async def test_all_of_a_gang_may_be_gone_before_its_last_answer() -> None:
    async with bench() as it:
        for name in "ab":
            it.put(name, of=2)
        it.look()
        gang = it.assume("a", "b")
        it.take("a")
        it.take("b")
        gang.bound = ["team/a", "team/b"]
        it.effects.settled(gang)
        it.grouping.refresh()
        gang.bound, gang.refused = ["team/a"], {"team/b": "no"}
        it.effects.settled(gang)
        await settle(it.clock)
        assert it.evicted == []
