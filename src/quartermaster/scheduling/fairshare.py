"""What every queue should have now: the fair share, per resource and from the top of the tree down.

Children share what their parent got, in three passes over the siblings:

1. **guarantee**: everyone gets what it deserves, as far as it asks for it;
2. **surplus**: the rest goes by priority class, from high to low, inside a class by weight corrected by history;
3. **remainder**: queues that were cut off hold whole units (a GPU, a millicore, 10^6 bytes), and the units this leaves
   over go to the largest rest, then the older queue, then the name.

The formula is the field's (KAI Scheduler; `docs/fair-share.md` has it with worked examples). Where its known limits
would break the promise that shares add up to what is there, this module decides otherwise:

* *Guarantees beyond what the parent has.* They are then met by priority class, and in the class that cannot be met
  divided by deserved amounts, none above what it asks: asking for more never helps, and a queue that asks for little of
  its guarantee is cut last. A guarantee is a promise, so a broken one is broken in the order people chose.
* *Demand that limits forbid.* A parent asks for what its children may take, not for what they would like; otherwise
  it holds a share that nobody below can use while its siblings wait.
* *Units.* They are rounded at the end of each class, not once after all: a lower class gets nothing before every queue
  of a higher class that has a weight is satisfied. Rounds keep fractions and round once, so a share is within one unit
  of the exact division.
* *No weight* means no surplus, even when it goes unused: that is what a weight of 0 is written for.
* *History* shifts surplus between queues, and never destroys it: when it would leave a whole class with nothing (used
  shares above 1 through noise), the weights count alone.

Unlimited entitlements mean "as much as it asks". Nobody gets more than its request: a request of 0 is a share of 0.

Rounds end: each round but the last satisfies at least one queue, which then leaves, so there are at most as many as
siblings. The remainder pass ends: every turn either hands out the last of the pool or satisfies a queue for good, or
gives a whole unit of a pool that held at most one per queue. All arithmetic is on integers of a millionth unit, so the
result depends neither on the order of the queues nor on rounding of the machine.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from fractions import Fraction
from itertools import groupby
from typing import Final

from quartermaster.model.errors import InvalidInput
from quartermaster.model.queue import Queue, QueueTree
from quartermaster.model.units import MEMORY
from quartermaster.scheduling.quota import quota_resources

GRAINS: Final = 1_000_000
"""Grains, the integers that are divided, to a unit. A byte, a micro-GPU, a nano-core."""

MEMORY_UNIT: Final = 1_000_000
"""Bytes that are handed out together where memory is cut off. Finer tells nobody more, and pods ask for mebibytes."""


class Bound(StrEnum):
    """What kept a fair share from being larger."""

    REQUEST = "request"
    """It is all the queue asks for."""
    LIMIT = "limit"
    """The queue's own limit."""
    LIMITS_BELOW = "limits below"
    """The limits of queues below it."""
    SHORTAGE = "shortage"
    """The parent does not even have what its queues deserve."""
    DIVISION = "division"
    """What the other queues get of the surplus."""
    NO_WEIGHT = "no weight"
    """It takes no part in the surplus."""


@dataclass(frozen=True, slots=True, kw_only=True)
class FairShare:
    """One queue's part of one resource, in the unit of quotas (GPUs in devices).

    `request` is what is allocated or pending below; `deserved` the quota as written and `guaranteed` how much of it was
    asked for and granted; `fair` the whole share. `allocatable` is what the queue is measured against when queues are
    compared: the larger of deserved and fair, within its limit, where unlimited reads as the whole capacity.
    """

    request: float
    deserved: float
    guaranteed: float
    fair: float
    allocatable: float
    bound: Bound


def fair_shares(
    tree: QueueTree, *, capacity: Mapping[str, float], requested: Mapping[str, Mapping[str, float]], k: float = 1.0
) -> Mapping[str, Mapping[str, FairShare]]:
    """The fair share of every queue in every resource under quota.

    `capacity` is what there is to share; a resource missing from it is not there. `requested` is what is allocated or
    pending per *leaf* queue. `k` is how strongly history corrects weights; 0 is not at all.
    """
    _check(tree, requested, k)
    exact_k = _exact(k)
    shares: dict[str, dict[str, FairShare]] = {queue.name: {} for queue in tree}
    for resource in quota_resources(tree):
        asked = {name: amounts.get(resource, 0.0) for name, amounts in requested.items()}
        for name, share in _one_resource(tree, resource, capacity.get(resource, 0.0), asked, exact_k).items():
            shares[name][resource] = share
    return shares


def _check(tree: QueueTree, requested: Mapping[str, Mapping[str, float]], k: float) -> None:
    if not 0 <= k < math.inf:
        raise InvalidInput("fair share: k", f"{k} is not usable", "give 0 (no history) or more")
    for name, amounts in requested.items():
        if not tree.is_leaf(tree[name].name):
            raise InvalidInput(f"queue '{name}'", "is asked for, but has queues below", "submit to its leaf queues")
        for resource, amount in amounts.items():
            if not 0 <= amount < math.inf:
                raise InvalidInput(f"queue '{name}': request for {resource}", f"is {amount}", "give 0 or more")


class _Claim:
    """One queue's claim on its parent's share of one resource, in grains."""

    __slots__ = ("children", "deserved", "entitled", "granted", "queue", "request", "surplus", "want", "weight")

    def __init__(self, queue: Queue, resource: str, request: int, children: list[_Claim], scale: int) -> None:
        quota = queue.quota(resource)
        below = sum(child.want for child in children) if children else request
        self.queue = queue
        self.children = children
        self.request = sum(child.request for child in children) if children else request
        self.want = below if math.isinf(quota.limit) else min(below, round(quota.limit * scale))
        self.deserved = math.inf if math.isinf(quota.deserved) else round(quota.deserved * scale)
        self.entitled = int(min(self.deserved, self.want))
        self.weight = quota.over_quota_weight
        self.granted = 0
        self.surplus = 0

    @property
    def fair(self) -> int:
        return self.granted + self.surplus


def _one_resource(
    tree: QueueTree, resource: str, capacity: float, asked: Mapping[str, float], k: Fraction
) -> Mapping[str, FairShare]:
    scale = GRAINS // MEMORY_UNIT if resource == MEMORY else GRAINS
    claims: dict[str, _Claim] = {}
    parents_first = list(tree)
    for queue in reversed(parents_first):
        below = [claims[child.name] for child in tree.children(queue.name)]
        claims[queue.name] = _Claim(queue, resource, round(asked.get(queue.name, 0.0) * scale), below, scale)

    _share_out(round(capacity * scale), [claims[queue.name] for queue in tree.children(None)], resource, k)
    shares: dict[str, FairShare] = {}
    for queue in parents_first:
        claim = claims[queue.name]
        _share_out(claim.fair, claim.children, resource, k)
        quota = queue.quota(resource)
        allocatable = min(quota.limit, max(quota.deserved, claim.fair / scale))
        shares[queue.name] = FairShare(
            request=claim.request / scale,
            deserved=quota.deserved,
            guaranteed=claim.granted / scale,
            fair=claim.fair / scale,
            allocatable=capacity if math.isinf(allocatable) else allocatable,
            bound=_bound(claim),
        )
    return shares


def _bound(claim: _Claim) -> Bound:
    if claim.fair < claim.want:
        if claim.granted < claim.entitled:
            return Bound.SHORTAGE
        return Bound.DIVISION if claim.weight else Bound.NO_WEIGHT
    if claim.want == claim.request:
        return Bound.REQUEST
    below = sum(child.want for child in claim.children) if claim.children else claim.request
    return Bound.LIMIT if claim.want < below else Bound.LIMITS_BELOW


def _share_out(amount: int, claims: Sequence[_Claim], resource: str, k: Fraction) -> None:
    """Divide what a parent got among its children; none wants more than it should have, so what is left is nobody's."""
    left = amount
    short = sum(claim.entitled for claim in claims) > amount
    for peers in _by_priority(claims):
        if short:
            parties = [_Party(claim, claim.entitled, _exact(min(claim.deserved, amount))) for claim in peers]
            left = _divide(left, parties)
        for claim in peers:
            claim.granted = claim.entitled if not short else next(p.got for p in parties if p.claim is claim)
        if not short:
            left -= sum(claim.entitled for claim in peers)
    if short:
        return
    for peers in _by_priority(claims):
        parties = [
            _Party(
                claim, claim.want - claim.granted, _exact(claim.weight), _exact(claim.queue.usage.get(resource, 0.0))
            )
            for claim in peers
        ]
        left = _divide(left, parties, k=k)
        for party in parties:
            party.claim.surplus = party.got


def _by_priority(claims: Iterable[_Claim]) -> list[list[_Claim]]:
    ordered = sorted(claims, key=lambda claim: -claim.queue.priority)
    return [list(peers) for _, peers in groupby(ordered, key=lambda claim: claim.queue.priority)]


class _Party:
    """A claim in one division: what it may still get, and by which weight."""

    __slots__ = ("claim", "got", "usage", "want", "weight")

    def __init__(self, claim: _Claim, want: int, weight: Fraction, usage: Fraction = Fraction()) -> None:
        self.claim = claim
        self.want = want
        self.weight = weight
        self.usage = usage
        self.got = 0


def _divide(amount: int, parties: Iterable[_Party], *, k: Fraction = Fraction()) -> int:
    """Give `amount` to parties in rounds by weight, none more than it wants, and return what nobody took."""
    left = amount
    waiting = [party for party in parties if party.want and party.weight]
    while left and waiting:
        slices = _slices(waiting, k)
        total, pool = sum(slices), left
        cut_off = []
        for party, part in zip(waiting, slices, strict=True):
            offer = min(pool * part // total, party.want - party.got)
            party.got += offer
            left -= offer
            if party.got < party.want:
                cut_off.append(party)
        if len(cut_off) == len(waiting):
            break
        waiting = cut_off
    return _hand_out_units(left, waiting)


def _slices(parties: Sequence[_Party], k: Fraction) -> list[int]:
    """The parties' parts in whole numbers: max(0, n + k (n - u)) for normalised weights n and used shares u."""
    scale = math.lcm(*(party.weight.denominator for party in parties))
    weights = [party.weight.numerator * (scale // party.weight.denominator) for party in parties]
    if not k:
        return weights
    used_scale = math.lcm(*(party.usage.denominator for party in parties))
    total = sum(weights)
    slices = [
        max(
            0,
            weight * (k.denominator + k.numerator) * used_scale
            - k.numerator * total * party.usage.numerator * (used_scale // party.usage.denominator),
        )
        for party, weight in zip(parties, weights, strict=True)
    ]
    return slices if any(slices) else weights


def _hand_out_units(left: int, cut_off: list[_Party]) -> int:
    """Round the parties that were cut off down to whole units and give what that frees, unit by unit."""
    rests = {}
    for party in cut_off:
        rests[party.claim.queue.name] = rest = party.got % GRAINS
        party.got -= rest
        left += rest
    cut_off.sort(key=lambda party: (-rests[party.claim.queue.name], party.claim.queue.created, party.claim.queue.name))
    while left and cut_off:
        for party in cut_off:
            unit = min(GRAINS, party.want - party.got, left)
            party.got += unit
            left -= unit
        cut_off = [party for party in cut_off if party.got < party.want]
    return left


def _exact(value: float) -> Fraction:
    """The decimal that was written, not its binary neighbour: three weights of 0.1 are exactly even with one of 0.3."""
    return Fraction(int(value)) if value == int(value) else Fraction(repr(value))
