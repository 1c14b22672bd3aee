"""Who goes next: queues against their siblings at every level, then groups inside the queue.

A queue is judged by what it has and by its next group, so a decision moves only the queues on the path that was
charged. Their siblings keep their place: every level is a heap in which a moved queue gets a new entry and the old one
goes stale. A level with a single waiting queue is never compared at all, and a queue sorts its groups once.

Siblings are compared by, in turn:

1. how the next group fits the fair share, in the resources it asks for: stays within; crosses it; is past it already;
2. queue priority, higher first;
3. whether the next group stays within what the queue deserves;
4. using nothing that the queue has no share of;
5. the dominant share with the next group, 6. and without it: the largest part of an allocatable share in use;
7. the smaller allocatable share (GPUs first), 8. the older queue, then the name.

The field compares 3 before 2, and there a low queue within its quota always comes before a high one that is past its
own, however much fair share the high one still has (KAI #2064, #2065). Here priority decides first. The guarantee does
not suffer: it is reclaim that protects what a queue deserves, and order cannot starve anyone. What a queue takes in
the first class of rule 1 is its own fair share, the fair shares of siblings sum to no more than their parent has, and
each contains what its queue deserves as far as that exists. Once the high queue has its share it falls into a lower
class, and everyone's share is still there for them. That argument needs "with the next group, in what the group asks
for": the field's "past its share in all resources" never holds for a queue which does not use GPUs, and such a queue
of high priority would hold everybody else up for ever.

With `kai_order` the comparison is the field's to the letter, for side-by-side runs: (1) not past the fair share in
every resource, (2) within deserved, (3) priority, then as above, where (7) only counts if no resource disagrees.
"""

from __future__ import annotations

from bisect import insort
from collections.abc import Callable, Iterable, Mapping
from enum import IntEnum
from heapq import heapify, heappop, heappush
from typing import Any, Final

from quartermaster.model.podgroup import PodGroup, SubGroup
from quartermaster.model.queue import QueueTree
from quartermaster.model.units import MEMORY
from quartermaster.scheduling.fairshare import MEMORY_UNIT, FairShare
from quartermaster.scheduling.quota import Amounts, per_unit, to_internal
from quartermaster.scheduling.usage import QueueUsage

Key = tuple[Any, ...]
"""What is compared; smaller goes first. Keys of one order have one shape."""

NO_SHARE_PENALTY: Final = 1000.0
"""What a unit used counts in the dominant share of a queue that has no share of that resource."""

_STALE_ENTRIES: Final = 64
"""How many stale entries a heap may carry, besides as many as it has live ones, before it is rebuilt."""


class Elastic(IntEnum):
    """How far a group has come; groups below their minimum go first."""

    BELOW_MINIMUM = 0
    AT_MINIMUM = 1
    ABOVE_MINIMUM = 2


def elastic_state(group: PodGroup, *, running: Callable[[str], bool]) -> Elastic:
    """Where `group` stands when the pods for which `running` holds have a node."""
    return _state(group.root, running)


def _state(part: SubGroup, running: Callable[[str], bool]) -> Elastic:
    if part.children:
        states = [_state(child, running) for child in part.children]
        there = sum(state is not Elastic.BELOW_MINIMUM for state in states)
        surplus_below = Elastic.ABOVE_MINIMUM in states
    else:
        there = sum(running(pod.name) for pod in part.pods)
        surplus_below = False
    if there < part.minimum:
        return Elastic.BELOW_MINIMUM
    return Elastic.ABOVE_MINIMUM if surplus_below or there > part.minimum else Elastic.AT_MINIMUM


def by_priority(elastic: Callable[[PodGroup], int] | None = None) -> Callable[[PodGroup], Key]:
    """Groups by priority, then elastic state (none given: all are below their minimum), then age, then name."""
    if elastic is None:
        return lambda group: (-group.priority, group.created, group.name)
    return lambda group: (-group.priority, elastic(group), group.created, group.name)


def fifo(group: PodGroup) -> Key:
    """Groups by age alone."""
    return (group.created, group.name)


class _Dominance:
    """Allocatable shares under rule 7 of the field: smaller only if no resource is larger, else neither."""

    __slots__ = ("shares",)

    def __init__(self, shares: tuple[float, ...]) -> None:
        self.shares = shares

    def __lt__(self, other: _Dominance) -> bool:
        return self.shares != other.shares and all(a <= b for a, b in zip(self.shares, other.shares, strict=True))

    def __eq__(self, other: object) -> bool:
        return isinstance(other, _Dominance) and not self < other and not other < self

    __hash__ = None  # type: ignore[assignment]  # equality is not transitive, so no hash can agree with it


class _Standing:
    """What a queue is judged by: its bounds in internal units, what it uses, and its last word in a draw."""

    __slots__ = ("last", "priority", "rows", "used")

    def __init__(self, name: str, usage: QueueUsage, shares: Mapping[str, FairShare], kai_order: bool) -> None:
        queue = usage.tree[name]
        self.used = usage.live(name)
        self.priority = -queue.priority
        self.rows: list[tuple[int, float, float, float, float]] = []
        for column, resource in enumerate(usage.resources):
            share, units = shares[resource], MEMORY_UNIT if resource == MEMORY else per_unit(resource)
            self.rows.append((
                column,
                to_internal(share.fair, resource),
                to_internal(share.deserved, resource),
                to_internal(share.allocatable, resource),
                NO_SHARE_PENALTY / units,
            ))
        allocatable = tuple([shares[resource].allocatable for resource in reversed(usage.resources)])
        self.last: Key = (_Dominance(allocatable) if kai_order else allocatable, queue.created, name)

    def key(self, request: Amounts) -> Key:
        """Rules 1 to 8 as a tuple."""
        fits, crosses, within, unshared = True, True, True, False
        with_next = without = 0.0
        used = self.used
        for column, fair, deserved, allocatable, penalty in self.rows:
            before = used[column]
            asked = request[column]
            after = before + asked
            if asked and after > fair:
                fits = False
                if before >= fair:
                    crosses = False
            if after > deserved:
                within = False
            if allocatable:
                ratio, ratio_before = after / allocatable, before / allocatable
            else:
                ratio, ratio_before = after * penalty, before * penalty
                if after:
                    unshared = True
            if ratio > with_next:
                with_next = ratio
            if ratio_before > without:
                without = ratio_before
        level = 0 if fits else 1 if crosses else 2
        return (level, self.priority, not within, unshared, with_next, without, self.last)

    def kai_key(self, request: Amounts) -> Key:
        """The field's order of the same rules."""
        _, priority, beyond, *rest = self.key(request)
        past = all(self.used[column] > fair for column, fair, *_ in self.rows)
        return (past, beyond, priority, *rest)


class _Node:
    """A queue in the order. A leaf has groups, latest first; an inner node the waiting queues below it in a heap."""

    __slots__ = ("children", "dirty", "groups", "heap", "judged", "parent", "standing", "version", "waiting")

    def __init__(self, parent: _Node | None, standing: _Standing | None) -> None:
        self.parent = parent
        self.standing = standing
        self.waiting = False
        self.judged = False
        self.version = 0
        self.groups: list[tuple[Key, PodGroup]] = []
        self.children: set[_Node] = set()
        self.dirty: list[_Node] = []
        self.heap: list[tuple[Key, int, _Node]] = []


class QueueOrder:
    """The groups that wait, in the order to try them, kept up while `usage` is charged.

    `request` says what a group is about to be charged (`quota.group_request`); it is asked only where queues compete.
    `shares` are those of `fair_shares` for the same tree. Charges go to `usage`; nothing has to be told here.
    """

    def __init__(
        self,
        *,
        usage: QueueUsage,
        shares: Mapping[str, Mapping[str, FairShare]],
        groups: Iterable[PodGroup],
        request: Callable[[PodGroup], Amounts],
        group_key: Callable[[PodGroup], Key] | None = None,
        kai_order: bool = False,
    ) -> None:
        self._group_key = by_priority() if group_key is None else group_key
        self._request = request
        self._kai_order = kai_order
        self._changed = usage.watch()
        self._root = _Node(None, None)
        self._nodes: dict[str, _Node] = {}
        self._counter = 0
        self._pending = 0
        tree: QueueTree = usage.tree
        for queue in tree:
            parent = self._root if queue.parent is None else self._nodes[queue.parent]
            standing = _Standing(queue.name, usage, shares[queue.name], kai_order)
            self._nodes[queue.name] = _Node(parent, standing)
        for group in groups:
            self._nodes[group.queue].groups.append((self._group_key(group), group))
            self._pending += 1
        for node in self._nodes.values():
            if node.groups:
                node.groups.sort(key=_key_of, reverse=True)
                self._wait(node)

    def __len__(self) -> int:
        return self._pending

    def pop(self) -> PodGroup | None:
        """Take out the group to try next; None when nothing waits."""
        root = self._root
        if not root.children:
            return None
        if self._changed:
            for name in self._changed:
                self._moved(self._nodes[name])
            self._changed.clear()
        leaf = self._first_leaf(root)
        _, group = leaf.groups.pop()
        self._pending -= 1
        if leaf.groups:
            self._moved(leaf)
        else:
            self._leave(leaf)
        return group

    def push(self, group: PodGroup) -> None:
        """Let `group` wait (again): a gang that may grow, a victim that wants another place."""
        leaf = self._nodes[group.queue]
        insort(leaf.groups, (self._group_key(group), group), key=_Reversed)
        self._pending += 1
        self._wait(leaf)
        self._moved(leaf)

    def drop(self, queue: str) -> list[PodGroup]:
        """Take out all that waits in a leaf queue, in order: behind a head that strict order lets nothing pass."""
        leaf = self._nodes[queue]
        dropped = [group for _, group in reversed(leaf.groups)]
        leaf.groups.clear()
        self._pending -= len(dropped)
        if leaf.waiting:
            self._leave(leaf)
        return dropped

    def _wait(self, node: _Node) -> None:
        while node.parent is not None and not node.waiting:
            node.waiting = True
            node.parent.children.add(node)
            self._moved(node)
            node = node.parent

    def _leave(self, node: _Node) -> None:
        while node.parent is not None and not node.children:
            node.waiting = node.judged = False
            node.version = 0
            node.parent.children.discard(node)
            node = node.parent
        self._moved(node)

    def _moved(self, node: _Node) -> None:
        """Judge the node and all above it again before they are next compared."""
        while node.parent is not None:
            if node.judged or not node.version:
                node.judged = False
                node.version = -1
                node.parent.dirty.append(node)
            node = node.parent

    def _first_leaf(self, node: _Node) -> _Node:
        while node.children:
            node = self._first_child(node)
        return node

    def _first_child(self, node: _Node) -> _Node:
        if len(node.children) == 1:
            return next(iter(node.children))
        raise NotImplementedError


def _key_of(entry: tuple[Key, PodGroup]) -> Key:
    return entry[0]
