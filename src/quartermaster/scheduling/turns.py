"""Whose turn it is: the order in which groups are tried, and whether their queues let them.

Inside a queue, groups go by priority, then those below their minimum before those that only grow, then by age and name.
Between sibling queues, after every decision anew, by the first of these that differs:

1. a queue below its fair share in some resource before one that has it in all;
2. higher queue priority;
3. a queue that stays within what it deserves, with its next group, before one that does not;
4. one that holds something it has no share of goes last;
5. smaller dominant share with the next group, 6. without it; 7. smaller share; 8. older, then name.

KAI asks 3 before 2 (`QueueOrder.DESERVED_FIRST`), so a queue of low priority that is within its quota starves one of
high priority that is not (its issues 2064 and 2065). Priority first cannot starve the other way round: rule 1 comes
before both, and the fair share of the high queue leaves out what its siblings deserve and ask for.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from heapq import heappop, heappush
from operator import attrgetter
from typing import Any

from quartermaster.cluster.state import ClusterState
from quartermaster.model.errors import InvalidInput
from quartermaster.model.podgroup import PodGroup
from quartermaster.model.queue import UNLIMITED, QueueTree
from quartermaster.scheduling.plan import Placed, charged
from quartermaster.scheduling.presence import Presence
from quartermaster.scheduling.quota import Refusal
from quartermaster.scheduling.rules import QueueOrder
from quartermaster.scheduling.standing import Standing

GroupKey = Callable[[PodGroup], Any]
"""A sort key for groups; the smallest goes first."""


def by_priority_and_age(group: PodGroup) -> tuple[float, float, str]:
    """The order inside a queue when no job-level policy says otherwise."""
    return -group.priority, group.queued, group.name


class Turns:
    """The groups of one cycle, handed out one by one.

    `pop` gives the next group, `gate` says why its queue may not have it now, `settle` is told that something of it was
    placed, `push` takes a group that wants to grow. Without a `standing` there is one queue and nothing to check (see
    `needs_standing`). `priority` replaces what a group states. Raises `InvalidInput` for a group whose queue is not a
    leaf.
    """

    def __init__(
        self,
        tree: QueueTree,
        groups: Sequence[PodGroup],
        *,
        standing: Standing | None,
        presence: Presence,
        group_key: GroupKey | None = None,
        order: QueueOrder = QueueOrder.PRIORITY_FIRST,
        priority: Callable[[PodGroup], float] = attrgetter("priority"),
    ) -> None:
        self._priority = priority
        self._tree, self._standing = tree, standing
        self._key = group_key
        self._stage = presence.stage
        self._first: dict[str, list[PodGroup]] = {}
        self._growing: dict[str, list[tuple[Any, int, PodGroup]]] = {}
        self._pushed = 0
        self._changed: dict[str, None] = {}  # Leaves whose ranks are to be looked at again.
        for group in groups:
            self._first.setdefault(group.queue, []).append(group)
        for leaf, waiting in self._first.items():
            if not tree.is_leaf(tree[leaf].name):
                raise InvalidInput(f"queue '{leaf}'", "has queues below it", "submit to one of its leaves")
            waiting.sort(key=self._with_stage, reverse=True)
        self._only = next(iter(self._first)) if len(self._first) == 1 else None
        self._gated = standing is not None and not _free_for_all(tree, self._first)
        self._head: dict[str, PodGroup | None] = {}
        self._rank: dict[str, tuple[Any, ...]] = {}
        if self._only is None and self._first:
            assert standing is not None, "queues are compared by their standing"
            self._ranking = Ranking(standing, order=order)
            for queue in reversed(list(tree)):
                self._refresh(queue.name)

    def _with_stage(self, group: PodGroup) -> tuple[Any, ...]:
        """The key; ours has, after the priority, groups below their minimum, then those at it, then those above."""
        if self._key is not None:
            return (self._key(group),)
        return -self._priority(group), self._stage(group), group.queued, group.name

    # ---- handing out

    def pop(self) -> PodGroup | None:
        """The next group; None when all had their turn."""
        if self._only is not None:
            return self._take(self._only)
        if not self._first:
            return None
        for leaf in self._changed:
            for queue in self._tree.path(leaf):
                self._refresh(queue.name)
        self._changed.clear()
        tops = [queue.name for queue in self._tree.children(None) if self._head[queue.name] is not None]
        if not tops:
            return None
        group = self._head[min(tops, key=self._rank.__getitem__)]
        assert group is not None, "queues without groups were left out"
        self._take(group.queue)
        self._changed[group.queue] = None
        return group

    def push(self, group: PodGroup) -> None:
        """Queue a group again that is at its minimum and wants more."""
        self._pushed += 1
        heappush(self._growing.setdefault(group.queue, []), (self._with_stage(group), self._pushed, group))
        self._changed[group.queue] = None

    def _peek(self, leaf: str) -> PodGroup | None:
        first, growing = self._first.get(leaf), self._growing.get(leaf)
        if first and growing and growing[0][2].priority > first[-1].priority:
            return growing[0][2]
        if first:
            return first[-1]
        return growing[0][2] if growing else None

    def _take(self, leaf: str) -> PodGroup | None:
        group = self._peek(leaf)
        if group is None:
            return None
        if self._first[leaf] and self._first[leaf][-1] is group:
            self._first[leaf].pop()
        else:
            heappop(self._growing[leaf])
        return group

    # ---- quota

    def gate(self, group: PodGroup) -> Refusal | None:
        """Why the group's queue, or one above it, may not have the next part of it."""
        if self._standing is None or (not self._gated and group.preemptible):
            return None
        return self._standing.quota.gate(group.queue, self._standing.asked(group), preemptible=group.preemptible)

    def weighs(self, group: PodGroup) -> bool:
        """Whether what the group gets is weighed at all."""
        return self._standing is not None and (self._gated or not group.preemptible)

    def overdrawn(self, group: PodGroup, state: ClusterState, placed: Placed, start: int) -> Refusal | None:
        """Why the queue may not have what was placed since `start`, which is not charged yet.

        `gate` asks before, for what is likely: another sub-group may have found a place than the first, and a pod that
        takes any GPU has a model only now.
        """
        if self._standing is None or not self.weighs(group):
            return None
        return self._standing.quota.gate(group.queue, charged(state, placed, start), preemptible=group.preemptible)

    def settle(self, group: PodGroup) -> None:
        """Look at the ranks of the group's queue again: what it holds has changed."""
        self._changed[group.queue] = None

    # ---- comparing queues

    def _refresh(self, name: str) -> None:
        children = [child.name for child in self._tree.children(name) if self._head[child.name] is not None]
        if children:
            head = self._head[min(children, key=self._rank.__getitem__)]
        else:
            head = self._peek(name) if self._tree.is_leaf(name) else None
        self._head[name] = head
        if head is not None:
            assert self._standing is not None, "queues are compared by their standing"
            self._rank[name] = self._ranking.of(name, self._standing.asked(head))


class Ranking:
    """How sibling queues compare: the smaller rank goes first, and in taking away the larger one."""

    def __init__(self, standing: Standing, *, order: QueueOrder) -> None:
        self._standing = standing
        self._deserved_first = order is QueueOrder.DESERVED_FIRST
        self._bounds: dict[str, list[tuple[str, float, float, float, float]]] = {}

    def of(self, name: str, asked: Mapping[str, int], taken: Mapping[str, int] | None = None) -> tuple[Any, ...]:
        """The rank of a queue whose next group asks for `asked`, and from which `taken` would be gone."""
        queue, used = self._standing.tree[name], self._standing.quota.used(name)
        satisfied = within = True
        homeless = False
        with_next = without = 0.0
        bounds = self._bounds.get(name)
        if bounds is None:
            bounds = self._bounds[name] = self._bounds_of(name)
        share = 0.0
        for resource, fair, deserved, allocatable, total in bounds:
            have, more = used.get(resource, 0), asked.get(resource, 0)
            if taken is not None:
                have -= taken.get(resource, 0)
            satisfied = satisfied and have >= fair
            within = within and (not more or have + more <= deserved)
            homeless = homeless or (not allocatable and have > 0)
            # A resource that the queue has no share of weighs a thousand times what it is of the whole.
            part = allocatable or total / 1000
            with_next, without = max(with_next, (have + more) / part), max(without, have / part)
            if allocatable < UNLIMITED:
                share = max(share, allocatable / total)
        first, second = -queue.priority, not within
        if self._deserved_first:
            first, second = second, first
        return satisfied, first, second, homeless, with_next, without, share, queue.created, queue.name

    def _bounds_of(self, name: str) -> list[tuple[str, float, float, float, float]]:
        capacity = self._standing.capacity
        return [
            (resource, bounds.share, bounds.deserved, bounds.allocatable, total)
            for resource, bounds in self._standing.shares[name].items()
            if (total := capacity.get(resource, 0))
        ]


def needs_standing(tree: QueueTree, groups: Iterable[PodGroup]) -> bool:
    """Whether turns or gates depend on what queues hold. Not so with one queue and no bounds, as in simulations."""
    queues: set[str] = set()
    for group in groups:
        queues.add(group.queue)
        if not group.preemptible:
            return True
    return len(queues) > 1 or not _free_for_all(tree, queues)


def _free_for_all(tree: QueueTree, leaves: Iterable[str]) -> bool:
    queues = {queue.name: queue for leaf in leaves for queue in tree.path(leaf)}
    return all(quota.limit == float("inf") for queue in queues.values() for quota in queue.quotas.values())
