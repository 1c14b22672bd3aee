"""An API behind a bad network: everything that may happen to requests and watches, drawn from one seed."""

import asyncio
import contextlib
import random
from collections.abc import AsyncGenerator

from quartermaster.kube.api import JSON, Api, Body, Decoded, Refused, Unreachable


class Storm(Decoded):
    """Passes on what `api` says, until chance has it otherwise. `rate` of what can go wrong does; 0 is fair weather.

    Watches are reordered and doubled inside windows. A connection ends between windows, unless `torn`: then anywhere,
    so that a reordered event may be lost while a later one was seen.
    """

    def __init__(self, api: Api, rng: random.Random, *, rate: float, torn: bool = False) -> None:
        self._api, self._rng, self.rate, self._torn = api, rng, rate, torn
        self._old: list[bytes] = []
        self.troubles: dict[str, int] = {}

    def _befalls(self, what: str) -> bool:
        if self._rng.random() >= self.rate:
            return False
        self.troubles[what] = self.troubles.get(what, 0) + 1
        return True

    async def send_raw(self, method: str, path: str, body: Body | None = None, *, media: str = JSON) -> bytes:
        if self._befalls("lost request"):
            raise Unreachable("storm: no answer")
        if self._befalls("refused request"):
            raise Refused(self._rng.choice((429, 500, 503)), "storm", retry_after=self._rng.choice((None, 3.0)))
        if "continue=" in path and self._befalls("expired page"):
            raise Refused(410, "storm", reason="Expired")
        return await self._api.send_raw(method, path, body, media=media)

    async def watch_raw(self, path: str) -> AsyncGenerator[bytes, None]:
        self._refuse(path)
        queue: asyncio.Queue[bytes | None] = asyncio.Queue()
        pump = asyncio.ensure_future(self._pump(path, queue))
        try:
            while True:
                window = [await queue.get()]
                await asyncio.sleep(0)
                while not queue.empty():
                    window.append(queue.get_nowait())
                for line in self._disturbed([line for line in window if line is not None]):
                    yield line
                    if self._torn and self._befalls("torn window"):
                        raise Unreachable("storm: torn")
                if None in window:
                    pump.result()
                    return
                if self._befalls("dropped watch"):
                    raise Unreachable("storm: dropped")
                if self._befalls("ended watch"):
                    return
                if self._befalls("expired watch"):
                    yield b'{"type":"ERROR","object":{"kind":"Status","code":410,"reason":"Expired","message":"storm"}}'
        finally:
            pump.cancel()
            await asyncio.wait((pump,))

    def _refuse(self, path: str) -> None:
        if self._befalls("lost watch"):
            raise Unreachable("storm: no connection")
        if self._befalls("refused watch"):
            raise Refused(self._rng.choice((410, 429, 500, 504)), "storm")
        if "sendInitialEvents" in path and self._befalls("old server"):
            raise Refused(422, "storm: sendInitialEvents is forbidden")

    async def _pump(self, path: str, queue: "asyncio.Queue[bytes | None]") -> None:
        try:
            async with contextlib.aclosing(self._api.watch_raw(path)) as lines:
                async for line in lines:
                    queue.put_nowait(line)
        finally:
            queue.put_nowait(None)

    def _disturbed(self, lines: list[bytes]) -> list[bytes]:
        """A window out of order and with echoes. Bookmarks and errors keep their place: they are promises."""
        self._old += lines
        told: list[bytes] = []
        run: list[bytes] = []
        for line in [*lines, None]:
            if line is not None and b'"type":"BOOKMARK"' not in line and b'"type":"ERROR"' not in line:
                run.append(line)
                continue
            if self._befalls("disorder"):
                self._rng.shuffle(run)
            if run and self._befalls("echo"):
                run.append(self._rng.choice(run))
            told += run
            run = []
            if line is not None:
                told.append(line)
        echoes = [line for line in self._old if b"BOOKMARK" not in line and b"ERROR" not in line]
        if echoes and self._befalls("old echo"):
            told.append(self._rng.choice(echoes))
        return told
