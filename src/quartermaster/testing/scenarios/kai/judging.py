"""The verdict on a case: played, matched, and if it does not match, weighed."""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence

from quartermaster.testing.scenarios.deciding import Decide
from quartermaster.testing.scenarios.failing import told
from quartermaster.testing.scenarios.kai.case import Case, Job, Plugin
from quartermaster.testing.scenarios.kai.equivalence import worse
from quartermaster.testing.scenarios.kai.matching import differences, excesses
from quartermaster.testing.scenarios.kai.rounds import Round, play, recorded
from quartermaster.testing.scenarios.results import CaseResult, Outcome

MOST_DIFFERENCES = 12
"""Differences that are told per case; a gang of eighty that waits is no eighty differences."""


def judge(case: Case, default_plugins: Sequence[Plugin], *, file: str, decide: Decide) -> CaseResult:
    """Play one case and say how it came out. What cannot be played, or crashes, is an `error`."""
    plugins = default_plugins if case.plugins == "default" else case.plugins
    began = time.perf_counter()
    try:
        rounds = play(case, plugins, decide)
        outcome, found = verdict(case, rounds)
    except Exception as wrong:  # noqa: BLE001  # one case that crashes must not hide what came of the others
        outcome, found = Outcome.ERROR, (told(wrong),)
    return CaseResult(
        id=case.id,
        name=case.name,
        file=file,
        outcome=outcome,
        differences=found,
        seconds=time.perf_counter() - began,
        beyond=_beyond(case),
    )


def _beyond(case: Case) -> str:
    """What the comparison leaves out: MIG instances and resource claims are decided elsewhere."""
    if any(node.mig_strategy for node in case.nodes) or any(task.mig_instances for _, task in case.tasks):
        return "mig"
    return "dra" if case.dra is not None and case.dra.resource_claims else ""


def verdict(case: Case, rounds: Sequence[Round]) -> tuple[Outcome, tuple[str, ...]]:
    """The outcome of rounds that were played (or recorded), and what differs."""
    check = _as_recorded if case.kind == "custom" else differences
    over = _told(excesses(case, done) for done in rounds)
    found = _told(check(case, done) for done in rounds) + over
    if not found:
        return Outcome.SAME, ()
    reasons = tuple(worse(case, rounds)) + over
    if not reasons:
        return Outcome.EQUALLY_VALID, _shortened(found)
    return Outcome.DIFFERENT, _shortened((*found, *(f"not equally valid: {reason}" for reason in reasons)))


def _told(per_round: Iterator[Iterator[str]]) -> tuple[str, ...]:
    """Differences with the round they are of; what is the same in later rounds is told once."""
    found: dict[str, int] = {}
    for number, problems in enumerate(per_round):
        for problem in problems:
            found.setdefault(problem, number)
    return tuple(f"round {number}: {problem}" for problem, number in found.items())


def _shortened(found: tuple[str, ...]) -> tuple[str, ...]:
    if len(found) <= MOST_DIFFERENCES:
        return found
    return (*found[:MOST_DIFFERENCES], f"and {len(found) - MOST_DIFFERENCES} more")


def _as_recorded(case: Case, done: Round) -> Iterator[str]:
    """A case without a table states its expectation in words; what was recorded is that expectation in full.

    Every task has the recorded status, and every pod set of a job with topology lies in as many domains of each level
    as it did, its siblings in as many altogether: which domains they are, is open.
    """
    theirs = recorded(case)[-1]
    for _, task in case.tasks:
        now, wanted = done.after[task.task_id].status, theirs.after[task.task_id].status
        if now is not wanted:
            yield f"{task.task_id} is {now.value}, expected {wanted.value}"
    labels = {label for topology in case.topologies for label in topology.level_labels_outer_to_inner}
    for job in case.jobs:
        for label in sorted(labels):
            ours, recording = (_domains(case, job, played, label) for played in (done, theirs))
            for part, count in ours.items():
                if count != recording[part]:
                    yield f"job {job.name}: {part} is in {count} domains of {label}, expected {recording[part]}"


def _domains(case: Case, job: Job, done: Round, label: str) -> dict[str, int]:
    labels = {node.name: node.labels for node in case.nodes}
    parts: dict[str, set[str]] = {"all of it": set()}
    for task in job.tasks:
        node = done.after[task.task_id].node
        where = labels[node].get(label, "") if node else ""
        for part in ("all of it", task.sub_group_name):
            parts.setdefault(part, set()).add(where)
    return {part: len(domains) for part, domains in parts.items()}
