"""What a PodGroup object is told after a decision: how far it is, and if it waits, why and until when.

Times that move with every cycle are written only when they moved by a minute, and messages leave out what counts down:
a group that waits for an hour is not written to every second.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Final

from quartermaster.api.reading import Json, Problem, Reason
from quartermaster.api.statuses import Said, conditions
from quartermaster.api.times import moment, stamp
from quartermaster.api.v1alpha1 import Phase, PodGroupStatus
from quartermaster.model.podgroup import PodGroup, SubGroup
from quartermaster.scheduling.plan import Explanation, Plan
from quartermaster.scheduling.presence import Presence
from quartermaster.scheduling.rules import Action

START_MOVES_BY: Final = 60.0
MAX_NODES: Final = 100
"""Nominated nodes that are named; a status is no place for thousands."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Verdicts:
    """What a plan says of groups, looked up by group; `evicted` by pod, with the action that did it."""

    why: Mapping[str, Explanation]
    nominated: Mapping[str, list[str]]
    starts: Mapping[str, float | None]
    stale: Mapping[str, float]
    evicted: Mapping[str, str]

    @staticmethod
    def of(plan: Plan) -> Verdicts:
        """Those of one plan. Pods that only move are not evicted."""
        nominated: dict[str, list[str]] = {}
        placed: set[str] = set()
        for placement in plan.placements:
            placed.update(placement.pods)
            if placement.nominated:
                nominated.setdefault(placement.group, []).extend(plan.nodes[row] for row in placement.rows)
        return Verdicts(
            why=dict(plan.unschedulable),
            nominated={name: sorted(set(nodes)) for name, nodes in nominated.items()},
            starts=plan.starts,
            stale=plan.stale,
            evicted={evict.pod: evict.action for evict in plan.evictions if evict.pod not in placed},
        )


def podgroup_status(
    value: Json,
    group: PodGroup | Problem,
    verdicts: Verdicts,
    *,
    presence: Presence,
    now: float,
    admitted: Mapping[str, int] | None = None,
) -> PodGroupStatus:
    """The whole status of one PodGroup object; `presence` is that of the state after the plan's effects."""
    if isinstance(group, Problem):
        return _of_problem(value, group, now=now)
    running, satisfied = len(presence.running(group.root)), presence.satisfied(group.root)
    nodes = verdicts.nominated.get(group.name, [])
    phase = _phase(running=running, satisfied=satisfied, nominated=bool(nodes))
    desired = sum(leaf.desired for leaf in group.root.leaves())
    actions = {verdicts.evicted[pod.name] for pod in group.pods if pod.name in verdicts.evicted}
    said = _scheduled(phase, verdicts.why.get(group.name), complete=running == desired)
    return PodGroupStatus(
        observed_generation=value["metadata"].get("generation", 0),
        phase=phase,
        desired=desired,
        minimum=least(group.root),
        running=running,
        admitted=dict(admitted or {}),
        nominated_nodes=nodes[:MAX_NODES],
        estimated_start=_start(value, verdicts.starts.get(group.name)),
        started=_stamp((group.started if group.started is not None else now) if satisfied else None),
        stale_since=_stamp(verdicts.stale.get(group.name, group.stale_since) if phase is Phase.STALE else None),
        last_evicted=_stamp(now if actions - {Action.MAX_RUNTIME} else group.last_evicted),
        requeued=_stamp(now if Action.MAX_RUNTIME in actions else group.requeued),
        conditions=conditions(value, said, now=now),
    )


def _of_problem(value: Json, problem: Problem, *, now: float) -> PodGroupStatus:
    waits = problem.reason is Reason.PODS_MISSING
    said = [
        Said("Scheduled", holds=False, reason=problem.reason, message=problem.message),
        Said("Unschedulable", holds=not waits, reason=problem.reason, message=problem.message),
    ]
    status = value.get("status") or {}
    return PodGroupStatus(
        observed_generation=value["metadata"].get("generation", 0),
        phase=Phase.INVALID if problem.reason is Reason.INVALID_SPEC else Phase.PENDING,
        last_evicted=status.get("lastEvicted"),
        requeued=status.get("requeued"),
        conditions=conditions(value, said, now=now),
    )


def _phase(*, running: int, satisfied: bool, nominated: bool) -> Phase:
    if satisfied:
        return Phase.RUNNING
    if running:
        return Phase.STALE
    return Phase.NOMINATED if nominated else Phase.PENDING


def _scheduled(phase: Phase, why: Explanation | None, *, complete: bool) -> Iterator[Said]:
    reason, message = _waits_for(phase, why)
    if phase is Phase.RUNNING:
        yield Said("Scheduled", holds=True, reason="Complete" if complete else "AtMinimum")
    else:
        yield Said("Scheduled", holds=False, reason=reason, message=message)
    if why is None:
        yield Said("Unschedulable", holds=False, reason="NotRefused")
    else:
        yield Said("Unschedulable", holds=True, reason=reason_of(why), message=why.lasting())


def _waits_for(phase: Phase, why: Explanation | None) -> tuple[str, str]:
    if why is not None:
        return reason_of(why), why.lasting()
    if phase is Phase.NOMINATED:
        return "MakingRoom", "its nodes are chosen; it starts when others have left them"
    if phase is Phase.STALE:
        return "BelowMinimum", "it runs below its minimum"
    return "Waiting", "not decided on yet"


def reason_of(why: Explanation) -> str:
    """An explanation in one word: the rule of quotas, the topology, or what the nodes lack."""
    if why.rule is not None:
        return why.rule.value
    if why.quota:
        return "GaveWay"
    if why.domain:
        return "TopologyUnsatisfied"
    return "InsufficientResources" if any(name.startswith("insufficient") for name, _ in why.reasons) else "NoNodeFits"


def least(part: SubGroup) -> int:
    """The fewest pods with which a part can start."""
    if not part.children:
        return part.minimum
    return sum(sorted(map(least, part.children))[: part.minimum])


def _start(value: Json, start: float | None) -> str | None:
    before = (value.get("status") or {}).get("estimatedStart")
    if start is not None and before is not None and abs(moment(before) - start) < START_MOVES_BY:
        return str(before)
    return _stamp(start)


def _stamp(when: float | None) -> str | None:
    return None if when is None else stamp(when)
