"""The Pollux format: training jobs of measured applications, with their GPUs and batch size, submitted over 8 hours.

How long a job runs follows from the application's measurements (`applications.py`) and from the nodes that its GPUs are
on. The rest of the simulator that the recorded results come from is in the trace too: decisions once a minute, 30 s
without progress at every start, and Tiresias with two levels.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import cache
from typing import Final

from quartermaster.simulation.traces.applications import Application, applications
from quartermaster.simulation.traces.cluster import ClusterShape, OverheadRule
from quartermaster.simulation.traces.column import integer, number, text
from quartermaster.simulation.traces.jobs import DEFAULT_QUEUE, Job, JobTrace, Levels, job_trace
from quartermaster.simulation.traces.table import File, read_table

RESTART: Final = 30.0
"""Seconds without progress at every start and restart."""

INTERVAL: Final = 60.0
"""Seconds between two decisions."""

LEVELS: Final = Levels(limits=(57_600.0,), waiting_last=False)
"""16 GPU-hours divide the levels of Tiresias, in which jobs keep the order in which they came."""

NAMES: Final = ("bert", "cifar10", "deepspeech2", "imagenet", "ncf", "yolov3")
"""The applications that were measured."""

_ID = text(name="name", wanted="the job's name", unique=True)
_SUBMIT = number(name="time", wanted="seconds from the start of the trace")
_APPLICATION = text(name="application", wanted=f"one of {', '.join(NAMES)}")
_GPUS = integer(name="num_replicas", wanted="GPUs of the job", low=1, high=64)
_BATCH = integer(name="batch_size", wanted="samples of a step, on all GPUs together", low=1)

JOB_COLUMNS: Final = (_ID, _SUBMIT, _APPLICATION, _GPUS, _BATCH)


def read_pollux(
    *,
    jobs: File,
    cluster: ClusterShape,
    name: str = "pollux",
    queue: str = DEFAULT_QUEUE,
    overhead_rule: OverheadRule = OverheadRule.PER_START,
) -> JobTrace:
    """A job list as a trace."""
    table = read_table(file=jobs, columns=JOB_COLUMNS)
    rows = list(zip(table[_ID], table[_SUBMIT], table[_APPLICATION], table[_GPUS], table[_BATCH], strict=True))
    for row, (_, _, application, gpus, batch) in enumerate(rows):
        if application not in NAMES:
            problem = f"'{application}' was not measured"
            raise table.error(row=row, column=_APPLICATION, problem=problem, fix=f"expected {_APPLICATION.wanted}")
        low, high = _bounds(applications()[application], gpus)
        if not low <= batch <= high:
            problem = f"'{batch}' was not measured for {application} on {gpus} GPUs"
            raise table.error(row=row, column=_BATCH, problem=problem, fix=f"give {low} to {high}")
    return job_trace(
        name=name,
        cluster=cluster,
        overhead_rule=overhead_rule,
        interval=INTERVAL,
        levels=LEVELS,
        jobs=(
            _job(identifier, queue=queue, submit=submit, application=application, gpus=gpus, batch=batch, shape=cluster)
            for identifier, submit, application, gpus, batch in rows
        ),
    )


def _bounds(application: Application, gpus: int) -> tuple[int, int]:
    """The batch sizes that can be interpolated: between the measured ones, with enough samples for every GPU."""
    local = min(times[0][0] for times in application.placements.values())
    return max(application.batches[0], gpus * local), application.batches[-1]


def _job(name: str, *, queue: str, submit: float, application: str, gpus: int, batch: int, shape: ClusterShape) -> Job:
    full, rest = divmod(gpus, shape.gpus_per_node)
    steps, pace = _training(application, gpus, batch)
    step = pace((shape.gpus_per_node,) * full + ((rest,) if rest else ()))
    return Job(
        name=name,
        queue=queue,
        submit=submit,
        gpus=gpus,
        duration=steps * step,
        overhead=RESTART,
        model=application,
        iterations=steps,
        iteration_s=step,
        pace=pace,
    )


@cache
def _training(application: str, gpus: int, batch: int) -> tuple[float, Callable[[Sequence[int]], float]]:
    measured = applications()[application]
    times: dict[tuple[int, ...], float] = {}

    def pace(placement: Sequence[int]) -> float:
        key = tuple(placement)
        if key not in times:
            times[key] = measured.step_time(key, batch=batch)
        return times[key]

    return measured.steps(batch=batch, gpus=gpus), pace
