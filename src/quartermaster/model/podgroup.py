"""Gangs: a tree of sub-groups, each with a minimum below which nothing of it starts.

A leaf holds pods; an inner node holds sub-groups. A leaf is satisfied when `min` of its pods have a node, an inner
node when `min` of its children are satisfied; the group starts when its root is. Pods above the minimum are
elastic: they are placed one by one when there is room, and are the first to go.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from quartermaster.model.errors import InvalidInput
from quartermaster.model.pod import Pod, PodSpec

DEFAULT_PRIORITY = 50
"""Priority of a group that states none (the `train` class of the field)."""


@dataclass(frozen=True, slots=True, kw_only=True)
class SubGroup:
    """A leaf with `pods` or an inner node with `children`; `min` counts the one or the other (None: all of them)."""

    name: str = ""
    pods: tuple[Pod, ...] = ()
    children: tuple[SubGroup, ...] = ()
    min: int | None = None

    def __post_init__(self) -> None:
        if self.pods and self.children:
            raise InvalidInput(f"sub-group '{self.name}'", "has both pods and sub-groups", "give it one of the two")
        if not 0 <= self.minimum <= self.desired:
            raise InvalidInput(
                f"sub-group '{self.name}': min", f"{self.min} of {self.desired}", "min lies between 0 and that count"
            )

    @property
    def desired(self) -> int:
        """How many pods, or children, it has when complete."""
        return len(self.pods) or len(self.children)

    @property
    def minimum(self) -> int:
        """How many pods, or children, must be there for it to start."""
        return self.desired if self.min is None else self.min

    def leaves(self) -> Iterator[SubGroup]:
        """The leaves below (or this one), in order."""
        if not self.children:
            yield self
        for child in self.children:
            yield from child.leaves()


@dataclass(frozen=True, slots=True, kw_only=True)
class PodGroup:
    """What is admitted, placed, preempted and charged as one. A single pod is a group of one.

    `created` is in virtual seconds; it breaks ties between groups of equal priority.
    """

    name: str
    queue: str
    root: SubGroup
    priority: int = DEFAULT_PRIORITY
    created: float = 0.0
    preemptible: bool = True

    def __post_init__(self) -> None:
        seen: set[str] = set()
        for leaf in self.root.leaves():
            for pod in leaf.pods:
                if pod.name in seen:
                    raise InvalidInput(f"pod group '{self.name}'", f"pod '{pod.name}' twice", "name each pod once")
                seen.add(pod.name)

    @staticmethod
    def of(pod: Pod, *, queue: str, created: float = 0.0, priority: int = DEFAULT_PRIORITY) -> PodGroup:
        """The group of one pod, named after it."""
        return PodGroup(name=pod.name, queue=queue, root=SubGroup(pods=(pod,)), created=created, priority=priority)

    @staticmethod
    def gang(
        name: str,
        *,
        queue: str,
        spec: PodSpec,
        size: int,
        min: int | None = None,  # noqa: A002  # the field's word
        created: float = 0.0,
    ) -> PodGroup:
        """A flat gang of `size` identical pods named ``NAME-0`` and so on."""
        pods = tuple(Pod(f"{name}-{index}", spec) for index in range(size))
        return PodGroup(name=name, queue=queue, root=SubGroup(pods=pods, min=min), created=created)

    @property
    def pods(self) -> Iterator[Pod]:
        """All pods of the tree, in order."""
        for leaf in self.root.leaves():
            yield from leaf.pods
