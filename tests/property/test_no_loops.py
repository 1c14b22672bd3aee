"""Evictions cease (docs/no-loops.md): clusters driven cycle by cycle, evicted pods waiting again at once."""

from random import Random

import pytest

from quartermaster.model.labels import LabelSelector
from quartermaster.model.node import Node
from quartermaster.model.pod import GpuRequest, Pod, PodSpec
from quartermaster.model.podgroup import PodGroup, SubGroup
from quartermaster.model.queue import Queue, QueueTree, Quota
from quartermaster.model.units import GIB
from quartermaster.scheduling.rules import Rules, VictimOrder
from quartermaster.testing.crowds import World, crowd

LONGEST = 60
"""Cycles after which a world that still changes is taken to change for ever; the longest so far took a tenth."""

WORKERS = 8
CYCLES = 10_000
CYCLES_SLOW = 1_000_000


def settle(world: World) -> tuple[int, int]:
    """Cycles until nothing changes any more, and how many of them evicted; fails when a state comes back."""
    seen: dict[frozenset[tuple[str, int, int]], int] = {world.places(): 0}
    last = evicting = 0
    for number in range(1, LONGEST):
        plan = world.decide(explain=False)
        if not plan.evictions and not any(placement.pods for placement in plan.placements):
            return number, evicting
        world.apply(plan)
        if plan.evictions:
            last, evicting = number, evicting + 1
        places = world.places()
        assert seen.get(places, last) >= last, f"as it was in cycle {seen[places]}, and pods were evicted in {last}"
        seen[places] = number
    pytest.fail("it never settles")


def drive(cycles: int, rng: Random) -> int:
    """Drive worlds for so many cycles; when one has settled, some of its work ends, and the rest is settled anew."""
    done = evicting = 0
    while done < cycles:
        world = crowd(rng, static=True)
        for _ in range(4):
            more, evicted = settle(world)
            done, evicting = done + more, evicting + evicted
            ended = {group.name for group in world.groups if rng.random() < 0.4}
            for group in world.groups:
                if group.name in ended:
                    for pod in group.pods:
                        if pod.name in world.state.pods:
                            world.state.forget(pod.name)
            world.groups = [group for group in world.groups if group.name not in ended]
    return evicting


@pytest.mark.parametrize("seed", range(WORKERS))
def test_evictions_cease(seed: int) -> None:
    assert drive(CYCLES // WORKERS, Random(seed)) > CYCLES // WORKERS // 50


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(100, 100 + WORKERS))
def test_evictions_cease_for_long(seed: int) -> None:
    assert drive(CYCLES_SLOW // WORKERS, Random(seed)) > CYCLES_SLOW // WORKERS // 50


def see_saw(rules: Rules) -> World:
    """Two queues that deserve 4 of 9 GPUs each and want 7: what either asks for sits on both gangs of the other."""

    def gang(name: str, queue: str, hosts: str, created: float) -> PodGroup:
        pods = []
        for host in hosts:
            where = LabelSelector.of({"host": host})
            pods.append(Pod(f"{name}/{host}", PodSpec(gpu=GpuRequest(count=1), node_selector=where)))
        return PodGroup(name=name, queue=queue, root=SubGroup(name=name, pods=tuple(pods)), created=created)

    quota = {"gpu": Quota(deserved=4, over_quota_weight=0)}
    world = World(
        nodes=[
            Node(name=host, cpu=1000, memory=GIB, gpus=1, gpu_model="A", gpu_memory=GIB, labels={"host": host})
            for host in "123456789"
        ],
        queues=QueueTree([Queue(name=name, quotas=quota) for name in "AB"]),
        groups=[
            gang("base-a", "A", "67", 0),
            gang("base-b", "B", "89", 0),
            gang("small-b", "B", "15", 1),
            gang("large-b", "B", "234", 2),
        ],
        rules=rules,
    )
    world.apply(world.decide())
    assert len(world.state.pods) == 9
    world.groups = [*world.groups, gang("small-a", "A", "12", 1), gang("large-a", "A", "345", 2)]
    return world


@pytest.mark.parametrize("order", VictimOrder)
def test_a_see_saw_comes_to_rest(order: VictimOrder) -> None:
    settle(see_saw(Rules(victim_order=order)))


@pytest.mark.parametrize("order", VictimOrder)
def test_without_backing_it_goes_on_for_ever(order: VictimOrder) -> None:
    """What KAI's rules do: the reason why ours differ."""
    with pytest.raises(AssertionError, match="as it was in cycle 0"):
        settle(see_saw(Rules(victim_order=order, steady=False)))
