"""Who may take from whom: one law per action that makes room.

* **Reclaim** takes from other queues for one that is below its fair share.
* **Preempt** takes from lower priorities of the same queue.
* **Consolidate** takes from nobody: whoever is touched finds another place.

A law says which units come into question, in which order, and whether one may be taken now; what is taken is booked in
the standing at once, so that every test sees the queues as they would be. Common to all: work that may not be preempted
is no unit at all; work younger than its queue's minimum run time is protected, but for its surplus; and a disruption
budget that is used up protects everyone it covers.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import NamedTuple

from quartermaster.cluster.state import ClusterState
from quartermaster.model.disruption import DisruptionBudget
from quartermaster.model.podgroup import PodGroup
from quartermaster.scheduling.quota import readable
from quartermaster.scheduling.rules import Action, Rules
from quartermaster.scheduling.standing import Standing
from quartermaster.scheduling.victims import Unit, Victims


class Budgets:
    """What disruption budgets still allow in this cycle."""

    def __init__(self, budgets: Iterable[DisruptionBudget], state: ClusterState) -> None:
        self._budgets = list(budgets)
        self._left = [budget.allowed for budget in self._budgets]
        self._state = state
        self._covering: dict[int, list[int]] = {}

    def allow(self, pods: Sequence[str]) -> bool:
        """Whether all these pods may go."""
        if not self._budgets:
            return True
        need = self._count([self._state.pods[pod].shape for pod in pods])
        return all(count <= self._left[index] for index, count in need.items())

    def take(self, shapes: Sequence[int], sign: int = 1) -> None:
        """Use up what evicting pods of these shapes costs (sign -1: give it back)."""
        if self._budgets:
            for index, count in self._count(shapes).items():
                self._left[index] -= sign * count

    def _count(self, shapes: Sequence[int]) -> dict[int, int]:
        need: dict[int, int] = {}
        for number in shapes:
            covering = self._covering.get(number)
            if covering is None:
                spec = self._state.shapes[number].spec
                covering = self._covering[number] = [
                    index
                    for index, budget in enumerate(self._budgets)
                    if budget.covers(namespace=spec.namespace, labels=spec.label_map)
                ]
            for index in covering:
                need[index] = need.get(index, 0) + 1
        return need


class Law:
    """What all laws share. `group` is who would have the room."""

    action: Action

    def __init__(
        self, group: PodGroup, *, standing: Standing, victims: Victims, budgets: Budgets, rules: Rules, now: float
    ) -> None:
        self.group = group
        self.asked = standing.asked(group)
        self._standing, self._victims, self._budgets = standing, victims, budgets
        self._rules, self._now = rules, now
        self._path = [queue.name for queue in standing.tree.path(group.queue)]
        self._sides: dict[str, _Sides] = {}

    def refusal(self) -> str | None:
        """Why the group may not have room made for it; None if it may."""
        raise NotImplementedError

    def units(self) -> Iterator[Unit]:
        """The units that come into question, first to go first."""
        raise NotImplementedError

    def may_take(self, unit: Unit, pods: Sequence[str]) -> bool:
        """Whether these pods of a unit may be taken, after all that was taken already."""
        return not self._protected(unit) and self._budgets.allow(pods)

    def take(self, unit: Unit, shapes: Sequence[int], amounts: dict[str, int], sign: int = 1) -> None:
        """Book what was taken (sign -1: give it back): pods of these shapes, charged `amounts` together."""
        quota = self._standing.quota
        book = quota.remove if sign > 0 else quota.add
        book(unit.group.queue, amounts, preemptible=unit.group.preemptible)
        self._budgets.take(shapes, sign)

    def _protected(self, unit: Unit) -> bool:
        if not unit.core or unit.group.started is None:
            return False
        return self._now - unit.group.started < self._min_runtime(unit.group.queue)

    def _min_runtime(self, leaf: str) -> float:
        raise NotImplementedError

    def _inherited(self, leaf: str, what: str) -> float:
        for queue in self._standing.tree.path(leaf):
            value: float | None = getattr(queue, what)
            if value is not None:
                return value
        return 0.0


class _Sides(NamedTuple):
    """A victim's side of a reclaim, against the taker's.

    `used` is what it holds, kept up to date; it may lose while that is above one of the `bounds` (resource, amount).
    `tight` are the resources of which the taker's side would have more than its share: how full it would be, and the
    share of the victim's side.
    """

    used: Mapping[str, int]
    bounds: list[tuple[str, float]]
    tight: list[tuple[str, float, float]]


class Reclaim(Law):
    """Between queues. The two queues are compared where their paths part, as siblings under one parent.

    A unit may be taken while the victim's side is above its allocatable share in a resource that is asked for
    (**maintain fair share**), or while it is above what it deserves and the taker's side stays within what *it*
    deserves (**guarantee deserved**). A taker that would pass its own share must stay less full than its victim
    (**saturation**).
    """

    action = Action.RECLAIM

    def refusal(self) -> str | None:
        """Its own queue stays within its fair share, and within what it deserves if this can't be taken back."""
        standing, queue = self._standing, self._path[0]
        used, firm, shares = standing.quota.used(queue), standing.quota.non_preemptible(queue), standing.shares[queue]
        for resource, asked in self.asked.items():
            held, bound, what = used.get(resource, 0), shares[resource].share, "fair share"
            if not self.group.preemptible and firm.get(resource, 0) + asked > shares[resource].deserved:
                held, bound, what = firm.get(resource, 0), shares[resource].deserved, "deserved amount"
            if asked and held + asked > bound:
                numbers = (readable(int(bound), resource), readable(held, resource), readable(asked, resource))
                return (
                    f"queue '{queue}' would pass its {what} of {numbers[0]} {resource}: "
                    f"{numbers[1]} held, {numbers[2]} asked"
                )
        return None

    def units(self) -> Iterator[Unit]:
        """The units of all other queues."""
        return self._victims.across(without=self.group.queue)

    def may_take(self, unit: Unit, pods: Sequence[str]) -> bool:
        """See the class."""
        if not super().may_take(unit, pods):
            return False
        sides = self._sides.get(unit.group.queue)
        if sides is None:
            sides = self._sides[unit.group.queue] = self._compare(*self._parted(unit.group.queue))
        used = sides.used
        for resource, bound in sides.bounds:
            if used.get(resource, 0) > bound:
                return not sides.tight or self._less_full(sides, pods)
        return False

    def _compare(self, mine: str, theirs: str) -> _Sides:
        """What decides between two sibling queues. The taker's side does not change while victims are looked for."""
        standing = self._standing
        quota, own, other = standing.quota, standing.shares[mine], standing.shares[theirs]
        held = {resource: quota.used(mine).get(resource, 0) + asked for resource, asked in self.asked.items() if asked}
        within = all(amount <= own[resource].deserved for resource, amount in held.items())
        return _Sides(
            used=quota.used(theirs),
            bounds=[
                (r, min(other[r].allocatable, other[r].deserved) if within else other[r].allocatable) for r in held
            ],
            tight=[
                (r, amount / own[r].share if own[r].share else float("inf"), other[r].share)
                for r, amount in held.items()
                if amount > own[r].share and other[r].share
            ],
        )

    def _less_full(self, sides: _Sides, pods: Sequence[str]) -> bool:
        freed = self._victims.amounts(pods)
        return all(
            fullness * self._rules.saturation_multiplier
            < (sides.used.get(resource, 0) - freed.get(resource, 0)) / share
            for resource, fullness, share in sides.tight
        )

    def _parted(self, leaf: str) -> tuple[str, str]:
        """The taker's and the victim's queue, or the ancestors of theirs that are siblings."""
        mine, theirs = self._path, [queue.name for queue in self._standing.tree.path(leaf)]
        up = 1
        while up < min(len(mine), len(theirs)) and mine[-up] == theirs[-up]:
            up += 1
        return mine[-up], theirs[-up]

    def _min_runtime(self, leaf: str) -> float:
        return self._inherited(self._parted(leaf)[1], "reclaim_min_runtime")


class Preempt(Law):
    """Inside one queue: what has strictly lower priority may be taken."""

    action = Action.PREEMPT

    def refusal(self) -> str | None:
        """Limits are asked again once there are victims; what is deserved bounds work that can't be taken back."""
        if self.group.preemptible:
            return None
        standing = self._standing
        for name in self._path:
            firm, shares = standing.quota.non_preemptible(name), standing.shares[name]
            for resource, asked in self.asked.items():
                if asked and firm.get(resource, 0) + asked > shares[resource].deserved:
                    return f"queue '{name}' would hold more non-preemptible {resource} than it deserves"
        return None

    def units(self) -> Iterator[Unit]:
        """The units of lower priority in the group's own queue."""
        for unit in self._victims.in_queue(self.group.queue):
            if unit.group.priority >= self.group.priority:
                return
            yield unit

    def _min_runtime(self, leaf: str) -> float:
        return self._inherited(leaf, "preempt_min_runtime")


class Consolidate(Law):
    """Everywhere: whoever is moved goes on elsewhere, so nobody's share is touched."""

    action = Action.CONSOLIDATE

    def refusal(self) -> str | None:
        """Only work that could itself be moved makes others move."""
        return None if self.group.preemptible else "only preemptible work has others moved for it"

    def units(self) -> Iterator[Unit]:
        """All units."""
        return self._victims.across()

    def _min_runtime(self, leaf: str) -> float:
        del leaf
        return 0.0
