"""Strategies for nodes, pods and gangs: small clusters in which everything is scarce."""

from __future__ import annotations

from hypothesis import strategies as st

from quartermaster.model.labels import AffinityTerm, LabelSelector, Taint, Toleration
from quartermaster.model.locality import Locality, TopologyPolicy, TopologyScope, Zone
from quartermaster.model.node import Node
from quartermaster.model.pod import GpuRequest, Pod, PodSpec
from quartermaster.model.podgroup import PodGroup, SubGroup
from quartermaster.model.units import DEVICE, GIB
from quartermaster.scheduling.policies.base import PlacementPolicy
from quartermaster.scheduling.policies.catalogue import catalogue, placement_policy
from quartermaster.scheduling.policies.fragmentation import Mix

MODELS = ("A", "B")
TAINT = Taint(key="reserved")
ZONES = ("east", "west")


@st.composite
def nodes(draw: st.DrawFn, *, max_size: int = 8) -> list[Node]:
    """One to `max_size` nodes of a few kinds, in two zones, some tainted or closed."""
    count = draw(st.integers(1, max_size))
    return [
        Node(
            name=f"n{index}",
            cpu=(cpu := draw(st.sampled_from((4000, 8000)))),
            memory=draw(st.sampled_from((8, 16))) * GIB,
            pods=draw(st.sampled_from((3, 100))),
            extended=draw(st.sampled_from(({}, {"nic": 2}))),
            gpus=(gpus := draw(st.sampled_from((0, 1, 2, 4)))),
            gpu_model=draw(st.sampled_from(MODELS)) if gpus else "",
            gpu_memory=draw(st.sampled_from((40, 80))) * GIB if gpus else 0,
            labels={"zone": draw(st.sampled_from(ZONES)), "host": f"n{index}"},
            taints=draw(st.sampled_from(((), (), (TAINT,)))),
            schedulable=draw(st.sampled_from((True, True, True, False))),
            locality=draw(st.none() | localities(cpu=cpu, gpus=gpus)),
        )
        for index in range(count)
    ]


@st.composite
def localities(draw: st.DrawFn, *, cpu: int, gpus: int) -> Locality:
    """One to three zones that share a node's cores, GPUs and a NIC evenly or nearly so, and some links."""
    count = draw(st.integers(1, 3))
    of = [draw(st.integers(0, count - 1)) for _ in range(gpus)]
    pairs = tuple((gpu, gpu + 1) for gpu in range(0, gpus - 1, 2))
    zones = tuple(
        Zone(
            id=f"zone-{zone}",
            allocatable=(("cpu", cpu // 1000 // count * 1000), ("nic", int(zone == 0))),
            gpus=tuple(gpu for gpu in range(gpus) if of[gpu] == zone),
        )
        for zone in range(count)
    )
    return Locality(
        policy=draw(st.sampled_from(TopologyPolicy)),
        scope=draw(st.sampled_from(TopologyScope)),
        pins_cpu=draw(st.booleans()),
        threads=draw(st.sampled_from((1, 1, 2))),
        zones=zones,
        nvlink=draw(st.sampled_from(((), pairs))),
        rails=draw(st.sampled_from(((), tuple(range(gpus))))),
        network=frozenset({"nic"}),
    )


@st.composite
def gpu_requests(draw: st.DrawFn) -> GpuRequest:
    """None, whole devices, a share of one or two devices, or memory; of any model or of one."""
    count = draw(st.sampled_from((0, 1, 1, 2)))
    models = draw(st.sampled_from((frozenset[str](), frozenset({"A"}))))
    how = draw(st.sampled_from(("whole", "share", "memory")))
    if not count or how == "whole":
        return GpuRequest(count=count, models=models if count else frozenset())
    if how == "share":
        return GpuRequest(
            count=count,
            share=draw(st.sampled_from((DEVICE // 4, DEVICE // 2, DEVICE // 3))),
            models=models,
        )
    return GpuRequest(count=count, memory=draw(st.sampled_from((10, 30, 60))) * GIB, models=models)


@st.composite
def specs(draw: st.DrawFn, *, plain: bool = False) -> PodSpec:
    """Pod specs; unless `plain`, some with selectors, tolerations, ports and affinity between pods."""
    cpu, memory = (
        draw(st.sampled_from((0, 500, 2000))),
        draw(st.sampled_from((0, 1, 4))) * GIB,
    )
    extended = draw(st.sampled_from(((), (), (("nic", 1),))))
    gpu = draw(gpu_requests())
    guaranteed = draw(st.booleans())
    if plain:
        return PodSpec(cpu=cpu, memory=memory, extended=extended, gpu=gpu, guaranteed=guaranteed)
    app = draw(st.sampled_from(("x", "y")))
    key = draw(st.sampled_from(("zone", "host")))
    term = AffinityTerm(
        selector=LabelSelector.of({"app": draw(st.sampled_from(("x", "y")))}),
        topology_key=key,
        namespaces=frozenset({""}),
    )
    how = draw(st.sampled_from(("none", "none", "with", "apart")))
    return PodSpec(
        cpu=cpu,
        memory=memory,
        extended=extended,
        gpu=gpu,
        node_selector=draw(st.sampled_from((LabelSelector(), LabelSelector.of({"zone": "east"})))),
        tolerations=draw(st.sampled_from(((), (Toleration(exists=True),)))),
        host_ports=draw(st.sampled_from(((), (), (("TCP", 80),)))),
        labels=(("app", app),),
        affinity=(term,) if how == "with" else (),
        anti_affinity=(term,) if how == "apart" else (),
        guaranteed=guaranteed,
    )


@st.composite
def groups(draw: st.DrawFn, *, max_size: int = 6, queue: str = "default") -> list[PodGroup]:
    """Gangs with one or two leaves, minimums at or below what is desired, and runs of equal pods."""
    found = []
    for number in range(draw(st.integers(1, max_size))):
        leaves = [draw(_leaf(f"g{number}-{index}")) for index in range(draw(st.sampled_from((1, 1, 2))))]
        root = (
            leaves[0]
            if len(leaves) == 1
            else SubGroup(
                name="root",
                children=tuple(leaves),
                min=draw(st.integers(1, len(leaves))),
            )
        )
        found.append(
            PodGroup(
                name=f"g{number}",
                queue=queue,
                root=root,
                priority=draw(st.sampled_from((50, 50, 100))),
                created=float(draw(st.integers(0, 3))),
            )
        )
    return found


@st.composite
def _leaf(draw: st.DrawFn, name: str) -> SubGroup:
    runs = draw(st.lists(st.tuples(specs(), st.integers(1, 5)), min_size=1, max_size=2))
    pods = [spec for spec, count in runs for _ in range(count)]
    named = tuple(Pod(f"{name}-{index}", spec) for index, spec in enumerate(pods))
    return SubGroup(name=name, pods=named, min=draw(st.integers(0, len(named))))


MIX = Mix.of(
    [
        PodSpec(cpu=500, gpu=GpuRequest(count=1, share=DEVICE // 2)),
        PodSpec(cpu=2000, gpu=GpuRequest(count=1)),
        PodSpec(cpu=2000, gpu=GpuRequest(count=2, models=frozenset({"A"}))),
        PodSpec(cpu=500),
    ]
)
"""A mix for policies that want one."""


def policies() -> st.SearchStrategy[PlacementPolicy]:
    """Every placement policy of the catalogue."""
    names = [entry.name for entry in catalogue() if entry.kind == "placement"]
    return st.sampled_from(names).map(lambda name: placement_policy(name, MIX))
