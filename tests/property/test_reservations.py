"""Backfill never delays a reservation whose estimates hold: random workloads in virtual time, watched from outside."""

import math
from dataclasses import dataclass, field, replace

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from quartermaster.cluster.state import ClusterState
from quartermaster.model.node import Node
from quartermaster.model.pod import GpuRequest, Pod, PodSpec
from quartermaster.model.podgroup import PodGroup, SubGroup
from quartermaster.model.queue import Queue, QueueTree, Quota
from quartermaster.model.reservation import Reservation
from quartermaster.model.topology import Level, Topology, TopologyConstraint
from quartermaster.model.units import DEVICE
from quartermaster.scheduling.cycle import Policies, cycle
from quartermaster.scheduling.policies.catalogue import placement_policy
from quartermaster.scheduling.rules import Action, Rules
from quartermaster.scheduling.turns import by_priority_and_age
from quartermaster.testing.clusters import MIX

RACKS = Topology(name="racks", levels=(Level(label="rack"),))


@dataclass
class World:
    """A cluster in which groups run for exactly as long as they said."""

    nodes: list[Node]
    groups: list[PodGroup]
    rules: Rules
    policy: str = "best-fit"
    starts: dict[str, float] = field(default_factory=dict)
    promised: dict[str, tuple[float, float]] = field(default_factory=dict)  # when given, and the first date

    def run(self) -> None:
        state = ClusterState(self.nodes)
        policies = Policies(
            placement=placement_policy(self.policy, MIX),
            rules=self.rules,
            topologies={"racks": RACKS},
            explain=False,
            actions=(Action.ALLOCATE,),
        )
        length = {group.name: group.runtime or 0.0 for group in self.groups}
        reserved: dict[str, Reservation] = {}
        running: dict[str, PodGroup] = {}
        instants = {group.created for group in self.groups}
        ended: set[str] = set()
        while instants:
            now = min(instants)
            instants.discard(now)
            for name in [name for name in running if self.starts[name] + length[name] <= now]:
                for pod in running.pop(name).pods:
                    state.forget(pod.name)
                ended.add(name)
            waiting = [
                replace(group, reserved=reserved.get(group.name))
                for group in self.groups
                if group.created <= now and group.name not in running and group.name not in ended
            ]
            plan = cycle(
                state.borrow(),
                policies,
                groups=waiting,
                running=list(running.values()),
                now=now,
                rng=np.random.default_rng(1),
            )
            assert not plan.evictions
            plan.apply(state)
            for row in state.gpu_free.tolist():
                assert all(0 <= share <= DEVICE for share in row)
            for placement in plan.placements:
                group = next(group for group in waiting if group.name == placement.group)
                running[group.name] = replace(group, started=now)
                self.starts[group.name] = now
                instants.add(now + length[group.name])
            reserved = plan.reservations
            for name, reservation in reserved.items():
                assert name not in running
                assert reservation.start >= now
                self.promised.setdefault(name, (now, reservation.start))

    def broken(self, *, outranked: bool = False) -> list[str]:
        """Promises that were not kept, but for those whose room a group that comes before them got.

        `outranked`: or for which such a group waited meanwhile, and had the one reservation instead.
        """
        rank = {group.name: by_priority_and_age(group) for group in self.groups}
        found = []
        for name, (given_at, date) in self.promised.items():
            before = any(
                rank[other.name] < rank[name]
                and given_at < (start := self.starts.get(other.name, math.inf))
                and (start <= date or (outranked and other.created <= date))
                for other in self.groups
            )
            if self.starts.get(name, math.inf) > date and not before:
                found.append(f"{name}: promised {date}, got {self.starts.get(name)}")
        return found


SPECS = (
    PodSpec(cpu=1000, gpu=GpuRequest(count=1)),
    PodSpec(cpu=1000, gpu=GpuRequest(count=2)),
    PodSpec(cpu=4000, gpu=GpuRequest(count=4)),
    PodSpec(cpu=6000),
    PodSpec(cpu=500, gpu=GpuRequest(count=1, share=DEVICE // 2)),
)


@st.composite
def clusters(draw: st.DrawFn) -> list[Node]:
    count = draw(st.integers(1, 5))
    return [
        Node(
            name=f"n{number}",
            cpu=draw(st.sampled_from((8000, 12000))),
            memory=0,
            gpus=draw(st.sampled_from((2, 4, 4))),
            labels={"rack": f"r{number % 2}"},
        )
        for number in range(count)
    ]


@st.composite
def workloads(draw: st.DrawFn, *, priorities: tuple[int, ...] = (50,)) -> list[PodGroup]:
    found = []
    for number in range(draw(st.integers(2, 12))):
        runs = draw(st.lists(st.tuples(st.sampled_from(SPECS), st.integers(1, 4)), min_size=1, max_size=2))
        pods = tuple(
            Pod(f"g{number}-{index}", spec) for index, spec in enumerate(spec for spec, n in runs for _ in range(n))
        )
        topology = draw(st.sampled_from((None, None, TopologyConstraint(topology="racks", required="rack"))))
        found.append(
            PodGroup(
                name=f"g{number:02d}",
                queue="default",
                root=SubGroup(pods=pods, topology=topology),
                created=float(draw(st.integers(0, 20))),
                priority=draw(st.sampled_from(priorities)),
                runtime=float(draw(st.integers(1, 30))),
            )
        )
    return found


POLICIES = st.sampled_from(("first-fit", "best-fit", "quartermaster"))


@given(clusters(), workloads(), POLICIES)
def test_the_head_starts_no_later_than_first_promised(nodes: list[Node], groups: list[PodGroup], policy: str) -> None:
    world = World(nodes, groups, Rules(), policy)
    world.run()
    assert world.broken() == []


@given(clusters(), workloads(priorities=(50, 50, 60)), POLICIES)
def test_only_those_who_come_before_can_delay_it(nodes: list[Node], groups: list[PodGroup], policy: str) -> None:
    world = World(nodes, groups, Rules(), policy)
    world.run()
    assert world.broken(outranked=True) == []


@given(clusters(), workloads(), st.data())
def test_forgetting_many_is_forgetting_each(nodes: list[Node], groups: list[PodGroup], data: st.DataObject) -> None:
    state = ClusterState(nodes)
    policies = Policies(placement=placement_policy("best-fit", MIX), topologies={"racks": RACKS}, explain=False)
    cycle(state.borrow(), policies, groups=groups, now=20.0, rng=np.random.default_rng(1)).apply(state)
    gone = data.draw(st.lists(st.sampled_from(sorted(state.pods)), unique=True) if state.pods else st.just([]))
    at_once = state.snapshot().state
    at_once.forget_many(gone)
    for pod in gone:
        state.forget(pod)
    assert at_once.to_bytes() == state.to_bytes()


QUEUES = QueueTree(
    [
        Queue(name="a", quotas={"gpu": Quota(deserved=4)}),
        Queue(name="b", priority=110, quotas={"gpu": Quota(deserved=4, limit=10)}),
    ]
)


@given(clusters(), workloads(priorities=(50, 60)), POLICIES, st.data())
@settings(max_examples=20)
def test_all_actions_together_never_overcommit(
    nodes: list[Node], groups: list[PodGroup], policy: str, data: st.DataObject
) -> None:
    """Evicted pods take a second to leave; who was evicted waits again. Two reservations at a time."""
    groups = [
        replace(
            group,
            queue=data.draw(st.sampled_from("ab")),
            runtime=data.draw(st.sampled_from((group.runtime, None))),
            max_runtime=data.draw(st.sampled_from((None, 8.0))),
        )
        for group in groups
    ]
    state = ClusterState(nodes)
    policies = Policies(
        placement=placement_policy(policy, MIX),
        queues=QUEUES,
        topologies={"racks": RACKS},
        rules=Rules(reservations=2, forecast=3),
    )
    known = {group.name: group for group in groups}
    for now in map(float, range(25)):
        for pod in list(state.leaving):
            state.forget(pod)
        present = [group for group in known.values() if group.created <= now]
        running = [group for group in present if any(pod.name in state.pods for pod in group.pods)]
        waiting = [group for group in present if any(pod.name not in state.pods for pod in group.pods)]
        cycle(state.borrow(), policies, groups=waiting, running=running, now=now, rng=np.random.default_rng(1))
        before = state.to_bytes()
        plan = cycle(state.borrow(), policies, groups=waiting, running=running, now=now, rng=np.random.default_rng(1))
        assert state.to_bytes() == before
        leaving = {evict.pod for evict in plan.evictions}
        for pod in leaving:
            state.leave(pod)
        for placement in plan.placements:
            if not placement.nominated:
                for pod, shape, row, mask in zip(
                    placement.pods, placement.shapes, placement.rows, placement.masks, strict=True
                ):
                    state.place(pod, shape, row, mask, placement.account)
        for group in present:
            there = sum(pod.name in state.pods and pod.name not in leaving for pod in group.pods)
            whole = there == len(list(group.pods))
            assert there == 0 or whole
            known[group.name] = replace(
                group,
                started=(group.started if group.started is not None else now) if whole else None,
                reserved=plan.reservations.get(group.name),
            )
        for row in range(len(nodes)):
            assert all(0 <= share <= DEVICE for share in state.gpu_free[row].tolist())
            assert all(free >= 0 for free in state.classes.keys[int(state.node_class[row])][1])
        assert set(plan.starts) <= {verdict.group for verdict in plan.unschedulable}
        assert all(start is None or start >= now for start in plan.starts.values())
        assert not set(plan.reservations) & {placement.group for placement in plan.placements}
