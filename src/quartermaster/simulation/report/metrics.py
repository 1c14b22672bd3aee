"""What each metric is called, measured in and means, and whether more of it is better.

Fragmentation has no better direction here, and so no winner: once as much has arrived as the cluster holds, a policy
that fills it well leaves nearly nothing *but* fragments. As a curve over the load it does say who keeps GPUs usable.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final, Literal


@dataclass(frozen=True, slots=True, kw_only=True)
class Metric:
    """A metric as people read it."""

    name: str
    title: str
    unit: str
    better: Literal["higher", "lower", ""]
    meaning: str

    def text(self, value: float) -> str:
        """A value without its unit, cut to what is worth reading; JSON and CSV have every digit."""
        if self.unit == "s" and abs(value) >= 100:
            return f"{value:,.0f}"
        return f"{value:,.2f}"

    @property
    def heading(self) -> str:
        """Title and unit."""
        return f"{self.title} ({self.unit})" if self.unit else self.title


_AT: Final = {
    "gpu_allocation_percent": Metric(
        name="",
        title="GPU allocated @{}",
        unit="%",
        better="higher",
        meaning="Share of all GPU capacity in use once pods that ask for {} % of it have arrived.",
    ),
    "fragmentation_percent": Metric(
        name="",
        title="idle GPU in fragments @{}",
        unit="%",
        better="",
        meaning="Share of the idle GPU capacity that a typical pod cannot use, once {} % has arrived. Not ranked: a"
        " policy that fills the cluster leaves only fragments.",
    ),
    "power_kw": Metric(
        name="",
        title="power @{}",
        unit="kW",
        better="lower",
        meaning="Power that the cluster draws, by the model of PWR, once {} % has arrived.",
    ),
}

_PLAIN: Final = {
    "average_jct_s": Metric(
        name="average_jct_s",
        title="mean JCT",
        unit="s",
        better="lower",
        meaning="Job completion time: from submission to end, waiting included; mean over all jobs.",
    ),
    "makespan_s": Metric(
        name="makespan_s",
        title="makespan",
        unit="s",
        better="lower",
        meaning="From the first submission to the end of the last job.",
    ),
    "p99_jct_s": Metric(
        name="p99_jct_s",
        title="p99 JCT",
        unit="s",
        better="lower",
        meaning="Completion time that 99 % of the jobs stay below: what the unlucky get.",
    ),
    "median_wait_s": Metric(
        name="median_wait_s",
        title="median wait",
        unit="s",
        better="lower",
        meaning="Half of the jobs start within this time of their submission.",
    ),
    "gpu_utilisation_percent": Metric(
        name="gpu_utilisation_percent",
        title="GPUs busy",
        unit="%",
        better="higher",
        meaning="Share of all GPU time, until the last job ends, that jobs held.",
    ),
    "fairness_jain": Metric(
        name="fairness_jain",
        title="fairness",
        unit="",
        better="higher",
        meaning="Jain's index over jobs of run time by completion time: 1 when all are slowed alike.",
    ),
    "queue_fairness_jain": Metric(
        name="queue_fairness_jain",
        title="fairness of queues",
        unit="",
        better="higher",
        meaning="Jain's index over queues of the mean of that: 1 when no queue is served better than another.",
    ),
}


def describe(name: str) -> Metric:
    """The metric of that name; one that nobody described is shown under its own name, without a winner."""
    if name in _PLAIN:
        return _PLAIN[name]
    stem, _, at = name.partition("@")
    known = _AT.get(stem)
    if known is None or not at:
        return Metric(name=name, title=name, unit="", better="", meaning="")
    return Metric(
        name=name,
        title=known.title.format(at + " %"),
        unit=known.unit,
        better=known.better,
        meaning=known.meaning.format(at),
    )
