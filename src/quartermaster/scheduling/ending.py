"""Work that ends without anybody asking for its room: gangs that broke, and groups that have run for long enough.

A gang below its minimum holds devices and computes nothing: after a grace it is evicted whole. A pod that is still
leaving counts as there, since its successor cannot come before it is gone; so does one that was given a place in this
cycle. A group that has reached its `max_runtime` is evicted too; whoever carries that out queues it again.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from quartermaster.cluster.state import ClusterState
from quartermaster.model.podgroup import PodGroup, SubGroup
from quartermaster.scheduling.plan import Evict, Plan
from quartermaster.scheduling.rules import Action


def evict_stale(plan: Plan, state: ClusterState, groups: Iterable[PodGroup], *, now: float, grace: float) -> None:
    """Evict the gangs that are below their minimum for longer than their grace (`grace`, if they state none).

    `groups` may name a group twice. `plan.stale` gets all that are below, and since when.
    """
    placed = {pod for placement in plan.placements for pod in placement.pods}
    gone = {evict.pod for evict in plan.evictions} - placed
    for group, since in stale_gangs(groups, state=state, also=placed, gone=gone):
        mark = now if since is None else since
        plan.stale[group.name] = mark
        if now - mark >= (grace if group.staleness_grace is None else group.staleness_grace):
            _evict(plan, state, group, f"gang below its minimum for {now - mark:g} s", Action.STALE, but=gone | placed)


def evict_overdue(plan: Plan, state: ClusterState, groups: Iterable[PodGroup], *, now: float) -> None:
    """Evict the groups that have reached their `max_runtime`. `groups` may name a group twice."""
    gone = {evict.pod for evict in plan.evictions}
    timed = [group for group in groups if group.max_runtime is not None]
    for group in {group.name: group for group in timed}.values():
        if group.max_runtime is not None and group.started is not None and now >= group.started + group.max_runtime:
            reason = f"has run for its maximum of {group.max_runtime:g} s"
            _evict(plan, state, group, reason, Action.MAX_RUNTIME, but=gone)


def _evict(plan: Plan, state: ClusterState, group: PodGroup, reason: str, action: Action, *, but: set[str]) -> None:
    beneficiary = group.name if action is Action.STALE else ""
    for pod in group.pods:
        at = state.pods.get(pod.name)
        if at is not None and pod.name not in state.leaving and pod.name not in but:
            plan.evictions.append(Evict(pod.name, plan.nodes[at.row], reason, action, beneficiary))


def stale_gangs(
    groups: Iterable[PodGroup], *, state: ClusterState, also: set[str], gone: set[str]
) -> Iterator[tuple[PodGroup, float | None]]:
    """The gangs that are below their minimum, and since when (None: as of now).

    `also` are pods that get a place in this cycle, `gone` those that lose theirs.
    """
    seen: set[str] = set()
    there = state.pods
    for group in [group for group in groups if len(group.root.pods) != 1]:  # most that runs are single pods
        if group.name in seen:
            continue
        seen.add(group.name)
        present = {p.name for p in group.pods if (p.name in there or p.name in also) and p.name not in gone}
        if present and not _enough(group.root, present):
            yield group, group.stale_since


def _enough(part: SubGroup, present: set[str]) -> bool:
    if part.children:
        return sum(_enough(child, present) for child in part.children) >= part.minimum
    return sum(pod.name in present for pod in part.pods) >= part.minimum
