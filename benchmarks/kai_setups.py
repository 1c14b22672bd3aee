"""The clusters on which KAI Scheduler was timed, as sessions of ours, at any size.

Each function is one setup of KAI's benchmarks (`pkg/scheduler/actions` at commit d5bc503a: nodes of 8 GPUs, jobs of one
core and 1 GB a task, cpu and memory without bounds, jobs that age by their position in the list, a department `default`
above queues that name none) or one that was measured in KAI beside them, and carries what KAI decided there. A setup
that we decide otherwise is not the same work, so `check` comes before any figure.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from quartermaster.cluster.state import ClusterState
from quartermaster.model.labels import AffinityTerm, LabelSelector
from quartermaster.model.node import Node
from quartermaster.model.pod import GpuRequest, Pod, PodSpec
from quartermaster.model.podgroup import PodGroup, SubGroup
from quartermaster.model.queue import UNLIMITED, Queue, QueueTree, Quota
from quartermaster.model.topology import Level, Topology, TopologyConstraint
from quartermaster.model.units import CPU, GPU, MEMORY, MIB
from quartermaster.scheduling.cycle import Policies, cycle
from quartermaster.scheduling.plan import Plan
from quartermaster.scheduling.policies.kai import KaiScore
from quartermaster.scheduling.rules import ALL_ACTIONS, KAI_RULES, Action
from quartermaster.testing.scenarios.deciding import NoChance

PER_NODE = 8
NOW = 10_000_000.0
RACK = "rack"
RACKS = Topology(name="racks", levels=(Level(label=RACK),))
UNBOUNDED = dict.fromkeys((CPU, MEMORY), Quota(deserved=UNLIMITED))
DEFAULT = Queue(name="default", quotas={**UNBOUNDED, GPU: Quota(deserved=UNLIMITED, over_quota_weight=0)})


@dataclass(frozen=True, slots=True, kw_only=True)
class Outcome:
    """Pods by what a plan does with them: KAI's Binding, Pipelined, Releasing and Pending.

    `moved` are evicted and have a new place.
    """

    bound: int = 0
    nominated: int = 0
    evicted: int = 0
    moved: int = 0
    waiting: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class Setup:
    """One session and what KAI decides in it. `one_rack`: the nodes of all binds are in one rack."""

    nodes: Sequence[Node]
    queues: Sequence[Queue]
    waiting: Sequence[PodGroup]
    running: Sequence[PodGroup] = ()
    places: Mapping[str, tuple[str, int]] = field(default_factory=dict)
    actions: tuple[Action, ...] = ALL_ACTIONS
    expected: Outcome
    one_rack: bool = False

    def state(self) -> ClusterState:
        """The cluster with the running pods in their places, new."""
        state = ClusterState(self.nodes)
        for group in self.running:
            for pod in group.pods:
                node, device = self.places[pod.name]
                state.assume(pod.name, pod.spec, node, (device,), queue=group.queue)
        return state

    def policies(self, actions: Sequence[Action] | None = None) -> Policies:
        """KAI's rules and scores; `actions` instead of the setup's own if given."""
        return Policies(
            placement=KaiScore(),
            rules=KAI_RULES,
            queues=QueueTree(self.queues),
            topologies={RACKS.name: RACKS},
            actions=self.actions if actions is None else tuple(actions),
        )

    def decide(self, state: ClusterState, policies: Policies) -> Plan:
        """One cycle."""
        return cycle(state.borrow(), policies, groups=self.waiting, running=self.running, now=NOW, rng=NoChance())

    def check(self, plan: Plan) -> None:
        """Raise `AssertionError` if the plan is not what KAI decides."""
        found = self.outcome(plan)
        assert found == self.expected, f"decided {found}, KAI: {self.expected}"
        if self.one_rack:
            racks = {node.name: node.labels[RACK] for node in self.nodes}
            assert len({racks[bind.node] for bind in plan.binds}) == 1, "the gang has to be in one rack"

    def outcome(self, plan: Plan) -> Outcome:
        """What a plan does, in numbers of pods."""
        asked = {pod.name for group in self.waiting for pod in group.pods}
        binds, nominations = ({bind.pod for bind in which} for which in (plan.binds, plan.nominations))
        evicted = {evict.pod for evict in plan.evictions}
        return Outcome(
            bound=len(binds & asked),
            nominated=len(nominations & asked),
            evicted=len(evicted - nominations),
            moved=len(evicted & nominations),
            waiting=len(asked - binds - nominations),
        )


# ---- parts


def nodes(count: int, *, racks: Sequence[int] | None = None) -> list[Node]:
    """Equal nodes ``node0`` and so on, with a rack each where given."""
    return [
        Node(
            name=f"node{i}",
            cpu=20_000_000,
            memory=20_000_000_000,
            pods=110,
            gpus=PER_NODE,
            gpu_memory=100 * MIB,
            labels={} if racks is None else {RACK: f"rack-{racks[i]}"},
        )
        for i in range(count)
    ]


def queue(name: str, deserved: float, *, parent: str = "default", weight: float = 0.0) -> Queue:
    """A queue that deserves GPUs, and cpu and memory without bounds."""
    gpu = Quota(deserved=deserved, over_quota_weight=weight)
    return Queue(name=name, parent=parent or None, quotas={**UNBOUNDED, GPU: gpu})


def spec(gpus: int, *, apart: bool = False) -> PodSpec:
    """What a task asks for; `apart`: no two of its kind in one rack."""
    labels = {"app": "apart"} if apart else {}
    term = AffinityTerm(selector=LabelSelector.of(labels), topology_key=RACK, namespaces=frozenset({""}))
    return PodSpec(
        cpu=1000,
        memory=1_000_000_000,
        gpu=GpuRequest(count=gpus),
        labels=tuple(labels.items()),
        anti_affinity=(term,) if apart else (),
    )


ONE = spec(1)


def singles(
    name: str, queues: Sequence[str], count: int, *, jobs: int, first: int = 0, runs: bool = False
) -> list[PodGroup]:
    """Jobs of one 1-GPU task, round the queues; they are the jobs from `first` on in a list of `jobs`."""
    return [
        PodGroup(
            name=f"{name}-{i}",
            queue=queues[i % len(queues)],
            root=SubGroup(pods=(Pod(f"{name}-{i}-0", ONE),)),
            created=age(first + i, jobs),
            started=NOW - 60.0 if runs else None,
        )
        for i in range(count)
    ]


def gang(name: str, *, leaf: str, what: PodSpec, size: int, created: float, in_rack: bool = False) -> PodGroup:
    """A job of equal tasks, all or none, if asked in one rack."""
    rack = TopologyConstraint(topology=RACKS.name, required=RACK) if in_rack else None
    pods = tuple(Pod(f"{name}-{i}", what) for i in range(size))
    return PodGroup(name=name, queue=leaf, root=SubGroup(pods=pods, topology=rack), created=created)


def age(position: int, jobs: int) -> float:
    """When the job at this position of a list was created: a minute after the one before it."""
    return NOW - 60.0 * (jobs - position)


def spread_over(running: Sequence[PodGroup], count: int) -> dict[str, tuple[str, int]]:
    """Places of running singles: job i on node i mod `count`, on that node's next device."""
    return {f"{group.name}-0": (f"node{i % count}", i // count) for i, group in enumerate(running)}


# ---- allocate


def fill(count: int) -> Setup:
    """A: an empty cluster and as many 1-GPU jobs as fit, in four queues of two departments."""
    gpus = PER_NODE * count
    departments = [queue(name, gpus / 2, parent="", weight=gpus / 2) for name in ("dept-a", "dept-b")]
    leaves = [queue(f"queue-{i}", gpus / 4, parent=departments[i // 2].name, weight=1) for i in range(4)]
    return Setup(
        nodes=nodes(count),
        queues=[*departments, *leaves],
        waiting=singles("job", [leaf.name for leaf in leaves], gpus, jobs=gpus),
        actions=(Action.ALLOCATE,),
        expected=Outcome(bound=gpus),
    )


def rack_gang(count: int, *, size: int, rack: int, fits: bool) -> Setup:
    """B, B2: an empty cluster in racks of `rack` nodes, and a gang of `size` single GPUs that wants one of them."""
    return Setup(
        nodes=nodes(count, racks=[i // rack for i in range(count)]),
        queues=[DEFAULT, queue("queue-0", PER_NODE * count)],
        waiting=[gang("gang", leaf="queue-0", what=ONE, size=size, created=age(0, 1), in_rack=True)],
        actions=(Action.ALLOCATE,),
        expected=Outcome(bound=size) if fits else Outcome(waiting=size),
        one_rack=fits,
    )


# ---- reclaim


def reclaim(
    count: int,
    *,
    deserved: tuple[int, int],
    size: int,
    gpus: int,
    takes: bool,
    racks: int | None = None,
    apart: bool = False,
    in_rack: bool = False,
) -> Setup:
    """A cluster full of 1-GPU jobs of ``queue-0`` and a gang in ``queue-1`` that wants `size` x `gpus` of theirs.

    `deserved` are the GPUs that the two queues deserve. With `racks`, node i is in rack i mod `racks`, and the tasks
    are to be in different racks (`apart`) or all in one (`in_rack`).
    """
    full = PER_NODE * count
    running = singles("running-job", ["queue-0"], full, jobs=full + 1, runs=True)
    what = spec(gpus, apart=apart)
    return Setup(
        nodes=nodes(count, racks=None if racks is None else [i % racks for i in range(count)]),
        queues=[DEFAULT, queue("queue-0", deserved[0]), queue("queue-1", deserved[1])],
        waiting=[gang("gang", leaf="queue-1", what=what, size=size, created=age(full, full + 1), in_rack=in_rack)],
        running=running,
        places=spread_over(running, count),
        actions=(Action.RECLAIM,),
        expected=Outcome(nominated=size, evicted=size * gpus) if takes else Outcome(waiting=size),
    )


def one_gpu_short(count: int, *, size: int = 10, gpus: int = PER_NODE) -> Setup:
    """C, C2 and KAI's own: all but one of the GPUs that a gang needs may be taken, so none may."""
    asked = size * gpus
    return reclaim(count, deserved=(PER_NODE * count - asked + 1, asked), size=size, gpus=gpus, takes=False)


def too_few_racks(count: int, *, size: int = 10, racks: int, apart: bool) -> Setup:
    """Enough may be taken, but a gang of whole nodes has to be in `size` racks (`apart`) or in one, and cannot be."""
    asked = size * PER_NODE
    deserved = (PER_NODE * count - asked, asked)
    return reclaim(
        count, deserved=deserved, size=size, gpus=PER_NODE, takes=False, racks=racks, apart=apart, in_rack=not apart
    )


def reclaim_one(count: int) -> Setup:
    """D: one GPU for a queue that deserves one."""
    return reclaim(count, deserved=(PER_NODE * count - 1, 1), size=1, gpus=1, takes=True)


def reclaim_large_gang(count: int) -> Setup:
    """A gang of whole nodes takes half of the cluster from a queue that deserves nothing."""
    return reclaim(count, deserved=(0, PER_NODE * count), size=count // 2, gpus=PER_NODE, takes=True)


def reclaim_all(count: int) -> Setup:
    """As many 1-GPU jobs as run take the whole cluster, one decision each, in a full cycle."""
    full = PER_NODE * count
    running = singles("running-job", ["queue-0"], full, jobs=2 * full, runs=True)
    return Setup(
        nodes=nodes(count),
        queues=[DEFAULT, queue("queue-0", 0), queue("queue-1", full)],
        waiting=singles("pending-job", ["queue-1"], full, jobs=2 * full, first=full),
        running=running,
        places=spread_over(running, count),
        expected=Outcome(nominated=full, evicted=full),
    )


# ---- the rest


def consolidate(count: int, *, size: int = 10) -> Setup:
    """KAI's scale test `consolidates for many large jobs`, in one full cycle: every pod placed costs one move.

    `test/e2e/scale/kwok_test.go` and its helpers: a cluster full of 1-GPU jobs of a queue that deserves nothing and has
    no weight; of each node five are deleted; then as many gangs of `size` pods of 6 GPUs as the free GPUs add up to (41
    of 10 on 500 nodes), in a queue without bounds; any number of moves is allowed. A node has 5 GPUs free and a pod
    wants 6, so one single has to leave every node that takes a pod, and there are only nodes enough if the others are
    filled with them to the brim.
    """
    left, wants = 3, 6
    gangs = count * (PER_NODE - left) // (wants * size)
    jobs = left * count + gangs
    running = singles("running-job", ["sanity"], left * count, jobs=jobs, runs=True)
    return Setup(
        nodes=nodes(count),
        queues=[DEFAULT, queue("sanity", 0), queue("distributed", UNLIMITED, weight=1)],
        waiting=[
            gang(f"gang-{i}", leaf="distributed", what=spec(wants), size=size, created=age(left * count + i, jobs))
            for i in range(gangs)
        ],
        running=running,
        places=spread_over(running, count),
        expected=Outcome(nominated=gangs * size, moved=gangs * size),
    )


def idle(count: int) -> Setup:
    """A full cluster where nobody waits: all five actions have nothing to do."""
    full = PER_NODE * count
    running = singles("running-job", ["queue-0"], full, jobs=full, runs=True)
    return Setup(
        nodes=nodes(count),
        queues=[DEFAULT, queue("queue-0", full - 1), queue("queue-1", 1)],
        waiting=[],
        running=running,
        places=spread_over(running, count),
        expected=Outcome(),
    )
