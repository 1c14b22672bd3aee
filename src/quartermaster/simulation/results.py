"""What is to be run, and what running it yields: numbers, curves and samples, as plain values.

Plain, because they cross process borders on the way home and end up in a table, a page and two file formats that
others script against. Nothing here knows how a result was made or how it is shown.
"""

from __future__ import annotations

import math
import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple

from quartermaster.simulation.distance import Locality


@dataclass(frozen=True, slots=True)
class Curve:
    """Points of a line, by rising x."""

    x: tuple[float, ...]
    y: tuple[float, ...]

    def __post_init__(self) -> None:
        assert len(self.x) == len(self.y), "a curve has one y for each x"


@dataclass(frozen=True, slots=True, kw_only=True)
class Task:
    """One run to make.

    `until` is for pods that arrive, in clusters; for jobs are `overhead`, "" as the trace says, and `locality`, without
    which speed does not depend on places (but where the trace has measured it).
    """

    source: Any
    policy: str
    seed: int
    until: float = 1.3
    overhead: str = ""
    locality: Locality | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Run:
    """The outcome of one run.

    Curves by name: `allocation` and `fragmentation` (x: demand arrived in % of the GPUs; y: % allocated, % of what is
    idle that is fragments), `utilisation` and `waiting` (x: seconds; y: % of GPUs busy, groups waiting), `power`
    (x: % arrived; y: kW). Samples by name: `wait_s` and `jct_s`, one a job. `queue_share`: x seconds, y % of the GPUs.
    """

    policy: str
    seed: int
    metrics: Mapping[str, float]
    curves: Mapping[str, Curve] = field(default_factory=dict)
    samples: Mapping[str, tuple[float, ...]] = field(default_factory=dict)
    queue_share: Mapping[str, Curve] = field(default_factory=dict)
    note: str = ""


class Summary(NamedTuple):
    """One metric of one policy over its seeds."""

    policy: str
    metric: str
    mean: float
    std: float
    n: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Provenance:
    """How an experiment was made, for whoever wants to make it again. `seconds` is the time the runs took."""

    command: str = ""
    made: str = ""
    seconds: float = 0.0
    workers: int = 1
    versions: Mapping[str, str] = field(default_factory=dict)
    source: str = ""
    licence: str = ""
    settings: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class Experiment:
    """Runs of several policies and seeds on one trace."""

    trace: str
    nodes: int
    gpus: int
    runs: tuple[Run, ...]
    made: Provenance = field(default_factory=Provenance)

    @property
    def policies(self) -> list[str]:
        """The policies, in the order of the runs."""
        return list(dict.fromkeys(run.policy for run in self.runs))

    @property
    def seeds(self) -> list[int]:
        """The seeds, in the order of the runs."""
        return list(dict.fromkeys(run.seed for run in self.runs))

    @property
    def metrics(self) -> list[str]:
        """The names of all metrics, in the order in which runs give them."""
        return list(dict.fromkeys(metric for run in self.runs for metric in run.metrics))

    def of(self, policy: str) -> list[Run]:
        """The runs of one policy."""
        return [run for run in self.runs if run.policy == policy]

    def summary(self) -> list[Summary]:
        """Mean and sample standard deviation for each policy and metric that has a value."""
        rows = []
        for policy in self.policies:
            runs = self.of(policy)
            for metric in self.metrics:
                values = [run.metrics[metric] for run in runs if metric in run.metrics]
                if values:
                    rows.append(_summary(policy, metric, values))
        return rows


def _summary(policy: str, metric: str, values: Sequence[float]) -> Summary:
    """`fsum` and not `statistics.mean`: n equal floats then have that float as their mean, and it is fast."""
    n = len(values)
    mean = values[0] if min(values) == max(values) else math.fsum(values) / n
    return Summary(policy, metric, mean, statistics.stdev(values, mean) if n > 1 else 0.0, n)
