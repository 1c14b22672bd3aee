"""Events: counted, gathered, kept within bounds, and never in the way."""

import asyncio
import contextlib
from collections.abc import AsyncIterator

from quartermaster.kube.api import JSON, Body, Decoded, Json, Unreachable
from quartermaster.kube.events import BURST, QUEUED, REFILL_S, Correlator, Events, Of, reference
from quartermaster.local.client import LocalClient
from quartermaster.local.clock import VirtualClock
from quartermaster.testing.kubernetes import Kubernetes, kubernetes, pod

EVENTS = "/api/v1/namespaces/default/events"
GROUP: Of = ("PodGroup", "quartermaster.dev/v1alpha1", "team", "train", "u1", "")


@contextlib.asynccontextmanager
async def recording() -> AsyncIterator[tuple[Events, Kubernetes, VirtualClock, Json]]:
    clock = VirtualClock()
    async with kubernetes() as api:
        about = await api.create("pods", pod("a"))
        client = LocalClient(api.handler, agent="tester")
        events = Events(client, component="quartermaster", instance="q-1", clock=clock, wall=clock)
        task = asyncio.ensure_future(events.run())
        yield events, api, clock, about
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)


async def test_an_event_is_what_kubectl_describe_looks_for() -> None:
    async with recording() as (events, api, _, about):
        events.record(about, "Warning", "Unschedulable", "no room")
        await events.drain()
        fields = f"involvedObject.name=a,involvedObject.uid={about['metadata']['uid']},involvedObject.kind=Pod"
        found = (await api.get(f"{EVENTS}?fieldSelector={fields}"))["items"]
        assert [(item["reason"], item["message"], item["type"], item["count"]) for item in found] == [
            ("Unschedulable", "no room", "Warning", 1)
        ]
        assert (found[0]["source"], found[0]["reportingInstance"]) == ({"component": "quartermaster"}, "q-1")


async def test_the_same_again_is_counted() -> None:
    async with recording() as (events, api, clock, about):
        for _ in range(3):
            events.record(about, "Normal", "Waiting", "2 of 4 pods")
            clock.jump(clock.now + 60)
        events.record(about, "Normal", "Bound", "on n1")
        await events.drain()
        found = {item["reason"]: item for item in (await api.get(EVENTS))["items"]}
        assert {reason: item["count"] for reason, item in found.items()} == {"Waiting": 3, "Bound": 1}
        assert found["Waiting"]["firstTimestamp"] == "2026-01-01T00:00:00Z"
        assert found["Waiting"]["lastTimestamp"] == "2026-01-01T00:02:00Z"


async def test_an_event_that_the_api_has_let_go_begins_again() -> None:
    async with recording() as (events, api, _, about):
        events.record(about, "Normal", "Waiting", "x")
        await events.drain()
        for name in await api.names(EVENTS):
            await api.delete(f"{EVENTS}/{name}")
        events.record(about, "Normal", "Waiting", "x")
        await events.drain()
        assert [item["count"] for item in (await api.get(EVENTS))["items"]] == [1]


async def test_things_without_a_namespace_are_told_in_the_default_one() -> None:
    async with recording() as (events, api, _, _about):
        node = await api.create("/api/v1/nodes", {"metadata": {"name": "n1"}})
        events.record(node, "Normal", "Drained", "x")
        await events.drain()
        assert [item["involvedObject"]["kind"] for item in (await api.get(EVENTS))["items"]] == ["Node"]


async def test_a_thousand_texts_become_one_event() -> None:
    async with recording() as (events, api, _, about):
        for number in range(20):
            events.record(about, "Warning", "Unschedulable", f"{number} nodes are full")
        await events.drain()
        found = (await api.get(EVENTS))["items"]
        gathered = [item for item in found if item["message"].startswith("(combined from similar events): ")]
        assert (len(found), len(gathered)) == (11, 1)
        assert gathered[0]["message"] == "(combined from similar events): 19 nodes are full"
        assert gathered[0]["count"] == 10


def test_similar_things_long_apart_are_not_gathered() -> None:
    correlator = Correlator()
    texts = []
    for number in range(30):
        verdict = correlator.judge(GROUP, "Warning", "Unschedulable", f"text {number}", now=number * 601.0)
        texts.append(verdict[1] if verdict else None)
    assert texts == [f"text {number}" for number in range(30)]


def test_one_object_has_a_burst_and_then_one_in_five_minutes() -> None:
    correlator = Correlator()
    other: Of = (*GROUP[:4], "u2", "")

    def passes(now: float, about: Of = GROUP) -> bool:
        return correlator.judge(about, "Normal", "R", "m", now=now) is not None

    assert sum(passes(0.0) for _ in range(40)) == BURST
    assert passes(0.0, other), "another object has its own"
    assert not passes(REFILL_S - 1)
    assert passes(REFILL_S + 1)
    assert not passes(REFILL_S + 2)


def test_memory_is_bounded_and_texts_are_cut() -> None:
    correlator = Correlator()
    for number in range(10_000):
        verdict = correlator.judge((*GROUP[:4], str(number), ""), "Normal", "R", "m" * 5000, now=0.0)
        assert verdict is not None
        assert len(verdict[1]) == 1024
    assert len(correlator._series._entries) == 4096


class Broken(Decoded):
    """An API that is away."""

    async def send_raw(self, method: str, path: str, body: Body | None = None, *, media: str = JSON) -> bytes:
        raise Unreachable(f"{method} {path} {body} {media}")


async def test_recording_never_waits_and_never_fails() -> None:
    clock = VirtualClock()
    events = Events(Broken(), component="q", instance="q-1", clock=clock, wall=clock)
    for number in range(QUEUED + 5):
        events.record({"kind": "Pod", "apiVersion": "v1", "name": f"p{number}"}, "Normal", "R", "m")
    assert events.dropped == 5
    task = asyncio.ensure_future(events.run())
    await events.drain()
    assert events.dropped == QUEUED + 5
    assert not task.done()
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)


def test_a_reference_says_which_object() -> None:
    about = pod("a") | {"metadata": {"name": "a", "namespace": "t", "uid": "u", "labels": {"x": "y"}}}
    said = {"kind": "Pod", "apiVersion": "v1", "namespace": "t", "name": "a", "uid": "u"}
    assert reference(about) == said
    assert reference(said) == said
