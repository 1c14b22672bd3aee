"""What every queue should have now: the fair share, per resource and from the top of the tree down.

Children share what their parent got, in three passes over the siblings:

1. **deserved**: everyone gets what it deserves, as far as it asks for it;
2. **over quota**: the rest goes by priority class, from high to low, inside a class by weight corrected by history;
3. **remainder**: queues that were cut off hold whole units (a GPU, a millicore, 10^6 bytes), and the units this frees
   go to the largest fractional rest, then the older queue, then the name.

The formula is the field's (KAI Scheduler; `docs/fair-share.md` has it with worked examples). Where it would break the
promise that shares add up to what is there, this module decides otherwise:

* *More is deserved than the parent has.* What is deserved is then met by priority class, and in the class that cannot
  be met divided by the deserved amounts, none above what it asks. A guarantee is a promise, so a broken one is broken
  in the order people chose; and since requests only cap, asking for more cannot take from a queue that asked for less.
* *Demand that limits forbid.* A parent asks for what its children may take, not for what they would like; otherwise
  it holds a share that nobody below can use while its siblings wait.
* *Units* are rounded at the end of each class, not once after all: a lower class gets nothing before every queue of a
  higher class that has a weight is satisfied. Inside a class they are rounded once, after the last round; rounding in
  every round would let a queue of small weight lose its fraction again and again.
* *No weight* means no surplus, even when it goes unused: that is what a weight of 0 is written for.
* *History* shifts surplus between queues and never destroys it: when it would leave everyone who still waits with
  nothing, the weights count alone.

Nobody gets more than its request; an unlimited entitlement means "as much as it asks".

Why it ends: a round either satisfies a queue, which then leaves, or is the last, so a class has at most one round more
than it has queues. Why the remainder fits: the amounts cut off are less than one unit per queue, and each queue can
still take its rest, so one unit to each, in order, is always enough.

All arithmetic is on integers and ratios of integers, weights being read as the decimals that were written; so the
result depends neither on the order of the queues nor on how a machine rounds. Without history (k = 0) the division is
exact; with it, what a queue keeps between two rounds is cut to the integer (a micro-GPU, a millicore, a byte).
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from fractions import Fraction
from itertools import groupby
from typing import Final, NamedTuple

from quartermaster.model.errors import InvalidInput
from quartermaster.model.queue import Queue, QueueTree
from quartermaster.model.units import MEMORY
from quartermaster.scheduling.quota import per_unit, quota_resources, to_internal

MEMORY_UNIT: Final = 1_000_000
"""Bytes that are handed out together where memory is cut off. Finer tells nobody more, and pods ask for mebibytes."""


@dataclass(frozen=True, slots=True, kw_only=True)
class FairShare:
    """One queue's part of one resource, in the integer units of `model.units` (GPUs in micro-GPU).

    Floats only because `deserved` and `allocatable` may be infinite. `allocatable` is what the queue is measured
    against when queues are compared: the larger of deserved and share, within its limit.
    """

    deserved: float
    share: float
    allocatable: float


def unit_of(resource: str) -> int:
    """The step in which a queue that is cut off gets `resource`: a device, a millicore, 10^6 bytes."""
    return MEMORY_UNIT if resource == MEMORY else per_unit(resource)


def fair_shares(
    tree: QueueTree,
    *,
    capacity: Mapping[str, int],
    requested: Mapping[str, Mapping[str, int]],
    k: float = 1.0,
    deserved_in_full: bool = False,
) -> dict[str, dict[str, FairShare]]:
    """The fair share of every queue in every resource under quota (`quota_resources`), by queue and resource.

    `capacity` is what there is to share; a resource missing from it is not there. `requested` is what is allocated or
    pending per *leaf* queue, both in integer units. `k` is how strongly history corrects weights; 0 is not at all.
    With `deserved_in_full` what is deserved is met even where its sum is more than there is (KAI's way).
    Raises `InvalidInput` for a request of a queue that is unknown or no leaf, and for numbers below 0.
    """
    _check(tree, requested, k)
    shares: dict[str, dict[str, FairShare]] = {queue.name: {} for queue in tree}
    for resource in quota_resources(tree):
        claims = _claims(tree, resource, requested)
        _divide_tree(tree, claims, max(0, capacity.get(resource, 0)), _How(resource, _exact(k), deserved_in_full))
        for name, claim in claims.items():
            allocatable = min(claim.limit, max(claim.deserved, claim.share))
            shares[name][resource] = FairShare(
                deserved=claim.deserved, share=float(claim.share), allocatable=float(allocatable)
            )
    return shares


def _check(tree: QueueTree, requested: Mapping[str, Mapping[str, int]], k: float) -> None:
    if not 0 <= k < math.inf:
        raise InvalidInput("fair share: k", f"{k} is not usable", "give 0 (no history) or more")
    for name, amounts in requested.items():
        if not tree.is_leaf(tree[name].name):
            raise InvalidInput(f"queue '{name}'", "is asked for, but has queues below", "submit to its leaf queues")
        for resource, amount in amounts.items():
            if amount < 0:
                raise InvalidInput(f"queue '{name}': request for {resource}", f"is {amount}", "give 0 or more")
    for queue in tree:
        for resource, used in queue.usage.items():
            if not 0 <= used < math.inf:
                raise InvalidInput(f"queue '{queue.name}': usage of {resource}", f"is {used}", "give a share, 0 to 1")


class _Claim:
    """One queue's claim on its parent's share of one resource.

    `want` is the most that it can take: what is asked for below, cut by every limit on the way up. `entitled` is the
    part of it that it deserves.
    """

    __slots__ = ("deserved", "entitled", "limit", "queue", "share", "want", "weight")

    def __init__(self, queue: Queue, resource: str, below: int) -> None:
        quota = queue.quota(resource)
        self.queue = queue
        self.limit = to_internal(quota.limit, resource)
        self.deserved = to_internal(quota.deserved, resource)
        self.want = below if math.isinf(self.limit) else min(below, int(self.limit))
        self.entitled = self.want if math.isinf(self.deserved) else min(self.want, int(self.deserved))
        self.weight = quota.over_quota_weight
        self.share = 0


def _claims(tree: QueueTree, resource: str, requested: Mapping[str, Mapping[str, int]]) -> dict[str, _Claim]:
    """The claims of all queues, parents first; summed up from the leaves."""
    parents_first = list(tree)
    claims: dict[str, _Claim] = {}
    for queue in reversed(parents_first):
        children = tree.children(queue.name)
        own = requested.get(queue.name, {}).get(resource, 0)
        below = sum(claims[child.name].want for child in children) if children else own
        claims[queue.name] = _Claim(queue, resource, below)
    return {queue.name: claims[queue.name] for queue in parents_first}


class _How(NamedTuple):
    """What one division needs to know beside its claims."""

    resource: str
    k: Fraction
    deserved_in_full: bool


def _divide_tree(tree: QueueTree, claims: Mapping[str, _Claim], capacity: int, how: _How) -> None:
    _share_out(capacity, [claims[queue.name] for queue in tree.children(None)], how)
    for name, claim in claims.items():
        _share_out(claim.share, [claims[child.name] for child in tree.children(name)], how)


def _share_out(amount: int, claims: Sequence[_Claim], how: _How) -> None:
    """Divide what a parent got among its children: first what they deserve, then the rest."""
    resource, k, deserved_in_full = how
    if amount <= 0 or not claims:
        return
    unit = unit_of(resource)
    classes = _by_priority(claims)
    left = amount
    if sum(claim.entitled for claim in claims) > amount and not deserved_in_full:
        for peers in classes:
            left = _divide(
                left,
                [_Party(claim, claim.entitled, weight=_exact(min(claim.deserved, amount))) for claim in peers],
                unit=unit,
            )
        return
    for claim in claims:
        claim.share = min(claim.entitled, amount)
        left -= claim.share
    for peers in classes:
        left = _divide(
            left,
            [
                _Party(
                    claim,
                    claim.want - claim.entitled,
                    weight=_exact(claim.weight),
                    usage=_exact(claim.queue.usage.get(resource, 0.0)),
                )
                for claim in peers
            ],
            unit=unit,
            k=k,
        )


def _by_priority(claims: Iterable[_Claim]) -> list[list[_Claim]]:
    ordered = sorted(claims, key=lambda claim: -claim.queue.priority)
    return [list(peers) for _, peers in groupby(ordered, key=lambda claim: claim.queue.priority)]


class _Party:
    """A claim in one division: what it may get there, by which weight, and what it keeps from earlier rounds."""

    __slots__ = ("claim", "kept", "usage", "want", "weight")

    def __init__(self, claim: _Claim, want: int, *, weight: Fraction, usage: Fraction = Fraction()) -> None:
        self.claim = claim
        self.want = want
        self.weight = weight
        self.usage = usage
        self.kept = 0


def _divide(amount: int, parties: Iterable[_Party], *, unit: int, k: Fraction = Fraction()) -> int:
    """Give `amount` to the parties in rounds by weight, none more than it wants; returns what nobody could take.

    Without history, a party's part of all rounds together is its weight's part of what the satisfied left, so nothing
    is kept from one round to the next and no fraction is lost. With history the parts change from round to round.
    """
    left = amount
    waiting = [party for party in parties if party.want and party.weight]
    while left and waiting:
        parts = _parts(waiting, k)
        total, pool = sum(parts), left - sum(party.kept for party in waiting)
        short = [
            (party, part)
            for party, part in zip(waiting, parts, strict=True)
            if (party.want - party.kept) * total > pool * part
        ]
        if len(short) == len(waiting):
            return _in_units(left, short, pool=pool, total=total, unit=unit)
        still = {party.claim.queue.name for party, _ in short}
        for party in waiting:
            if party.claim.queue.name not in still:
                party.claim.share += party.want
                left -= party.want
        if k:
            for party, part in short:
                party.kept += pool * part // total
        waiting = [party for party, _ in short]
    return left


def _parts(parties: Sequence[_Party], k: Fraction) -> list[int]:
    """The parties' parts as whole numbers in the ratio of max(0, n + k (n - u)): n normalised weight, u used share."""
    scale = math.lcm(*(party.weight.denominator for party in parties))
    weights = [party.weight.numerator * (scale // party.weight.denominator) for party in parties]
    if not k:
        return weights
    total = sum(weights)
    used_scale = math.lcm(*(party.usage.denominator for party in parties))
    used = [party.usage.numerator * (used_scale // party.usage.denominator) for party in parties]
    gain, loss = (k.denominator + k.numerator) * used_scale, k.numerator * total
    parts = [max(0, weight * gain - loss * u) for weight, u in zip(weights, used, strict=True)]
    return parts if any(parts) else weights


def _in_units(left: int, short: list[tuple[_Party, int]], *, pool: int, total: int, unit: int) -> int:
    """The last round, in which nobody is satisfied: whole units to all, then one more by the largest rest.

    Rests have the common denominator `total`, so they are compared exactly.
    """
    rests: list[tuple[int, float, str, _Party, int]] = []
    for party, part in short:
        units, rest = divmod(party.kept * total + pool * part, unit * total)
        left -= units * unit
        rests.append((-rest, party.claim.queue.created, party.claim.queue.name, party, units * unit))
    rests.sort(key=lambda entry: entry[:3])
    for _, _, _, party, got in rests:
        more = min(unit, party.want - got, left)
        party.claim.share += got + more
        left -= more
    return left


def _exact(value: float) -> Fraction:
    """The decimal that was written, not its binary neighbour: three weights of 0.1 are exactly even with one of 0.3."""
    return Fraction(int(value)) if value == int(value) else Fraction(repr(float(value)))
