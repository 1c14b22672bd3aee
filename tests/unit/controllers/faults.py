"""An API that fails in every way an API can, drawn from a seed: the door between a scheduler and its cluster.

What a real API server never does is not done here either: no watch loses an event that it passes by with a bookmark,
and no answer is a lie. Everything else may happen to every request and every watch.
"""

import asyncio
import contextlib
import random
from collections.abc import AsyncGenerator, Callable
from dataclasses import dataclass, field

from quartermaster.kube.api import JSON, Body, Decoded, Refused, Unreachable, decoded
from quartermaster.local.clock import VirtualClock

TIMEOUT_S = 30.0
"""After this a client gives a request up by itself."""

Told = asyncio.Queue[bytes | Exception | None]
FORGOTTEN = b'{"type":"ERROR","object":{"kind":"Status","code":410,"reason":"Expired","message":"too old"}}'


@dataclass(frozen=True, slots=True, kw_only=True)
class Weather:
    """How likely each thing is: per request, or per event of a watch."""

    refused: float = 0.0
    """429 with Retry-After, 500, 503, 504, and 409 for writes; nothing has happened."""
    lost: float = 0.0
    """The connection is gone; half of the time the request has happened."""
    hung: float = 0.0
    """No answer at all; half of the time the request has happened."""
    slow: float = 0.0
    """Up to 3 s until it happens."""
    ended: float = 0.0
    """The watch ends, in the middle or with 410."""
    late: float = 0.0
    """The watch stands still for up to 3 s."""
    twice: float = 0.0
    swapped: float = 0.0
    """An event comes after the next one."""


CLEAR = Weather()
STORM = Weather(refused=0.25, lost=0.08, hung=0.03, slow=0.15, ended=0.03, late=0.1, twice=0.15, swapped=0.15)


@dataclass(slots=True)
class Journal:
    """What reached the server, whoever sent it."""

    bound: list[tuple[str, str, str]] = field(default_factory=list)
    """(pod path, uid, node) of every binding that was accepted."""
    evicted: list[str] = field(default_factory=list)
    writes: int = 0
    """Bindings and evictions that were about to be sent."""


class FaultyApi(Decoded):
    """`inner` as seen by one client. `cut` takes it off the network.

    `kill` is called at the `kill_at`-th binding or eviction of the journal, before it happens or after it.
    """

    def __init__(self, inner: Decoded, *, clock: VirtualClock, rng: random.Random, journal: Journal) -> None:
        self._inner, self._clock, self._rng, self.journal = inner, clock, rng, journal
        self.weather = CLEAR
        self.cut = self.dead = False
        self.kill: Callable[[], None] | None = None
        self.kill_at, self.kill_after = 0, False
        self.refuses: Callable[[str, str], Refused | None] = lambda _method, _path: None
        self._open: dict[asyncio.Task[None], Told] = {}
        self._stalled: list[Told] = []

    async def send_raw(self, method: str, path: str, body: Body | None = None, *, media: str = JSON) -> bytes:
        deed = path.endswith(("/binding", "/eviction"))
        if deed and not self.dead:
            self.journal.writes += 1
            if self.kill is not None and self.journal.writes == self.kill_at:
                await self._die(method, path, body, media)
        await self._connected()
        if (no := self.refuses(method, path)) is not None:
            raise no
        weather, luck = self.weather, self._rng.random
        if luck() < weather.slow:
            await self._clock.until(self._clock() + 3 * luck())
            await self._connected()
        if luck() < weather.refused:
            raise self._refusal(method)
        if luck() < weather.lost:
            if luck() < 0.5:
                await self._do(method, path, body, media)
            raise Unreachable("connection reset")
        if luck() < weather.hung:
            if luck() < 0.5:
                await self._do(method, path, body, media)
            await self._clock.until(self._clock() + TIMEOUT_S)
            raise Unreachable("timed out")
        answer = await self._do(method, path, body, media)
        await self._connected()
        return answer

    async def _die(self, method: str, path: str, body: Body | None, media: str) -> None:
        if self.kill_after:
            with contextlib.suppress(Refused):
                await self._do(method, path, body, media)
        self.dead = True
        assert self.kill is not None, "see send_raw"
        self.kill()
        await asyncio.Event().wait()

    async def _connected(self) -> None:
        if self.dead or self.cut:
            await asyncio.sleep(0)
            raise Unreachable("no route to host")

    def _refusal(self, method: str) -> Refused:
        code = self._rng.choice((429, 500, 503, 504, *(() if method == "GET" else (409, 409))))
        return Refused(code, "storm", retry_after=float(self._rng.randint(1, 3)) if code == 429 else None)

    async def _do(self, method: str, path: str, body: Body | None, media: str) -> bytes:
        answer = await self._inner.send_raw(method, path, body, media=media)
        if path.endswith("/binding"):
            assert isinstance(body, dict)
            self.journal.bound.append((path, body["metadata"]["uid"], body["target"]["name"]))
        elif path.endswith("/eviction"):
            self.journal.evicted.append(path)
        return answer

    # ---- watches

    async def watch_raw(self, path: str) -> AsyncGenerator[bytes, None]:
        await self._connected()
        if self._rng.random() < self.weather.refused:
            raise self._refusal("GET")
        queue: Told = asyncio.Queue()
        reading = asyncio.create_task(self._read(path, queue))
        self._open[reading] = queue
        try:
            async for line in self._stormy(queue):
                yield line
        finally:
            del self._open[reading]
            reading.cancel()

    async def _read(self, path: str, queue: Told) -> None:
        try:
            async with contextlib.aclosing(self._inner.watch_raw(path)) as lines:
                async for line in lines:
                    queue.put_nowait(line)
            queue.put_nowait(None)
        except (Refused, OSError) as wrong:
            queue.put_nowait(wrong)

    async def _stormy(self, queue: Told) -> AsyncGenerator[bytes, None]:
        luck = self._rng.random
        while True:
            line = await queue.get()
            if queue in self._stalled:
                await asyncio.Event().wait()
            if line is None:
                return
            await self._connected()
            if isinstance(line, Exception):
                raise line
            weather = self.weather
            if luck() < weather.late:
                await self._clock.until(self._clock() + 3 * luck())
            if luck() < weather.ended:
                if luck() < 0.5:
                    yield FORGOTTEN
                return
            if luck() < weather.swapped and _may_change_places(line, queue):
                yield queue.get_nowait()  # type: ignore[misc]  # an event, see there
            yield line
            if luck() < weather.twice and decoded(line)["type"] != "ERROR":
                yield line

    def stall(self) -> None:
        """The watches that are open say nothing any more, and do not end."""
        self._stalled += self._open.values()

    def drop_watches(self) -> None:
        """All watches end at once, as when a server restarts."""
        for reading, told in self._open.items():
            reading.cancel()
            told.put_nowait(Unreachable("connection reset"))


def _may_change_places(line: bytes, queue: Told) -> bool:
    """Whether the next is there, and both are events of objects."""
    after = None if queue.empty() else queue._queue[0]  # type: ignore[attr-defined]
    both = (line, after)
    return all(isinstance(each, bytes) and decoded(each)["type"] not in {"BOOKMARK", "ERROR"} for each in both)
