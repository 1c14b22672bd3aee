"""What is said late, once, and not too often, whatever the API makes of it."""

import asyncio
import contextlib
from collections.abc import AsyncIterator

import pytest

from quartermaster.controllers.scheduler.teller import INTERVAL_S, PATIENCE_S, Teller, Word
from quartermaster.kube.api import MERGE, Refused
from quartermaster.local.clock import VirtualClock
from tests.unit.controllers.cluster import FakeApi, settle


def word(text: str) -> Word:
    return Word("PATCH", "/a/status", {"text": text}, MERGE, text)


@contextlib.asynccontextmanager
async def telling() -> AsyncIterator[tuple[Teller, FakeApi, VirtualClock]]:
    clock = VirtualClock()
    api = FakeApi(clock)
    teller = Teller(api, clock=clock)
    task = asyncio.create_task(teller.run())
    try:
        yield teller, api, clock
    finally:
        task.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await task


async def test_only_the_last_word_is_written_and_only_after_a_moment() -> None:
    async with telling() as (teller, api, clock):
        teller.say("a", word("one"))
        teller.say("a", word("two"))
        await settle(clock, PATIENCE_S / 2)
        assert not api.sent
        await settle(clock, PATIENCE_S)
        assert [body for _, _, body in api.sent] == [{"text": "two"}]


async def test_what_holds_no_longer_is_not_written() -> None:
    async with telling() as (teller, api, clock):
        teller.say("a", word("one"))
        teller.forget("a")
        await settle(clock, 60)
        assert not api.sent


async def test_what_was_said_is_not_said_again_and_what_changes_not_sooner_than_is_due() -> None:
    async with telling() as (teller, api, clock):
        teller.say("a", word("one"))
        await settle(clock, 2)
        teller.say("a", word("one"))
        teller.say("b", word("other"))
        await settle(clock, 2)
        assert len(api.sent) == 2
        teller.say("a", word("two"))
        await settle(clock, INTERVAL_S - 6)
        assert len(api.sent) == 2
        await settle(clock, 6)
        assert len(api.sent) == 3


@pytest.mark.parametrize("wrong", [Refused(503, "away"), Refused(409, "modified"), OSError("reset"), TimeoutError()])
async def test_a_word_that_was_not_heard_may_be_said_again_at_the_pace_of_words(wrong: Exception) -> None:
    async with telling() as (teller, api, clock):
        api.answer("PATCH", "/a/status", wrong)
        for _ in range(60):
            teller.say("a", word("one"))
            await settle(clock, 1)
        assert 4 <= len(api.sent) <= 5
