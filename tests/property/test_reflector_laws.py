"""Whatever befalls its lists and watches, a reflector ends with what the API holds, and told every step of the way."""

import asyncio
import contextlib
import random
from collections.abc import AsyncIterator, Callable
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from quartermaster.kube.api import Json
from quartermaster.kube.reflector import Reflector
from quartermaster.local.client import LocalClient
from quartermaster.local.clock import VirtualClock
from quartermaster.testing.kubernetes import kubernetes
from tests.unit.kube.storm import Storm

PATH = "/api/v1/namespaces/default/configmaps"
STEPS = st.lists(
    st.one_of(
        st.tuples(st.sampled_from(("put", "put", "remove")), st.sampled_from("abcdef")),
        st.tuples(st.just("rest"), st.integers(1, 60)),
    ),
    min_size=20,
    max_size=80,
)


class Told:
    """Keeps what the callbacks say, and holds each against the one before."""

    def __init__(self) -> None:
        self.objects: dict[str, Json] = {}

    def __call__(self, before: Json | None, after: Json | None) -> None:
        assert before is not None or after is not None
        name = (after or before or {})["metadata"]["name"]
        assert self.objects.get(name) == before
        if after is None:
            del self.objects[name]
        else:
            assert before is None or before["metadata"]["resourceVersion"] != after["metadata"]["resourceVersion"]
            self.objects[name] = after


def bare(value: Json) -> Json:
    """Without what items of a list do not say of themselves."""
    return {key: part for key, part in value.items() if key not in ("kind", "apiVersion")}


async def rest(clock: VirtualClock, turns: int, until: Callable[[], bool] = lambda: False) -> bool:
    """Let everybody work, and time pass, until something holds."""
    for turn in range(turns):
        if until():
            return True
        if turn % 5 == 4:
            clock.jump(clock.now + 1.0)
        await asyncio.sleep(0)
    return until()


@contextlib.asynccontextmanager
async def running(reflector: Reflector[Any]) -> AsyncIterator[None]:
    task = asyncio.create_task(reflector.run())
    try:
        yield
        assert not task.done(), task.exception()
    finally:
        task.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await task


async def play(steps: list[tuple[str, Any]], seed: int, *, torn: bool, **options: Any) -> dict[str, int]:
    """Steps of a changing cluster, watched through a storm that ends; the reflector must have it right by then."""
    clock, rng = VirtualClock(), random.Random(seed)
    async with kubernetes(history=12) as api:
        storm = Storm(LocalClient(api.handler, agent="watcher"), rng, rate=0.0, torn=torn)
        told = Told()
        reflector = Reflector(storm, PATH, told, clock=clock, rng=rng, page=2, **options)
        async with running(reflector):
            assert await rest(clock, 100, reflector.synced.is_set)
            storm.rate = 0.15
            for step, what in steps:
                if step == "rest":
                    await rest(clock, what)
                elif step == "remove":
                    await api.send("DELETE", f"{PATH}/{what}")
                else:
                    body = {"metadata": {"name": what}, "data": {"n": str(rng.random())}}
                    if (await api.send("PUT", f"{PATH}/{what}", body)).status == 404:
                        await api.create(PATH, body)
            storm.rate = 0.0
            listed = (await api.get(PATH))["items"]
            truth = {item["metadata"]["name"]: bare(item) for item in listed}

            def right() -> bool:
                held = {name: bare(item) for (_, name), item in reflector.objects.items()}
                return reflector.synced.is_set() and held == truth

            synced = await rest(clock, 5000, right)
            assert synced, (reflector.failure, sorted(reflector.objects), sorted(truth))
            assert {name: bare(item) for name, item in told.objects.items()} == truth
            # and it stays right: a change after the storm is seen as well
            await api.create(PATH, {"metadata": {"name": "last"}})
            assert await rest(clock, 5000, lambda: ("default", "last") in reflector.objects)
            await rest(clock, 100)
            assert {name for _, name in reflector.objects} == {*truth, "last"}
    return storm.troubles


@settings(max_examples=60)
@given(steps=STEPS, seed=st.integers(0, 2**32), streaming=st.booleans())
def test_any_interleaving_converges(steps: list[tuple[str, Any]], seed: int, streaming: bool) -> None:
    asyncio.run(play(steps, seed, torn=False, streaming=streaming))


@settings(max_examples=30)
@given(steps=STEPS, seed=st.integers(0, 2**32), streaming=st.booleans())
def test_with_an_audit_even_lost_events_are_found(steps: list[tuple[str, Any]], seed: int, streaming: bool) -> None:
    asyncio.run(play(steps, seed, torn=True, streaming=streaming, audit=10.0))


def test_the_storm_has_everything_in_it() -> None:
    seen: set[str] = set()
    for seed in range(12):
        steps: list[tuple[str, Any]] = [("put", name) for name in "abcdef"]
        for name in "abcdefabcdef":
            steps += [("put", name), ("rest", 90), ("put", "a"), ("put", "b"), ("remove", name), ("rest", 90)]
            steps += [("put", name), ("rest", 60)]
        seen |= set(asyncio.run(play(steps, seed, torn=True, streaming=seed % 2 == 0, audit=10.0)))
    assert seen >= {
        "lost request",
        "refused request",
        "expired page",
        "lost watch",
        "refused watch",
        "old server",
        "torn window",
        "dropped watch",
        "ended watch",
        "expired watch",
        "disorder",
        "echo",
        "old echo",
    }
