"""Kinds that come, go, are forbidden or do not answer: what is not there is empty, and none waits for it for ever."""

import asyncio
import contextlib
from collections.abc import AsyncGenerator, AsyncIterator
from random import Random
from typing import Any

import msgspec
import pytest

from quartermaster.controllers.scheduler.sources import DEFINITIONS, Sources
from quartermaster.kube.api import JSON, Decoded, Refused
from quartermaster.local.clock import VirtualClock
from tests.unit.controllers.cluster import settle

Json = dict[str, Any]
KEY = ("example.com", "Widget")
ROOT = "/apis/example.com/v1"
RESOURCES = {"resources": [{"name": "widgets", "kind": "Widget", "namespaced": True}]}
DEFINITION = {"metadata": {"name": "widgets.example.com", "resourceVersion": "5", "uid": "u"}}
BLUE = {"metadata": {"name": "blue", "namespace": "a", "resourceVersion": "7", "uid": "b"}}


class Door(Decoded):
    """Answers by path; watches say what is put into them. A path that is in `silent` never answers."""

    def __init__(self) -> None:
        self.answers: dict[str, Json | Exception] = {}
        self.watches: dict[str, asyncio.Queue[Json]] = {}
        self.silent: set[str] = set()
        self.asked: list[str] = []

    async def send_raw(self, method: str, path: str, body: Any = None, *, media: str = JSON) -> bytes:  # noqa: ARG002
        self.asked.append(path)
        await asyncio.sleep(0)
        found = self.answers.get(path.partition("?")[0], Refused(404, path))
        if isinstance(found, Exception):
            raise found
        return msgspec.json.encode(found)

    async def watch_raw(self, path: str) -> AsyncGenerator[bytes, None]:
        where = path.partition("?")[0]
        self.asked.append(path)
        await asyncio.sleep(0)
        found = self.answers.get(where, Refused(404, where))
        if isinstance(found, Exception):
            raise found
        if where in self.silent:
            await asyncio.Event().wait()
        if "sendInitialEvents" in path:
            for item in found["items"]:
                yield msgspec.json.encode({"type": "ADDED", "object": item})
            end = {"resourceVersion": "10", "annotations": {"k8s.io/initial-events-end": "true"}}
            yield msgspec.json.encode({"type": "BOOKMARK", "object": {"metadata": end}})
        while True:
            yield msgspec.json.encode(await self.watches.setdefault(where, asyncio.Queue()).get())

    def tell(self, where: str, kind: str, value: Json, version: int) -> None:
        value = value | {"metadata": value["metadata"] | {"resourceVersion": str(version)}}
        self.watches.setdefault(where, asyncio.Queue()).put_nowait({"type": kind, "object": value})


class Bench:
    """Sources on a door, and what they told."""

    def __init__(self, group: asyncio.TaskGroup) -> None:
        self.clock, self.door, self.group = VirtualClock(), Door(), group
        self.door.answers[DEFINITIONS] = {"items": []}
        self.told: list[tuple[str, str]] = []
        self.sources = Sources(self.door, clock=self.clock, rng=Random(1), steady=self.clock)

    def on_change(self, before: Json | None, after: Json | None) -> None:
        value = after or before
        assert value is not None
        self.told.append((value["metadata"]["name"], "gone" if after is None else after["kind"]))

    def serve(self, *items: Json) -> None:
        self.door.answers |= {ROOT: RESOURCES, f"{ROOT}/widgets": {"items": list(items)}}

    def want(self) -> asyncio.Task[None]:
        return self.group.create_task(self.sources.want(KEY, "widgets", ("v1",), self.on_change))


@contextlib.asynccontextmanager
async def bench() -> AsyncIterator[Bench]:
    with contextlib.suppress(asyncio.CancelledError):
        async with asyncio.TaskGroup() as group:
            it = Bench(group)
            group.create_task(it.sources.start(group))
            await settle(it.clock)
            yield it
            for task in group._tasks:
                task.cancel()


async def test_a_kind_that_is_served_is_told_of_by_its_name() -> None:
    async with bench() as it:
        it.serve(BLUE)
        wanted = it.want()
        await settle(it.clock)
        assert wanted.done()
        assert it.told == [("blue", "Widget")]
        assert it.sources.find(KEY, "a", "blue") is not None
        assert it.sources.missing(KEY) == ""


async def test_a_kind_that_appears_later_is_found_then() -> None:
    async with bench() as it:
        wanted = it.want()
        await settle(it.clock)
        assert wanted.done()
        assert "not served" in it.sources.missing(KEY)
        it.door.tell(DEFINITIONS, "ADDED", DEFINITION, 11)
        await settle(it.clock)  # it is defined, and not served yet
        assert not it.told
        it.serve(BLUE)
        it.door.tell(DEFINITIONS, "MODIFIED", DEFINITION, 12)
        await settle(it.clock)
        assert it.told == [("blue", "Widget")]


async def test_objects_of_a_kind_that_vanishes_are_gone_and_come_back_with_it() -> None:
    async with bench() as it:
        it.serve(BLUE)
        it.door.tell(DEFINITIONS, "ADDED", DEFINITION, 11)
        it.want()
        await settle(it.clock)
        it.door.tell(DEFINITIONS, "DELETED", DEFINITION, 12)
        await settle(it.clock)
        assert it.told[-1] == ("blue", "gone")
        assert not it.sources.objects(KEY)
        assert "deleted" in it.sources.missing(KEY)
        it.door.tell(DEFINITIONS, "ADDED", DEFINITION, 13)
        await settle(it.clock)
        assert it.told[-1] == ("blue", "Widget")


async def test_who_waits_for_a_kind_that_vanishes_before_its_first_answer_waits_no_longer() -> None:
    async with bench() as it:
        it.serve(BLUE)
        it.door.silent.add(f"{ROOT}/widgets")
        it.door.tell(DEFINITIONS, "ADDED", DEFINITION, 11)
        wanted = it.want()
        await settle(it.clock)
        assert not wanted.done()
        it.door.tell(DEFINITIONS, "DELETED", DEFINITION, 12)
        await settle(it.clock)
        assert wanted.done()


@pytest.mark.parametrize("code", [401, 403])
async def test_a_kind_that_may_not_be_read_is_empty_and_says_so(code: int) -> None:
    async with bench() as it:
        it.serve()
        it.door.answers[f"{ROOT}/widgets"] = Refused(code, "not you")
        wanted = it.want()
        await settle(it.clock)
        assert wanted.done()
        assert "not you" in it.sources.missing(KEY)
        it.door.answers[f"{ROOT}/widgets"] = {"items": [BLUE]}
        await settle(it.clock, 60)
        assert it.told == [("blue", "Widget")], "once it may be read, it is"


async def test_discovery_that_does_not_answer_is_asked_until_it_does() -> None:
    async with bench() as it:
        it.door.answers[ROOT] = Refused(503, "away")
        wanted = it.want()
        await settle(it.clock, 10)
        assert not wanted.done()
        assert 2 < it.door.asked.count(ROOT) < 12
        it.serve(BLUE)
        await settle(it.clock, 40)
        assert it.told == [("blue", "Widget")]


async def test_definitions_that_may_not_be_listed_do_not_hold_anybody_up() -> None:
    async with asyncio.TaskGroup() as group:
        it = Bench(group)
        it.door.answers[DEFINITIONS] = Refused(403, "no")
        started = group.create_task(it.sources.start(group))
        await settle(it.clock)
        assert started.done()
        for task in group._tasks:
            task.cancel()
