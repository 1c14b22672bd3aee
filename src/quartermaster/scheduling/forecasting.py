"""When groups that wait will probably start: the cycle itself, played ahead on a copy of the cluster.

Nothing is better at saying what the cycle will do than the cycle: queues, limits, topology, reservations and backfill
are all in the answer. Running groups end by their estimates, what starts on the way ends by its own, nobody new comes.

Looking at every end would cost a cycle for each. The ends that are known are cut into as many instants as one is
willing to pay for, and a start is given at the end of its instant: with few ends exact, with many too late rather than
too early. Room made by evicting others is not looked for, so who may take it starts sooner. None: it would still wait
when all have ended of whom that is known.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace

from quartermaster.cluster.state import ClusterState
from quartermaster.model.podgroup import PodGroup
from quartermaster.scheduling.estimates import Estimates
from quartermaster.scheduling.plan import Plan
from quartermaster.scheduling.presence import Presence

Decide = Callable[[ClusterState, Sequence[PodGroup], Sequence[PodGroup], float], Plan]
"""Decides on those that wait and those that run, at a time, on a state that it leaves as it was."""


def forecast(
    decide: Decide,
    state: ClusterState,
    *,
    waiting: Sequence[PodGroup],
    running: Sequence[PodGroup],
    plan: Plan,
    estimates: Estimates,
    now: float,
    instants: int,
) -> dict[str, float | None]:
    """When each of `waiting` will be at its minimum, in virtual seconds; `state` is used up.

    `plan` is what has been decided at `now` already; its nominated pods, and those who leave, are taken to do so at
    once.
    """
    play = _Play(state, waiting, running, estimates=estimates, now=now)
    for pod in [pod for pod, frees in state.leaving.items() if frees]:
        state.forget(pod)
    play.carry_out(plan)
    for left in range(instants, 0, -1):
        if not play.go_on(left):
            break
        play.carry_out(decide(state, list(play.line.values()), list(play.there.values()), play.now))
    return {group.name: play.starts.get(group.name) for group in waiting}


class _Play:
    """The cluster of a forecast: who is in line, who is there, and who has started when."""

    def __init__(
        self,
        state: ClusterState,
        waiting: Sequence[PodGroup],
        running: Sequence[PodGroup],
        *,
        estimates: Estimates,
        now: float,
    ) -> None:
        self.line = {group.name: group for group in waiting}
        self.there = {group.name: group for group in running}
        self.starts: dict[str, float] = {}
        self.now = now
        self._state, self._estimates = state, estimates

    def carry_out(self, plan: Plan) -> None:
        """What was decided is so at once."""
        state = self._state
        for evict in plan.evictions:
            if evict.pod in state.pods:  # Those that were leaving have left.
                state.forget(evict.pod)
        plan.place(state)
        presence = Presence(state.pods, {})
        for name in dict.fromkeys(placement.group for placement in plan.placements):
            group = self.line.get(name) or self.there[name]
            if group.started is None:
                group = self.there[name] = replace(group, started=self.now)
            if presence.satisfied(group.root):
                self.starts.setdefault(name, self.now)
            if not presence.waits(group):
                self.line.pop(name, None)
        kept = plan.reservations
        self.line = {name: replace(group, reserved=kept.get(name)) for name, group in self.line.items()}

    def go_on(self, left: int) -> bool:
        """Pass to the next of `left` instants; False when nothing more will be known."""
        if all(name in self.starts for name in self.line):
            return False
        ends = sorted(self._ends())
        if not ends:
            return False
        self.now = ends[math.ceil(len(ends) / left) - 1][0]
        for end, name in ends:
            if end <= self.now:
                self.line.pop(name, None)
                for pod in self.there.pop(name).pods:
                    if pod.name in self._state.pods:
                        self._state.forget(pod.name)
        return True

    def _ends(self) -> Iterator[tuple[float, str]]:
        for group in self.there.values():
            if group.started is not None:
                end = self._estimates.end(group, since=group.started, now=self.now)
                if end is not None:
                    yield end, group.name
