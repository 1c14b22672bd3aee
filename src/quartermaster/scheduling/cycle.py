"""The scheduling cycle: a pure function from a snapshot, the groups that wait and the policies to a plan.

Groups are taken in order; each is placed at its minimum, wholly or not at all, on a statement that the next group sees.
What is above a minimum is asked for again, pod by pod, once everybody's minimum had its turn. In the end the
statement is rolled back: the snapshot is as it was, and the plan says what to do.

With `replan`, running groups that may be preempted give up their places first and are placed anew in the same order
(SRTF and its like: the order decides who runs). Who ends up where he was, stays; who does not, is evicted.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from itertools import groupby

from quartermaster.cluster.assignment import Assignment
from quartermaster.cluster.shapes import Shape
from quartermaster.cluster.snapshot import Snapshot
from quartermaster.cluster.state import ClusterState
from quartermaster.cluster.statement import Statement
from quartermaster.model.pod import Pod, PodSpec
from quartermaster.model.podgroup import PodGroup, SubGroup
from quartermaster.model.queue import QueueTree
from quartermaster.scheduling.explaining import explain
from quartermaster.scheduling.placing import Placer, Rng
from quartermaster.scheduling.plan import Evict, Explanation, GroupPlacement, Plan, Unschedulable
from quartermaster.scheduling.policies.base import PlacementPolicy
from quartermaster.scheduling.turns import GroupKey, Turns


@dataclass(frozen=True, slots=True, kw_only=True)
class Policies:
    """How a cycle decides.

    `group_key` replaces the order of groups inside a queue (default: priority, then age). `replan`: see the module.
    `migrate`: a running group may be placed elsewhere by a replan; otherwise it keeps its place if it keeps running.
    `explain`: without it, groups that wait are not in the plan (a simulator asks no reasons).
    """

    placement: PlacementPolicy
    queues: QueueTree = field(default_factory=QueueTree.single)
    group_key: GroupKey | None = None
    replan: bool = False
    migrate: bool = True
    explain: bool = True


def cycle(snapshot: Snapshot, policies: Policies, *, groups: Sequence[PodGroup], now: float, rng: Rng) -> Plan:
    """Decide on `groups` (those with pods that wait, and with `replan` also those that run).

    Raises `InvalidInput` when a group names a queue that is not there or not a leaf. `now` is in virtual seconds.
    """
    del now  # Time-dependent policies come with their own issue; the signature is the contract.
    state = snapshot.state
    for spec in {id(pod.spec): pod.spec for group in groups for pod in group.pods}.values():
        state.shape(spec)  # May widen the state, which must not happen while a statement is open.
    snapshot = Snapshot(state)
    with Statement(snapshot) as statement:
        return _Cycle(statement, policies, rng).run(groups)


@dataclass(frozen=True, slots=True)
class _Shortfall:
    """Where placing a group at its minimum stopped."""

    shape: Shape
    wanted: int
    fitted: int


class _Cycle:
    """One run of `cycle`, on its statement."""

    def __init__(self, statement: Statement, policies: Policies, rng: Rng) -> None:
        self._statement = statement
        self._state: ClusterState = statement.state
        self._policies = policies
        self._placer = Placer(statement, policy=policies.placement, rng=rng)
        self._short: list[tuple[PodGroup, _Shortfall | str]] = []
        self._plan = Plan([node.name if node else "" for node in self._state.nodes])

    def run(self, groups: Sequence[PodGroup]) -> Plan:
        policies, plan = self._policies, self._plan
        was = self._displace(groups) if policies.replan else {}
        turns = Turns(policies.queues, self._state, groups, group_key=policies.group_key)
        while (group := turns.pop()) is not None:
            refused = turns.gate(group)
            if refused is not None:
                self._short.append((group, str(refused)))
                continue
            started = self._place(group, was)
            if started is not None:
                self._short.append((group, started))
                continue
            turns.settle(group)
            if self._grows(group):
                turns.push(group)
        self._compare(was)
        if policies.explain:
            plan.unschedulable.extend(self._explain())
        return plan

    # ---- placing a group

    def _place(self, group: PodGroup, was: dict[str, Assignment]) -> _Shortfall | None:
        """Place the next part of a group: all that its minimum lacks, else one pod more."""
        account = self._state.account(group.queue, preemptible=group.preemptible)
        placed = self._placer.placed
        start, mark = len(placed.pods), self._statement.checkpoint()
        if was and not self._policies.migrate and self._stay(group, was):
            return None
        short = self._reach_minimum(group.root, account)
        if short is not None:
            self._statement.rollback(mark)
            placed.truncate(start)
            return short
        if len(placed.pods) == start:
            short = self._one_more(group.root, account)
            if short is not None:
                return short
        self._plan.placements.append(
            GroupPlacement(
                group.name,
                account,
                placed.pods[start:],
                placed.shapes[start:],
                placed.rows[start:],
                placed.masks[start:],
            )
        )
        return None

    def _waiting(self, leaf: SubGroup) -> list[Pod]:
        there = self._state.pods
        return [pod for pod in leaf.pods if pod.name not in there]

    def _reach_minimum(self, part: SubGroup, account: int) -> _Shortfall | None:
        """Place what `part` lacks to its minimum. On a shortfall the caller rolls back."""
        if part.children:
            return self._reach_children(part, account)
        if len(part.pods) == 1:  # By far the most common group, so it is spared what follows.
            pod = part.pods[0]
            if part.min == 0 or pod.name in self._state.pods:
                return None
            shape = self._state.shape(pod.spec)
            return None if self._placer.place((pod.name,), shape, account) else _Shortfall(shape, 1, 0)
        waiting = self._waiting(part)
        need = part.minimum - (len(part.pods) - len(waiting))
        fitted, short = 0, None
        for spec, run in _runs(waiting):
            if fitted >= need:
                break
            asked = run[: need - fitted]
            shape = self._state.shape(spec)
            done = self._placer.place(asked, shape, account)
            fitted += done
            if done < len(asked):
                short = shape
        if fitted >= need:
            return None
        assert short is not None, "fewer pods than the minimum cannot be: the model checks it"
        return _Shortfall(short, need, fitted)

    def _reach_children(self, part: SubGroup, account: int) -> _Shortfall | None:
        placed = self._placer.placed
        satisfied, first = 0, None
        for left, child in enumerate(part.children):
            if satisfied + len(part.children) - left < part.minimum:
                break
            if satisfied >= part.minimum:
                break
            start, mark = len(placed.pods), self._statement.checkpoint()
            short = self._reach_minimum(child, account)
            if short is None:
                satisfied += 1
                continue
            self._statement.rollback(mark)
            placed.truncate(start)
            first = first or short
        return None if satisfied >= part.minimum else first

    def _one_more(self, part: SubGroup, account: int) -> _Shortfall | None:
        """Place one pod above the minimum, or bring one more sub-group to its own."""
        placed = self._placer.placed
        first: _Shortfall | None = None
        for leaf in part.leaves():
            waiting = self._waiting(leaf)
            if not waiting:
                continue
            start, mark = len(placed.pods), self._statement.checkpoint()
            have = len(leaf.pods) - len(waiting)
            if have < leaf.minimum:
                short = self._reach_minimum(leaf, account)
            else:
                shape = self._state.shape(waiting[0].spec)
                short = None if self._placer.place([waiting[0].name], shape, account) else _Shortfall(shape, 1, 0)
            if short is None:
                return None
            self._statement.rollback(mark)
            placed.truncate(start)
            first = first or short
        return first

    def _grows(self, group: PodGroup) -> bool:
        root = group.root
        if not root.children and root.minimum == len(root.pods):
            return False
        there = self._state.pods
        return any(pod.name not in there for pod in group.pods)

    # ---- replanning

    def _displace(self, groups: Iterable[PodGroup]) -> dict[str, Assignment]:
        """Take the preemptible groups off their nodes; returns where their pods were."""
        there = self._state.pods
        running = [pod.name for group in groups if group.preemptible for pod in group.pods if pod.name in there]
        return {pod: self._statement.evict(pod) for pod in running}

    def _stay(self, group: PodGroup, was: dict[str, Assignment]) -> bool:
        """Put a group back where it was if all of that is still free."""
        pods = [pod.name for pod in group.pods if pod.name in was]
        if not pods:
            return False
        mark = self._statement.checkpoint()
        for pod in pods:
            row, number, devices, share, account = was[pod]
            shape = self._state.shapes[number]
            if not _free(self._state, shape, row, devices, share):
                self._statement.rollback(mark)
                return False
            self._statement.place(pod, shape, row, devices, account)
        return True

    def _compare(self, was: dict[str, Assignment]) -> None:
        """Turn what a replan changed into evictions, and drop the placements that changed nothing."""
        if not was:
            return
        plan, now = self._plan, self._state.pods
        kept = {pod for pod, before in was.items() if now.get(pod) == before}
        for pod, before in was.items():
            if pod not in kept:
                plan.evictions.append(Evict(pod, plan.nodes[before.row], "replanned"))
        if kept:
            plan.placements[:] = [p for p in (_without(p, kept) for p in plan.placements) if p.pods]

    # ---- explaining

    def _explain(self) -> Iterable[Unschedulable]:
        known: dict[tuple[int, int, int], Explanation] = {}
        for group, short in self._short:
            if isinstance(short, str):
                yield Unschedulable(group.name, Explanation(wanted=0, fitted=0, nodes=0, quota=short))
                continue
            key = (short.shape.id, short.wanted, short.fitted)
            if key not in known:
                known[key] = explain(self._state, short.shape, wanted=short.wanted, fitted=short.fitted)
            yield Unschedulable(group.name, known[key])


def _runs(pods: Sequence[Pod]) -> Iterable[tuple[PodSpec, list[str]]]:
    """Neighbours with equal specs, together."""
    for spec, run in groupby(pods, key=lambda pod: pod.spec):
        yield spec, [pod.name for pod in run]


def _free(state: ClusterState, shape: Shape, row: int, devices: int, share: int) -> bool:
    _, free, _, _, ports = state.classes.keys[int(state.node_class[row])]
    if any(want > have for want, have in zip(shape.request, free, strict=True) if want):
        return False
    if ports & frozenset(shape.spec.host_ports):
        return False
    gpu = state.gpu_free[row].tolist()
    return all(gpu[index] >= share for index in range(len(gpu)) if devices >> index & 1)


def _without(placement: GroupPlacement, kept: set[str]) -> GroupPlacement:
    index = [i for i, pod in enumerate(placement.pods) if pod not in kept]
    if len(index) == len(placement.pods):
        return placement
    return GroupPlacement(
        placement.group,
        placement.account,
        [placement.pods[i] for i in index],
        [placement.shapes[i] for i in index],
        [placement.rows[i] for i in index],
        [placement.masks[i] for i in index],
    )
