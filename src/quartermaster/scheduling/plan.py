"""What a cycle decides: binds, evictions, and for everything that waits the reason why."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Final, NamedTuple

from quartermaster.cluster.inside import DEVICE_BITS, bits
from quartermaster.cluster.shapes import Shape
from quartermaster.cluster.state import ClusterState
from quartermaster.cluster.statement import Statement
from quartermaster.model.reservation import Reservation
from quartermaster.scheduling.quota import RefusalReason

STARTS_IN: Final = "expected to start in"
RESERVED_IN: Final = "room is reserved in"
COUNTING_DOWN: Final = (STARTS_IN, RESERVED_IN)
"""How notes begin that say how long something is still to take."""


class Bind(NamedTuple):
    """A pod goes to a node and gets these devices (indexes, ascending)."""

    pod: str
    node: str
    devices: tuple[int, ...]


class Evict(NamedTuple):
    """A pod leaves its node. `action` is the rule that allowed it, `beneficiary` the group that gets the room.

    `lost` is the work that goes with it: GPU-seconds since its group started or last saved its state, times price; for
    pods that go together, of all of them.

    A pod that is also among the placements moves.
    """

    pod: str
    node: str
    reason: str
    action: str = ""
    beneficiary: str = ""
    lost: float = 0.0


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
    `quota` or `domain` is set when a queue or a topology was in the way, and then comes first; `rule` is the rule of
    quotas that it was, if one; `notes` say why nobody made room.
    """

    wanted: int
    fitted: int
    nodes: int
    reasons: tuple[tuple[str, int], ...] = ()
    numbers: tuple[str, ...] = ()
    near_misses: tuple[NearMiss, ...] = ()
    quota: str = ""
    rule: RefusalReason | None = None
    domain: str = ""
    notes: tuple[str, ...] = ()

    def __str__(self) -> str:
        """One sentence per part, for events."""
        return "; ".join((*self._parts(), *self.notes))

    def lasting(self) -> str:
        """The same less what counts down, for conditions: it is equal as long as nothing else has changed."""
        return "; ".join((*self._parts(), *(note for note in self.notes if not note.startswith(COUNTING_DOWN))))

    def _parts(self) -> list[str]:
        if self.quota:
            return [self.quota]
        if self.domain:
            return [self.domain]
        places = f"{self.fitted} of {self.wanted} pods fit" if self.wanted > 1 else "no node fits"
        of = "1 node" if self.nodes == 1 else f"{self.nodes} nodes"
        if self.reasons:
            parts = [f"{places}: " + ", ".join(f"{name} on {count}" for name, count in self.reasons) + f" (of {of})"]
        else:
            parts = [f"{places} on {of}, {self.wanted - self.fitted} missing"]
        parts.extend(self.numbers)
        if self.near_misses:
            parts.append("nearest: " + ", ".join(f"{miss.node} lacks {miss.lacks}" for miss in self.near_misses))
        return parts


class Unschedulable(NamedTuple):
    """A group that waits, and why."""

    group: str
    explanation: Explanation


@dataclass(slots=True)
class Placed:
    """Pods that got a place: names, node rows and device masks, in step."""

    pods: list[str] = field(default_factory=list)
    shapes: list[Shape] = field(default_factory=list)
    rows: list[int] = field(default_factory=list)
    masks: list[int] = field(default_factory=list)

    def truncate(self, length: int) -> None:
        """Keep the first `length` pods."""
        for column in (self.pods, self.shapes, self.rows, self.masks):
            del column[length:]


class GroupPlacement(NamedTuple):
    """The pods of one group that were placed, as columns: names, shapes, node rows and device masks.

    `nominated` placements wait for pods that are leaving; until these are gone, the room is kept and nothing is bound.
    """

    group: str
    account: int
    pods: tuple[str, ...]
    shapes: tuple[Shape, ...]
    rows: tuple[int, ...]
    masks: tuple[int, ...]
    nominated: bool = False


@dataclass(slots=True)
class Plan:
    """The decisions of one cycle, in the order in which they were taken. Evictions come before binds.

    To be remembered until the next cycle: `stale` has the gangs that run below their minimum, and since when;
    `reservations` the room that is kept for groups that wait. `starts` says when groups that wait will probably start
    (None: nobody knows), as far as it was asked.
    `cut` are groups for which the search for victims ended too early: to be named as `first` in the next cycle.
    """

    nodes: list[str]
    placements: list[GroupPlacement] = field(default_factory=list)
    evictions: list[Evict] = field(default_factory=list)
    unschedulable: list[Unschedulable] = field(default_factory=list)
    stale: dict[str, float] = field(default_factory=dict)
    cut: list[str] = field(default_factory=list)
    reservations: dict[str, Reservation] = field(default_factory=dict)
    starts: dict[str, float | None] = field(default_factory=dict)

    @property
    def binds(self) -> Iterator[Bind]:
        """The placements that can be acted on now, pod by pod."""
        yield from self._pod_by_pod(nominated=False)

    @property
    def nominations(self) -> Iterator[Bind]:
        """The placements that wait for pods to leave, pod by pod."""
        yield from self._pod_by_pod(nominated=True)

    def _pod_by_pod(self, *, nominated: bool) -> Iterator[Bind]:
        for placement in self.placements:
            if placement.nominated is nominated:
                for pod, row, mask in zip(placement.pods, placement.rows, placement.masks, strict=True):
                    yield Bind(pod, self.nodes[row], devices_of(mask))

    def apply(self, state: ClusterState) -> None:
        """Make it so, at once, in a state equal to the one that was planned on (the simulator's executor)."""
        for evict in self.evictions:
            state.forget(evict.pod)
        self.place(state)

    def place(self, state: ClusterState) -> None:
        """Put what was placed on its nodes, once those who were to leave have left."""
        for placement in self.placements:
            account = placement.account
            for pod, shape, row, mask in zip(
                placement.pods, placement.shapes, placement.rows, placement.masks, strict=True
            ):
                state.place(pod, shape, row, mask, account)


def taken_from(placed: Placed, start: int, *, group: str, account: int, nominated: bool = False) -> GroupPlacement:
    """What a placer placed since `start`, for one group."""
    return GroupPlacement(
        group,
        account,
        tuple(placed.pods[start:]),
        tuple(placed.shapes[start:]),
        tuple(placed.rows[start:]),
        tuple(placed.masks[start:]),
        nominated,
    )


def charged(state: ClusterState, placed: Placed, start: int = 0) -> dict[str, int]:
    """What the pods placed since `start` are charged where they are, by resource in integer units."""
    total: dict[str, int] = {}
    for shape, row in zip(placed.shapes[start:], placed.rows[start:], strict=True):
        for name, amount in state.charge(shape, row):
            total[name] = total.get(name, 0) + amount
    return total


def record(statement: Statement, placement: GroupPlacement) -> None:
    """Put the pods of a placement where it says."""
    shapes = statement.state.shapes
    columns = zip(placement.pods, placement.shapes, placement.rows, placement.masks, strict=True)
    for pod, shape, row, mask in columns:
        statement.place(pod, shapes[shape.id], row, mask, placement.account)


def without(placement: GroupPlacement, pods: set[str]) -> GroupPlacement:
    """A placement less some pods."""
    index = [i for i, pod in enumerate(placement.pods) if pod not in pods]
    if len(index) == len(placement.pods):
        return placement
    return GroupPlacement(
        placement.group,
        placement.account,
        tuple(placement.pods[i] for i in index),
        tuple(placement.shapes[i] for i in index),
        tuple(placement.rows[i] for i in index),
        tuple(placement.masks[i] for i in index),
        placement.nominated,
    )


def devices_of(mask: int) -> tuple[int, ...]:
    """The devices of a placement, by index."""
    return tuple(bits(mask & DEVICE_BITS))
