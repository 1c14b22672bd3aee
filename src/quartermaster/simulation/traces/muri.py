"""The Muri format: Philly jobs with a model and a number of iterations, from the simulator of Muri (SIGCOMM'22).

An iteration takes 1.5 % longer than its recorded time (the tax that simulator puts on every job that runs alone), and
work is the number of iterations: the recorded duration, the gap to the next job and the stage times are not used.
Priority 1 (AntMan's guaranteed jobs) is one above 0, and counts only where jobs preempt by priority.
`iteration_s` is rounded first and `duration` is a product of it, in the order in which the published digits were
computed.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from quartermaster.model.podgroup import DEFAULT_PRIORITY
from quartermaster.simulation.traces.cluster import ClusterShape, OverheadRule
from quartermaster.simulation.traces.column import integer, number, text
from quartermaster.simulation.traces.jobs import DEFAULT_QUEUE, Job, JobTrace, job_trace
from quartermaster.simulation.traces.table import File, read_table

TAX: Final = 1.015
"""Factor on the time of an iteration."""

GPU_COUNTS: Final = (1, 2, 4, 8, 16, 32)
"""GPUs of the start-up measurements. A count between two takes the next larger one: waiting grows with workers."""

START_UP: Final[Mapping[str, tuple[float, ...]]] = {
    "vgg16": (7, 7, 8, 9, 9, 10),
    "vgg19": (7, 7, 8, 9, 10, 10),
    "resnet18": (4, 5, 5, 7, 7, 7),
    "shufflenet_v2_x1_0": (4, 4, 5, 5, 7, 8),
    "bert": (10, 10, 10, 10, 10, 10),
    "gpt2": (10, 10, 10, 10, 10, 10),
    "a2c": (38, 39, 39, 46, 46, 46),
    "dqn": (5, 5, 6, 6, 8, 8),
}
"""Seconds to start each model on `GPU_COUNTS` GPUs, by its name in the trace files."""

_ID = text(name="job_id", wanted="the job's name", unique=True)
_GPUS = integer(name="num_gpu", wanted="GPUs of the job", low=1, high=GPU_COUNTS[-1])
_SUBMIT = number(name="submit_time", wanted="milliseconds from the start of the trace")
_ITERATIONS = number(name="iterations", wanted="iterations of the job", positive=True)
_MODEL = text(name="model_name", wanted=f"one of {', '.join(START_UP)}")
_ITERATION = number(name="iteration_time", wanted="milliseconds of one iteration", positive=True)
_PRIORITY = text(name="priority", wanted="0 or 1", default="")
_UNUSED = (
    text(name="batch_size", wanted="samples in a batch", default=""),
    text(name="duration", wanted="milliseconds the job ran", default=""),
    text(name="interval", wanted="milliseconds to the next job", default=""),
    text(name="resource_time_0", wanted="milliseconds of the GPU stage", default=""),
    text(name="resource_time_1", wanted="milliseconds of the CPU stage", default=""),
    text(
        name="resource_time_2",
        wanted="milliseconds of the network or storage stage",
        default="",
    ),
)

JOB_COLUMNS: Final = (_ID, _GPUS, _SUBMIT, _ITERATIONS, _MODEL, _ITERATION, *_UNUSED, _PRIORITY)


def read_muri(
    *,
    jobs: File,
    cluster: ClusterShape,
    name: str = "muri",
    queue: str = DEFAULT_QUEUE,
    overhead_rule: OverheadRule = OverheadRule.PER_EVENT,
) -> JobTrace:
    """A job list as a trace. The overhead rule is the published one unless another is asked for."""
    table = read_table(file=jobs, columns=JOB_COLUMNS)
    models = table[_MODEL]
    for row, model in enumerate(models):
        if model not in START_UP:
            problem = f"there is no start-up time for model '{model}'"
            raise table.error(row=row, column=_MODEL, problem=problem, fix=f"expected {_MODEL.wanted}")
    columns = (
        table[_ID],
        table[_GPUS],
        table[_SUBMIT],
        table[_ITERATIONS],
        models,
        table[_ITERATION],
        table[_PRIORITY],
    )
    return job_trace(
        name=name,
        cluster=cluster,
        overhead_rule=overhead_rule,
        jobs=(
            Job(
                name=identifier,
                queue=queue,
                submit=submit / 1000,
                gpus=gpus,
                duration=iterations * (TAX * milliseconds / 1000),
                overhead=start_up(model=model, gpus=gpus),
                priority=DEFAULT_PRIORITY + (priority == "1"),
                model=model,
                iterations=iterations,
                iteration_s=TAX * milliseconds / 1000,
            )
            for identifier, gpus, submit, iterations, model, milliseconds, priority in zip(*columns, strict=True)
        ),
    )


def start_up(*, model: str, gpus: int) -> float:
    """Seconds a job of this model needs to start on so many GPUs."""
    return next(float(seconds) for count, seconds in zip(GPU_COUNTS, START_UP[model], strict=True) if gpus <= count)
