"""Owners that are not seen yet, gone, forbidden, replaced or changed: a pod's group is what the API says of them."""

import asyncio
import contextlib
from collections.abc import AsyncIterator
from random import Random
from typing import Any

from quartermaster.controllers.scheduler.membership import Membership
from quartermaster.controllers.scheduler.sources import DEFINITIONS, Sources
from quartermaster.kube.api import Refused
from quartermaster.local.clock import VirtualClock
from quartermaster.workloads.group import Member
from tests.unit.controllers.cluster import pod, settle
from tests.unit.controllers.test_sources import Door

Json = dict[str, Any]
BATCH = "/apis/batch/v1"
JOBS = f"{BATCH}/jobs"
JOB = f"{BATCH}/namespaces/team/jobs/train"
HEAD = {"apiVersion": "batch/v1", "kind": "Job"}
UNKNOWN = "/apis/odd.example.com/v1"


def job(least: int = 2, uid: str = "j", version: int = 5) -> Json:
    notes = {"quartermaster.dev/min-member": str(least)}
    metadata = {"name": "train", "namespace": "team", "uid": uid, "resourceVersion": str(version), "annotations": notes}
    return {"metadata": metadata, "spec": {"parallelism": 4, "completions": 4, "template": {"spec": {}}}}


def owned(name: str, kind: str = "Job", api_version: str = "batch/v1", uid: str = "j") -> Any:
    owner = {"apiVersion": api_version, "kind": kind, "name": "train", "uid": uid, "controller": True}
    return pod(name, ownerReferences=[owner])


class Bench:
    def __init__(self) -> None:
        self.clock, self.door = VirtualClock(), Door()
        self.door.answers |= {
            DEFINITIONS: {"items": []},
            BATCH: {"resources": [{"name": "jobs", "kind": "Job", "namespaced": True}]},
            JOBS: {"items": []},
        }
        self.joined: list[tuple[str, Member]] = []
        self.sources = Sources(self.door, clock=self.clock, rng=Random(1), steady=self.clock)
        self.membership = Membership(
            self.door,
            self.sources,
            clock=self.clock,
            rng=Random(1),
            joined=lambda name, member: self.joined.append((name, member)),
        )

    async def look(self, value: Any, seconds: float = 0.0) -> Member | None:
        """What is known last of a pod's group."""
        self.membership.look(value.title, value)
        await settle(self.clock, seconds)
        return self.last(value.title)

    def last(self, name: str) -> Member | None:
        return next((member for found, member in reversed(self.joined) if found == name), None)


@contextlib.asynccontextmanager
async def bench() -> AsyncIterator[Bench]:
    with contextlib.suppress(asyncio.CancelledError):
        async with asyncio.TaskGroup() as group:
            it = Bench()

            async def start() -> None:
                await it.sources.start(group)
                await it.membership.start(group)

            starting = group.create_task(start())
            await settle(it.clock)
            assert starting.done()
            yield it
            for task in group._tasks:
                task.cancel()


async def test_a_pod_without_owners_is_a_group_at_once() -> None:
    async with bench() as it:
        value = pod("a")
        it.membership.look(value.title, value)
        member = it.last("team/a")
        assert member is not None
        assert member.group.desired == 1


async def test_the_first_pod_of_a_kind_has_it_watched_and_a_change_of_the_owner_is_followed() -> None:
    async with bench() as it:
        it.door.answers[JOBS] = {"items": [job()]}
        member = await it.look(owned("a"))
        assert member is not None
        assert (member.group.kind, member.group.min) == ("Job", 2)
        told = len(it.joined)
        it.door.tell(JOBS, "MODIFIED", job() | {"status": {"active": 3}}, 20)
        await settle(it.clock)
        assert len(it.joined) == told, "what is only its status asks for nothing"
        it.door.tell(JOBS, "MODIFIED", job(least=3), 21)
        await settle(it.clock)
        changed = it.last("team/a")
        assert changed is not None
        assert changed.group.min == 3


async def test_an_owner_that_the_watch_has_not_told_of_is_asked_for_once() -> None:
    async with bench() as it:
        it.door.answers[JOB] = HEAD | job()
        for name in "abc":
            member = await it.look(owned(name))
            assert member is not None
            assert member.group.min == 2
        assert it.door.asked.count(JOB) == 1


async def test_an_owner_that_is_gone_or_is_another_by_now_leaves_its_pods_a_group() -> None:
    async with bench() as it:
        it.door.answers[JOB] = HEAD | job(uid="another")
        first = await it.look(owned("a"))
        second = await it.look(owned("b"))
        assert first is not None
        assert second is not None
        assert first.group.key == second.group.key, "they name the same owner"
        assert "another" not in first.group.key


async def test_an_owner_that_may_not_be_read_holds_nobody_up() -> None:
    async with bench() as it:
        it.door.answers[UNKNOWN] = {"resources": [{"name": "odds", "kind": "Odd", "namespaced": True}]}
        it.door.answers[f"{UNKNOWN}/namespaces/team/odds/train"] = Refused(403, "no")
        assert await it.look(owned("a", "Odd", "odd.example.com/v1")) is not None


async def test_an_owner_whose_api_does_not_answer_is_waited_for_and_others_are_not_held_up() -> None:
    async with bench() as it:
        it.door.answers[JOB] = Refused(503, "away")
        assert await it.look(owned("a"), 5) is None
        assert await it.look(pod("b")) is not None
        it.door.answers[JOB] = HEAD | job()
        await settle(it.clock, 40)
        member = it.last("team/a")
        assert member is not None
        assert member.group.min == 2


async def test_a_pod_that_goes_while_its_owner_is_asked_for_is_not_told_of() -> None:
    async with bench() as it:
        it.door.answers[JOB] = Refused(503, "away")
        await it.look(owned("a"), 1)
        it.membership.gone("team/a")
        it.door.answers[JOB] = HEAD | job()
        await settle(it.clock, 60)
        assert it.last("team/a") is None
        asked = it.door.asked.count(JOB)
        await settle(it.clock, 60)
        assert it.door.asked.count(JOB) == asked


async def test_owners_that_own_each_other_in_a_circle_are_an_end() -> None:
    async with bench() as it:
        it.door.answers[UNKNOWN] = {"resources": [{"name": "odds", "kind": "Odd", "namespaced": True}]}
        back = {"apiVersion": "odd.example.com/v1", "kind": "Odd", "name": "train", "uid": "o", "controller": True}
        odd = {
            "apiVersion": "odd.example.com/v1",
            "kind": "Odd",
            "metadata": {"name": "train", "namespace": "team", "uid": "o", "ownerReferences": [back]},
        }
        it.door.answers[f"{UNKNOWN}/namespaces/team/odds/train"] = odd
        assert await it.look(owned("a", "Odd", "odd.example.com/v1", uid="o")) is not None
