"""All objects behind a list path, kept by list and watch, through everything that may happen to either.

It lists by a stream of initial events where the server has that, else in pages; watches from there, resumes after a
lost connection, and lists anew when the server has forgotten where it was. A list tells what was missed as if it had
been seen. Old news (an event sent twice, late, or from before the list) is recognised by its version and dropped.

Nothing that the network or the server does ends it; `failure` says what is wrong at the moment. An error of `on_change`
does end it: that is a bug. Time and chance are arguments. Refuses to act: it only tells.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import random
from collections.abc import Callable, Iterable
from typing import Final, Generic, TypeVar

from quartermaster.kube.api import Api, Key, Refused, Unreachable, decoded
from quartermaster.kube.backoff import Backoff
from quartermaster.kube.clock import Clock, SteadyClock
from quartermaster.kube.views import OBJECTS, Event, Head, Unreadable, View, event_of, head_of

_log = logging.getLogger(__name__)
T = TypeVar("T")

PAGE: Final = 500
IDLE_S: Final = 150.0
"""A watch that says nothing for so long is taken for dead: servers send a bookmark every minute."""

SHORTEST_S: Final = 300.0
"""A watch is asked to end after this and up to twice as long, so that load finds its way to servers that are new."""

_INITIAL_END: Final = "k8s.io/initial-events-end"
_STAY: Final = (401, 403, 408, 429, 500, 502, 503)
"""After these a watch goes on where it was; after any other refusal its place is doubted, and a list mends that."""

_TOMBS: Final = 10_000
_BREATH: Final = 500
"""Events after which others in this loop get their turn."""


class Reflector(Generic[T]):
    """`objects` is read-only for others; `synced` is set once the first list is in.

    `on_change` is told (before, after): None before is new, None after is gone. With `audit`, a list older than so
    many seconds is made anew when a watch ends: for streams that are not trusted to be in order.
    """

    def __init__(
        self,
        api: Api,
        path: str,
        on_change: Callable[[T | None, T | None], None],
        *,
        view: View[T] = OBJECTS,  # type: ignore[assignment]  # callbacks of dictionaries, unless told otherwise
        clock: Clock | None = None,
        rng: random.Random | None = None,
        page: int = PAGE,
        streaming: bool = True,
        idle: float = IDLE_S,
        audit: float | None = None,
    ) -> None:
        self.path = path
        self.objects: dict[Key, T] = {}
        self.synced = asyncio.Event()
        self.answered = asyncio.Event()
        """Set once the first list is in, or has failed."""
        self.failure: Exception | None = None
        """What the last attempt ended with, None while all is well."""
        self._api, self._on_change, self._view = api, on_change, view
        self._clock = clock or SteadyClock()
        self._rng = rng or random.Random()  # noqa: S311  # spreads requests, keeps no secret
        self._backoff = Backoff(rng=self._rng)
        self._page, self._streaming, self._idle, self._audit = page, streaming, idle, audit
        self._since: str | None = None
        self._base = 0
        self._listed = self._heard = self._clock()
        self._gone: dict[Key, int] = {}
        self._reading: asyncio.Future[int] | None = None
        self._doubts: list[asyncio.Future[None]] = []
        self._renewing: list[asyncio.Future[None]] = []
        self._doubted = asyncio.Event()

    async def renew(self) -> None:
        """Return when all that the server had at the time of this call is told: what is listed anew, not what is heard.

        A watch says what came to pass, but not how late it is.
        """
        done = asyncio.get_running_loop().create_future()
        self._doubts.append(done)
        self._doubted.set()
        if self._reading is not None:
            self._reading.cancel()
        await done

    async def run(self) -> None:
        """List and watch until cancelled."""
        while True:
            pause = 0.0
            try:
                await self._attempt()
            except Refused as refused:
                pause = self._refused(refused)
            except OSError as wrong:  # TimeoutError and Unreachable among them
                self.failure = wrong
                pause = self._backoff.next()
            if self.failure is not None:
                self.answered.set()
            if pause:
                _log.warning("%s: %s; next attempt in %.1f s", self.path, self.failure, pause)
                await self._pause(pause)
            await asyncio.sleep(0)

    async def _pause(self, seconds: float) -> None:
        """So long, or until somebody doubts what is known."""
        waits = [asyncio.ensure_future(self._clock.until(self._clock() + seconds))]
        waits.append(asyncio.ensure_future(self._doubted.wait()))  # type: ignore[arg-type]
        try:
            await asyncio.wait(waits, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for wait in waits:
                wait.cancel()

    async def _attempt(self) -> None:
        if self._since is not None and self._audit is not None and self._clock() >= self._listed + self._audit:
            self._since = None
        if self._doubts:
            self._since = None
            self._renewing += self._doubts
            self._doubts.clear()
            self._doubted.clear()
        if self._since is None and not self._streaming:
            await self._list()
        if not self._doubts:
            await self._guarded()

    def _refused(self, refused: Refused) -> float:
        """Where to go on, and after how many seconds."""
        if self._since is None and self._streaming and refused.code in (400, 422):
            self._streaming = False  # a server without streams of initial events
            return 0.0
        fresh = self._backoff.failures == 0
        if refused.code not in _STAY:
            self._since = None
        self.failure = refused
        pause = self._backoff.next(refused.retry_after)
        return 0.0 if fresh and refused.code == 410 else pause  # to have fallen behind is nobody's trouble, once

    # Listing

    async def _list(self) -> None:
        """All pages; each is told as it comes, what is gone at the end."""
        seen: dict[Key, int] = {}
        self._gone.clear()
        token, limit = "", self._page
        while True:
            query = f"limit={limit}" + (f"&continue={token}" if token else "")
            try:
                raw = await self._api.send_raw("GET", self._with(query if limit else ""))
            except Refused as refused:
                if refused.code != 410 or not limit:
                    raise
                token, limit = "", 0  # the pages took too long; now all at once, and what they said may be gone
                seen.clear()
                continue
            items, unreadable, version, token = self._view.page(raw)
            for item in items:
                self._listed_one(self._view.key(item), item, self._view.version(item), seen)
            self._leave_out(unreadable)
            if not token:
                break
            await asyncio.sleep(0)
        self._complete(seen, version)

    def _listed_one(self, key: Key, item: T, version: str, seen: dict[Key, int]) -> None:
        """A list is the truth: another version is taken even if its number is smaller, as after a restored backup."""
        seen[key] = _number(version)
        known = self.objects.get(key)
        if known is None or self._view.version(known) != version:
            self._tell(key, item)

    def _complete(self, seen: Iterable[Key], version: str) -> None:
        for key in [key for key in self.objects if key not in seen]:
            self._tell(key, None)
        self._since, self._base, self._listed = version, _number(version), self._clock()
        self.failure = None
        self.synced.set()
        self.answered.set()
        for done in self._renewing:
            if not done.done():
                done.set_result(None)
        self._renewing.clear()

    # Watching

    async def _guarded(self) -> None:
        """One watch, ended when it is silent for too long."""
        self._heard = began = self._clock()
        reading = self._reading = asyncio.ensure_future(self._read())
        try:
            await self._silent(reading)
        finally:
            self._reading = None
            if not reading.done():
                reading.cancel()
                await asyncio.wait((reading,))
        if reading.cancelled() and self._doubts:
            return
        if reading.cancelled():
            # A server that takes a stream of initial events for a plain watch never says that they are complete.
            self._streaming = self._streaming and self._since is not None
            raise Unreachable(f"the watch said nothing for {self._idle:g} s")
        told = reading.result()
        if not told and self._clock() < began + 1.0:
            raise Unreachable("the watch ended as soon as it had begun")
        self._works()

    async def _silent(self, reading: asyncio.Future[int]) -> None:
        """Return when the watch has ended, or has said nothing for too long."""
        while not reading.done() and self._clock() < self._heard + self._idle:
            alarm = asyncio.ensure_future(self._clock.until(self._heard + self._idle))
            try:
                await asyncio.wait((reading, alarm), return_when=asyncio.FIRST_COMPLETED)
            finally:
                alarm.cancel()

    async def _read(self) -> int:
        """The events of one watch until it ends; how many there were."""
        lasts = int(SHORTEST_S * (1.0 + self._rng.random()))
        query = f"watch=true&allowWatchBookmarks=true&timeoutSeconds={lasts}"
        seen: dict[Key, int] | None = None
        if self._since is None:
            seen = {}
            self._gone.clear()
            query += "&sendInitialEvents=true&resourceVersionMatch=NotOlderThan"
        else:
            query += f"&resourceVersion={self._since}"
        count = 0
        async with contextlib.aclosing(self._api.watch_raw(self._with(query))) as lines:
            async for line in lines:
                self._heard = self._clock()
                event, live = event_of(line), seen is None
                if event.type == "BOOKMARK":
                    seen = self._marked(head_of(event.object), seen)
                elif event.type == "ERROR":
                    status = decoded(event.object)
                    raise Refused.of(int(status.get("code") or 500), status)
                else:
                    self._event(event, seen)
                if live:
                    self._works()
                count += 1
                if count % _BREATH == 0:
                    await asyncio.sleep(0)
        if seen is not None:
            raise Unreachable("the stream of initial events ended before they were complete")
        return count

    def _marked(self, head: Head, seen: dict[Key, int] | None) -> dict[Key, int] | None:
        """A bookmark; the one that ends the initial events makes a list of them."""
        version = head.metadata.resource_version
        if seen is None:
            self._advance(version)
        elif (head.metadata.annotations or {}).get(_INITIAL_END) == "true":
            self._complete(seen, version)
            return None
        return seen

    def _event(self, event: Event, seen: dict[Key, int] | None) -> None:
        item = self._view.one(event.object)
        if isinstance(item, Unreadable):
            self._leave_out([(item.head, item.why)])
            return
        key, version = self._view.key(item), self._view.version(item)
        number = _number(version)
        if seen is None:
            self._advance(version)
        if number and self._is_old(key, number, seen):
            return
        if event.type == "DELETED":
            self._bury(key, number)
            if key in self.objects:
                self._tell(key, None)
        elif seen is not None:
            self._listed_one(key, item, version, seen)
        else:
            self._tell(key, item)

    def _is_old(self, key: Key, number: int, seen: dict[Key, int] | None) -> bool:
        if number <= self._gone.get(key, 0):
            return True
        if seen is not None:
            return number <= seen.get(key, 0)
        known = self.objects.get(key)
        return number <= self._base or (known is not None and number <= _number(self._view.version(known)))

    def _bury(self, key: Key, number: int) -> None:
        self._gone.pop(key, None)
        self._gone[key] = number
        if len(self._gone) > _TOMBS:
            del self._gone[next(iter(self._gone))]

    def _advance(self, version: str) -> None:
        if self._since is None or not _number(version) or _number(version) > _number(self._since):
            self._since = version

    # Telling

    def _leave_out(self, unreadable: Iterable[tuple[Head, str]]) -> None:
        """What cannot be read is not there for our purposes, which is said; the others still are."""
        for head, why in unreadable:
            _log.error("%s: %s/%s is left out: %s", self.path, *head.key, why)
            if head.key in self.objects:
                self._tell(head.key, None)

    def _tell(self, key: Key, after: T | None) -> None:
        before = self.objects.pop(key, None)
        if after is not None:
            self.objects[key] = after
        try:
            self._on_change(before, after)
        except (OSError, Refused) as wrong:
            raise RuntimeError(
                "a callback of a reflector failed"
            ) from wrong  # not to be taken for the network's failure

    def _works(self) -> None:
        self._backoff.reset()
        self.failure = None

    def _with(self, query: str) -> str:
        if not query:
            return self.path
        return f"{self.path}{'&' if '?' in self.path else '?'}{query}"


def _number(version: str) -> int:
    """Versions of one kind grow; 0 for what is no number, of which nothing is known."""
    return int(version) if version.isdigit() else 0
