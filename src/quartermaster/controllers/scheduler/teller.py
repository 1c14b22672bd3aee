"""What is said about decisions, late and seldom: conditions, nominations, status of queues and groups.

Words are cheap for us and dear for the API server, so each is held back for a moment (what is true no longer is never
written), only the last word on a subject is written, and none is repeated sooner than `interval`; on what somebody
waits for, the first few are. A word that is refused is lost: it may be said again, and no sooner than that either, so
that who cannot be written to is not flooded. Nothing here decides anything, and no decision waits for it.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import Hashable
from dataclasses import dataclass

from quartermaster.kube.api import Api, Json, Refused
from quartermaster.kube.clock import Clock

_log = logging.getLogger(__name__)

PATIENCE_S = 1.0
SOON_S = 0.05
"""For what somebody waits for."""

INTERVAL_S = 15.0
FIRST_GAP_S = 1.0
WIDTH = 8


@dataclass(frozen=True, slots=True)
class Word:
    """A write. `content` is what it says: a word whose content was said last is not said again."""

    method: str
    path: str
    body: Json
    media: str
    content: Hashable


class Teller:
    """Writes until cancelled. Subjects are any hashable values."""

    def __init__(self, api: Api, *, clock: Clock, interval: float = INTERVAL_S, width: int = WIDTH) -> None:
        self._api, self._clock = api, clock
        self._interval = interval
        self._width = asyncio.Semaphore(width)
        self._due: dict[Hashable, tuple[float, Word]] = {}
        self._said: dict[Hashable, tuple[float, Hashable]] = {}
        self._gaps: dict[Hashable, float] = {}
        """How long a subject rests after its last word, if its words are to come soon."""
        self._more = asyncio.Event()
        self.writes = 0

    def say(self, subject: Hashable, word: Word, *, patience: float = PATIENCE_S, soon: bool = False) -> None:
        """Have a word written after `patience` seconds, in the place of what was to be said on that subject.

        `soon`: it may follow another on that subject at once; those that follow it wait longer and longer, up to the
        interval.
        """
        when, last = self._said.get(subject, (float("-inf"), None))
        if last == word.content:
            self._due.pop(subject, None)
            return
        known = self._due.get(subject)
        now = self._clock()
        gap = self._gaps.get(subject, FIRST_GAP_S) if soon else self._interval
        due = max(now + patience, when + gap)
        self._due[subject] = (min(due, known[0]) if known else due, word)
        self._more.set()

    def forget(self, subject: Hashable) -> None:
        """There is nothing more to say on a subject."""
        self._due.pop(subject, None)
        self._said.pop(subject, None)
        self._gaps.pop(subject, None)

    async def run(self) -> None:
        """Write what is due, until cancelled."""
        async with asyncio.TaskGroup() as group:
            while True:
                while not self._due:
                    self._more.clear()
                    await self._more.wait()
                self._more.clear()
                now = self._clock()
                for subject, (due, word) in list(self._due.items()):
                    if due <= now:
                        del self._due[subject]
                        self._rest(subject, now)
                        self._said[subject] = (now, word.content)
                        await self._width.acquire()
                        group.create_task(self._write(subject, word))
                if self._due:
                    first = min(due for due, _ in self._due.values())
                    await self._until(first)

    def _rest(self, subject: Hashable, now: float) -> None:
        """A subject is spoken on: the more often it was of late, the longer it rests."""
        last = self._said.get(subject)
        if last is None or now - last[0] > 2 * self._interval:
            self._gaps.pop(subject, None)
        else:
            self._gaps[subject] = min(self._interval, 2 * self._gaps.get(subject, FIRST_GAP_S))

    async def _until(self, when: float) -> None:
        """Until that moment, or until something is to be said sooner."""
        waits = [asyncio.ensure_future(self._clock.until(when)), asyncio.ensure_future(self._more.wait())]
        try:
            await asyncio.wait(waits, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for wait in waits:
                wait.cancel()
                with contextlib.suppress(asyncio.CancelledError):
                    await wait

    async def _write(self, subject: Hashable, word: Word) -> None:
        try:
            self.writes += 1
            await self._api.send(word.method, word.path, word.body, media=word.media)
        except (Refused, OSError, TimeoutError) as wrong:
            if not isinstance(wrong, Refused) or wrong.code not in {404, 409}:
                _log.warning("could not write %s: %s", word.path, wrong)
            if subject in self._said:
                self._said[subject] = (self._said[subject][0], None)
        finally:
            self._width.release()
