"""How long groups run: what their owner declared, else what the owner's runs of that size took, else runs alike.

Learned estimates are **quantiles** of recent runs, because run times are skewed: a mean says what one long run did. Two
are asked for. `typical` (the median) says when a running group makes room. `cautious` (the 90th percentile) says
whether a group can be let in front of a reservation: those who guess too short there would delay somebody else.

Only as many runs as say something count: the runs of the same owner and number of GPUs, else of the owner, else of that
number of GPUs, else all; the first of these with `ENOUGH` runs. Of each, the `KEPT` latest are remembered, so memory is
bounded and habits may change.

A group that has outrun its estimate is expected to take twice, four times ... as long: an end that slides by a second
each second would promise room for ever that never comes. No estimate means that the group never ends; this module
refuses to make one up.
"""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Hashable, Iterator
from typing import Final

from quartermaster.model.errors import InvalidInput
from quartermaster.model.podgroup import PodGroup
from quartermaster.model.units import DEVICE

KEPT: Final = 64
"""Runs remembered per owner and size: the 90th percentile of 64 has 6 runs above it."""

ENOUGH: Final = 5
"""Runs from which a quantile is taken; of fewer, the 90th percentile would be the largest."""

TYPICAL: Final = 0.5
CAUTIOUS: Final = 0.9


class Estimates:
    """What is known of run times, in seconds. Learns from finished runs; asking changes nothing."""

    def __init__(self) -> None:
        self._runs: dict[Hashable, deque[float]] = {}

    def learn(self, group: PodGroup, seconds: float) -> None:
        """Take note of a run that came to its own end; raises `InvalidInput` for a time that is no time."""
        if not 0 <= seconds < math.inf:
            raise InvalidInput(f"pod group '{group.name}': run time", f"is {seconds}", "give 0 s or more")
        for key in _keys(group):
            self._runs.setdefault(key, deque(maxlen=KEPT)).append(seconds)

    def knows(self, group: PodGroup) -> bool:
        """Whether asking may be worth it: cheap, and never wrongly False."""
        return bool(self._runs) or group.runtime is not None or group.max_runtime is not None

    def typical(self, group: PodGroup) -> float | None:
        """The time that the group probably takes; None if nobody knows."""
        return self._estimate(group, TYPICAL)

    def cautious(self, group: PodGroup) -> float | None:
        """The time that it hardly exceeds; None if nobody knows."""
        return self._estimate(group, CAUTIOUS)

    def end(self, group: PodGroup, *, since: float, now: float) -> float | None:
        """When a group that runs `since` then will probably end; None if nobody knows, never before `now`."""
        return self._end(group, self.typical(group), since=since, now=now)

    def last_end(self, group: PodGroup, *, since: float, now: float) -> float:
        """The time by which it will hardly still run; infinite if nobody knows."""
        end = self._end(group, self.cautious(group), since=since, now=now)
        return math.inf if end is None else end

    def _end(self, group: PodGroup, estimate: float | None, *, since: float, now: float) -> float | None:
        if estimate is None:
            return None
        length = _outrun(estimate, now - since)
        return max(now, since + (length if group.max_runtime is None else min(length, group.max_runtime)))

    def _estimate(self, group: PodGroup, quantile: float) -> float | None:
        found = group.runtime
        if found is None:
            known = (self._runs.get(key) for key in _keys(group)) if self._runs else ()
            runs = next((sorted(runs) for runs in known if runs is not None and len(runs) >= ENOUGH), None)
            found = runs[math.ceil(quantile * len(runs)) - 1] if runs else None
        if group.max_runtime is None:
            return found
        return group.max_runtime if found is None else min(found, group.max_runtime)


def gpus_of(group: PodGroup) -> float:
    """Devices that a complete group asks for; a share counts as its part, one in bytes as a device."""
    return sum(pod.spec.gpu.count * pod.spec.gpu.share for pod in group.pods) / DEVICE


def _keys(group: PodGroup) -> Iterator[Hashable]:
    """Under what a run is remembered, from the most telling to the least."""
    gpus = gpus_of(group)
    if group.owner:
        yield group.owner, gpus
        yield group.owner, None
    yield None, gpus
    yield None, None


def _outrun(estimate: float, elapsed: float) -> float:
    """The estimate, doubled until it is not below what has elapsed (0 stays: such a group is about to end)."""
    if estimate <= 0:
        return elapsed
    while estimate < elapsed:
        estimate *= 2
    return estimate
