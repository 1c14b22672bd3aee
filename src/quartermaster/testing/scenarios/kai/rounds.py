"""Playing a case: sessions one after another, each followed by what its decisions come to.

Also reads KAI's own recording into the same form, so that whatever judges our rounds can be tried on theirs.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field

from quartermaster.scheduling.plan import Plan, devices_of
from quartermaster.testing.scenarios.deciding import Decide, NoChance
from quartermaster.testing.scenarios.kai.case import ALLOCATED, Case, Plugin, Status
from quartermaster.testing.scenarios.kai.session import NOW, Session, open_session
from quartermaster.testing.scenarios.kai.states import Standing, States, bumped, groups_of, initial

EVERY_BIND_FAILS = "every_bind_call_fails"


@dataclass(frozen=True, slots=True, kw_only=True)
class Round:
    """One session: the tasks before and after, what was committed, and whether the expectation has to hold here.

    `evicted` are the tasks that were taken off their nodes, among them those that were given another. `zones` are the
    NUMA zones of tasks, by index, where they are known.
    """

    phase: str
    matched: bool
    before: States
    after: States
    binds: int = 0
    evicted: tuple[str, ...] = ()
    pipelines: int = 0
    zones: Mapping[str, Sequence[int]] = field(default_factory=dict)

    def last_start_age(self, tasks: Sequence[str], *, default: float) -> float | None:
        """Seconds since a job last started; None if it never did. `default`: of one that had something allocated."""
        if any(self.before[task].status in ALLOCATED for task in tasks):
            return default
        return 0.0 if any(self.after[task].status in ALLOCATED for task in tasks) else None


@dataclass(slots=True)
class _Play:
    case: Case
    plugins: Sequence[Plugin]
    decide: Decide
    states: dict[str, Standing]
    rounds: list[Round] = field(default_factory=list)

    def session(self, phase: str, *, matched: bool, acting: bool = True) -> None:
        session = open_session(self.case, self.plugins, self.states)
        if not acting:
            self.rounds.append(Round(phase=phase, matched=matched, before=self.states, after=self.states))
            return
        plan = self.decide(
            session.state.borrow(),
            session.policies,
            groups=session.groups,
            running=session.running,
            now=NOW,
            rng=NoChance(),
        )
        fails = bool(self.case.harness_overrides.get(EVERY_BIND_FAILS))
        self.rounds.append(_carried_out(plan, self.states, phase=phase, matched=matched, binds_fail=fails))
        self.states = bumped(self.case, self.rounds[-1].after)


def play(case: Case, plugins: Sequence[Plugin], decide: Decide) -> list[Round]:
    """All rounds of a case, as section 5 of the format orders them. Raises `InvalidInput` for what cannot be played."""
    run = _Play(case, plugins, decide, initial(case))
    if case.rounds is None:
        run.session("single", matched=True)
        return run.rounds
    for _ in range(case.rounds.until_match):
        run.session("until_match", matched=False)
    run.session("match_rebuild", matched=True, acting=False)
    for _ in range(case.rounds.after_match):
        run.session("after_match", matched=True)
    return run.rounds


def _carried_out(plan: Plan, before: States, *, phase: str, matched: bool, binds_fail: bool) -> Round:
    after = dict(before)
    binds = pipelines = 0
    for evict in plan.evictions:
        after[evict.pod] = Standing(Status.RELEASING, before[evict.pod].node, before[evict.pod].devices)
    for placement in plan.placements:
        if binds_fail and not placement.nominated:
            continue
        status = Status.PIPELINED if placement.nominated else Status.BINDING
        for pod, row, mask in zip(placement.pods, placement.rows, placement.masks, strict=True):
            after[pod] = Standing(status, plan.nodes[row], devices_of(mask))
        if placement.nominated:
            pipelines += len(placement.pods)
        else:
            binds += len(placement.pods)
    return Round(
        phase=phase,
        matched=matched,
        before=before,
        after=after,
        binds=binds,
        evicted=tuple(evict.pod for evict in plan.evictions),
        pipelines=pipelines,
    )


def recorded(case: Case) -> list[Round]:
    """What KAI did, in the same form."""
    return list(_recorded(case))


def _recorded(case: Case) -> Iterator[Round]:
    before, names = initial(case), _DeviceNames(case)
    for number, seen in enumerate(case.observed.rounds):
        after = {
            task: Standing(
                now.status,
                now.node_name,
                names.indexes(now.node_name, now.gpu_groups) if now.gpu_groups else before[task].devices,
            )
            for task, now in case.observed.tasks(number).items()
        }
        yield Round(
            phase=seen.phase,
            matched=seen.matched_against_expected,
            before=before,
            after=after,
            binds=sum(call.op == "bind" for call in seen.ops),
            evicted=tuple(call.task for call in seen.ops if call.op == "evict"),
            pipelines=sum(call.op == "pipeline" for call in seen.ops),
            zones={task: now.numa_zones for task, now in case.observed.tasks(number).items()},
        )
        before = after if seen.phase == "match_rebuild" else bumped(case, after)


class _DeviceNames:
    """Indexes for the device names of a recording: those of the beginning as `initial` gives them, new ones after."""

    def __init__(self, case: Case) -> None:
        self._known: dict[tuple[str, str], int] = {}
        start = initial(case)
        for _, task in case.tasks:
            at = start[task.task_id]
            if task.gpu_request.is_shared_gpu_request and at.devices:
                names = sorted(groups_of(task))
                self._known.update(zip(((at.node, name) for name in names), at.devices, strict=True))

    def indexes(self, node: str, names: Sequence[str]) -> tuple[int, ...]:
        """Far above the real devices, for a name that was invented: only who shares with whom matters here."""
        return tuple(sorted(self._known.setdefault((node, name), 1000 + len(self._known)) for name in names))


__all__ = ["Round", "Session", "play", "recorded"]
