"""Numbers that others published for the shipped traces, to print beside ours, and the power model two of them share.

They are data, not targets: what each was measured on is in the README of its folder.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

from quartermaster.simulation.traces.column import integer, number, text
from quartermaster.simulation.traces.shipped import shipped
from quartermaster.simulation.traces.table import read_table

_WORKLOAD = text(name="workload", wanted="the pod list")
_POLICY = text(name="policy", wanted="the policy")
_ARRIVED = integer(name="arrived", wanted="arrived GPU demand in % of capacity")
_MEAN = number(name="mean", wanted="the mean in %")
_SD = number(name="sd", wanted="the standard deviation in %")
_RECORDED: Final = (_WORKLOAD, _POLICY, _ARRIVED, _MEAN, _SD)

_TRACE = text(name="trace", wanted="the trace")
_AVERAGE = number(name="avg_jct_s", wanted="seconds")
_MAKESPAN = number(name="makespan_s", wanted="seconds")
_P99 = number(name="p99_jct_s", wanted="seconds")
_PUBLISHED: Final = (_TRACE, _POLICY, _AVERAGE, _MAKESPAN, _P99)

_EXPERIMENT = text(name="experiment", wanted="the experiment and policy")
_LOAD = text(name="workload", wanted="the workload")
_JOBS = integer(name="jobs", wanted="jobs of the workload")
_P50 = number(name="p50_jct_s", wanted="seconds")
_POLLUX: Final = (_EXPERIMENT, _LOAD, _JOBS, _AVERAGE, _P50, _P99)

_KIND = text(name="kind", wanted="gpu or cpu")
_MODEL = text(name="model", wanted="the device's model")
_IDLE = number(name="idle_w", wanted="watts when idle")
_FULL = number(name="full_w", wanted="watts when busy")
_CORES = integer(name="cores", wanted="cores of a package", low=1)
_POWER: Final = (_KIND, _MODEL, _IDLE, _FULL, _CORES)


@dataclass(frozen=True, slots=True, kw_only=True)
class Spread:
    """Mean and sample standard deviation over ten seeds, in %."""

    mean: float
    sd: float


@dataclass(frozen=True, slots=True, kw_only=True)
class PublishedRun:
    """One policy on one Muri trace, on 8 nodes of 8 GPUs, in seconds."""

    trace: str
    policy: str
    average_jct: float
    makespan: float
    p99_jct: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Power:
    """Draw of one device in watts: a GPU, or a CPU package of `cores` cores."""

    kind: str
    model: str
    idle: float
    full: float
    cores: int


def recorded_allocation() -> Mapping[tuple[str, str, int], Spread]:
    """Allocated GPU in % of 6,212 GPUs, by (openb list, policy, % arrived); nine lists, 80 to 130 % arrived."""
    return _spreads("openb/recorded_allocation.csv.gz")


def recorded_fragmentation() -> Mapping[tuple[str, str, int], Spread]:
    """Fragmented in % of idle GPU on list `default`, by (list, policy, % arrived) at every fifth % from 0 to 130."""
    return _spreads("openb/recorded_fragmentation.csv.gz")


def published_muri() -> tuple[PublishedRun, ...]:
    """The results of Muri's simulator that its repository prints."""
    table = read_table(file=shipped("philly-muri/published_results.csv"), columns=_PUBLISHED)
    columns = (
        table[_TRACE],
        table[_POLICY],
        table[_AVERAGE],
        table[_MAKESPAN],
        table[_P99],
    )
    return tuple(
        PublishedRun(
            trace=trace,
            policy=policy,
            average_jct=average,
            makespan=makespan,
            p99_jct=p99,
        )
        for trace, policy, average, makespan, p99 in zip(*columns, strict=True)
    )


def published_pollux() -> Mapping[tuple[str, str], float]:
    """Average completion times in s that Pollux's simulator recorded, by (experiment, workload); 16x4 GPUs."""
    table = read_table(file=shipped("philly-pollux/published_results.csv"), columns=_POLLUX)
    return dict(zip(zip(table[_EXPERIMENT], table[_LOAD], strict=True), table[_AVERAGE], strict=True))


def power_model() -> Mapping[tuple[str, str], Power]:
    """Power by (kind, model), as in PWR (CCGrid'25)."""
    table = read_table(file=shipped("openb/power_model_pwr_ccgrid25.csv"), columns=_POWER)
    columns = (table[_KIND], table[_MODEL], table[_IDLE], table[_FULL], table[_CORES])
    return {
        (kind, model): Power(kind=kind, model=model, idle=idle, full=full, cores=cores)
        for kind, model, idle, full, cores in zip(*columns, strict=True)
    }


def _spreads(path: str) -> Mapping[tuple[str, str, int], Spread]:
    table = read_table(file=shipped(path), columns=_RECORDED)
    keys = zip(table[_WORKLOAD], table[_POLICY], table[_ARRIVED], strict=True)
    spreads = (Spread(mean=mean, sd=sd) for mean, sd in zip(table[_MEAN], table[_SD], strict=True))
    return dict(zip(keys, spreads, strict=True))
