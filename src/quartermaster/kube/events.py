"""Events that ``kubectl describe`` shows, without flooding anybody: equal ones are counted, similar ones are gathered.

The rules are those of Kubernetes' own components. The same thing said again is a higher count of one Event. More than
ten things said of one object for one reason within ten minutes become one Event whose text is the latest. One object
has 25 events at once and one more each five minutes. `record` never waits and never fails; events are for people, and
no decision may hang on them.
"""

from __future__ import annotations

import asyncio
import logging
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Final, Generic, Literal, TypeVar

from quartermaster.kube.api import MERGE, Api, Json, Refused
from quartermaster.kube.clock import Clock

_log = logging.getLogger(__name__)

SIMILAR: Final = 10
SIMILAR_S: Final = 600.0
BURST: Final = 25
REFILL_S: Final = 300.0
REMEMBERED: Final = 4096
QUEUED: Final = 1000
LONGEST: Final = 1024
GATHERED: Final = "(combined from similar events): "

K = TypeVar("K")
V = TypeVar("V")


class _Recent(Generic[K, V]):
    """The last so many entries."""

    def __init__(self, make: Callable[[], V]) -> None:
        self._make = make
        self._entries: OrderedDict[K, V] = OrderedDict()

    def of(self, key: K) -> V:
        """The entry of `key`, made if it is not there."""
        if key not in self._entries:
            self._entries[key] = self._make()
            if len(self._entries) > REMEMBERED:
                self._entries.popitem(last=False)
        self._entries.move_to_end(key)
        return self._entries[key]


@dataclass(slots=True)
class _Similar:
    messages: set[str] = field(default_factory=set)
    last: float = float("-inf")


@dataclass(slots=True)
class Series:
    """One Event as it is in the API."""

    name: str = ""
    count: int = 0


@dataclass(slots=True)
class _Bucket:
    tokens: float = float(BURST)
    last: float = float("-inf")


Of = tuple[str, str, str, str, str, str]
"""kind, apiVersion, namespace, name, uid, field of the object that an event is about."""


class Correlator:
    """Decides what becomes of an event; pure but for its memory. `now` is seconds of a steady clock."""

    def __init__(self) -> None:
        self._similar: _Recent[tuple[Of, str, str], _Similar] = _Recent(_Similar)
        self._series: _Recent[tuple[Of, str, str, str], Series] = _Recent(Series)
        self._buckets: _Recent[Of, _Bucket] = _Recent(_Bucket)

    def judge(self, about: Of, type_: str, reason: str, message: str, *, now: float) -> tuple[Series, str] | None:
        """The series it belongs to and the text to show, or None if there has been too much of this object."""
        similar = self._similar.of((about, type_, reason))
        if now - similar.last > SIMILAR_S:
            similar.messages.clear()
        similar.last = now
        similar.messages.add(message)
        gathered = len(similar.messages) > SIMILAR
        if gathered:
            similar.messages.pop()  # the number is all that counts from here on
            message = GATHERED + message
        if not self._allowed(about, now):
            return None
        return self._series.of((about, type_, reason, "" if gathered else message)), message[:LONGEST]

    def _allowed(self, about: Of, now: float) -> bool:
        bucket = self._buckets.of(about)
        if bucket.last > float("-inf"):
            bucket.tokens = min(float(BURST), bucket.tokens + (now - bucket.last) / REFILL_S)
        bucket.last = now
        if bucket.tokens < 1.0:
            return False
        bucket.tokens -= 1.0
        return True


@dataclass(frozen=True, slots=True)
class _Said:
    about: Json
    type: str
    reason: str
    message: str
    at: float
    now: float


class Events:
    """Records events under the name of a component. `run` sends them, in the background of whoever records.

    `clock` is steady; `wall` gives seconds since 1970, for the stamps.
    """

    def __init__(self, api: Api, *, component: str, instance: str, clock: Clock, wall: Callable[[], float]) -> None:
        self._api, self._component, self._instance = api, component, instance
        self._clock, self._wall = clock, wall
        self._correlator = Correlator()
        self._queue: asyncio.Queue[_Said] = asyncio.Queue(QUEUED)
        self._stamp = 0
        self.dropped = 0
        """Events that nobody will see: too many, or refused by the API."""

    def record(self, about: Json, type_: Literal["Normal", "Warning"], reason: str, message: str) -> None:
        """Say something of an object, or of what a reference names; both have kind and apiVersion.

        `reason` is one word, as in Kubernetes.
        """
        try:
            self._queue.put_nowait(_Said(reference(about), type_, reason, message, self._wall(), self._clock()))
        except asyncio.QueueFull:
            self.dropped += 1

    async def run(self) -> None:
        """Send what is recorded until cancelled."""
        while True:
            said = await self._queue.get()
            try:
                await self._send(said)
            except (Refused, OSError) as wrong:
                self.dropped += 1
                _log.warning("event %s of %s: %s", said.reason, said.about.get("name"), wrong)
            finally:
                self._queue.task_done()

    async def drain(self) -> None:
        """Return when everything recorded so far is sent; `run` has to be running."""
        await self._queue.join()

    async def _send(self, said: _Said) -> None:
        about = said.about
        of: Of = tuple(  # type: ignore[assignment]  # six strings
            str(about.get(part, "")) for part in ("kind", "apiVersion", "namespace", "name", "uid", "fieldPath")
        )
        verdict = self._correlator.judge(of, said.type, said.reason, said.message, now=said.now)
        if verdict is None:
            self.dropped += 1
            return
        series, message = verdict
        path = f"/api/v1/namespaces/{about.get('namespace') or 'default'}/events"
        if series.count:
            change = {"count": series.count + 1, "lastTimestamp": _second(said.at), "message": message}
            try:
                await self._api.send("PATCH", f"{path}/{series.name}", change, media=MERGE)
            except Refused as refused:
                if refused.code != 404:
                    raise
                series.count = 0  # events do not live long in the API: this is the first of a new one
            else:
                series.count += 1
                return
        self._stamp = max(self._stamp + 1, int(said.at * 1e9))
        name = f"{str(about.get('name', ''))[:230]}.{self._stamp:x}"
        await self._api.send("POST", path, self._event(said, name, message))
        series.name, series.count = name, 1

    def _event(self, said: _Said, name: str, message: str) -> Json:
        return {
            "apiVersion": "v1",
            "kind": "Event",
            "metadata": {"name": name, "namespace": said.about.get("namespace") or "default"},
            "involvedObject": said.about,
            "type": said.type,
            "reason": said.reason,
            "message": message,
            "firstTimestamp": _second(said.at),
            "lastTimestamp": _second(said.at),
            "count": 1,
            "source": {"component": self._component},
            "reportingComponent": self._component,
            "reportingInstance": self._instance,
        }


def reference(about: Json) -> Json:
    """An ObjectReference to an object; a reference stays what it is."""
    if "metadata" not in about:
        return {key: value for key, value in about.items() if value}
    metadata = about["metadata"]
    parts = {
        "kind": about.get("kind"),
        "apiVersion": about.get("apiVersion"),
        "namespace": metadata.get("namespace"),
        "name": metadata.get("name"),
        "uid": metadata.get("uid"),
        "resourceVersion": metadata.get("resourceVersion"),
    }
    return {key: value for key, value in parts.items() if value}


def _second(seconds: float) -> str:
    return datetime.fromtimestamp(int(seconds), UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
