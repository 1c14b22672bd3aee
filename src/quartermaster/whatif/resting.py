"""The cycle, driven to rest: what comes of a situation if time stands still and every decision is carried out at once.

After each cycle, who was evicted is gone and waits again, who was given a place has it, and who was leaving has left;
then the next cycle decides, until one changes nothing. The clock does not move: what a delay, a grace or a minimum run
time forbids now stays forbidden, and says so.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

from quartermaster.model.disruption import DisruptionBudget
from quartermaster.model.podgroup import PodGroup
from quartermaster.scheduling.cycle import Policies, cycle
from quartermaster.scheduling.fairshare import FairShare
from quartermaster.scheduling.plan import Bind, Evict, Explanation, Plan
from quartermaster.scheduling.policies.base import PlacementPolicy
from quartermaster.scheduling.policies.catalogue import placement_policy
from quartermaster.scheduling.policies.fragmentation import Mix
from quartermaster.scheduling.presence import Presence
from quartermaster.scheduling.rules import Action
from quartermaster.scheduling.standing import Standing
from quartermaster.whatif.situation import Place, Situation

FORECAST = 64
"""Instants that are looked at ahead to estimate starts, if the rules of the situation name no number."""

ROUNDS = 32
"""Cycles after which a situation that is still changing is called restless."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Books:
    """Of one queue and resource, in integer units: what it holds and what it should hold."""

    used: int
    share: FairShare


@dataclass(frozen=True, kw_only=True)
class Rest:
    """What came of a situation. `waiting`: why, for every group that the last cycle left waiting.

    `starts`: when these will probably start, in virtual seconds, as far as it can be known.

    `evictions` are all that there were on the way, in order. `rested` is false if it was still changing after `rounds`.
    """

    situation: Situation
    waiting: dict[str, Explanation]
    starts: dict[str, float]
    evictions: tuple[Evict, ...]
    books: dict[str, dict[str, Books]]
    rounds: int
    rested: bool


def policy_of(situation: Situation) -> PlacementPolicy:
    """The placement policy of a situation, whose pods are the mix that it expects."""
    return placement_policy(situation.placement, Mix.of(pod.spec for group in situation.groups for pod in group.pods))


def settle(situation: Situation, *, placement: PlacementPolicy, rounds: int = ROUNDS) -> Rest:
    """Repeat the cycle until nothing changes, at most `rounds` times; raises `InvalidInput` as the cycle does."""
    evictions: list[Evict] = []
    done = 0
    while True:
        plan = _decide(situation, placement)
        done += 1
        changes = bool(plan.placements or plan.evictions or _leaving(situation))
        if not changes or done == rounds:
            break
        evictions += plan.evictions
        situation = carry_out(situation, plan)
    return Rest(
        situation=situation,
        waiting={one.group: one.explanation for one in plan.unschedulable},
        starts={name: start for name, start in plan.starts.items() if start is not None},
        evictions=tuple(evictions),
        books=books(situation),
        rounds=done,
        rested=not changes,
    )


def _decide(situation: Situation, placement: PlacementPolicy) -> Plan:
    return cycle(
        situation.state().borrow(),
        Policies(
            placement=placement,
            queues=situation.queues,
            topologies=situation.topologies,
            rules=replace(situation.rules, forecast=situation.rules.forecast or FORECAST),
            actions=situation.actions,
            budgets=situation.budgets,
            prices=situation.prices,
        ),
        groups=list(situation.waiting()),
        running=list(situation.running()),
        now=situation.now,
        rng=_NoChance(),
    )


class _NoChance:
    """Random numbers for policies that draw none: a comparison must not differ by chance."""

    def integers(self, low: int, high: int) -> int:
        """Always the lowest, which makes a policy of chance one of order."""
        del high
        return low


def _leaving(situation: Situation) -> list[str]:
    """Pods that will have left by the next cycle; those that have been at it for too long are not counted on."""
    return [pod for pod, place in situation.places.items() if place.leaving]


def carry_out(situation: Situation, plan: Plan) -> Situation:
    """The situation after a plan: evicted and leaving pods are gone, all others have their places.

    Disruption budgets are used up by evictions, and a group that reaches its minimum starts now.
    """
    places = dict(situation.places)
    gone = {evict.pod for evict in plan.evictions}
    for pod in (*_leaving(situation), *gone):
        places.pop(pod, None)
    for bind in (*plan.binds, *plan.nominations):
        places[bind.pod] = _placed(bind)
    budgets = tuple(
        replace(budget, allowed=max(0, budget.allowed - _covered(situation, gone, budget)))
        for budget in situation.budgets
    )
    after = replace(situation, places=places, budgets=budgets)
    return replace(after, groups=tuple(_with_history(after, plan, gone)))


def _placed(bind: Bind) -> Place:
    return Place(node=bind.node, devices=bind.devices)


def _covered(situation: Situation, pods: set[str], budget: DisruptionBudget) -> int:
    specs = [situation.pods[pod][0].spec for pod in pods]
    return sum(budget.covers(namespace=spec.namespace, labels=spec.label_map) for spec in specs)


def _with_history(after: Situation, plan: Plan, gone: set[str]) -> list[PodGroup]:
    presence = after.presence()
    stopped = {evict.pod for evict in plan.evictions if evict.action == Action.MAX_RUNTIME}
    found = []
    for group in after.groups:
        there = presence.satisfied(group.root) and bool(presence.running(group.root))
        evicted = any(pod.name in gone for pod in group.pods)
        found.append(
            replace(
                group,
                started=(after.now if group.started is None or evicted else group.started) if there else None,
                last_evicted=after.now if evicted else group.last_evicted,
                stale_since=None if there else plan.stale.get(group.name, group.stale_since),
                requeued=after.now if any(pod.name in stopped for pod in group.pods) else group.requeued,
                reserved=plan.reservations.get(group.name),
            )
        )
    return found


def books(situation: Situation) -> dict[str, dict[str, Books]]:
    """What every queue holds and should hold, by resource."""
    state = situation.state()
    standing = Standing(
        situation.queues,
        state,
        groups=situation.groups,
        presence=Presence(state.pods, dict(state.leaving)),
        rules=situation.rules,
    )
    return {
        queue.name: {
            resource: Books(used=standing.quota.used(queue.name).get(resource, 0), share=share)
            for resource, share in standing.shares[queue.name].items()
        }
        for queue in situation.queues
    }


def as_it_is(situation: Situation) -> Rest:
    """A situation on which nothing was decided yet, to compare with what comes of it."""
    return Rest(situation=situation, waiting={}, starts={}, evictions=(), books=books(situation), rounds=0, rested=True)
