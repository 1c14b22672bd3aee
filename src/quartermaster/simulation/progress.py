"""A job on its way through a simulation, and the policies that say which jobs run.

A job's place in the order is a value that it carries (`order`), unique and renewed only when its key changes. That is
what lets thousands wait at no cost: nobody who waits is looked at again until something that he waits for happens.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from quartermaster.model.podgroup import PodGroup
from quartermaster.simulation.traces.jobs import Job

Places = tuple[tuple[int, int], ...]
"""What a job holds: per node its row and a bit mask of devices, or how many GPUs where only their number counts."""


@dataclass(slots=True, eq=False)
class Progress:
    """A job on its way. `left` is computation that remains, in iterations; `attained` the seconds it has held GPUs.

    `order` says who goes first: smaller before larger. `places` are what it holds, `since` when it started there;
    `spread` is where that is if `places` do not say. `iteration_s` is its speed there.
    """

    index: int
    job: Job
    group: PodGroup
    left: float
    iteration_s: float
    attained: float = 0.0
    overhead_left: float = 0.0
    level: int = 0
    running: bool = False
    ends: float = math.inf
    first_start: float | None = None
    since: float = 0.0
    starts: int = 0
    order: tuple[Any, ...] = ()
    places: Places = ()
    spread: Places = ()

    @property
    def remaining(self) -> float:
        """Seconds of computation that remain."""
        return self.left * self.iteration_s


@dataclass(frozen=True, slots=True, kw_only=True)
class JobPolicy:
    """Which jobs run. `key` sorts those in the system; ties keep the order they are in.

    `moves`: keys of running jobs change as they run (and only theirs). `pooled` jobs take any free GPUs, wherever they
    are (the simulator that the digits come from counts GPUs only); with `levels`, those of the trace go before the key.
    Under `strict`, nobody passes a job that waits; under `backfills`, whoever does not delay it may (run times are
    known). Otherwise everybody who fits may.
    """

    key: Callable[[Progress], Any]
    preempts: bool = False
    moves: bool = False
    pooled: bool = False
    levels: bool = False
    strict: bool = False
    backfills: bool = False


JOB_POLICIES = {
    "fifo": JobPolicy(key=lambda p: p.job.submit),
    "fifo-strict": JobPolicy(key=lambda p: p.job.submit, strict=True),
    "backfill": JobPolicy(key=lambda p: p.job.submit, backfills=True),
    "sjf": JobPolicy(key=lambda p: p.job.duration),
    "srtf": JobPolicy(key=lambda p: p.remaining, preempts=True, moves=True),
    "srsf": JobPolicy(key=lambda p: p.remaining * p.job.gpus, preempts=True, moves=True),
    "tiresias": JobPolicy(key=lambda _: 0, preempts=True, pooled=True, levels=True),
}


def order_of(progress: Progress) -> tuple[Any, ...]:
    """A job's place in the order, as a sort key."""
    return progress.order
