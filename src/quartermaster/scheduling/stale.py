"""Gangs that broke: some of their pods run, but fewer than the gang needs.

A gang below its minimum holds devices and computes nothing. A pod that is still leaving counts as there, since its
successor cannot come before it is gone; so does one that was given a place in this cycle.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from quartermaster.cluster.state import ClusterState
from quartermaster.model.podgroup import PodGroup, SubGroup


def stale_gangs(
    groups: Iterable[PodGroup], *, state: ClusterState, also: set[str], gone: set[str]
) -> Iterator[tuple[PodGroup, float | None]]:
    """The gangs that are below their minimum, and since when (None: as of now).

    `also` are pods that get a place in this cycle, `gone` those that lose theirs.
    """
    seen: set[str] = set()
    there = state.pods
    for group in groups:
        if len(group.root.pods) == 1 or group.name in seen:
            continue
        seen.add(group.name)
        present = {p.name for p in group.pods if (p.name in there or p.name in also) and p.name not in gone}
        if present and not _enough(group.root, present):
            yield group, group.stale_since


def _enough(part: SubGroup, present: set[str]) -> bool:
    if part.children:
        return sum(_enough(child, present) for child in part.children) >= part.minimum
    return sum(pod.name in present for pod in part.pods) >= part.minimum
