"""Watches: resuming, bookmarks, what is gone, and that nobody waits for a slow reader."""

import asyncio
from contextlib import aclosing
from typing import Any

import pytest

from quartermaster.local.apiserver.server import Settings
from quartermaster.testing.kubernetes import Kubernetes, Refused, kubernetes, pod


async def collect(api: Kubernetes, path: str, count: int) -> list[dict[str, Any]]:
    found = []
    async with aclosing(api.watch(path)) as events:
        async for event in events:
            found.append(event)
            if len(found) == count:
                break
    return found


def shown(events: list[dict[str, Any]]) -> list[tuple[str, str]]:
    return [(event["type"], event["object"]["metadata"].get("name", "")) for event in events]


async def test_a_watch_resumes_where_the_list_ended() -> None:
    async with kubernetes() as api:
        await api.create("pods", pod("before"))
        revision = (await api.get("pods"))["metadata"]["resourceVersion"]
        await api.create("pods", pod("a"))
        await api.patch("pods/a", {"metadata": {"labels": {"x": "y"}}})
        await api.delete("pods/a")
        events = await collect(api, f"pods?watch=true&resourceVersion={revision}", 4)
        labelled, marked = ("MODIFIED", "a"), ("MODIFIED", "a")
        assert shown(events) == [("ADDED", "a"), labelled, marked, ("DELETED", "a")]
        assert "deletionTimestamp" in events[2]["object"]["metadata"]
        revisions = [int(event["object"]["metadata"]["resourceVersion"]) for event in events]
        assert revisions == sorted(set(revisions))
        assert revisions[0] > int(revision)


async def test_a_watch_waits_for_what_comes() -> None:
    async with kubernetes() as api:
        task = asyncio.create_task(collect(api, "pods?watch=true&resourceVersion=0", 1))
        await asyncio.sleep(0)
        await api.create("configmaps", {"metadata": {"name": "other"}})
        await api.create("pods", pod("a"))
        assert shown(await task) == [("ADDED", "a")]


async def test_selected_objects_come_and_go_as_they_match() -> None:
    async with kubernetes() as api:
        revision = (await api.get("pods"))["metadata"]["resourceVersion"]
        await api.create("pods", pod("a"))
        await api.patch("pods/a", {"metadata": {"labels": {"x": "1"}}})
        await api.patch("pods/a", {"metadata": {"labels": {"y": "1"}}})
        await api.patch("pods/a", {"metadata": {"labels": {"x": None}}})
        events = await collect(api, f"pods?watch=true&labelSelector=x&resourceVersion={revision}", 3)
        assert shown(events) == [("ADDED", "a"), ("MODIFIED", "a"), ("DELETED", "a")]
        assert events[2]["object"]["metadata"]["labels"]["x"] == "1"


async def test_a_watch_list_ends_its_beginning_with_a_bookmark() -> None:
    async with kubernetes() as api:
        await api.create("pods", pod("a"))
        await api.create("pods", pod("b"))
        path = "pods?watch=true&sendInitialEvents=true&resourceVersionMatch=NotOlderThan&allowWatchBookmarks=true"
        events = await collect(api, path, 3)
        assert shown(events) == [("ADDED", "a"), ("ADDED", "b"), ("BOOKMARK", "")]
        assert events[2]["object"]["metadata"]["annotations"] == {"k8s.io/initial-events-end": "true"}


async def test_a_watch_list_without_its_match_is_refused() -> None:
    async with kubernetes() as api:
        with pytest.raises(Refused, match="sendInitialEvents requires setting resourceVersionMatch"):
            await collect(api, "pods?watch=true&sendInitialEvents=true", 1)


async def test_bookmarks_come_while_nothing_else_does() -> None:
    async with kubernetes(settings=Settings(bookmark_period=0.0, watch_timeout=60)) as api:
        await api.create("configmaps", {"metadata": {"name": "other"}})
        revision = (await api.get("pods"))["metadata"]["resourceVersion"]
        events = await collect(api, f"pods?watch=true&allowWatchBookmarks=true&resourceVersion={revision}", 1)
        assert shown(events) == [("BOOKMARK", "")]
        assert events[0]["object"]["metadata"]["resourceVersion"] == revision


async def test_a_watch_ends_in_time() -> None:
    async with kubernetes(settings=Settings(watch_timeout=0.0)) as api:
        assert await collect(api, "pods?watch=true", 1) == []


async def test_what_is_too_old_is_gone() -> None:
    async with kubernetes(history=4) as api:
        for index in range(20):
            await api.create("pods", pod(f"p{index}"))
        (error,) = await collect(api, "pods?watch=true&resourceVersion=2", 2)
        assert error["type"] == "ERROR"
        assert error["object"]["message"].startswith("too old resource version: 2 (")
        assert (error["object"]["code"], error["object"]["reason"]) == (410, "Expired")
        with pytest.raises(Refused, match="too old") as refused:
            await api.get("pods?resourceVersion=2&resourceVersionMatch=Exact")
        assert refused.value.code == 410


async def test_a_watch_from_the_future_waits_for_it() -> None:
    async with kubernetes() as api:
        now = int((await api.get("pods"))["metadata"]["resourceVersion"])
        async with aclosing(api.watch(f"pods?watch=true&resourceVersion={now + 2}")) as events:
            for name in "abc":
                await api.create("pods", pod(name))
            assert shown([await anext(events)]) == [("ADDED", "c")]
        with pytest.raises(Refused, match="Too large resource version") as refused:
            await api.get("pods?resourceVersion=9999")
        assert refused.value.code == 504


async def test_a_watch_that_ends_at_once_gets_no_bookmark() -> None:
    async with kubernetes(settings=Settings(bookmark_period=0.0, watch_timeout=0.0)) as api:
        assert await collect(api, "pods?watch=true&allowWatchBookmarks=true", 1) == []


async def test_a_slow_watcher_is_told_and_holds_nobody_up() -> None:
    async with kubernetes(history=4) as api:
        revision = (await api.get("pods"))["metadata"]["resourceVersion"]
        async with (
            aclosing(api.watch(f"pods?watch=true&resourceVersion={revision}")) as slow,
            aclosing(api.watch(f"pods?watch=true&resourceVersion={revision}")) as quick,
        ):
            await api.create("pods", pod("first"))
            assert shown([await anext(slow), await anext(quick)]) == [("ADDED", "first"), ("ADDED", "first")]
            for index in range(20):
                await api.create("pods", pod(f"p{index}"))
                assert (await anext(quick))["object"]["metadata"]["name"] == f"p{index}"
            error = await anext(slow)
            assert error["type"] == "ERROR"
            assert (error["object"]["code"], error["object"]["reason"]) == (410, "Expired")
            assert [event async for event in slow] == []


async def test_tables_are_watched_as_tables() -> None:
    async with kubernetes() as api:
        await api.create("pods", pod("a"))
        response = await api.send("GET", "pods?watch=true", accept="application/json;as=Table;v=v1;g=meta.k8s.io")
        assert response.stream is not None
        async with aclosing(response.stream) as stream:  # type: ignore[type-var]
            first = await anext(aiter(stream))
        assert b'"kind":"Table"' in first


async def test_an_event_is_encoded_once_for_all() -> None:
    async with kubernetes() as api:
        accept = "application/json;as=Table;v=v1;g=meta.k8s.io"
        revision = (await api.get("pods"))["metadata"]["resourceVersion"]
        streams = [
            await api.send("GET", f"pods?watch=true&resourceVersion={revision}", accept=accept) for _ in range(3)
        ]
        await api.create("pods", pod("a"))
        for response in streams:
            assert response.stream is not None
            async with aclosing(response.stream) as stream:  # type: ignore[type-var]
                await anext(aiter(stream))
        forms = api.server.cluster.store.table("pods").log[-1].forms
        assert forms is not None
        assert len(forms) == 1
