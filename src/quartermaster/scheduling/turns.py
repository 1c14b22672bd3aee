"""Whose turn it is: the order in which groups are tried, and whether their queues let them.

Inside a queue, groups go by priority, then those below their minimum before those that only grow, then by age and name.
Between sibling queues, after every decision anew, by the first of these that differs:

1. a queue below its fair share in some resource before one that has it in all;
2. higher queue priority;
3. a queue that stays within what it deserves, with its next group, before one that does not;
4. one that holds something it has no share of goes last;
5. smaller dominant share with the next group, 6. without it; 7. smaller share; 8. older, then name.

KAI asks 3 before 2, so a queue of low priority that is within its quota starves one of high priority that is not (its
issues 2064 and 2065). Priority first cannot starve the other way round: rule 1 comes before both, and the fair share of
the high queue leaves out what its siblings deserve and ask for.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from heapq import heappop, heappush
from typing import Any

from quartermaster.cluster.state import ClusterState
from quartermaster.model.errors import InvalidInput
from quartermaster.model.pod import PodSpec
from quartermaster.model.podgroup import PodGroup, SubGroup
from quartermaster.model.queue import QueueTree
from quartermaster.model.units import CPU, DEVICE, GPU, MEMORY, gpu_model_resource
from quartermaster.scheduling.fairshare import FairShare, fair_shares
from quartermaster.scheduling.quota import QuotaGate, Refusal, quota_request, quota_resources

GroupKey = Callable[[PodGroup], Any]
"""A sort key for groups; the smallest goes first."""


def by_priority_and_age(group: PodGroup) -> tuple[float, float, str]:
    """The order inside a queue when no job-level policy says otherwise."""
    return -group.priority, group.created, group.name


class Turns:
    """The groups of one cycle, handed out one by one.

    `pop` gives the next group, `gate` says why its queue may not have it now, `settle` is told that something of it was
    placed, `push` takes a group that wants to grow. Raises `InvalidInput` for a group whose queue is not a leaf.
    """

    def __init__(
        self, tree: QueueTree, state: ClusterState, groups: Sequence[PodGroup], *, group_key: GroupKey | None = None
    ) -> None:
        self._tree, self._state = tree, state
        self._key = group_key or by_priority_and_age
        self._first: dict[str, list[PodGroup]] = {}
        self._growing: dict[str, list[tuple[Any, int, PodGroup]]] = {}
        self._pushed = 0
        for group in groups:
            self._first.setdefault(group.queue, []).append(group)
        for leaf, waiting in self._first.items():
            if not tree.is_leaf(tree[leaf].name):
                raise InvalidInput(f"queue '{leaf}'", "has queues below it", "submit to one of its leaves")
            waiting.sort(key=self._key, reverse=True)
        self._free_for_all = _no_bounds(tree, self._first) and all(group.preemptible for group in groups)
        self._only = next(iter(self._first)) if len(self._first) == 1 else None
        if self._free_for_all and self._only is not None:
            return  # One queue and nothing to check: the usual case of a small cluster and of every simulation.
        self._quota = QuotaGate(tree, state)
        self._resources = quota_resources(tree)
        self._memory = max((p.gpu_memory for p in state.classes.profiles), default=0)
        self._held = {account: dict(held) for account, held in zip(state.accounts, state.held, strict=True)}
        self._head: dict[str, PodGroup | None] = {}
        self._rank: dict[str, tuple[Any, ...]] = {}
        if self._only is None:
            self._capacity = capacity_of(state)
            self._shares = self._fair_shares()
            for queue in reversed(list(tree)):
                self._refresh(queue.name)

    # ---- handing out

    def pop(self) -> PodGroup | None:
        """The next group; None when all had their turn."""
        if self._only is not None:
            return self._take(self._only)
        if not self._first:
            return None
        tops = [queue.name for queue in self._tree.children(None) if self._head[queue.name] is not None]
        if not tops:
            return None
        group = self._head[min(tops, key=self._rank.__getitem__)]
        assert group is not None, "queues without groups were left out"
        self._take(group.queue)
        self._refresh_path(group.queue)
        return group

    def push(self, group: PodGroup) -> None:
        """Queue a group again that is at its minimum and wants more."""
        self._pushed += 1
        heappush(self._growing.setdefault(group.queue, []), (self._key(group), self._pushed, group))
        if self._only is None:
            self._refresh_path(group.queue)

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
        if self._free_for_all:
            return None
        return self._quota.gate(group.queue, self._asked(group), preemptible=group.preemptible)

    def settle(self, group: PodGroup) -> None:
        """Take note of what the group's queue holds now."""
        if self._free_for_all and self._only is not None:
            return
        account = (group.queue, group.preemptible)
        number = self._state.account(group.queue, preemptible=group.preemptible)
        now, was = self._state.held[number], self._held.get(account, {})
        change = {name: now.get(name, 0) - was.get(name, 0) for name in now.keys() | was.keys()}
        self._held[account] = dict(now)
        self._quota.add(group.queue, change, preemptible=group.preemptible)
        if self._only is None:
            self._refresh_path(group.queue)

    def _asked(self, group: PodGroup) -> dict[str, int]:
        """What the next part of a group costs: what it lacks to its minimum, else one pod."""
        there = self._state.pods
        lacking = list(_lacking(group.root, there))
        if not lacking:
            lacking = [pod.spec for pod in group.pods if pod.name not in there][:1]
        return self._cost(lacking, self._memory)

    def _cost(self, specs: Iterable[PodSpec], gpu_memory: int) -> dict[str, int]:
        total = dict.fromkeys(self._resources, 0)
        for spec, count in Counter(specs).items():
            cost = quota_request(spec, resources=self._resources, gpu_memory=gpu_memory)
            for name, part in zip(self._resources, cost, strict=True):
                total[name] += count * part
        return total

    # ---- comparing queues

    def _fair_shares(self) -> dict[str, dict[str, FairShare]]:
        smallest = min((p.gpu_memory for p in self._state.classes.profiles if p.gpu_memory), default=0)
        there = self._state.pods
        requested = {}
        for leaf in (queue.name for queue in self._tree if self._tree.is_leaf(queue.name)):
            waiting = (pod.spec for group in self._first.get(leaf, ()) for pod in group.pods if pod.name not in there)
            total, held = self._cost(waiting, smallest), self._quota.used(leaf)
            requested[leaf] = {name: total[name] + held.get(name, 0) for name in self._resources}
        return fair_shares(self._tree, capacity=self._capacity, requested=requested)

    def _refresh_path(self, leaf: str) -> None:
        for queue in self._tree.path(leaf):
            self._refresh(queue.name)

    def _refresh(self, name: str) -> None:
        children = [child.name for child in self._tree.children(name) if self._head[child.name] is not None]
        if children:
            head = self._head[min(children, key=self._rank.__getitem__)]
        else:
            head = self._peek(name) if self._tree.is_leaf(name) else None
        self._head[name] = head
        if head is not None:
            self._rank[name] = self._rank_of(name, head)

    def _rank_of(self, name: str, head: PodGroup) -> tuple[Any, ...]:
        queue, used, asked = self._tree[name], self._quota.used(name), self._asked(head)
        satisfied = within = True
        homeless = False
        with_next = without = share = 0.0
        for resource, bounds in self._shares[name].items():
            total = self._capacity.get(resource, 0)
            if not total:
                continue
            have, more = used.get(resource, 0), asked[resource]
            satisfied = satisfied and have >= bounds.share
            within = within and (not more or have + more <= bounds.deserved)
            homeless = homeless or (not bounds.allocatable and have > 0)
            # A resource that the queue has no share of weighs a thousand times what it is of the whole.
            part = bounds.allocatable or total / 1000
            with_next, without = max(with_next, (have + more) / part), max(without, have / part)
            share = max(share, bounds.allocatable / total)
        return (
            satisfied, -queue.priority, not within, homeless, with_next, without, share, queue.created, queue.name
        )  # fmt: skip


def capacity_of(state: ClusterState) -> dict[str, int]:
    """What the nodes have together, in integer units."""
    total = {CPU: 0, MEMORY: 0, GPU: 0}
    profiles = state.classes.profiles
    for number in state.live_classes().tolist():
        profile, nodes = profiles[state.classes.keys[number][0]], state.count(number)
        devices = nodes * profile.gpus * DEVICE
        total[CPU] += nodes * profile.allocatable[0]
        total[MEMORY] += nodes * profile.allocatable[1]
        total[GPU] += devices
        if devices and profile.gpu_model:
            model = gpu_model_resource(profile.gpu_model)
            total[model] = total.get(model, 0) + devices
    return total


def _no_bounds(tree: QueueTree, leaves: Iterable[str]) -> bool:
    queues = {queue.name: queue for leaf in leaves for queue in tree.path(leaf)}
    return all(quota.limit == float("inf") for queue in queues.values() for quota in queue.quotas.values())


def _lacking(part: SubGroup, there: dict[str, Any]) -> Iterable[PodSpec]:
    """The specs of the pods that a part of the tree lacks to its minimum, first come first."""
    for child in part.children[: part.minimum]:
        yield from _lacking(child, there)
    if part.pods:
        waiting = [pod.spec for pod in part.pods if pod.name not in there]
        yield from waiting[: max(0, part.minimum - (len(part.pods) - len(waiting)))]
