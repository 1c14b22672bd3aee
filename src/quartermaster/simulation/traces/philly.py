"""The Philly format: Microsoft's 2017 jobs by virtual cluster, with submission, run time and GPUs.

Submissions are local times of day, in no order. They become seconds from the first submission that is read; the clock
change of 5 November 2017 is ignored, because the file does not say which of the two hours a time in it belongs to, so
gaps across it are an hour short. The file has no job names: a job is called after its virtual cluster and its line, so
that it can be found and keeps its name when only one cluster is read.
"""

from __future__ import annotations

import difflib
from typing import Final

from quartermaster.model.errors import InvalidInput
from quartermaster.model.node import MAX_DEVICES
from quartermaster.simulation.traces.cluster import (
    MAX_NODES,
    ClusterShape,
    OverheadRule,
)
from quartermaster.simulation.traces.column import integer, moment, number, text
from quartermaster.simulation.traces.jobs import Job, JobTrace, job_trace
from quartermaster.simulation.traces.table import File, Table, read_table

_SUBMIT = moment(name="timestamp", wanted="the local time of submission")
_DURATION = number(name="duration", wanted="seconds the job ran", positive=True)
_GPUS = integer(name="num_gpus", wanted="GPUs of the job", low=1, high=MAX_NODES * MAX_DEVICES)
_CLUSTER = text(name="cluster", wanted="the virtual cluster")
_UNUSED = (text(name="gpu_time", wanted="duration times num_gpus", default=""),)

JOB_COLUMNS: Final = (_SUBMIT, _DURATION, _GPUS, _CLUSTER, *_UNUSED)


def read_philly(
    *,
    jobs: File,
    cluster: ClusterShape,
    name: str = "philly",
    queue: str | None = None,
    overhead_rule: OverheadRule = OverheadRule.PER_START,
) -> JobTrace:
    """A job list as a trace; each virtual cluster is a queue, and `queue` reads that one only."""
    table = read_table(file=jobs, columns=JOB_COLUMNS)
    if queue is not None:
        table = _only(table, queue)
    submitted = table[_SUBMIT]
    origin = min(submitted)
    columns = (table.lines, submitted, table[_DURATION], table[_GPUS], table[_CLUSTER])
    return job_trace(
        name=name,
        cluster=cluster,
        overhead_rule=overhead_rule,
        jobs=(
            Job(
                name=f"{virtual_cluster}-{line}",
                queue=virtual_cluster,
                submit=(submit - origin).total_seconds(),
                gpus=gpus,
                duration=duration,
                iterations=duration,
                iteration_s=1.0,
            )
            for line, submit, duration, gpus, virtual_cluster in zip(*columns, strict=True)
        ),
    )


def _only(table: Table, queue: str) -> Table:
    """The rows of one virtual cluster, picked before cells are parsed: the shipped file is 67,029 rows."""
    names = table[_CLUSTER]
    rows = [row for row, name in enumerate(names) if name == queue]
    if not rows:
        known = sorted(set(names))
        near = difflib.get_close_matches(queue, known, n=1)
        hint = f"did you mean '{near[0]}'? " if near else ""
        problem = f"no job is of virtual cluster '{queue}'"
        raise InvalidInput(
            f"{table.file}: column 'cluster'",
            problem,
            f"{hint}the file has {', '.join(known)}",
        )
    return table.take(rows)
