"""Which devices of a node a pod gets: those that are joined best, and whose loss hurts those that stay least.

A collective runs at the speed of the worst link that it crosses, so sets of GPUs are compared by their worst link, then
by how many pairs have each kind of link. Among equals the set is taken that cuts fewest good links to devices that stay
idle (half a bridged pair is better than a fresh one for a pod of one GPU), then the one with most network rails of its
own if the pod asks for a NIC, else the fewest; then the lowest indexes.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from functools import lru_cache
from itertools import combinations

from quartermaster.cluster.inside import bits
from quartermaster.model.locality import Link, Locality

MAX_SETS = 2_000
"""Up to so many sets of devices are compared; beyond, sets are grown device by device from each start."""

WORST = max(Link)


def best_set(locality: Locality, idle: int, near: int, count: int, *, network: bool = False) -> int:
    """`count` of the idle devices (bit masks in and out): inside `near` as far as it goes. Fewer if there are fewer."""
    close = idle & near
    if close.bit_count() >= count:
        return _best(locality, close, count, idle, network)
    return close | _best(locality, idle & ~near, count - close.bit_count(), idle, network, close)


@lru_cache(maxsize=65_536)
def _best(locality: Locality, among: int, count: int, idle: int, network: bool, taken: int = 0) -> int:  # noqa: FBT001, PLR0917
    devices = tuple(bits(among))
    if count >= len(devices):
        return among
    if not count:
        return 0
    if _alike(locality, tuple(bits(idle | taken))):
        return sum(1 << device for device in devices[:count])
    fixed = tuple(bits(taken))
    sets: Iterable[tuple[int, ...]]
    if math.comb(len(devices), count) <= MAX_SETS:
        sets = combinations(devices, count)
    else:
        sets = [_grown(locality, devices, start, count, fixed) for start in devices]
    stays = idle & ~taken

    def rank(chosen: tuple[int, ...]) -> tuple[object, ...]:
        mask = sum(1 << device for device in chosen)
        rails = len(
            {locality.rails[device] for device in chosen if locality.rails[device] >= 0} if locality.rails else ()
        )
        cut = _links(locality, ((one, other) for one in chosen for other in bits(stays & ~mask)))
        return joined(locality, (*fixed, *chosen)), cut[: int(WORST)], -rails if network else rails, chosen

    return sum(1 << device for device in min(sets, key=rank))


@lru_cache(maxsize=4_096)
def _alike(locality: Locality, devices: tuple[int, ...]) -> bool:
    """Whether it makes no difference which of these devices are taken."""
    links = {locality.link(one, other) for one, other in combinations(devices, 2)}
    if len(links) > 1:
        return False
    rails = [locality.rails[device] for device in devices] if locality.rails else []
    return -1 not in rails and len(set(rails)) in {0, len(rails)}


def joined(locality: Locality, devices: Sequence[int]) -> tuple[int, ...]:
    """How badly devices are joined, to compare sets of one size: the worst link, then pairs per link, worst first."""
    pairs = _links(locality, combinations(devices, 2))
    worst = max((link for link in Link if pairs[link]), default=Link.NVLINK)
    return int(worst), *reversed(pairs)


def _links(locality: Locality, pairs: Iterable[tuple[int, int]]) -> list[int]:
    found = [0] * len(Link)
    for one, other in pairs:
        found[locality.link(one, other)] += 1
    return found


def _grown(
    locality: Locality, devices: Sequence[int], start: int, count: int, fixed: tuple[int, ...]
) -> tuple[int, ...]:
    chosen = [start]
    while len(chosen) < count:
        rest = [device for device in devices if device not in chosen]
        chosen.append(min(rest, key=lambda device: (joined(locality, (*fixed, *chosen, device)), device)))
    return tuple(sorted(chosen))
