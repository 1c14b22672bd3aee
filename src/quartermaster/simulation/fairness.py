"""How evenly a policy treats jobs: Jain's index of how briskly each was served.

A job's **service** is the time that it computes over the time from submission to end: 1 for one that starts at once and
is never stopped, 0.1 for one that took ten times as long as alone. It is the inverse of the bounded slowdown (Feitelson
et al., Theory and Practice in Parallel Job Scheduling, JSSPP'97): jobs count as at least `SHORT` long, or a second's
wait of a second's job would weigh as much as a day's wait of a day's.

Jain's index of n values is (Σx)² / (n Σx²) (Jain, Chiu and Hawe, DEC-TR-301, 1984): 1 if all are equal, 1/n if one has
everything. Of services and not of slowdowns, because these have no upper bound: a single starved job would be all that
the index shows. It says nothing on how well jobs are served: who makes everybody wait alike, has 1 as well.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Final

SHORT: Final = 10.0
"""Seconds that a job counts as at least, as is usual for bounded slowdown."""


def service(*, duration: float, completion: float) -> float:
    """Time that a job computes over its completion time, in seconds both: above 0, at most 1."""
    return min(1.0, max(duration, SHORT) / max(completion, SHORT))


def jain(values: Iterable[float]) -> float:
    """Jain's index of values of 0 or more; 1 where there is nothing to divide."""
    values = list(values)
    squares = sum(value * value for value in values)
    return sum(values) ** 2 / (len(values) * squares) if squares else 1.0


def fairness(services: Mapping[str, Sequence[float]]) -> dict[str, float]:
    """The metrics, from the services of the jobs of each queue: over jobs, and with several queues over their means."""
    found = {"fairness_jain": jain(value for values in services.values() for value in values)}
    if len(services) > 1:
        found["queue_fairness_jain"] = jain(sum(values) / len(values) for values in services.values())
    return found
