"""Events as controllers tell them: the same thing again is a count, many like things become one, a flood is dropped.

The rules are those of client-go's event recorder (tools/record/events_cache.go), since ``kubectl describe`` and every
event exporter have learnt to read their result: equal events within an hour are one object with a count; the tenth of
those that differ in their message alone, and all after it, are one ``(combined from similar events)``; of one source
about one object, 25 at once and then one in five minutes get through. Decides what to write, and writes nothing.
"""

from __future__ import annotations

from collections import OrderedDict
from dataclasses import dataclass, field, replace
from typing import Generic, TypeVar

from quartermaster.local.apiserver.codec import timestamp
from quartermaster.local.controllers.objects import Json, Resource

ALIKE = 10
"""How many messages of one reason about one object are told apart."""
FORGOTTEN_AFTER = 600.0
BURST, REFILLED_EVERY = 25, 300.0
REMEMBERED = 4096

K = TypeVar("K")
V = TypeVar("V")
Subject = tuple[str, str, str]
"""Source, resource and uid of what events are about."""


@dataclass(frozen=True, slots=True)
class Note:
    """What is told of `about` when a write is made. In `message`, ``{name}`` is the name of what was written."""

    resource: Resource
    about: Json
    reason: str
    message: str
    warning: bool = False


@dataclass(frozen=True, slots=True)
class Telling:
    """One write: a new event, or more of one that is there (`name`)."""

    namespace: str
    body: Json
    name: str = ""


@dataclass(slots=True)
class _Kin:
    messages: set[str] = field(default_factory=set)
    last: float = float("-inf")


@dataclass(slots=True)
class _Bucket:
    left: float
    since: float


class _Recent(OrderedDict[K, V], Generic[K, V]):
    """The values that were used last."""

    def keep(self, key: K, value: V) -> V:
        self[key] = value
        self.move_to_end(key)
        if len(self) > REMEMBERED:
            self.popitem(last=False)
        return value


class Recorder:
    """What has been told of late, and so what to write next."""

    def __init__(self) -> None:
        self._kin: _Recent[tuple[Subject, str, bool], _Kin] = _Recent()
        self._told: _Recent[tuple[Subject, str, bool, str], tuple[str, int]] = _Recent()
        self._buckets: _Recent[Subject, _Bucket] = _Recent()
        self._count = 0

    def tell(self, source: str, note: Note, now: float) -> Telling | None:
        """The write for one event; None if there have been too many."""
        subject = (source, note.resource.plural, str(note.about["metadata"].get("uid", "")))
        kin = self._kin.keep(
            (subject, note.reason, note.warning), self._kin.get((subject, note.reason, note.warning)) or _Kin()
        )
        if now - kin.last > FORGOTTEN_AFTER:
            kin.messages.clear()
        kin.messages.add(note.message)
        kin.last = now
        message = note.message
        like = (subject, note.reason, note.warning, message)
        if len(kin.messages) >= ALIKE:
            kin.messages.discard(next(iter(kin.messages)))
            message = f"(combined from similar events): {message}"
            like = (subject, note.reason, note.warning, "")
        name, count = self._told.get(like, ("", 0))
        if not self._passes(subject, now):
            return None
        about = note.about["metadata"]
        namespace = about.get("namespace") or "default"
        if count:
            self._told.keep(like, (name, count + 1))
            return Telling(namespace, {"count": count + 1, "lastTimestamp": timestamp(now), "message": message}, name)
        self._count += 1
        name = f"{about['name']}.{int(now * 1e9) + self._count:x}"
        self._told.keep(like, (name, 1))
        return Telling(namespace, _event(source, replace(note, message=message), name, now))

    def lost(self, telling: Telling) -> None:
        """An event that was counted on is no longer there: its like begin anew."""
        for like in [like for like, (name, _) in self._told.items() if name == telling.name]:
            del self._told[like]

    def _passes(self, subject: Subject, now: float) -> bool:
        bucket = self._buckets.keep(subject, self._buckets.get(subject) or _Bucket(BURST, now))
        bucket.left = min(BURST, bucket.left + (now - bucket.since) / REFILLED_EVERY)
        bucket.since = now
        if bucket.left < 1:
            return False
        bucket.left -= 1
        return True


def _event(source: str, note: Note, name: str, now: float) -> Json:
    about = note.about["metadata"]
    subject = {"kind": note.resource.kind, "apiVersion": note.resource.api_version, "name": about["name"]}
    subject |= {key: about[key] for key in ("namespace", "uid", "resourceVersion") if about.get(key)}
    return {
        "metadata": {"name": name, "namespace": about.get("namespace") or "default"},
        "involvedObject": subject,
        "reason": note.reason,
        "message": note.message,
        "type": "Warning" if note.warning else "Normal",
        "source": {"component": source},
        "reportingComponent": source,
        "firstTimestamp": timestamp(now),
        "lastTimestamp": timestamp(now),
        "count": 1,
    }
