"""Time as controllers have it: an argument, real or moved by hand.

Two kinds of time are kept apart. Stamps in objects are wall time; how long something has lasted is measured on a clock
that nobody sets, because the wall clock of a machine jumps.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Coroutine
from typing import Any, Protocol, TypeVar

T = TypeVar("T")


class Clock(Protocol):
    """Seconds, and a way to wait for a moment. Since 1970 where stamps are made of them."""

    def __call__(self) -> float:
        """Now."""

    async def until(self, when: float) -> None:
        """Return at `when` or later."""


class SteadyClock:
    """Seconds since this machine started: never set, and it counts while the machine is suspended.

    The second is what leadership needs: a laptop or a virtual machine that wakes up must know that its time has passed.
    """

    def __call__(self) -> float:
        """Now."""
        return time.clock_gettime(time.CLOCK_BOOTTIME) if hasattr(time, "CLOCK_BOOTTIME") else time.monotonic()

    async def until(self, when: float) -> None:
        """Return at `when` or later."""
        while (left := when - self()) > 0:  # noqa: ASYNC110  # time itself is what is waited for
            await asyncio.sleep(left)


class WallClock:
    """Seconds since 1970 as this machine believes.

    A wait lasts as long as it was when it began, whatever the clock is set to meanwhile.
    """

    def __call__(self) -> float:
        """Now."""
        return time.time()

    async def until(self, when: float) -> None:
        """Return once as much time has passed as it was to `when`."""
        steady = SteadyClock()
        await steady.until(steady() + when - self())


async def within(clock: Clock, seconds: float, work: Coroutine[Any, Any, T]) -> T:
    """The result of `work`; raises TimeoutError after `seconds` of the clock, when `work` has been cancelled."""
    task = asyncio.ensure_future(work)
    alarm = asyncio.ensure_future(clock.until(clock() + seconds))
    try:
        await asyncio.wait((task, alarm), return_when=asyncio.FIRST_COMPLETED)
        if not task.done():
            raise TimeoutError(f"not done in {seconds:g} s")
        return task.result()
    finally:
        await _ended(task)
        await _ended(alarm)


async def _ended(task: asyncio.Future[Any]) -> None:
    """Cancel, and wait until it has: nothing that was started goes on behind the caller's back."""
    if not task.done():
        task.cancel()
        await asyncio.wait((task,))
    if not task.cancelled():
        task.exception()
