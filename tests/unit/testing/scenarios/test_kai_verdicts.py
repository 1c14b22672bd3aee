"""The judge, tried on KAI's own recordings: what KAI did is `same` in every case, and what is changed does not pass."""

import gzip
import json
from collections.abc import Iterator
from dataclasses import replace
from functools import cache
from itertools import pairwise
from pathlib import Path

import msgspec
import pytest

from quartermaster.testing.scenarios.files import find
from quartermaster.testing.scenarios.kai.case import PLACED, Case, Status, read
from quartermaster.testing.scenarios.kai.equivalence import tests_choice as choice_of
from quartermaster.testing.scenarios.kai.equivalence import worse
from quartermaster.testing.scenarios.kai.judging import verdict
from quartermaster.testing.scenarios.kai.ledger import idle_and_releasing
from quartermaster.testing.scenarios.kai.matching import differences, excesses
from quartermaster.testing.scenarios.kai.rounds import Round, recorded
from quartermaster.testing.scenarios.kai.states import PENDING, Standing, bumped, initial
from quartermaster.testing.scenarios.results import Outcome

KAI = Path(__file__).parents[4] / "scenarios" / "kai"


@cache
def cases() -> dict[str, Case]:
    files = [read(gzip.decompress(path.read_bytes()), file=path.name) for path in find([str(KAI)])]
    return {case.id: case for file in files for case in file.cases}


def having(*features: str, kind: str = "unit") -> Iterator[Case]:
    """Cases with these features, for tests that want any such case."""
    for case in cases().values():
        if case.kind == kind and set(features) <= set(case.features):
            yield case


def test_all_recordings_are_what_their_cases_expect() -> None:
    assert len(cases()) == 237
    outcomes = {case.id: verdict(case, recorded(case)) for case in cases().values()}
    assert {id: found for id, found in outcomes.items() if found != (Outcome.SAME, ())} == {}  # noqa: A001


def changed(rounds: list[Round], task: str, standing: Standing) -> list[Round]:
    return [replace(done, after={**done.after, task: standing}) for done in rounds]


def expected_tasks(case: Case) -> list[str]:
    names = [task.task_id for job in case.jobs if job.name in case.expected.jobs for task in job.tasks]
    return names + [task.task_id for _, task in case.tasks if task.task_id in case.expected.tasks]


@pytest.mark.parametrize("status", [Status.RUNNING, Status.RELEASING, Status.PENDING])
def test_a_task_in_another_status_is_a_difference(status: Status) -> None:
    looked_at = 0
    for case in cases().values():
        rounds = recorded(case)
        for task in expected_tasks(case)[:1]:
            at = rounds[-1].after[task]
            if case.kind == "custom" or at.status is status:
                continue
            looked_at += 1
            outcome, found = verdict(case, changed(rounds, task, replace(at, status=status)))
            assert outcome is Outcome.DIFFERENT, case.id
            assert any(task in line and status.value in line for line in found), (case.id, found)
    assert looked_at > 50


def test_a_task_on_another_node_is_a_difference_where_the_node_is_expected() -> None:
    looked_at = 0
    for case in cases().values():
        for name, expected in case.expected.jobs.items():
            if not expected.node_name or len(case.nodes) < 2:
                continue
            task = next(job for job in case.jobs if job.name == name).tasks[0].task_id
            other = next(node.name for node in case.nodes if node.name != expected.node_name)
            rounds = changed(recorded(case), task, Standing(expected.status, other))
            found = [line for done in rounds for line in differences(case, done)]
            assert any(f"is on {other}, expected {expected.node_name}" in line for line in found), case.id
            looked_at += 1
    assert looked_at > 30


def test_one_call_more_than_allowed_is_an_excess() -> None:
    for case in cases().values():
        limits = case.call_limits
        done = recorded(case)[0]
        assert not list(excesses(case, replace(done, binds=limits.max_binds)))
        assert list(excesses(case, replace(done, binds=limits.max_binds + 1)))
        assert list(excesses(case, replace(done, pipelines=limits.max_pipelines + 1)))
        assert list(excesses(case, replace(done, evicted=("x",) * (limits.max_evictions + 1))))


def test_a_job_that_has_no_last_start_is_told() -> None:
    case = next(case for case in having() if any(e.status is Status.RUNNING for e in case.expected.jobs.values()))
    name = next(name for name, expected in case.expected.jobs.items() if expected.status is Status.RUNNING)
    done = recorded(case)[0]
    tasks = [task.task_id for job in case.jobs if job.name == name for task in job.tasks]
    assert done.last_start_age(tasks, default=60) == 60
    nothing = dict.fromkeys(tasks, PENDING)
    done = replace(done, before={**done.before, **nothing}, after={**done.after, **nothing})
    assert f"job {name}: never started" in list(differences(case, done))


def test_idle_gpus_are_counted_as_they_were_recorded() -> None:
    counted, off = 0, []
    for path in find([str(KAI)]):
        text = gzip.decompress(path.read_bytes())
        for case, raw in zip(read(text, file=path.name).cases, json.loads(text)["cases"], strict=True):
            for done, seen in zip(recorded(case), raw["observed"]["rounds"], strict=True):
                for node in case.nodes:
                    there = seen["nodes"][node.name]
                    counted += 1
                    if idle_and_releasing(case, node, done) != (there["idle_gpu_count"], there["releasing_gpu_count"]):
                        off.append(case)
    assert counted == 1065
    assert len(off) == 4
    for case in off:
        made_up = sum(len(task.resolved_gpu_groups) for _, task in case.tasks)
        assert made_up or (case.dra is not None and case.dra.resource_claims), case.id


# ---- equally valid


def swappable(case: Case) -> tuple[str, str] | None:
    """Two tasks of one job, one of them evicted for good and one that runs on."""
    last = recorded(case)[-1]
    for job in case.jobs:
        of = {last.after[task.task_id].status: task.task_id for task in job.tasks}
        if set(of) >= {Status.RUNNING, Status.RELEASING}:
            return of[Status.RUNNING], of[Status.RELEASING]
    return None


def test_another_of_like_tasks_is_equally_valid_and_another_queue_is_not() -> None:
    looked_at = 0
    for case in having("elastic"):
        pair = swappable(case)
        if pair is None or choice_of(case) or case.kind == "custom":
            continue
        kept, gone = pair
        swap = {kept: gone, gone: kept}
        rounds = [
            replace(
                done,
                after={task: done.after[swap.get(task, task)] for task in done.after},
                evicted=tuple(swap.get(task, task) for task in done.evicted),
            )
            for done in recorded(case)
        ]
        outcome, found = verdict(case, rounds)
        if not found:  # The table does not say which.
            continue
        assert outcome is Outcome.EQUALLY_VALID, (case.id, found)
        more = [replace(done, evicted=(*done.evicted, kept)) for done in rounds]
        assert verdict(case, more)[0] is Outcome.DIFFERENT
        looked_at += 1
    assert looked_at >= 2


def test_rounds_that_go_on_moving_are_worse() -> None:
    case = next(having(kind="integration"))
    rounds = recorded(case)
    assert not any("still" in line for line in worse(case, rounds))
    moving = [*rounds[:-1], replace(rounds[-1], binds=1)]
    assert f"round {len(rounds) - 1}: still 1 binds, 0 evictions, 0 pipelines" in list(worse(case, moving))


def test_what_a_case_tests_is_read_off_its_content() -> None:
    for case in cases().values():
        tests = choice_of(case)
        if "topology" in case.features or "numa" in case.features:
            assert tests in {"topology", "packing"}, case.id
        elif {"fraction", "gpu_memory"} & set(case.features):
            assert tests in {"device sharing", "packing"}, case.id
        elif case.plugins != "default":
            assert tests == "packing", case.id
        elif "task_priority" in case.features:
            assert tests in {"order", "packing"}, case.id
    assert any(not choice_of(case) for case in cases().values())


# ---- states between sessions


def test_bumping_is_what_the_recordings_say() -> None:
    """A task that no call touched has, in the next round, the state that it was bumped to."""
    looked_at = 0
    for case in having(kind="integration"):
        rounds = recorded(case)
        for number, (done, following) in enumerate(pairwise(rounds)):
            start = done.after if done.phase == "match_rebuild" else bumped(case, done.after)
            touched = {call.task for call in case.observed.rounds[number + 1].ops}
            for task, standing in start.items():
                if task not in touched:
                    now = following.after[task]
                    assert (now.status, now.node) == (standing.status, standing.node), (case.id, number, task)
                    looked_at += 1
    assert looked_at > 1000


def test_devices_are_given_out_once_and_shared_by_name() -> None:
    for case in cases().values():
        states = initial(case)
        tasks = {task.task_id: task for _, task in case.tasks}
        if "dra" in case.features:
            continue
        for node in case.nodes:
            whole: list[int] = []
            names: dict[str, int] = {}
            for name, at in states.items():
                if at.node != node.name or at.status not in PLACED:
                    continue
                if not tasks[name].gpu_request.is_shared_gpu_request:
                    whole += at.devices
                    continue
                groups = tasks[name].resolved_gpu_groups or tasks[name].gpu_groups
                if len(groups) == 1:
                    assert names.setdefault(groups[0], at.devices[0]) == at.devices[0], case.id
            if len(whole) + len(names) <= node.allocatable.gpu_count:
                assert len(set(whole)) == len(whole), case.id
                assert not set(whole) & set(names.values()), case.id
                assert len(set(names.values())) == len(names), case.id


def test_made_up_devices_that_are_too_many_are_one_where_they_fit() -> None:
    case = next(case for case in having("fraction") if any(t.resolved_gpu_groups for _, t in case.tasks))
    (job, *_), node = case.jobs, case.nodes[0]
    halves = [
        msgspec.structs.replace(
            job.tasks[0],
            task_id=f"t-{number}",
            state=Status.RUNNING,
            node_name=node.name,
            gpu_groups=[],
            resolved_gpu_groups=[f"auto-{number}"],
            gpu_request=msgspec.structs.replace(
                job.tasks[0].gpu_request,
                portion_per_device=0.5, device_count=1, is_shared_gpu_request=True, gpu_memory_mib_per_device=0,
            ),
        )
        for number in range(3)
    ]  # fmt: skip
    for gpus, devices in ((3, [0, 1, 2]), (2, [0, 0, 1]), (1, [0, 0, 1])):
        have = msgspec.structs.replace(node.allocatable, gpu_count=gpus)
        small = msgspec.structs.replace(node, allocatable=have)
        made = msgspec.structs.replace(case, nodes=[small], jobs=[msgspec.structs.replace(job, tasks=halves)])
        assert [at.devices for at in initial(made).values()] == [(device,) for device in devices]
