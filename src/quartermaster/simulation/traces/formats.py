"""The trace formats that can be read, as a list to print: what each is, the files it wants and their columns."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final

from quartermaster.simulation.traces import itp, muri, openb, philly, pollux
from quartermaster.simulation.traces.column import Column


@dataclass(frozen=True, slots=True, kw_only=True)
class FormatFile:
    """One file of a format: the `TraceSource` field that names it, and its columns as (name, meaning, required)."""

    role: str
    columns: tuple[tuple[str, str, bool], ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Format:
    """A trace format. `options` are further fields of a `TraceSource`, with what they do here."""

    name: str
    description: str
    files: tuple[FormatFile, ...]
    options: tuple[tuple[str, str], ...]

    @property
    def has_jobs(self) -> bool:
        """Whether it gives jobs over time, and not pods on listed nodes."""
        return any(file.role == "jobs" for file in self.files)


def _file(role: str, columns: Sequence[Column[Any]]) -> FormatFile:
    return FormatFile(
        role=role,
        columns=tuple((column.name, column.wanted, column.required) for column in columns),
    )


_CLUSTER: Final = (
    "cluster",
    "the nodes to run on, NODESxGPUS; required for files of your own",
)
_OVERHEAD: Final = (
    "overhead_rule",
    "when jobs pay their start-up time: per-start or per-event",
)
_QUEUE: Final = ("queue", "the queue all jobs are in; 'default' if not given")

FORMATS: Final = (
    Format(
        name="openb",
        description="pods that share GPUs on listed nodes (Alibaba 2023)",
        files=(_file("nodes", openb.NODE_COLUMNS), _file("pods", openb.POD_COLUMNS)),
        options=(("allow_unknown_models", "accept pods that ask for GPU models no node has"),),
    ),
    Format(
        name="philly-muri",
        description="training jobs by iterations, with start-up times by model (Muri on Philly)",
        files=(_file("jobs", muri.JOB_COLUMNS),),
        options=(_CLUSTER, _QUEUE, _OVERHEAD),
    ),
    Format(
        name="philly",
        description="training jobs by run time, a queue for each virtual cluster (Microsoft 2017)",
        files=(_file("jobs", philly.JOB_COLUMNS),),
        options=(
            _CLUSTER,
            ("queue", "the one virtual cluster to read; all if not given"),
            _OVERHEAD,
        ),
    ),
    Format(
        name="itp-2021",
        description="training jobs by run time, with deadlines (Microsoft 2021)",
        files=(_file("jobs", itp.JOB_COLUMNS),),
        options=(_CLUSTER, _QUEUE, _OVERHEAD),
    ),
    Format(
        name="philly-pollux",
        description="training jobs of six measured applications, speed by placement (Pollux on Philly)",
        files=(_file("jobs", pollux.JOB_COLUMNS),),
        options=(_CLUSTER, _QUEUE, _OVERHEAD),
    ),
)


def formats() -> tuple[Format, ...]:
    """All formats, in the order in which to show them."""
    return FORMATS
