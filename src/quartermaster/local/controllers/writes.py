"""What a controller wants written: values that say it, and nothing that does it.

An `Update` is a whole object with the revision that it was made from, so a write that lost a race is refused and the
controller looks again. A `Delete` names the uid that it means. Writes of one outcome are made in order and stop at the
first that fails. `notes` are told as events once its write is made.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from quartermaster.local.controllers.events import Note
from quartermaster.local.controllers.objects import Json, Resource


@dataclass(frozen=True, slots=True)
class Create:
    """A new object; a controller that finds it there already is content."""

    resource: Resource
    value: Json
    notes: tuple[Note, ...] = ()
    complaint: Note | None = None
    """What is told if the API refuses it for good; ``{error}`` is why."""


@dataclass(frozen=True, slots=True)
class Update:
    """An object as it should be; `subresource` is empty or status."""

    resource: Resource
    value: Json
    subresource: str = ""
    notes: tuple[Note, ...] = ()


@dataclass(frozen=True, slots=True)
class Delete:
    """An object that should go, with `grace` seconds if they are not its own."""

    resource: Resource
    value: Json
    grace: int | None = None
    propagation: str | None = None
    notes: tuple[Note, ...] = ()


Write = Create | Update | Delete


@dataclass(frozen=True, slots=True)
class Outcome:
    """What to write, and when (seconds since 1970) to look again though nothing has changed."""

    writes: tuple[Write, ...] = ()
    again: float | None = None
    refused: Callable[[str], tuple[Write, ...]] | None = None
    """What to write if the API refuses one for good (quota, validation): gets the message."""
    notes: tuple[Note, ...] = ()
    """What is told though nothing is written."""


def write(*writes: Write) -> Outcome:
    """Only these."""
    return Outcome(writes)


def status(resource: Resource, old: Json, new_status: Json, *notes: Note) -> tuple[Write, ...]:
    """The write of a status if it differs from that of `old`; absent and None are the same."""
    wanted = {key: value for key, value in new_status.items() if value is not None}
    if wanted == {key: value for key, value in (old.get("status") or {}).items() if value is not None}:
        return ()
    return (Update(resource, {**old, "status": wanted}, "status", notes),)


def soonest(*times: float | None) -> float | None:
    """The earliest of the moments that are some."""
    return min((time for time in times if time is not None), default=None)
