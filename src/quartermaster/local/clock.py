"""Time for everything local: a clock that can be waited on, real, hurried, or moved by hand.

One clock stamps objects and plays stages, so what kubectl calls an age and what a pod calls its run time agree. A
hurried clock starts in the past and runs fast until it has caught up with the wall, so that no stamp is ever from the
future; then it is the wall clock. Where another server stamps what is created, it starts now and runs ahead instead:
nothing starts before it is made.
"""

from __future__ import annotations

import asyncio
import time
from heapq import heappop, heappush


class WallClock:
    """Starts `behind` seconds ago and runs at `speed` until it is `ahead` of the wall. All defaults: the wall clock."""

    def __init__(self, *, behind: float = 0.0, speed: float = 1.0, ahead: float = 0.0) -> None:
        self._began = time.time()
        self._behind = behind
        self._speed = speed
        self._ahead = ahead

    def __call__(self) -> float:
        """Now."""
        passed = time.time() - self._began
        return self._began + min(passed + self._ahead, passed * self._speed - self._behind)

    @property
    def hurried(self) -> bool:
        """Whether it still runs fast."""
        return self._speed > 1 and (time.time() - self._began) * (self._speed - 1) < self._behind + self._ahead

    async def until(self, when: float) -> None:
        """Return at `when` or later."""
        while (left := when - self()) > 0:  # noqa: ASYNC110  # time itself is what is waited for
            await asyncio.sleep(left / self._speed if self.hurried else left)


class VirtualClock:
    """Stands until `jump` moves it to the next moment that somebody waits for."""

    def __init__(self, now: float = 1_767_225_600.0) -> None:
        self.now = now
        self._waiting: list[tuple[float, int, asyncio.Future[None]]] = []
        self._count = 0

    def __call__(self) -> float:
        """Now."""
        return self.now

    async def until(self, when: float) -> None:
        """Return at `when` or later."""
        if when > self.now:
            waiter = asyncio.get_running_loop().create_future()
            self._count += 1
            heappush(self._waiting, (when, self._count, waiter))
            await waiter

    def next(self) -> float | None:
        """The next moment somebody waits for."""
        while self._waiting and self._waiting[0][2].done():
            heappop(self._waiting)
        return self._waiting[0][0] if self._waiting else None

    def jump(self, to: float | None = None) -> bool:
        """Move to `to`, or to the next moment waited for; False if there is none."""
        when = self.next() if to is None else to
        if when is None:
            return False
        self.now = max(self.now, when)
        while self._waiting and self._waiting[0][0] <= self.now:
            waiter = heappop(self._waiting)[2]
            if not waiter.done():
                waiter.set_result(None)
        return True
