"""What is to be looked at: keys, each at most once, later for those that failed, in turn between groups.

A key that is added while it waits is still one key; one added while it is worked on comes again when that is done, so
nothing is missed and no two work on the same. Groups (namespaces, say) take turns: ten thousand keys of one team do not
hold up the one of another. Time is an argument. Refuses to know what a key stands for.
"""

from __future__ import annotations

import asyncio
import logging
import random
from collections.abc import Awaitable, Callable, Hashable
from heapq import heappop, heappush
from typing import Generic, TypeVar

from quartermaster.kube.backoff import Backoff
from quartermaster.kube.clock import Clock

K = TypeVar("K", bound=Hashable)
_log = logging.getLogger(__name__)


class WorkQueue(Generic[K]):
    """Keys to work on. `group` says whose a key is; without it all are one group, first come, first served.

    Failures wait `first` seconds, doubled each time up to `longest`.
    """

    def __init__(
        self,
        *,
        clock: Clock,
        rng: random.Random,
        group: Callable[[K], Hashable] = lambda _: None,
        first: float = 0.05,
        longest: float = 300.0,
    ) -> None:
        self._clock, self._rng, self._group = clock, rng, group
        self._first, self._longest = first, longest
        self._waiting: dict[Hashable, dict[K, None]] = {}
        self._working: set[K] = set()
        self._again: set[K] = set()
        self._due: dict[K, float] = {}
        self._timers: list[tuple[float, int, K]] = []
        self._count = 0
        self._backoffs: dict[K, Backoff] = {}
        self._woken = asyncio.Event()

    def __len__(self) -> int:
        """How many keys wait and are due."""
        return sum(map(len, self._waiting.values())) + len(self._again)

    def add(self, key: K) -> None:
        """Look at `key` as soon as possible."""
        self._due.pop(key, None)
        if key in self._working:
            self._again.add(key)
            return
        self._waiting.setdefault(self._group(key), {})[key] = None
        self._woken.set()

    def add_after(self, key: K, seconds: float) -> None:
        """Look at `key` in a while; the earliest of several such wishes counts."""
        when = self._clock() + seconds
        if seconds <= 0:
            self.add(key)
        elif not self._is_waiting(key) and when < self._due.get(key, float("inf")):
            self._due[key] = when
            self._count += 1
            heappush(self._timers, (when, self._count, key))
            self._woken.set()

    def retry(self, key: K, at_least: float | None = None) -> float:
        """Look at `key` again after its failure; how many seconds that will be."""
        if key not in self._backoffs:
            self._backoffs[key] = Backoff(rng=self._rng, first=self._first, longest=self._longest)
        pause = self._backoffs[key].next(at_least)
        self.add_after(key, pause)
        return pause

    def forget(self, key: K) -> None:
        """`key` has succeeded, or is gone: its next failure is its first."""
        self._backoffs.pop(key, None)

    def failures(self, key: K) -> int:
        """How often `key` has failed since it was last forgotten."""
        return self._backoffs[key].failures if key in self._backoffs else 0

    async def get(self) -> K:
        """The next key; `done` has to follow."""
        while True:
            self._ripen()
            if self._waiting:
                return self._take()
            self._woken.clear()
            await self._wait()

    def done(self, key: K) -> None:
        """`key` is no longer worked on."""
        self._working.discard(key)
        if key in self._again:
            self._again.discard(key)
            self.add(key)

    async def work(self, handle: Callable[[K], Awaitable[float | None]], *, workers: int = 1) -> None:
        """Call `handle` for every key until cancelled, at most `workers` at a time.

        It returns after how many seconds to be called again, or None. An exception is a failure of that key alone.
        """
        async with asyncio.TaskGroup() as group:
            for _ in range(workers):
                group.create_task(self._worker(handle))

    async def _worker(self, handle: Callable[[K], Awaitable[float | None]]) -> None:
        while True:
            key = await self.get()
            try:
                again = await handle(key)
            except Exception as wrong:  # noqa: BLE001  # one key that fails must not stop the others
                pause = self.retry(key, getattr(wrong, "retry_after", None))
                _log.warning("%s: failure %d, next in %.2f s", key, self.failures(key), pause, exc_info=True)
            else:
                self.forget(key)
                if again is not None:
                    self.add_after(key, again)
            finally:
                self.done(key)
            await asyncio.sleep(0)

    def _is_waiting(self, key: K) -> bool:
        return key in self._again or key in self._waiting.get(self._group(key), ())

    def _ripen(self) -> None:
        now = self._clock()
        while self._timers and self._timers[0][0] <= now:
            when, _, key = heappop(self._timers)
            if self._due.get(key) == when:
                self.add(key)

    def _take(self) -> K:
        group, keys = next(iter(self._waiting.items()))
        key = next(iter(keys))
        del keys[key], self._waiting[group]
        if keys:
            self._waiting[group] = keys  # to the end of the line
        self._working.add(key)
        return key

    async def _wait(self) -> None:
        while self._timers and self._due.get(self._timers[0][2]) != self._timers[0][0]:
            heappop(self._timers)
        waits: list[asyncio.Future[object]] = [asyncio.ensure_future(self._woken.wait())]
        if self._timers:
            waits.append(asyncio.ensure_future(self._clock.until(self._timers[0][0])))
        try:
            await asyncio.wait(waits, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for wait in waits:
                wait.cancel()
