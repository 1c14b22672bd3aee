"""Gangs: a tree of sub-groups, each with a minimum below which nothing of it starts.

A leaf holds pods; an inner node holds sub-groups. A leaf is satisfied when `min` of its pods have a node, an inner
node when `min` of its children are satisfied; the group starts when its root is. Pods above the minimum are
elastic: they are placed one by one when there is room, and are the first to go.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from quartermaster.model.errors import InvalidInput
from quartermaster.model.pod import Pod, PodSpec
from quartermaster.model.reservation import Reservation
from quartermaster.model.topology import TopologyConstraint

DEFAULT_PRIORITY = 50
"""Priority of a group that states none (the `train` class of the field)."""


@dataclass(frozen=True, slots=True, kw_only=True)
class SubGroup:
    """A leaf with `pods` or an inner node with `children`; `min` counts the one or the other (None: all of them).

    `topology` holds for everything below: all of it goes into one domain of the required level.
    """

    name: str = ""
    pods: tuple[Pod, ...] = ()
    children: tuple[SubGroup, ...] = ()
    min: int | None = None
    topology: TopologyConstraint | None = None

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

    @staticmethod
    def segments(
        name: str,
        pods: Sequence[Pod],
        *,
        size: int,
        topology: TopologyConstraint,
        min: int | None = None,  # noqa: A002
    ) -> SubGroup:
        """Pods cut into runs of `size`, each of which is to be in one domain; `min` counts segments.

        A last run that is shorter is a segment too. Raises `InvalidInput` for a size below 1.
        """
        if size < 1:
            raise InvalidInput(f"sub-group '{name}': segment size", f"is {size}", "give 1 or more")
        children = tuple(
            SubGroup(name=f"{name}/{start // size}", pods=tuple(pods[start : start + size]), topology=topology)
            for start in range(0, len(pods), size)
        )
        return SubGroup(name=name, children=children, min=min)

    def parts(self) -> Iterator[SubGroup]:
        """The sub-group itself and all below it, parents first."""
        yield self
        for child in self.children:
            yield from child.parts()

    def leaves(self) -> Iterator[SubGroup]:
        """The leaves below (or this one), in order."""
        if not self.children:
            yield self
        for child in self.children:
            yield from child.leaves()


@dataclass(frozen=True, slots=True, kw_only=True)
class PodGroup:
    """What is admitted, placed, preempted and charged as one. A single pod is a group of one.

    All times are virtual seconds. `created` breaks ties between groups of equal priority. For making room:
    `may_preempt` is false under ``preemptionPolicy: Never``; a group may have others evicted only `preemption_delay`
    after it was created or, later, `last_evicted`; it runs since `started`, and has saved its work at `checkpointed`.
    A gang below its minimum since `stale_since` is evicted after `staleness_grace` (None: what the policy says;
    infinite: never). `runtime` is what its owner declared; at `max_runtime` it is stopped and queued again, behind
    those that came before `requeued`. `reserved` is the room that the last cycle kept for it.
    """

    name: str
    queue: str
    root: SubGroup
    priority: int = DEFAULT_PRIORITY
    created: float = 0.0
    preemptible: bool = True
    owner: str = ""
    may_preempt: bool = True
    preemption_delay: float = 0.0
    last_evicted: float | None = None
    started: float | None = None
    checkpointed: float | None = None
    stale_since: float | None = None
    staleness_grace: float | None = None
    runtime: float | None = None
    max_runtime: float | None = None
    requeued: float | None = None
    reserved: Reservation | None = None

    def __post_init__(self) -> None:
        for what in ("preemption_delay", "staleness_grace", "runtime", "max_runtime"):
            value = getattr(self, what)
            if value is not None and (math.isnan(value) or value < 0):
                raise InvalidInput(f"pod group '{self.name}': {what}", f"{value} is not usable", "give 0 s or more")
        if self.root.pods and len(self.root.pods) == 1:
            return
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
    def queued(self) -> float:
        """Since when it waits for its turn: since it was created, or stopped at its `max_runtime`."""
        return self.created if self.requeued is None else self.requeued

    @property
    def pods(self) -> Iterator[Pod]:
        """All pods of the tree, in order."""
        for leaf in self.root.leaves():
            yield from leaf.pods
