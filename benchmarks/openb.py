"""The openb packing experiment: ours against what its authors recorded, and our policy against FGD.

`figures` is one seed of the default list, for the time that a run takes. The whole table (eleven lists, eight policies,
ten seeds) takes half an hour on two cores: ``python -m benchmarks openb-table``.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor

from benchmarks.figures import Figure
from quartermaster.simulation.results import Experiment, Run, Summary, Task
from quartermaster.simulation.simulate import simulate
from quartermaster.simulation.traces.recorded import recorded_allocation
from quartermaster.simulation.traces.source import TraceSource

LISTS = (
    "default", "cpu050", "cpu072", "cpu200", "gpushare40", "gpushare80",
    "gpuspec05", "gpuspec10", "gpuspec25", "multigpu20", "multigpu40",
)  # fmt: skip
BANDS = {"fgd": 0.3, "best-fit": 0.3, "dot-prod": 0.6, "gpu-packing": 0.6, "gpu-clustering": 0.6, "random": 0.6}
"""How far from the recorded mean a faithful simulator may be, in points."""

RECORDED_AS = {
    "fgd": "FGD",
    "best-fit": "BestFit",
    "dot-prod": "DotProd",
    "gpu-packing": "GpuPacking",
    "gpu-clustering": "GpuClustering",
    "random": "Random",
}

SEEDS = range(42, 52)
AT = (100, 130)


def figures() -> Iterator[Figure]:
    """Seconds that one seed of the default list takes."""
    for policy in ("fgd", "quartermaster", "best-fit"):
        start = time.perf_counter()
        simulate(Task(source=TraceSource(name="openb/default"), policy=policy, seed=42))
        target = 10 if policy == "fgd" else None
        yield Figure(name=f"openb/default-seed-{policy}", value=time.perf_counter() - start, unit="s", target=target)


def table(lists: tuple[str, ...] = LISTS) -> Iterator[Figure]:
    """Means of ten seeds: differences to what was recorded (target: the band), and our lead over FGD."""
    policies = [*BANDS, "quartermaster"]
    tasks = [
        Task(source=TraceSource(name=f"openb/{name}"), policy=policy, seed=seed)
        for name in lists
        for policy in policies
        for seed in SEEDS
    ]
    runs: list[Run] = []
    with ProcessPoolExecutor() as pool:
        for run in pool.map(simulate, tasks):
            runs.append(run)
            if len(runs) % len(SEEDS) == 0:
                sys.stderr.write(f"openb: {len(runs)} of {len(tasks)} runs\n")
    per_list = len(policies) * len(SEEDS)
    for index, name in enumerate(lists):
        own = tuple(runs[index * per_list : (index + 1) * per_list])
        yield from _compare(name, Experiment(trace=name, nodes=0, gpus=0, runs=own).summary())


def _compare(name: str, rows: list[Summary]) -> Iterator[Figure]:
    mean = {(row.policy, row.metric): row.mean for row in rows}
    recorded = recorded_allocation()
    for at in AT:
        metric = f"gpu_allocation_percent@{at}"
        for policy, band in BANDS.items():
            value = mean[policy, metric]
            yield Figure(name=f"openb/{name}/{policy}@{at}", value=value, unit="%", better="higher")
            known = recorded.get((name, RECORDED_AS[policy], at))
            if known is not None:
                apart = abs(value - known.mean)
                yield Figure(name=f"openb/{name}/{policy}@{at}-off-recorded", value=apart, unit="points", target=band)
        value = mean["quartermaster", metric]
        yield Figure(name=f"openb/{name}/quartermaster@{at}", value=value, unit="%", better="higher")
        lead = value - mean["fgd", metric]
        yield Figure(name=f"openb/{name}/lead-over-fgd@{at}", value=lead, unit="points", better="higher", target=-0.2)
