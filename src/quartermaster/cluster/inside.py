"""The inside of a node that has zones or links: which device is free by how much, and what each zone has left.

Where a pod sits in such a node is one number, as everywhere else: the low 64 bits are its devices, and above them come
64 bits for each zone and aligned resource with the amount that it holds there. So whoever hands placements around
(statement, plan, victims that return) carries the zones too, exactly, and knows nothing of them.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Final, NamedTuple

from quartermaster.model.locality import Locality
from quartermaster.model.units import DEVICE

WORD: Final = 64
DEVICE_BITS: Final = (1 << WORD) - 1
"""The part of a placement that says which devices."""

Amounts = tuple[tuple[int, ...], ...]
"""Per zone, per aligned resource."""


class Inside(NamedTuple):
    """Free micro-GPU per device, by index, and free amounts per zone and aligned resource."""

    levels: tuple[int, ...]
    zones: Amounts

    def with_zones(self, zones: Amounts) -> Inside:
        """The same devices."""
        return Inside(self.levels, zones)


def empty(locality: Locality, gpus: int) -> Inside:
    """The inside of a node that nobody is on."""
    return Inside((DEVICE,) * gpus, tuple(locality.amounts(zone) for zone in locality.zones))


def pack(devices: int, held: Sequence[Sequence[int]]) -> int:
    """Devices and amounts held per zone as one number."""
    word = 0
    for amount in reversed([amount for zone in held for amount in zone]):
        word = word << WORD | amount
    return word << WORD | devices


def held_in(word: int, locality: Locality) -> Amounts:
    """What a placement holds per zone and aligned resource."""
    rest, width = word >> WORD, len(locality.aligned)
    cells = [rest >> WORD * index & DEVICE_BITS for index in range(len(locality.zones) * width)]
    return tuple(tuple(cells[zone * width : (zone + 1) * width]) for zone in range(len(locality.zones)))


def less(zones: Amounts, held: Amounts, sign: int = 1) -> Amounts:
    """What zones have left once somebody holds that (sign -1: no longer holds it)."""
    return tuple(
        tuple(free - sign * taken for free, taken in zip(row, gone, strict=True))
        for row, gone in zip(zones, held, strict=True)
    )


def zones_of(word: int, locality: Locality) -> tuple[int, ...]:
    """The zones, by index, in which a placement has devices or holds anything."""
    mask = word & DEVICE_BITS
    return tuple(
        index
        for index, (zone, held) in enumerate(zip(locality.zones, held_in(word, locality), strict=True))
        if any(held) or any(mask >> gpu & 1 for gpu in zone.gpus)
    )


def bits(mask: int) -> Iterator[int]:
    """The indexes of the bits that are set, ascending."""
    while mask:
        yield (mask & -mask).bit_length() - 1
        mask &= mask - 1
