"""The ITP format: Microsoft's 2021 training jobs, one file for each cluster, with a deadline for each job.

Seconds are counted from the first submission of the file, deadlines too. The deadlines are synthetic: submission plus
0.5 to 1.5 times the recorded run time, drawn by the traces' authors, so half of them cannot be met on the GPUs a job
asks for. That is kept as it is; who replays it should report deadlines met against this bound.
"""

from __future__ import annotations

from typing import Final

from quartermaster.model.node import MAX_DEVICES
from quartermaster.simulation.traces.cluster import (
    MAX_NODES,
    ClusterShape,
    OverheadRule,
)
from quartermaster.simulation.traces.column import integer, number, text
from quartermaster.simulation.traces.jobs import DEFAULT_QUEUE, Job, JobTrace, job_trace
from quartermaster.simulation.traces.table import File, read_table

_ID = text(name="job", wanted="the job's name", unique=True)
_SUBMIT = number(name="submission_time", wanted="seconds from the start of the collection")
_DURATION = number(name="duration", wanted="seconds the job ran", positive=True)
_GPUS = integer(name="num_gpu", wanted="GPUs of the job", low=1, high=MAX_NODES * MAX_DEVICES)
_DEADLINE = number(name="deadline", wanted="seconds from the start of the collection")

JOB_COLUMNS: Final = (_ID, _SUBMIT, _DURATION, _GPUS, _DEADLINE)


def read_itp(
    *,
    jobs: File,
    cluster: ClusterShape,
    name: str = "itp",
    queue: str = DEFAULT_QUEUE,
    overhead_rule: OverheadRule = OverheadRule.PER_START,
) -> JobTrace:
    """A job list as a trace."""
    table = read_table(file=jobs, columns=JOB_COLUMNS)
    submitted, deadlines = table[_SUBMIT], table[_DEADLINE]
    for row, (submit, deadline) in enumerate(zip(submitted, deadlines, strict=True)):
        if deadline <= submit:
            problem = f"'{deadline:.15g}' is not after the submission at {submit:.15g}"
            raise table.error(row=row, column=_DEADLINE, problem=problem, fix="give a later time")
    origin = min(submitted)
    columns = (table[_ID], submitted, table[_DURATION], table[_GPUS], deadlines)
    return job_trace(
        name=name,
        cluster=cluster,
        overhead_rule=overhead_rule,
        jobs=(
            Job(
                name=identifier,
                queue=queue,
                submit=submit - origin,
                gpus=gpus,
                duration=duration,
                deadline=deadline - origin,
                iterations=duration,
                iteration_s=1.0,
            )
            for identifier, submit, duration, gpus, deadline in zip(*columns, strict=True)
        ),
    )
