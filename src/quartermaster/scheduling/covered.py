"""How well a queue's running work is backed, and so what may take it: the rule that makes evictions end.

The running work of a leaf queue, cut into *portions* (a gang's core, each surplus pod), is laid out by priority:

* as much as fits into what the queue deserves is **guaranteed**,
* as much of the rest as fits into its fair share is **fair**,
* what is left is **surplus**.

Work gives way to better backed work only; inside one queue, to work as well backed and of higher priority, too. So no
eviction makes any queue hold less guaranteed work, nor less fair work but for guaranteed work; `docs/no-loops.md`
proves from this that evictions cease, and shows what happens without.

What counts is how many portions of each *kind* are backed, not which: of sixteen equal pods in a share of eight, any
eight are to be had. That is also why larger portions come first among equal priorities: small ones find a place again.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from enum import IntEnum
from typing import NamedTuple

from quartermaster.model.pod import PodSpec
from quartermaster.model.podgroup import PodGroup
from quartermaster.scheduling.standing import Standing


class Backing(IntEnum):
    """How well work is backed; also how much of a queue's work is safe from a law: what is backed better than this."""

    GUARANTEED = 0
    FAIR = 1
    SURPLUS = 2


class Kind(NamedTuple):
    """Portions that are worth the same to their queue; the smallest is laid out first.

    `less` is what a portion is charged, by resource in the order of the standing, as negative numbers.
    """

    preemptible: bool
    urgency: float
    less: tuple[int, ...]


class _Leaf:
    """The portions of one queue: which pod belongs to which, how many there are per kind, and how many are backed."""

    __slots__ = ("backed", "count", "kinds", "number", "of_group")

    def __init__(self) -> None:
        self.number: dict[str, int] = {}
        self.of_group: dict[str, list[int]] = {}
        self.kinds: list[Kind] = []
        self.count: Counter[Kind] = Counter()
        self.backed: dict[Backing, Counter[Kind]] = {}  # Empty: to be laid out anew.


class Covered:
    """The books of one cycle. `portions` cuts a running group into the pods that go together."""

    def __init__(
        self,
        groups: Iterable[PodGroup],
        *,
        standing: Standing,
        portions: Callable[[PodGroup], Iterable[Sequence[str]]],
    ) -> None:
        self._standing, self._portions = standing, portions
        self._groups: dict[str, dict[str, PodGroup]] = {}
        for group in groups:
            self.add(group)
        self._leaves: dict[str, _Leaf] = {}
        self._gone: Counter[tuple[str, int]] = Counter()
        self._single: dict[tuple[int, bool, float], Kind] = {}

    def add(self, group: PodGroup) -> None:
        """Count a group that was not known to run."""
        self._groups.setdefault(group.queue, {})[group.name] = group

    def decided(self, groups: Iterable[PodGroup]) -> None:
        """Read anew what runs of these groups: they were placed or lost pods, and that stays."""
        for group in groups:
            self.add(group)
            books = self._leaves.get(group.queue)
            if books is None:
                continue
            for number in books.of_group.pop(group.name, ()):
                if not self._gone[group.queue, number]:
                    books.count[books.kinds[number]] -= 1
            self._enter(books, group)
            books.backed = {}

    def backing(self, group: PodGroup, asked: Mapping[str, int]) -> Backing:
        """How well the next part of a group would be backed, which is charged `asked`."""
        kind, count = self._kind(group, asked), self._books(group.queue).count
        with_it, without = (self._lay_out(group.queue, Counter({**count, kind: count[kind] + n})) for n in (1, 0))
        for backing in (Backing.GUARANTEED, Backing.FAIR):
            if with_it[backing][kind] > without[backing][kind]:
                return backing
        return Backing.SURPLUS

    def spares(self, leaf: str, pods: Sequence[str], than: Backing) -> bool:
        """Whether a queue can lose these pods and hold as much as before of what is backed better `than` this."""
        if than is Backing.GUARANTEED:
            return True
        books = self._books(leaf)
        numbers = {books.number[pod] for pod in pods if pod in books.number}
        need = Counter(books.kinds[number] for number in numbers if not self._gone[leaf, number])
        if not books.backed:
            books.backed = self._lay_out(leaf, +books.count)
        safe = books.backed[Backing(than - 1)]
        return all(books.count[kind] - lost >= safe[kind] for kind, lost in need.items())

    def take(self, leaf: str, pods: Sequence[str], sign: int = 1) -> None:
        """Book that pods are gone (sign -1: that they are back). The first to go takes its portion along."""
        books = self._books(leaf)
        for pod in pods:
            number = books.number.get(pod)
            if number is None:
                continue
            before = self._gone[leaf, number]
            self._gone[leaf, number] = before + sign
            if not before or not before + sign:
                books.count[books.kinds[number]] -= sign

    # ---- laying out

    def _books(self, leaf: str) -> _Leaf:
        books = self._leaves.get(leaf)
        if books is None:
            books = self._leaves[leaf] = _Leaf()
            for group in self._groups.get(leaf, {}).values():
                self._enter(books, group)
        return books

    def _enter(self, books: _Leaf, group: PodGroup) -> None:
        specs = {pod.name: pod.spec for pod in group.pods}
        numbers = []
        for pods in self._portions(group):
            number = len(books.kinds)
            numbers.append(number)
            books.number.update(dict.fromkeys(pods, number))
            kind = self._kind_of(group, [specs[pod] for pod in pods])
            books.kinds.append(kind)
            books.count[kind] += 1
        books.of_group[group.name] = numbers

    def _kind_of(self, group: PodGroup, specs: Sequence[PodSpec]) -> Kind:
        if len(specs) != 1:
            return self._kind(group, self._standing.cost(specs))
        key = (id(specs[0]), group.preemptible, group.priority)  # Groups hold their specs as long as the cycle runs.
        known = self._single.get(key)
        if known is None:
            known = self._single[key] = self._kind(group, self._standing.cost(specs))
        return known

    def _kind(self, group: PodGroup, amounts: Mapping[str, int]) -> Kind:
        less = tuple(-amounts.get(name, 0) for name in self._standing.resources)
        return Kind(group.preemptible, -group.priority, less)

    def _lay_out(self, leaf: str, count: Counter[Kind]) -> dict[Backing, Counter[Kind]]:
        """How many of each kind are guaranteed, and how many are at least fair."""
        shares = [self._standing.shares[leaf][name] for name in self._standing.resources]
        guaranteed = _fill(count, [int(min(bounds.deserved, bounds.share)) for bounds in shares])
        left = [int(bounds.share) for bounds in shares]
        for kind, number in guaranteed.items():
            left = [have + number * less for have, less in zip(left, kind.less, strict=True)]
        return {Backing.GUARANTEED: guaranteed, Backing.FAIR: guaranteed + _fill(count - guaranteed, left)}


def _fill(count: Counter[Kind], left: list[int]) -> Counter[Kind]:
    """How many of each kind fit into what is left, those that come first before the others."""
    found: Counter[Kind] = Counter()
    for kind in sorted(count):
        fit = min((have // -less for have, less in zip(left, kind.less, strict=True) if less), default=count[kind])
        found[kind] = max(0, min(count[kind], fit))
        left = [have + found[kind] * less for have, less in zip(left, kind.less, strict=True)]
    return found
