"""Which pods are where, as pod affinity and anti-affinity ask it: per term and value of a node label.

Terms are counted from the moment somebody asks for them; until then pods cost nothing here. Two counts per term and
domain: pods that the term **matches**, and pods that **own** the term as anti-affinity (these keep others out).
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from quartermaster.model.labels import AffinityTerm

if TYPE_CHECKING:
    from quartermaster.cluster.shapes import Shape
    from quartermaster.cluster.state import ClusterState


@dataclass(slots=True)
class TermCounts:
    """Pods per domain (value of the term's topology key) that match the term, and that own it."""

    matched: Counter[str] = field(default_factory=Counter)
    owned: Counter[str] = field(default_factory=Counter)


class AffinityIndex:
    """Counts per affinity term, kept by deltas once a term is known."""

    def __init__(self) -> None:
        self.terms: dict[AffinityTerm, TermCounts | None] = {}
        self._matches: dict[tuple[AffinityTerm, int], bool] = {}

    def invalidate(self) -> None:
        """Forget the counts (labels of nodes changed); they are taken again when next asked for."""
        self.terms = dict.fromkeys(self.terms)

    def counts(self, state: ClusterState, term: AffinityTerm) -> TermCounts:
        """The counts of `term`, taken from all pods on first sight."""
        known = self.terms.get(term)
        if known is None:
            known = self.terms[term] = TermCounts()
            for assignment in state.pods.values():
                self._add_one(state, term, known, state.shapes[assignment.shape], assignment.row, 1)
        return known

    def add(self, state: ClusterState, shape: Shape, row: int, pods: int) -> None:
        """Count `pods` (negative: fewer) of `shape` on a node."""
        for term in shape.spec.anti_affinity:
            if term not in self.terms:
                self.terms[term] = None
        for term, counts in self.terms.items():
            if counts is not None:
                self._add_one(state, term, counts, shape, row, pods)

    def matches(self, term: AffinityTerm, shape: Shape) -> bool:
        """Whether pods of `shape` are ones that `term` speaks of."""
        known = self._matches.get((term, shape.id))
        if known is None:
            known = term.matches(namespace=shape.spec.namespace, labels=shape.spec.label_map)
            self._matches[(term, shape.id)] = known
        return known

    def keeping_out(self, state: ClusterState, shape: Shape) -> list[tuple[AffinityTerm, TermCounts]]:
        """Anti-affinity terms that pods in the cluster own and that match `shape`."""
        found = [(term, self.counts(state, term)) for term in list(self.terms) if self.matches(term, shape)]
        return [(term, counts) for term, counts in found if counts.owned]

    def _add_one(  # noqa: PLR0917  # a helper for two places in this class
        self, state: ClusterState, term: AffinityTerm, counts: TermCounts, shape: Shape, row: int, pods: int
    ) -> None:
        domain = state.node(row).labels.get(term.topology_key)
        if domain is None:
            return
        if self.matches(term, shape):
            _shift(counts.matched, domain, pods)
        if term in shape.spec.anti_affinity:
            _shift(counts.owned, domain, pods)


def _shift(counter: Counter[str], domain: str, pods: int) -> None:
    left = counter[domain] + pods
    if left:
        counter[domain] = left
    else:
        del counter[domain]
