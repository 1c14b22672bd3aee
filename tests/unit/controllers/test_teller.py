"""Words are written late and seldom, but for the first few on what somebody waits for."""

import asyncio
import contextlib
from collections.abc import AsyncIterator

import pytest

from quartermaster.controllers.scheduler.teller import SOON_S, Teller, Word
from quartermaster.kube.api import MERGE
from quartermaster.local.clock import VirtualClock
from tests.unit.controllers.cluster import Answer, FakeApi, settle


class Bench:
    """A teller at work, and when it wrote what."""

    def __init__(self) -> None:
        self.clock = VirtualClock(1000.0)
        self.api = FakeApi(self.clock)
        self.written: list[tuple[float, str]] = []
        self.api.default = self._answer
        self.teller = Teller(self.api, clock=self.clock, interval=10.0)

    def _answer(self, _method: str, path: str) -> Answer:
        self.written.append((round(self.clock() - 1000.0, 3), path))
        return {}

    def say(self, text: str, *, soon: bool) -> None:
        word = Word("PATCH", text, {}, MERGE, text)
        self.teller.say("subject", word, patience=SOON_S, soon=soon)


@contextlib.asynccontextmanager
async def bench() -> AsyncIterator[Bench]:
    it = Bench()
    task = asyncio.create_task(it.teller.run())
    try:
        yield it
    finally:
        task.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await task


@pytest.mark.parametrize(
    ("soon", "times"), [(True, [0.05, 1.05, 3.05, 7.05, 15.05, 25.05]), (False, [0.05, 10.05, 20.05])]
)
async def test_what_changes_all_the_time_is_said_less_and_less_often(soon: bool, times: list[float]) -> None:
    async with bench() as it:
        for number in range(260):
            it.say(str(number), soon=soon)
            await settle(it.clock, 0.1)
        assert [when for when, _ in it.written] == pytest.approx(times, abs=0.051)


async def test_after_a_rest_a_word_comes_soon_again() -> None:
    async with bench() as it:
        for number in range(100):
            it.say(str(number), soon=True)
            await settle(it.clock, 0.1)
        await settle(it.clock, 30.0)
        began = it.clock() - 1000.0
        it.say("x", soon=True)
        await settle(it.clock, 5.0)
        it.say("y", soon=True)
        await settle(it.clock, 5.0)
        assert [text for _, text in it.written[-2:]] == ["x", "y"]
        assert [when for when, _ in it.written[-2:]] == pytest.approx([began + SOON_S, began + 5 + SOON_S])


async def test_what_was_said_last_is_not_said_again() -> None:
    async with bench() as it:
        for text in ("a", "a", "b", "a"):
            it.say(text, soon=True)
        await settle(it.clock, 5.0)
        it.say("a", soon=True)
        await settle(it.clock, 20.0)
        assert it.written == [(SOON_S, "a")]
