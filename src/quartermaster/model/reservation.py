"""Room kept for a group that waits: from when, and where."""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple


class Seat(NamedTuple):
    """A pod's place: its node and the indexes of the devices it gets there, ascending."""

    pod: str
    node: str
    devices: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class Reservation:
    """The room that a group gets at `start` (virtual seconds), pod by pod.

    A cycle gives it out; whoever calls the next one hands it back with the group (`PodGroup.reserved`), so that what
    was promised is kept.
    """

    start: float
    seats: tuple[Seat, ...]

    @property
    def nodes(self) -> tuple[str, ...]:
        """The nodes it is on, each once, in order."""
        return tuple(dict.fromkeys(seat.node for seat in self.seats))
