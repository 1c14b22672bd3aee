"""The reflector's rules one by one: against the embedded server, and against streams written by hand."""

import asyncio
import contextlib
import itertools
import random
from collections.abc import AsyncGenerator, AsyncIterator
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

import msgspec
import pytest

from quartermaster.kube.api import JSON, Body, Decoded, Json, Refused, Unreachable
from quartermaster.kube.connecting import connect
from quartermaster.kube.http import HttpApi
from quartermaster.kube.reflector import Reflector
from quartermaster.kube.views import Meta, view_of
from quartermaster.local.apiserver.local import LocalApi
from quartermaster.local.client import LocalClient
from quartermaster.local.clock import VirtualClock
from quartermaster.testing.kubernetes import kubernetes, pod

PODS = "/api/v1/namespaces/default/pods"
Step = Json | Exception | float


def thing(name: str, version: int, **data: Any) -> Json:
    return {"metadata": {"name": name, "namespace": "default", "resourceVersion": str(version)}, **data}


def event(type_: str, name: str, version: int) -> Json:
    return {"type": type_, "object": thing(name, version)}


def mark(version: int, *, initial: bool = False) -> Json:
    annotations = {"k8s.io/initial-events-end": "true"} if initial else {}
    return {
        "type": "BOOKMARK",
        "object": {"metadata": {"resourceVersion": str(version), "annotations": annotations}},
    }


class Written(Decoded):
    """Answers lists and watches as written down, then hangs. A float in a stream is silence for so many seconds."""

    def __init__(self, clock: VirtualClock, *, lists: list[Json | Exception], watches: list[list[Step]]) -> None:
        self._clock, self._lists, self._watches = clock, lists, watches
        self.asked: list[dict[str, str]] = []
        self.open = 0

    async def send_raw(self, method: str, path: str, body: Body | None = None, *, media: str = JSON) -> bytes:
        assert (method, body, media) == ("GET", None, JSON)
        self._ask(path)
        answer = self._lists.pop(0)
        if isinstance(answer, Exception):
            raise answer
        return msgspec.json.encode(answer)

    async def watch_raw(self, path: str) -> AsyncGenerator[bytes, None]:
        self._ask(path)
        self.open += 1
        try:
            for step in self._watches.pop(0) if self._watches else [float("inf")]:
                if isinstance(step, Exception):
                    raise step
                if isinstance(step, float):
                    await (self._clock.until(self._clock() + step) if step < 1e9 else asyncio.Event().wait())
                else:
                    yield msgspec.json.encode(step)
        finally:
            self.open -= 1

    def _ask(self, path: str) -> None:
        self.asked.append({key: values[0] for key, values in parse_qs(urlsplit(path).query).items()})


def listing(version: int, *things: Json, more: str = "") -> Json:
    return {"metadata": {"resourceVersion": str(version), "continue": more}, "items": list(things)}


@contextlib.asynccontextmanager
async def reflecting(
    api: Written, clock: VirtualClock, **options: Any
) -> AsyncIterator[tuple[Reflector[Json], list[str]]]:
    """A reflector at work, and what it told: +a, -a, ~a."""
    told: list[str] = []

    def note(before: Json | None, after: Json | None) -> None:
        sign = "+" if before is None else "-" if after is None else "~"
        told.append(sign + (after or before or {})["metadata"]["name"])

    options = {"streaming": False} | options
    reflector = Reflector(api, "/things", note, clock=clock, rng=random.Random(0), **options)
    task = asyncio.ensure_future(reflector.run())
    try:
        await turns()
        yield reflector, told
    finally:
        task.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await task
    assert api.open == 0, "a watch was left open"


async def turns(clock: VirtualClock | None = None, seconds: float = 0.0) -> None:
    """Let everybody work; with a clock, until `seconds` have passed."""
    end = clock.now + seconds if clock is not None else 0.0
    while True:
        for _ in range(60):
            await asyncio.sleep(0)
        if clock is None or clock.now >= end:
            return
        upcoming = clock.next()
        clock.jump(end if upcoming is None else min(end, upcoming))


async def test_pages_are_asked_for_until_there_are_no_more() -> None:
    clock = VirtualClock()
    api = Written(
        clock,
        lists=[listing(9, thing("a", 1), thing("b", 2), more="next"), listing(9, thing("c", 3))],
        watches=[[event("MODIFIED", "a", 10), float("inf")]],
    )
    async with reflecting(api, clock, page=2) as (reflector, told):
        assert told == ["+a", "+b", "+c", "~a"]
        assert reflector.synced.is_set()
    assert api.asked[0] == {"limit": "2"}
    assert api.asked[1] == {"limit": "2", "continue": "next"}
    assert api.asked[2].pop("timeoutSeconds")
    assert api.asked[2] == {"watch": "true", "allowWatchBookmarks": "true", "resourceVersion": "9"}


async def test_pages_that_expire_are_followed_by_one_list_of_all() -> None:
    clock = VirtualClock()
    pages: list[Json | Exception] = [
        listing(9, thing("a", 1), more="next"),
        Refused(410, "expired"),
        listing(12, thing("b", 2)),
    ]
    async with reflecting(api := Written(clock, lists=pages, watches=[]), clock, page=1) as (reflector, told):
        assert told == ["+a", "+b", "-a"]
        assert list(reflector.objects) == [("default", "b")]
    assert api.asked[2] == {}


async def test_a_stream_of_initial_events_is_a_list() -> None:
    clock = VirtualClock()
    first: list[Step] = [
        event("ADDED", "a", 3),
        event("ADDED", "b", 4),
        mark(7, initial=True),
        event("DELETED", "a", 8),
    ]
    second: list[Step] = [Refused(410, "gone")]
    third: list[Step] = [event("ADDED", "c", 20), mark(30, initial=True), float("inf")]
    api = Written(clock, lists=[], watches=[[*first, Unreachable("lost")], second, third])
    async with reflecting(api, clock, streaming=True) as (reflector, told):
        assert told == ["+a", "+b", "-a"]
        await turns(clock, 2.0)
        assert told == ["+a", "+b", "-a", "+c", "-b"]
        assert reflector.synced.is_set()
    assert api.asked[0]["sendInitialEvents"] == "true"
    assert api.asked[0]["resourceVersionMatch"] == "NotOlderThan"
    assert api.asked[1]["resourceVersion"] == "8", "it resumes where it was"
    assert "sendInitialEvents" in api.asked[2]


@pytest.mark.parametrize("code", [400, 422])
async def test_a_server_without_initial_events_is_asked_for_pages(code: int) -> None:
    clock = VirtualClock()
    api = Written(clock, lists=[listing(1, thing("a", 1))], watches=[[Refused(code, "forbidden")]])
    async with reflecting(api, clock, streaming=True) as (reflector, told):
        assert told == ["+a"]
        assert reflector.failure is None


async def test_a_server_that_never_ends_its_initial_events_is_asked_for_pages() -> None:
    clock = VirtualClock()
    api = Written(clock, lists=[listing(5, thing("b", 2))], watches=[[event("ADDED", "a", 1), float("inf")]])
    async with reflecting(api, clock, streaming=True, idle=20.0) as (reflector, told):
        assert not reflector.synced.is_set()
        await turns(clock, 25.0)
        assert reflector.synced.is_set()
        assert told == ["+a", "+b", "-a"]


async def test_a_silent_watch_is_given_up_and_resumed() -> None:
    clock = VirtualClock()
    watches: list[list[Step]] = [[149.0, mark(10), 149.0, event("ADDED", "a", 12), float("inf")]]
    async with reflecting(api := Written(clock, lists=[listing(9)], watches=watches), clock) as (reflector, _):
        await turns(clock, 400.0)
        assert len(api.asked) == 2, "what is said in time keeps it alive"
        await turns(clock, 50.0)
        assert len(api.asked) == 3
        assert api.asked[2]["resourceVersion"] == "12"
        assert reflector.failure is None or "said nothing for 150 s" in str(reflector.failure)


async def test_failures_wait_longer_and_retry_after_is_kept() -> None:
    clock = VirtualClock()
    lists: list[Json | Exception] = [
        *(Unreachable("away") for _ in range(6)),
        Refused(429, "busy", retry_after=60.0),
        listing(1),
    ]
    api = Written(clock, lists=lists, watches=[])
    start = clock.now
    times: list[float] = []
    async with reflecting(api, clock) as (reflector, _):
        while not reflector.synced.is_set():
            if len(api.asked) > len(times):
                times.append(clock.now - start)
            await turns(clock, 0.05)
        assert reflector.failure is None
    pauses = [after - before for before, after in itertools.pairwise(times)]
    for number, pause in enumerate(pauses[:6]):
        assert 0.25 * 2**number <= pause + 0.1, (number, pause)
        assert pause - 0.1 <= 0.5 * 2**number, (number, pause)
    assert clock.now - start >= times[6] + 60.0


async def test_a_server_that_expires_everything_is_not_hammered() -> None:
    clock = VirtualClock()
    lists: list[Json | Exception] = [listing(number) for number in range(1, 400)]
    watches: list[list[Step]] = [[Refused(410, "expired")] for _ in range(400)]
    api = Written(clock, lists=lists, watches=watches)
    async with reflecting(api, clock):
        await turns(clock, 120.0)
        assert 10 < len(api.asked) < 40


async def test_a_watch_that_ends_as_soon_as_it_begins_is_not_hammered() -> None:
    clock = VirtualClock()
    async with reflecting(api := Written(clock, lists=[listing(1)], watches=[[]] * 400), clock):
        await turns(clock, 120.0)
        assert 5 < len(api.asked) < 25


@pytest.mark.parametrize("code", [401, 403, 429, 500, 503])
async def test_a_watch_that_is_refused_for_now_resumes(code: int) -> None:
    clock = VirtualClock()
    api = Written(clock, lists=[listing(5)], watches=[[Refused(code, "no")], [float("inf")]])
    async with reflecting(api, clock):
        await turns(clock, 1.0)
        assert [query.get("resourceVersion") for query in api.asked] == [None, "5", "5"]


@pytest.mark.parametrize("code", [400, 404, 410, 504])
async def test_a_watch_whose_place_is_doubted_lists(code: int) -> None:
    clock = VirtualClock()
    error: Json = {"type": "ERROR", "object": {"kind": "Status", "code": code, "message": "no"}}
    api = Written(clock, lists=[listing(5), listing(9)], watches=[[error]])
    async with reflecting(api, clock):
        await turns(clock, 1.0)
        assert [query.get("resourceVersion") for query in api.asked] == [None, "5", None, "9"]


OLD_NEWS: list[tuple[list[Step], list[str]]] = [
    ([event("MODIFIED", "a", 11), event("MODIFIED", "a", 11)], ["~a"]),
    ([event("MODIFIED", "a", 12), event("MODIFIED", "a", 11)], ["~a"]),
    ([event("DELETED", "a", 12), event("MODIFIED", "a", 11)], ["-a"]),
    ([event("DELETED", "a", 12), event("DELETED", "a", 12)], ["-a"]),
    ([event("ADDED", "a", 13), event("DELETED", "a", 12)], ["~a"]),
    ([event("DELETED", "a", 12), event("ADDED", "a", 13)], ["-a", "+a"]),
    ([event("ADDED", "b", 4), event("DELETED", "a", 5)], []),
    ([event("DELETED", "z", 12)], []),
]


@pytest.mark.parametrize(("events", "says"), OLD_NEWS)
async def test_old_news_is_no_news(events: list[Step], says: list[str]) -> None:
    clock = VirtualClock()
    api = Written(clock, lists=[listing(9, thing("a", 6))], watches=[[*events, float("inf")]])
    async with reflecting(api, clock) as (_, told):
        assert told[1:] == says


async def test_old_news_among_initial_events_is_no_news() -> None:
    clock = VirtualClock()
    events: list[Step] = [
        *(event("MODIFIED", "a", 9), event("ADDED", "a", 5)),
        *(event("ADDED", "b", 6), event("DELETED", "b", 8), event("ADDED", "b", 6)),
        *(event("ADDED", "c", 9), event("DELETED", "c", 8)),
    ]
    api = Written(clock, lists=[], watches=[[*events, mark(10, initial=True), float("inf")]])
    async with reflecting(api, clock, streaming=True) as (reflector, told):
        assert told == ["+a", "+b", "-b", "+c"]
        assert reflector.objects["default", "a"]["metadata"]["resourceVersion"] == "9"


async def test_a_list_is_the_truth_even_after_a_backup_was_restored() -> None:
    clock = VirtualClock()
    lists: list[Json | Exception] = [listing(90, thing("a", 80), thing("b", 81)), listing(20, thing("a", 7))]
    api = Written(clock, lists=lists, watches=[[Refused(504, "too large")], [event("ADDED", "b", 21), float("inf")]])
    async with reflecting(api, clock) as (reflector, told):
        await turns(clock, 1.0)
        assert told == ["+a", "+b", "~a", "-b", "+b"]
        assert reflector.objects["default", "a"]["metadata"]["resourceVersion"] == "7"


async def test_what_was_not_changed_between_two_lists_is_not_told() -> None:
    clock = VirtualClock()
    lists: list[Json | Exception] = [listing(5, thing("a", 1), thing("b", 2)), listing(9, thing("a", 1), thing("c", 8))]
    async with reflecting(Written(clock, lists=lists, watches=[[Refused(410, "old")]]), clock) as (_, told):
        assert told == ["+a", "+b", "+c", "-b"]


class Narrow(msgspec.Struct, gc=False, frozen=True):
    """What a test reads of a thing."""

    metadata: Meta
    size: int = 0


async def test_what_cannot_be_read_is_left_out_and_the_rest_is_there(caplog: pytest.LogCaptureFixture) -> None:
    clock = VirtualClock()
    things = [thing("a", 1, size=1), thing("b", 2, size="large"), thing("c", 3)]
    stream: list[Step] = [
        {"type": "MODIFIED", "object": thing("a", 10, size=[])},
        {"type": "MODIFIED", "object": thing("b", 11, size=5)},
        float("inf"),
    ]
    told: list[tuple[Narrow | None, Narrow | None]] = []
    reflector = Reflector(
        Written(clock, lists=[listing(9, *things)], watches=[stream]),
        "/things",
        lambda before, after: told.append((before, after)),
        view=view_of(Narrow),
        clock=clock,
        streaming=False,
    )
    task = asyncio.ensure_future(reflector.run())
    await turns()
    assert sorted(name for _, name in reflector.objects) == ["b", "c"]
    assert [after.size if after else None for _, after in told] == [1, 0, None, 5]
    assert [record.message.split(": ", 1)[0] for record in caplog.records] == ["/things"] * 2
    assert "default/b is left out: Expected `int`, got `str`" in caplog.text
    task.cancel()
    with contextlib.suppress(asyncio.CancelledError):
        await task


async def test_torn_lines_and_lists_that_are_none_are_survived() -> None:
    clock = VirtualClock()
    lists: list[Json | Exception] = [{"kind": "Login"}, listing(1, thing("a", 1))]
    api = Written(clock, lists=lists, watches=[[{"no": "event"}], [event("ADDED", "b", 2), float("inf")]])
    async with reflecting(api, clock) as (_, told):
        await turns(clock, 5.0)
        assert told == ["+a", "+b"]


@pytest.mark.parametrize(("error", "seen"), [(KeyError("a bug"), KeyError), (OSError("a bug"), RuntimeError)])
async def test_an_error_of_the_callback_is_not_hidden(error: Exception, seen: type[Exception]) -> None:
    clock = VirtualClock()

    def fail(_before: Json | None, _after: Json | None) -> None:
        raise error

    api = Written(clock, lists=[listing(1)], watches=[[event("ADDED", "a", 2), float("inf")]])
    with pytest.raises(seen):
        await Reflector(api, "/things", fail, clock=clock, streaming=False).run()
    assert api.open == 0


@pytest.mark.parametrize("streaming", [True, False])
async def test_the_embedded_server_is_mirrored_in_process_and_over_http(tmp_path: Path, streaming: bool) -> None:
    path = tmp_path / "kubeconfig"
    async with (
        LocalApi(kubeconfig=path) as server,
        HttpApi(connect(kubeconfig=path, environment={}), agent="tester") as http,
    ):
        inside = LocalClient(server.server.handle, agent="tester")
        for number in range(7):
            await inside.send("POST", PODS, pod(f"p{number}"))
        mirrors: list[Reflector[Json]] = [
            Reflector(api, PODS, lambda _before, _after: None, page=3, streaming=streaming) for api in (http, inside)
        ]
        tasks = [asyncio.ensure_future(mirror.run()) for mirror in mirrors]
        async with asyncio.timeout(30):
            for mirror in mirrors:
                await mirror.synced.wait()
            await http.send("DELETE", f"{PODS}/p0", {"gracePeriodSeconds": 0})
            await http.send("POST", PODS, pod("last"))
            while not all(("default", "last") in mirror.objects for mirror in mirrors):  # noqa: ASYNC110  # a socket
                await asyncio.sleep(0.01)
        for mirror in mirrors:
            assert sorted(name for _, name in mirror.objects) == ["last", "p1", "p2", "p3", "p4", "p5", "p6"]
            assert mirror.failure is None
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


async def test_a_path_with_a_query_keeps_it() -> None:
    async with kubernetes() as api:
        await api.create("pods", pod("a"))
        await api.create("pods", pod("b") | {"metadata": {"name": "b", "labels": {"team": "x"}}})
        for streaming in (True, False):
            mirror: Reflector[Json] = Reflector(
                LocalClient(api.handler, agent="tester"),
                f"{PODS}?labelSelector=team=x",
                lambda _before, _after: None,
                streaming=streaming,
            )
            task = asyncio.ensure_future(mirror.run())
            await mirror.synced.wait()
            assert [name for _, name in mirror.objects] == ["b"]
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)


# ---- what was heard is doubted


async def test_who_doubts_a_watch_is_answered_by_a_list_that_was_made_since() -> None:
    clock = VirtualClock()
    api = Written(clock, lists=[listing(9, thing("a", 1)), listing(12, thing("b", 11))], watches=[])
    async with reflecting(api, clock) as (reflector, told):
        assert told == ["+a"]
        renewing = asyncio.ensure_future(reflector.renew())
        await turns()
        assert renewing.done()
        assert told == ["+a", "+b", "-a"]
        assert api.open == 1, "it watches from there"


async def test_a_doubt_does_not_wait_for_the_end_of_a_pause() -> None:
    clock = VirtualClock()
    pause = Refused(429, "later", retry_after=60)
    lists: list[Json | Exception] = [listing(9, thing("a", 1)), listing(12, thing("a", 1), thing("b", 11))]
    async with reflecting(Written(clock, lists=lists, watches=[[pause]]), clock) as (reflector, told):
        renewing = asyncio.ensure_future(reflector.renew())
        await turns()
        assert renewing.done()
        assert told == ["+a", "+b"]


async def test_a_doubt_lasts_until_a_list_is_answered() -> None:
    clock = VirtualClock()
    lists: list[Json | Exception] = [listing(9), Refused(503, "away"), OSError("reset"), listing(12, thing("b", 11))]
    async with reflecting(Written(clock, lists=lists, watches=[]), clock) as (reflector, told):
        renewing = asyncio.ensure_future(reflector.renew())
        await turns()
        assert not renewing.done()
        await turns(clock, 10)
        assert renewing.done()
        assert told == ["+b"]


@pytest.mark.parametrize("streaming", [False, True])
async def test_a_list_that_had_begun_before_the_doubt_does_not_mend_it(streaming: bool) -> None:
    clock = VirtualClock()

    class Slow(Written):
        async def send_raw(self, method: str, path: str, body: Body | None = None, *, media: str = JSON) -> bytes:
            answer = await super().send_raw(method, path, body, media=media)
            await self._clock.until(self._clock() + 5)
            return answer

    streams: list[list[Step]] = [
        [event("ADDED", "a", 1), 5.0, mark(9, initial=True), float("inf")],
        [event("ADDED", "a", 1), event("ADDED", "b", 11), 5.0, mark(12, initial=True), float("inf")],
    ]
    lists: list[Json | Exception] = [listing(9, thing("a", 1)), listing(12, thing("a", 1), thing("b", 11))]
    api = Slow(clock, lists=lists, watches=streams if streaming else [])
    async with reflecting(api, clock, streaming=streaming) as (reflector, told):
        renewing = asyncio.ensure_future(reflector.renew())
        await turns(clock, 4)
        assert not renewing.done()
        await turns(clock, 7)
        assert renewing.done()
        assert told == ["+a", "+b"]
