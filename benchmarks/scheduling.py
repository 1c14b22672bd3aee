"""The scheduling core on 10,000 nodes of 8 GPUs, and how it grows."""

from __future__ import annotations

import gc
import resource
from collections.abc import Callable, Iterator

import numpy as np

from benchmarks.drawing import draw
from benchmarks.figures import Figure, best_of
from quartermaster.cluster.state import ClusterState
from quartermaster.model.node import Node
from quartermaster.model.pod import GpuRequest, Pod, PodSpec
from quartermaster.model.podgroup import PodGroup
from quartermaster.model.units import DEVICE, GIB
from quartermaster.scheduling.cycle import Policies, cycle
from quartermaster.scheduling.plan import Plan
from quartermaster.scheduling.policies.base import PlacementPolicy
from quartermaster.scheduling.policies.catalogue import placement_policy
from quartermaster.scheduling.policies.fragmentation import Mix

NODES = 10_000
QUEUE = "default"


def cluster(nodes: int) -> ClusterState:
    """`nodes` equal machines: 128 cores, 1 TiB, 8 GPUs, a host name each."""
    return ClusterState(
        Node(
            name=f"node-{i:05d}",
            cpu=128_000,
            memory=1024 * GIB,
            gpus=8,
            gpu_model="H100",
            gpu_memory=80 * GIB,
            labels={"kubernetes.io/hostname": f"node-{i:05d}"},
        )
        for i in range(nodes)
    )


def fifty_shapes() -> list[PodSpec]:
    """Ten GPU requests from none to 8 devices, each with five amounts of cpu and memory per GPU."""
    gpus = [(0, DEVICE), (1, DEVICE // 8), (1, DEVICE // 4), (1, DEVICE // 2), (1, 3 * DEVICE // 4)]
    gpus += [(1, DEVICE), (2, DEVICE), (3, DEVICE), (4, DEVICE), (8, DEVICE)]
    found = []
    for count, share in gpus:
        weight = count * share / DEVICE or 1.0
        for cores in (2, 4, 6, 8, 12):
            request = GpuRequest(count=count, share=share) if count else GpuRequest()
            found.append(PodSpec(cpu=int(cores * 1000 * weight), memory=int(cores * 6 * GIB * weight), gpu=request))
    return found


def singles(count: int) -> list[PodGroup]:
    """Single pods, shapes drawn evenly (seed 1), in one order of arrival."""
    specs = fifty_shapes()
    chosen = np.random.default_rng(1).integers(0, len(specs), count).tolist()
    return [PodGroup.of(Pod(f"pod-{i}", specs[which]), queue=QUEUE, created=float(i)) for i, which in enumerate(chosen)]


def decide(state: ClusterState, groups: list[PodGroup], policy: PlacementPolicy) -> Plan:
    """One cycle."""
    rng = np.random.default_rng(1)
    return cycle(state.borrow(), Policies(placement=policy), groups=groups, now=0.0, rng=rng)


def gang(name: str, *, size: int, gpus: int) -> PodGroup:
    """A gang of equal pods."""
    spec = PodSpec(cpu=8000 * gpus, memory=64 * GIB * gpus, gpu=GpuRequest(count=gpus))
    return PodGroup.gang(name, queue=QUEUE, spec=spec, size=size)


def gang_seconds(nodes: int, *, size: int, gpus: int, policy: str) -> float:
    """Time to decide a gang on an empty cluster that has seen other gangs before."""
    state = cluster(nodes)
    ranking = placement_policy(policy, Mix.of(fifty_shapes()))
    decide(state, [gang("warm-up", size=2, gpus=gpus)], ranking)
    group = gang("gang", size=size, gpus=gpus)
    plans: list[Plan] = []

    def prepare() -> Callable[[], object]:
        return lambda: plans.append(decide(state, [group], ranking))

    seconds = best_of(7, prepare)
    assert sum(len(placement.pods) for placement in plans[-1].placements) == size, "the gang must have been placed"
    return seconds


def singles_seconds(nodes: int, *, count: int, policy: str) -> tuple[float, int]:
    """Time to decide `count` singles on an empty cluster, and how many were placed."""
    groups = singles(count)
    ranking = placement_policy(policy, Mix.of(fifty_shapes()))
    placed: list[int] = []

    def prepare() -> Callable[[], object]:
        state = cluster(nodes)
        gc.collect()
        return lambda: placed.append(sum(len(p.pods) for p in decide(state, groups, ranking).placements))

    return best_of(2, prepare), placed[-1]


def delta_seconds(nodes: int) -> tuple[float, ClusterState]:
    """Mean time of one assume or forget among 100,000 pods; also the state, full."""
    state = cluster(nodes)
    specs = fifty_shapes()[:25]
    shapes = [state.shape(spec) for spec in specs]
    account = state.account(QUEUE)
    for i in range(10 * nodes):
        shape = shapes[0]
        state.place(f"pod-{i}", shape, i % nodes, 0, account)
    pods = [f"pod-{i}" for i in range(0, 10 * nodes, 10 * nodes // 2000)]

    def prepare() -> Callable[[], object]:
        def deltas() -> None:
            for pod in pods:
                was = state.forget(pod)
                state.place(pod, shapes[0], was.row, was.devices, was.account)

        return deltas

    return best_of(3, prepare) / (2 * len(pods)), state


def snapshot_seconds(state: ClusterState) -> float:
    """Time of one snapshot."""
    return best_of(5, lambda: state.snapshot)


def resident_mb() -> float:
    """Resident memory of this process now, in MB."""
    gc.collect()
    with open("/proc/self/statm", encoding="ascii") as statm:  # noqa: PTH123  # a kernel interface, not a file
        return int(statm.read().split()[1]) * resource.getpagesize() / 1e6


def figures() -> Iterator[Figure]:
    """The figures with their targets."""
    name = "scheduling"
    seconds, state = delta_seconds(NODES)
    yield Figure(name=f"{name}/resident-100000-pods", value=resident_mb(), unit="MB", target=400)
    yield Figure(name=f"{name}/delta", value=seconds * 1e6, unit="us", target=50)
    taken = snapshot_seconds(state)
    yield Figure(name=f"{name}/snapshot", value=taken * 1e3, unit="ms", target=5)
    del state
    for policy in ("quartermaster", "bin-pack"):
        seconds = gang_seconds(NODES, size=256, gpus=8, policy=policy)
        yield Figure(name=f"{name}/gang-256x8-{policy}", value=seconds * 1e3, unit="ms", target=5)
        seconds = gang_seconds(NODES, size=4096, gpus=1, policy=policy)
        yield Figure(name=f"{name}/gang-4096x1-{policy}", value=seconds * 1e3, unit="ms", target=10)
        seconds, placed = singles_seconds(NODES, count=100_000, policy=policy)
        yield Figure(name=f"{name}/singles-100000-{policy}", value=seconds, unit="s", target=2)
        yield Figure(name=f"{name}/singles-100000-{policy}-placed", value=placed, unit="pods", better="higher")


GROWTH = (1_000, 2_000, 5_000, 10_000, 20_000)
"""Sizes of cluster that `growth` measures."""


def growth() -> Iterator[Figure]:
    """The same from 1,000 to 20,000 nodes (10 singles per node); also drawn, in build/growth.html."""
    measured: dict[str, list[float]] = {"gang of 256 x 8 GPUs (ms)": [], "one single (us)": [], "snapshot (ms)": []}
    for nodes in GROWTH:
        gang, single, snapshot = measured.values()
        gang.append(gang_seconds(nodes, size=256, gpus=8, policy="bin-pack") * 1e3)
        yield Figure(name=f"growth/gang-256x8/{nodes}", value=gang[-1], unit="ms")
        seconds, _ = singles_seconds(nodes, count=10 * nodes, policy="bin-pack")
        single.append(seconds / (10 * nodes) * 1e6)
        yield Figure(name=f"growth/singles-per-pod/{nodes}", value=single[-1], unit="us")
        snapshot.append(snapshot_seconds(cluster(nodes)) * 1e3)
        yield Figure(name=f"growth/snapshot/{nodes}", value=snapshot[-1], unit="ms")
    draw("growth", GROWTH, measured)
