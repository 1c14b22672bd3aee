"""What differs between two outcomes: who starts, waits, moves or is evicted, what queues hold, and why.

Places are compared by node and number, since equal pods and the devices of a node are interchangeable.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from enum import StrEnum

from quartermaster.model.podgroup import PodGroup
from quartermaster.model.queue import Quota
from quartermaster.scheduling.plan import Evict
from quartermaster.whatif.resting import Books, Rest
from quartermaster.whatif.situation import Situation


class Verb(StrEnum):
    """What becomes of a group; the words are part of the interface, and their order that of the report."""

    STARTS = "starts"
    GROWS = "grows"
    MOVES = "moves"
    ELSEWHERE = "starts elsewhere"
    SHRINKS = "shrinks"
    EVICTED = "is evicted"
    WAITS = "waits"
    GONE = "is gone"


@dataclass(frozen=True, slots=True, kw_only=True)
class Stand:
    """Where a group is: pods per node, and whether it has its minimum. Nobody anywhere: it waits."""

    running: bool
    nodes: Mapping[str, int]

    @property
    def pods(self) -> int:
        """How many pods are somewhere."""
        return sum(self.nodes.values())


@dataclass(frozen=True, slots=True, kw_only=True)
class Difference:
    """One group of which something is different. `before` or `after` is None where it does not exist."""

    group: str
    queue: str
    verb: Verb
    before: Stand | None
    after: Stand | None
    reasons: tuple[str, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Entitlement:
    """A queue's books in one resource, before and after, with the quota that led to them."""

    queue: str
    resource: str
    quota: tuple[Quota, Quota]
    books: tuple[Books, Books]


@dataclass(frozen=True, slots=True, kw_only=True)
class Comparison:
    """Everything that differs. `waiting`: all that wait in the end, and why; `starts`: when they probably start."""

    differences: tuple[Difference, ...]
    waiting: Mapping[str, str]
    starts: Mapping[str, float]
    entitlements: tuple[Entitlement, ...]
    rested: bool


def compare(now: Situation, before: Rest, after: Rest) -> Comparison:
    """What is different in `after`; `now` tells who runs already."""
    names = dict.fromkeys(group.name for rest in (before, after) for group in rest.situation.groups)
    found = [one for name in names if (one := _difference(name, now, before, after)) is not None]
    order = list(Verb)
    return Comparison(
        differences=tuple(sorted(found, key=lambda one: order.index(one.verb))),
        waiting={name: str(why) for name, why in after.waiting.items()},
        starts=after.starts,
        entitlements=tuple(_entitlements(before, after)),
        rested=before.rested and after.rested,
    )


def _difference(name: str, now: Situation, before: Rest, after: Rest) -> Difference | None:
    was, becomes = before.situation.group(name), after.situation.group(name)
    group = becomes or was
    assert group is not None, "names are those of groups"
    old, new = stand(before.situation, was), stand(after.situation, becomes)
    at_first = stand(now, now.group(name))
    verb = _verb(at_first, old, new)
    why_old, why_new = before.waiting.get(name), after.waiting.get(name)
    if verb is None and new is not None and not new.running and str(why_old) != str(why_new):
        verb = Verb.WAITS
    if verb is None:
        return None
    return Difference(
        group=name,
        queue=group.queue,
        verb=verb,
        before=old,
        after=new,
        reasons=tuple(dict.fromkeys(_reasons(group, verb, after))),
    )


def stand(situation: Situation, group: PodGroup | None) -> Stand | None:
    """Where a group is in a situation; None when it is not there."""
    if group is None:
        return None
    staying = situation.staying(group)
    nodes = Counter(situation.places[pod].node for pod in staying)
    return Stand(running=bool(staying) and situation.presence().satisfied(group.root), nodes=nodes)


def _verb(now: Stand | None, old: Stand | None, new: Stand | None) -> Verb | None:
    if new is None:
        return Verb.GONE
    if old is None:
        return Verb.STARTS if new.running else Verb.WAITS
    if new.running and not old.running:
        return Verb.STARTS
    ran = now is not None and bool(now.pods)
    if old.running and not new.running:
        return Verb.EVICTED if ran else Verb.WAITS
    if new.pods != old.pods:
        if new.running:
            return Verb.GROWS if new.pods > old.pods else Verb.SHRINKS
        return Verb.EVICTED if new.pods < old.pods else Verb.WAITS
    if new.nodes != old.nodes:
        return Verb.MOVES if ran else Verb.ELSEWHERE
    return None


def _reasons(group: PodGroup, verb: Verb, after: Rest) -> Iterator[str]:
    mine = {pod.name for pod in group.pods}
    if verb in {Verb.STARTS, Verb.GROWS}:
        yield from _who_makes_room(group, after)
    if verb in {Verb.EVICTED, Verb.SHRINKS, Verb.MOVES}:
        yield from (evict.reason for evict in after.evictions if evict.pod in mine)
    why = after.waiting.get(group.name)
    if verb in {Verb.EVICTED, Verb.WAITS} and why is not None:
        yield str(why)


def _who_makes_room(group: PodGroup, after: Rest) -> Iterator[str]:
    pods = after.situation.pods
    victims: dict[tuple[str, str], list[Evict]] = {}
    for evict in after.evictions:
        if evict.beneficiary == group.name and evict.pod in pods:
            victims.setdefault((evict.action, pods[evict.pod][1].name), []).append(evict)
    for (action, name), evicted in victims.items():
        if name != group.name:
            count = "1 pod" if len(evicted) == 1 else f"{len(evicted)} pods"
            yield f"{action}: takes the room of {count} of '{name}'"


def _entitlements(before: Rest, after: Rest) -> Iterator[Entitlement]:
    for queue in after.situation.queues:
        old = before.situation.queues[queue.name]
        for resource, books in after.books[queue.name].items():
            was = before.books[queue.name].get(resource, books)
            yield Entitlement(
                queue=queue.name,
                resource=resource,
                quota=(old.quota(resource), queue.quota(resource)),
                books=(was, books),
            )
