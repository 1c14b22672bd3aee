"""What a cycle decides: binds, evictions, and for everything that waits the reason why."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import NamedTuple

from quartermaster.cluster.shapes import Shape
from quartermaster.cluster.state import ClusterState


class Bind(NamedTuple):
    """A pod goes to a node and gets these devices (indexes, ascending)."""

    pod: str
    node: str
    devices: tuple[int, ...]


class Evict(NamedTuple):
    """A pod leaves its node, so that the group named can have the room."""

    pod: str
    node: str
    reason: str


@dataclass(frozen=True, slots=True, kw_only=True)
class NearMiss:
    """A node that only one thing keeps from fitting."""

    node: str
    lacks: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Explanation:
    """Why pods of one shape found no place.

    `reasons` counts nodes per reason (a node may fail for several), most frequent first; `numbers` say what was asked
    and the most that any node has; `near_misses` are nodes that one reason alone rules out, smallest lack first.
    """

    wanted: int
    fitted: int
    nodes: int
    reasons: tuple[tuple[str, int], ...] = ()
    numbers: tuple[str, ...] = ()
    near_misses: tuple[NearMiss, ...] = ()
    quota: str = ""

    def __str__(self) -> str:
        """One sentence per part, for events and conditions."""
        if self.quota:
            return self.quota
        places = f"{self.fitted} of {self.wanted} pods fit" if self.wanted > 1 else "no node fits"
        parts = [f"{places}: " + ", ".join(f"{name} on {count}" for name, count in self.reasons)]
        parts[0] += f" (of {self.nodes} nodes)"
        parts.extend(self.numbers)
        if self.near_misses:
            parts.append("nearest: " + ", ".join(f"{miss.node} lacks {miss.lacks}" for miss in self.near_misses))
        return "; ".join(parts)


@dataclass(frozen=True, slots=True)
class Unschedulable:
    """A group that waits, and why."""

    group: str
    explanation: Explanation


@dataclass(frozen=True, slots=True)
class GroupPlacement:
    """The pods of one group that were placed, as columns: names, shapes, node rows and device masks."""

    group: str
    account: int
    pods: list[str]
    shapes: list[Shape]
    rows: list[int]
    masks: list[int]


@dataclass(slots=True)
class Plan:
    """The decisions of one cycle, in the order in which they were taken. Evictions come before binds."""

    nodes: list[str]
    placements: list[GroupPlacement] = field(default_factory=list)
    evictions: list[Evict] = field(default_factory=list)
    unschedulable: list[Unschedulable] = field(default_factory=list)

    @property
    def binds(self) -> Iterator[Bind]:
        """The placements pod by pod."""
        for placement in self.placements:
            for pod, row, mask in zip(placement.pods, placement.rows, placement.masks, strict=True):
                yield Bind(pod, self.nodes[row], devices_of(mask))

    def apply(self, state: ClusterState) -> None:
        """Make it so in a state equal to the one that was planned on (the simulator's executor)."""
        for evict in self.evictions:
            state.forget(evict.pod)
        for placement in self.placements:
            account = placement.account
            for pod, shape, row, mask in zip(
                placement.pods, placement.shapes, placement.rows, placement.masks, strict=True
            ):
                state.place(pod, shape, row, mask, account)


def devices_of(mask: int) -> tuple[int, ...]:
    """The indexes of the bits that are set."""
    return tuple(index for index in range(mask.bit_length()) if mask >> index & 1)
