"""What queues have had lately: the decayed share of capacity by which over-quota division is corrected.

With half-life h and window W, usage is the mean of held/capacity over the window, where a moment of age a weighs
0.5^(a/h); see docs/time.md. The integral over a stretch in which nothing changed has a closed form, so the figure is
exact. Stretches shorter than `grain` are joined into one with the same device-seconds: that bounds memory by
window/grain, and costs an error of at most 1 - 0.5^(grain/h) of what the joined stretch weighs.

Times are virtual seconds and may not run backwards.
"""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Mapping
from dataclasses import dataclass, field, replace

from quartermaster.cluster.state import ClusterState
from quartermaster.model.errors import InvalidInput
from quartermaster.model.queue import QueueTree

Held = Mapping[str, Mapping[str, float]]
"""Amounts by queue and resource, in any one unit per resource."""


@dataclass(slots=True)
class _Stretch:
    """Amount-seconds from `start` to `end`."""

    start: float
    end: float
    held: dict[str, dict[str, float]] = field(default_factory=dict)
    capacity: dict[str, float] = field(default_factory=dict)


class History:
    """Adds up what queues hold, as it is observed; forgets what has left the window."""

    def __init__(self, *, half_life: float, window: float, tumbling: bool = False, grain: float = 0.0) -> None:
        if not half_life > 0:
            raise InvalidInput("history: half-life", f"is {half_life}", "give more than 0 s (infinite: no decay)")
        if not 0 < window < math.inf:
            raise InvalidInput("history: window", f"is {window}", "give more than 0 s")
        if not 0 <= grain < window:
            raise InvalidInput("history: grain", f"is {grain}", "give 0 s or more, and less than the window")
        self._half_life, self._window, self._tumbling, self._grain = half_life, window, tumbling, grain
        self._stretches: deque[_Stretch] = deque()
        self._since: float | None = None
        self._held: Held = {}
        self._capacity: Mapping[str, float] = {}

    def observe(self, now: float, held: Held, capacity: Mapping[str, float]) -> None:
        """From now on queues hold this much, of this capacity. Raises `InvalidInput` if time runs backwards."""
        self._close(now)
        self._held, self._capacity = {queue: dict(amounts) for queue, amounts in held.items()}, dict(capacity)

    def usage(self, now: float) -> dict[str, dict[str, float]]:
        """The share of capacity, 0 to 1, that each queue has had, by resource. A resource without capacity has none."""
        self._close(now)
        begin = self._begin(now)
        total: dict[str, float] = {}
        had: dict[str, dict[str, float]] = {}
        for stretch in self._stretches:
            weight = self._weight(max(stretch.start, begin), stretch.end, now) / (stretch.end - stretch.start)
            for resource, amount in stretch.capacity.items():
                total[resource] = total.get(resource, 0.0) + weight * amount
            for queue, amounts in stretch.held.items():
                own = had.setdefault(queue, {})
                for resource, amount in amounts.items():
                    own[resource] = own.get(resource, 0.0) + weight * amount
        return {
            queue: {name: min(1.0, amount / total[name]) for name, amount in own.items() if total.get(name)}
            for queue, own in had.items()
        }

    def _begin(self, now: float) -> float:
        return now - now % self._window if self._tumbling else now - self._window

    def _weight(self, start: float, end: float, now: float) -> float:
        """The integral of 0.5^(age/half-life) from start to end, in seconds."""
        if math.isinf(self._half_life):
            return end - start
        rate = math.log(2) / self._half_life
        return math.exp(-rate * (now - end)) * -math.expm1(-rate * (end - start)) / rate

    def _close(self, now: float) -> None:
        """End the stretch that is under way, and begin the next."""
        since = now if self._since is None else self._since
        if not now >= since:
            raise InvalidInput("history: time", f"{now} is before {since}", "observe in order of time")
        if now > since:
            last = self._stretches[-1] if self._stretches else None
            if last is None or now - last.start > self._grain or self._begin(now) > last.start:
                last = _Stretch(since, now)
                self._stretches.append(last)
            self._add(last, now - since)
            last.end = now
        self._since = now
        begin = self._begin(now)
        while self._stretches and self._stretches[0].end <= begin:
            self._stretches.popleft()

    def _add(self, stretch: _Stretch, seconds: float) -> None:
        for resource, amount in self._capacity.items():
            stretch.capacity[resource] = stretch.capacity.get(resource, 0.0) + amount * seconds
        for queue, amounts in self._held.items():
            own = stretch.held.setdefault(queue, {})
            for resource, amount in amounts.items():
                own[resource] = own.get(resource, 0.0) + amount * seconds


def held_by(state: ClusterState, tree: QueueTree) -> dict[str, dict[str, float]]:
    """What every queue holds, with all queues below it, in the integers of the state."""
    total: dict[str, dict[str, float]] = {queue.name: {} for queue in tree}
    for (name, _), held in zip(state.accounts, state.held, strict=True):
        for queue in tree.path(name) if name in tree else ():
            own = total[queue.name]
            for resource, amount in held.items():
                own[resource] = own.get(resource, 0.0) + amount
    return total


def with_usage(tree: QueueTree, usage: Held) -> QueueTree:
    """The same queues with this history; a queue that is not in it has none."""
    return QueueTree(replace(queue, usage=dict(usage.get(queue.name, {}))) for queue in tree)
