"""Pod shapes and node profiles: what pods and nodes are, with the names taken out.

A **shape** is a pod spec turned into numbers against the columns of a state; pods of one shape are interchangeable.
A **profile** is all that stays the same about a node while pods come and go. Labels count only where some shape
asks for them and they have few values: a host name would make every node a profile of its own, so a shape that asks
for such a label is `pinned` and its nodes are looked at one by one.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from quartermaster.model.labels import Effect, Taint
from quartermaster.model.locality import Locality
from quartermaster.model.node import Node
from quartermaster.model.pod import PodSpec

SHARED_KIND = 0
"""Bit of `Shape.kind` for pods that share a GPU; pods with whole GPUs have the bit of their count."""

MAX_KIND = 15


@dataclass(frozen=True, slots=True, kw_only=True)
class Profile:
    """The static part of a node class: what it can give and whom it lets in."""

    allocatable: tuple[int, ...]
    gpus: int
    gpu_model: str
    gpu_memory: int
    labels: frozenset[tuple[str, str]]
    taints: tuple[Taint, ...]
    schedulable: bool
    locality: Locality | None


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Shape:
    """A pod spec as numbers.

    `request` follows the resource columns of the state, `asked` has its (column, amount) that are not 0; `kind` is a
    bit number or -1.
    """

    id: int
    spec: PodSpec
    request: tuple[int, ...]
    asked: tuple[tuple[int, int], ...]
    count: int
    share: int
    by_memory: bool
    whole: bool
    kind: int
    pinned: bool

    @property
    def constrained(self) -> bool:
        """Whether nodes of one class may differ for it, so that classes are not enough to decide."""
        return self.pinned or bool(self.spec.affinity or self.spec.anti_affinity)

    def share_on(self, gpu_memory: int) -> int | None:
        """Micro-GPU taken per device on devices of that much memory; None if they are too small."""
        return self.spec.gpu.share_on(gpu_memory)


def kind_of(spec: PodSpec) -> int:
    """The kind of GPU pod: `SHARED_KIND`, the number of whole GPUs (up to `MAX_KIND`), or -1 without GPUs."""
    if not spec.gpu.count:
        return -1
    return min(spec.gpu.count, MAX_KIND) if spec.gpu.whole else SHARED_KIND


def tolerated(spec: PodSpec, taints: tuple[Taint, ...]) -> bool:
    """Whether no taint that forbids scheduling is left untolerated."""
    return all(
        taint.effect is Effect.PREFER_NO_SCHEDULE or any(t.tolerates(taint) for t in spec.tolerations)
        for taint in taints
    )


def selected(spec: PodSpec, labels: Mapping[str, str]) -> bool:
    """Whether node selector and node affinity accept a node with these labels."""
    if not spec.node_selector.matches(labels):
        return False
    return not spec.node_affinity or any(term.matches(labels) for term in spec.node_affinity)


def selector_keys(spec: PodSpec) -> set[str]:
    """The node labels that node selector and node affinity read."""
    selectors = (spec.node_selector, *spec.node_affinity)
    return {requirement.key for selector in selectors for requirement in selector.requirements}


def profile_of(node: Node, *, resources: list[str], label_keys: set[str]) -> Profile:
    """The profile of `node` against the state's resource columns and relevant labels."""
    base = {"cpu": node.cpu, "memory": node.memory, "ephemeral-storage": node.ephemeral_storage, "pods": node.pods}
    amounts = {**node.extended, **base}
    return Profile(
        allocatable=tuple(amounts.get(name, 0) for name in resources),
        gpus=node.gpus,
        gpu_model=node.gpu_model,
        gpu_memory=node.gpu_memory,
        labels=frozenset((key, node.labels[key]) for key in label_keys if key in node.labels),
        taints=node.taints,
        schedulable=node.schedulable,
        locality=node.locality,
    )
