"""Placing everything anew: running groups give up their places first, and who ends up where he was, stays.

For job-level policies of simulators (SRTF and its like), in which the order alone decides who runs.
"""

from __future__ import annotations

from collections.abc import Iterable

from quartermaster.cluster.assignment import Assignment
from quartermaster.cluster.statement import Statement
from quartermaster.model.podgroup import PodGroup
from quartermaster.scheduling.plan import Evict, Plan, without
from quartermaster.scheduling.room import free_for


class Replan:
    """Who gave up which place on a statement: the preemptible of `groups`, all of them at once."""

    def __init__(self, statement: Statement, groups: Iterable[PodGroup]) -> None:
        self._statement = statement
        there = statement.state.pods
        running = [pod.name for group in groups if group.preemptible for pod in group.pods if pod.name in there]
        self._was: dict[str, Assignment] = {pod: statement.evict(pod) for pod in running}

    def stay(self, group: PodGroup) -> bool:
        """Put a group back where it was if all of that is still free."""
        pods = [pod.name for pod in group.pods if pod.name in self._was]
        if not pods:
            return False
        state, mark = self._statement.state, self._statement.checkpoint()
        for pod in pods:
            at = self._was[pod]
            shape = state.shapes[at.shape]
            if not free_for(state, shape, at):
                self._statement.rollback(mark)
                return False
            self._statement.place(pod, shape, at.row, at.devices, at.account)
        return True

    def compare(self, plan: Plan) -> None:
        """Turn what changed into evictions, and drop the placements that changed nothing."""
        now = self._statement.state.pods
        kept = {pod for pod, before in self._was.items() if now.get(pod) == before}
        for pod, before in self._was.items():
            if pod not in kept:
                plan.evictions.append(Evict(pod, plan.nodes[before.row], "replanned"))
        if kept:
            plan.placements[:] = [p for p in (without(p, kept) for p in plan.placements) if p.pods]
