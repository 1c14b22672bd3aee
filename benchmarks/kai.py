"""Decision time on KAI Scheduler's own setups, and how it grows.

Timed is one cycle in this process, from the borrowed state to the plan with its explanations, on a state made anew for
every run, which remembers nothing of earlier cycles: the counterpart of KAI's action without its session build. No API
server, informer or binder takes part on either side. A figure is printed only after its plan is what KAI decides.
"""

from __future__ import annotations

import gc
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

from benchmarks import kai_setups as setups
from benchmarks.drawing import draw
from benchmarks.figures import Figure, best_of
from benchmarks.kai_setups import Setup
from quartermaster.scheduling.plan import Plan
from quartermaster.scheduling.rules import ALL_ACTIONS


@dataclass(frozen=True, slots=True, kw_only=True)
class Case:
    """A figure: the worst of its setups, in seconds, each the best of `runs`."""

    name: str
    target: float
    make: Sequence[Callable[[], Setup]]
    runs: int = 5


CASES = (
    Case(name="fill-4000-singles", target=0.25, make=(lambda: setups.fill(500),)),
    Case(name="gang-512-topology", target=0.01, make=(lambda: setups.rack_gang(500, size=512, rack=100, fits=True),)),
    Case(name="gang-512-unfit", target=0.002, make=(lambda: setups.rack_gang(500, size=512, rack=50, fits=False),)),
    Case(
        name="verdict-79-of-80",
        target=0.005,
        make=(lambda: setups.one_gpu_short(10), lambda: setups.one_gpu_short(10, size=80, gpus=1)),
    ),
    Case(name="one-gpu-short-500", target=0.05, make=(lambda: setups.one_gpu_short(500),)),
    Case(name="one-gpu-short-1000", target=0.1, make=(lambda: setups.one_gpu_short(1000),)),
    Case(
        name="one-gpu-short-antiaffinity-100",
        target=0.1,
        make=(lambda: setups.too_few_racks(100, racks=9, apart=True),),
    ),
    Case(
        name="one-gpu-short-topology-100",
        target=0.1,
        make=(lambda: setups.too_few_racks(100, racks=12, apart=False),),
    ),
    Case(name="reclaim-one-of-4000", target=0.01, make=(lambda: setups.reclaim_one(500),)),
    Case(name="reclaim-large-gang-500", target=0.2, make=(lambda: setups.reclaim_large_gang(500),), runs=3),
    Case(name="reclaim-large-gang-1000", target=0.5, make=(lambda: setups.reclaim_large_gang(1000),), runs=3),
    Case(name="reclaim-4000-singles", target=2, make=(lambda: setups.reclaim_all(500),), runs=1),
    Case(name="consolidate-410", target=2, make=(lambda: setups.consolidate(500),), runs=3),
    Case(name="idle-500", target=0.002, make=(lambda: setups.idle(500),)),
    Case(name="idle-5000", target=0.02, make=(lambda: setups.idle(5000),)),
)


def figures() -> Iterator[Figure]:
    """The figures with their targets."""
    for case in CASES:
        worst = max(seconds(make(), runs=case.runs) for make in case.make)
        yield Figure(name=f"kai/{case.name}", value=worst, unit="s", target=case.target)


def seconds(setup: Setup, *, runs: int) -> float:
    """The shortest of several decisions; raises `AssertionError` if one is not KAI's."""
    policies = setup.policies()
    plans: list[Plan] = []

    def prepare() -> Callable[[], object]:
        state = setup.state()
        gc.collect()
        return lambda: plans.append(setup.decide(state, policies))

    shortest = best_of(runs, prepare)
    for plan in plans:
        setup.check(plan)
    if setup.expected.waiting:
        verdict = setup.decide(setup.state(), setup.policies(ALL_ACTIONS))
        setup.check(verdict)
        assert len(verdict.unschedulable) == len(setup.waiting), "who waits has to be told why"
    return shortest


GROWTH = (500, 1_000, 2_000, 5_000, 10_000, 20_000)
"""Sizes of cluster that `growth` measures."""


def growth() -> Iterator[Figure]:
    """Five of them from 500 to 20,000 nodes (8 pods per node); also drawn, in build/kai-growth.html."""
    series: dict[str, tuple[str, Callable[[int], Setup]]] = {
        "fill": ("filling the cluster, one single (us)", setups.fill),
        "gang-512": (
            "gang of 512 in a rack of 100 nodes (ms)",
            lambda count: setups.rack_gang(count, size=512, rack=100, fits=True),
        ),
        "one-gpu-short": ("gang of 10 x 8 GPUs, one GPU short (ms)", setups.one_gpu_short),
        "reclaim-one": ("reclaim of one GPU (ms)", setups.reclaim_one),
        "idle": ("idle cycle (ms)", setups.idle),
    }
    measured: dict[str, list[float]] = {title: [] for title, _ in series.values()}
    for count in GROWTH:
        for name, (title, make) in series.items():
            taken = seconds(make(count), runs=2)
            per_pod = name == "fill"
            value = taken / (setups.PER_NODE * count) * 1e6 if per_pod else taken * 1e3
            measured[title].append(value)
            yield Figure(name=f"kai-growth/{name}/{count}", value=value, unit="us" if per_pod else "ms")
    draw("kai-growth", GROWTH, measured)
