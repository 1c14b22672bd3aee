"""Crowded clusters: whole worlds in which everything is scarce, to be driven cycle by cycle.

Drawn from a `random.Random`, so that a plain seed gives a million of them quickly, and hypothesis, which can pose as
one (`worlds`), shrinks those that fail. Few nodes, few kinds of pods and many constraints: that is where victims are
hard to choose.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from random import Random

import numpy as np
from hypothesis import strategies as st

from quartermaster.cluster.state import ClusterState
from quartermaster.model.disruption import DisruptionBudget
from quartermaster.model.labels import LabelSelector
from quartermaster.model.node import Node
from quartermaster.model.pod import GpuRequest, Pod, PodSpec
from quartermaster.model.podgroup import PodGroup, SubGroup
from quartermaster.model.queue import UNLIMITED, Queue, QueueTree, Quota
from quartermaster.model.topology import Level, Topology, TopologyConstraint
from quartermaster.model.units import DEVICE, GIB
from quartermaster.scheduling.cycle import Policies, cycle
from quartermaster.scheduling.plan import Plan
from quartermaster.scheduling.policies.catalogue import placement_policy
from quartermaster.scheduling.rules import ALL_ACTIONS, Action, QueueOrder, Rules, VictimOrder
from quartermaster.testing.clusters import MIX

LEVELS = ("zone", "rack", "host")
TOPOLOGY = Topology(name="net", levels=tuple(Level(label=name) for name in LEVELS))
MODELS = ("A", "B")


@dataclass(slots=True)
class World:
    """A cluster, its queues and everybody who wants something there. `step` changes it as an executor would."""

    nodes: list[Node]
    queues: QueueTree
    groups: list[PodGroup]
    rules: Rules
    budgets: tuple[DisruptionBudget, ...] = ()
    now: float = 100.0
    seed: int = 1
    state: ClusterState = field(init=False)

    def __post_init__(self) -> None:
        self.state = ClusterState(self.nodes)

    @property
    def policies(self) -> Policies:
        """What its cycles decide by."""
        return Policies(
            placement=placement_policy("quartermaster", MIX),
            queues=self.queues,
            topologies={TOPOLOGY.name: TOPOLOGY},
            rules=self.rules,
            budgets=self.budgets,
        )

    def running(self) -> list[PodGroup]:
        """The groups with pods on nodes."""
        there = self.state.pods
        return [group for group in self.groups if any(pod.name in there for pod in group.pods)]

    def waiting(self) -> list[PodGroup]:
        """The groups with pods that want a node."""
        there = self.state.pods
        return [group for group in self.groups if any(pod.name not in there for pod in group.pods)]

    def decide(
        self,
        groups: Sequence[PodGroup] | None = None,
        *,
        actions: tuple[Action, ...] = ALL_ACTIONS,
        explain: bool = True,
    ) -> Plan:
        """What the next cycle would do, for all who wait or for some `groups`."""
        return cycle(
            self.state.borrow(),
            replace(self.policies, actions=actions, explain=explain),
            groups=self.waiting() if groups is None else groups,
            running=self.running(),
            now=self.now,
            rng=np.random.default_rng(self.seed),
        )

    def apply(self, plan: Plan) -> None:
        """Make a plan so: evicted pods wait again at once, nominated ones are bound."""
        before = set(self.state.pods)
        plan.apply(self.state)
        there = self.state.pods
        for index, group in enumerate(self.groups):
            was = any(pod.name in before for pod in group.pods)
            now = any(pod.name in there for pod in group.pods)
            if now != was:
                self.groups[index] = replace(group, started=self.now if now else None)

    def places(self) -> frozenset[tuple[str, int, int]]:
        """Who is where: the part of the state that decisions change."""
        return frozenset((pod, at.row, at.devices) for pod, at in self.state.pods.items())


def crowd(rng: Random, *, static: bool = False) -> World:
    """A world in which some of the groups run and the others have just come.

    With `static`, what a pod is charged does not depend on its node, and no time has to pass before work may be taken:
    what `docs/no-loops.md` assumes.
    """
    world = World(
        nodes=_nodes(rng),
        queues=_queues(rng, static=static),
        groups=[],
        rules=Rules(
            queue_order=rng.choice(tuple(QueueOrder)),
            victim_order=rng.choice(tuple(VictimOrder)),
            consolidating=rng.random() < 0.7,
            saturation_multiplier=rng.choice((1.0, 1.0, 1.5)),
            max_moves=rng.choice((None, 16, 2)),
            deserved_in_full=rng.random() < 0.2,
        ),
        budgets=(_budget(rng),) if not static and rng.random() < 0.3 else (),
    )
    leaves = [queue.name for queue in world.queues if world.queues.is_leaf(queue.name)]
    kinds = [_spec(rng, world.nodes, static=static) for _ in range(rng.randint(1, 4))]
    names = range(rng.randint(2, 12))
    groups = [_group(rng, f"g{number}", leaves, kinds, static=static) for number in names]
    early = groups[: rng.randint(0, len(groups))]
    world.groups = early
    world.apply(world.decide())
    if not static:
        world.groups = [
            replace(group, started=world.now - rng.choice((0, 5, 50))) if group.started is not None else group
            for group in world.groups
        ]
    world.groups = [*world.groups, *groups[len(early) :]]
    return world


def worlds(*, static: bool = False) -> st.SearchStrategy[World]:
    """Worlds for hypothesis."""
    return st.randoms(use_true_random=False).map(lambda rng: crowd(rng, static=static))


def _nodes(rng: Random) -> list[Node]:
    mixed = rng.random() < 0.3
    gpus = rng.choice((1, 2, 4))
    return [
        Node(
            name=f"n{index}",
            cpu=rng.choice((4000, 8000)) if mixed else 8000,
            memory=16 * GIB,
            gpus=rng.choice((0, 1, 2, 4)) if mixed else gpus,
            gpu_model=rng.choice(MODELS) if mixed else "A",
            gpu_memory=40 * GIB,
            labels={"zone": f"z{index // 4}", "rack": f"r{index // 2}", "host": f"n{index}"},
        )
        for index in range(rng.randint(1, 6))
    ]


def _queues(rng: Random, *, static: bool) -> QueueTree:
    depth: dict[str, int] = {}
    queues: list[Queue] = []
    for index in range(rng.randint(2, 7)):
        above = [None, *(name for name, level in depth.items() if level < 4)]
        parent = rng.choice(above) if index > 1 else None
        name = f"q{index}"
        depth[name] = 1 if parent is None else depth[parent] + 1
        resources = ("gpu", "cpu") if static else ("gpu", "cpu", "memory", "gpu/A")
        queues.append(
            Queue(
                name=name,
                parent=parent,
                priority=rng.choice((100, 100, 200)),
                created=float(rng.randint(0, 2)),
                quotas={r: _quota(rng, r) for r in resources if r == "gpu" or rng.random() < 0.2},
                reclaim_min_runtime=None if static else rng.choice((None, None, 10.0)),
                preempt_min_runtime=None if static else rng.choice((None, None, 10.0)),
            )
        )
    return QueueTree(queues)


def _quota(rng: Random, resource: str) -> Quota:
    step = {"cpu": 1000.0, "memory": 1.0 * GIB}.get(resource, 1.0)
    limit = rng.choice((2, 4, 8, UNLIMITED, UNLIMITED, UNLIMITED))
    deserved = min(limit, rng.choice((0, 0, 1, 2, 3, 4)))
    return Quota(deserved=deserved * step, limit=limit * step, over_quota_weight=rng.choice((0, 0.5, 1, 1, 1, 2)))


def _spec(rng: Random, nodes: Sequence[Node], *, static: bool) -> PodSpec:
    how = rng.choice(("whole", "whole", "whole", "share", "memory", "none"))
    if static and how == "memory":
        how = "whole"
    gpu = GpuRequest()
    models = frozenset({"A"}) if not static and rng.random() < 0.2 else frozenset[str]()
    if how == "whole":
        gpu = GpuRequest(count=rng.choice((1, 1, 1, 2, 4)), models=models)
    elif how == "share":
        gpu = GpuRequest(count=1, share=rng.choice((DEVICE // 2, DEVICE // 4)), models=models)
    elif how == "memory":
        gpu = GpuRequest(count=1, memory=rng.choice((10, 30)) * GIB, models=models)
    where = LabelSelector()
    if rng.random() < 0.3:
        key = rng.choice(("host", "rack"))
        where = LabelSelector.of({key: rng.choice(nodes).labels[key]})
    return PodSpec(
        cpu=rng.choice((0, 0, 1000, 3000)) if gpu.count else rng.choice((1000, 3000)),
        memory=rng.choice((0, 0, GIB, 6 * GIB)),
        gpu=gpu,
        node_selector=where,
        labels=(("app", rng.choice(("x", "y"))),),
    )


def _budget(rng: Random) -> DisruptionBudget:
    return DisruptionBudget(
        name="pdb", namespace="", selector=LabelSelector.of({"app": "x"}), allowed=rng.choice((0, 1))
    )


def _group(rng: Random, name: str, leaves: Sequence[str], kinds: Sequence[PodSpec], *, static: bool) -> PodGroup:
    return PodGroup(
        name=name,
        queue=rng.choice(leaves),
        root=_tree(rng, name, kinds),
        priority=rng.choice((50, 50, 75, 100)),
        created=float(rng.randint(0, 50)),
        preemptible=rng.random() < 0.85,
        may_preempt=rng.random() < 0.9,
        preemption_delay=0.0 if static else rng.choice((0.0, 0.0, 0.0, 75.0)),
    )


def _tree(rng: Random, name: str, kinds: Sequence[PodSpec]) -> SubGroup:
    shape = rng.random()
    if shape < 0.75:
        return _leaf(rng, name, kinds)
    children = [_leaf(rng, f"{name}-{index}", kinds) for index in range(rng.randint(2, 3))]
    return SubGroup(
        name=name,
        children=tuple(children),
        min=rng.choice((None, 1, len(children) - 1)),
        topology=_constraint(rng),
    )


def _leaf(rng: Random, name: str, kinds: Sequence[PodSpec]) -> SubGroup:
    size = rng.choice((1, 1, 1, 2, 2, 3, 4))
    spec = rng.choice(kinds)
    pods = tuple(Pod(f"{name}/{index}", spec) for index in range(size))
    return SubGroup(name=name, pods=pods, min=rng.choice((None, None, 1, size)), topology=_constraint(rng))


def _constraint(rng: Random) -> TopologyConstraint | None:
    if rng.random() < 0.75:
        return None
    required, preferred = rng.choice((("rack", ""), ("zone", ""), ("", "rack"), ("zone", "rack"), ("host", "")))
    return TopologyConstraint(topology=TOPOLOGY.name, required=required, preferred=preferred)


def satisfied(part: SubGroup, there: Mapping[str, object]) -> bool:
    """Whether a part is at its minimum."""
    if part.children:
        return sum(satisfied(child, there) for child in part.children) >= part.minimum
    return sum(pod.name in there for pod in part.pods) >= part.minimum
