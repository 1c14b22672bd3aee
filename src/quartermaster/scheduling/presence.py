"""Which pods of a group are there, which wait, and what a group lacks: asked by every step of a cycle.

A pod that is **leaving** (terminating) is neither there nor waiting, and a gated pod does not wait.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from quartermaster.cluster.assignment import Assignment
from quartermaster.model.pod import Pod, PodSpec
from quartermaster.model.podgroup import PodGroup, SubGroup


class Presence:
    """Who is where: `there` is the state's live mapping of pods, `leaving` those that were leaving at the start."""

    __slots__ = ("leaving", "there")

    def __init__(self, there: Mapping[str, Assignment], leaving: Mapping[str, bool]) -> None:
        self.there = there
        self.leaving = leaving

    def running(self, part: SubGroup) -> list[str]:
        """The pods of a part that are on nodes and stay there."""
        there, leaving = self.there, self.leaving
        return [
            pod.name for leaf in part.leaves() for pod in leaf.pods if pod.name in there and pod.name not in leaving
        ]

    def waiting(self, leaf: SubGroup) -> list[Pod]:
        """The pods of a leaf that want a node, the most important first."""
        there, leaving = self.there, self.leaving
        found = [pod for pod in leaf.pods if pod.name not in there and pod.name not in leaving and not pod.gated]
        if any(pod.priority is not None for pod in found):
            found.sort(key=lambda pod: -pod.priority if pod.priority is not None else float("inf"))
        return found

    def waits(self, group: PodGroup) -> bool:
        """Whether any pod of a group wants a node."""
        return any(self.waiting(leaf) for leaf in group.root.leaves())

    def satisfied(self, part: SubGroup) -> bool:
        """Whether a part is at its minimum."""
        if part.children:
            return sum(self.satisfied(child) for child in part.children) >= part.minimum
        return len(self.running(part)) >= part.minimum

    def lacking(self, part: SubGroup) -> Iterator[PodSpec]:
        """The specs of the pods that a part lacks to its minimum, first come first."""
        if not part.children:
            if len(part.pods) == 1:  # By far the most common group.
                pod = part.pods[0]
                name = pod.name
                if part.min != 0 and name not in self.there and not pod.gated and name not in self.leaving:
                    yield pod.spec
                return
            need = part.minimum - len(self.running(part))
            if need > 0:
                for pod in self.waiting(part)[:need]:
                    yield pod.spec
            return
        missing = [child for child in part.children if not self.satisfied(child)]
        for child in missing[: max(0, part.minimum - (len(part.children) - len(missing)))]:
            yield from self.lacking(child)

    def stage(self, group: PodGroup) -> int:
        """0 below its minimum, 1 at it, 2 above."""
        root = group.root
        if len(root.pods) == 1:
            return 1 if root.pods[0].name in self.there else 0
        if not self.satisfied(root):
            return 0
        return 2 if self._above(root) else 1

    def _above(self, part: SubGroup) -> bool:
        if not part.children:
            return len(self.running(part)) > part.minimum
        good = sum(self.satisfied(child) for child in part.children)
        return good > part.minimum or any(self._above(child) for child in part.children)

    def fullness(self, part: SubGroup) -> float:
        """What a part has over its minimum, as a ratio; infinite where nothing is needed."""
        have = sum(map(self.satisfied, part.children)) if part.children else len(self.running(part))
        return have / part.minimum if part.minimum else float("inf")

    def next_part(self, group: PodGroup) -> list[PodSpec]:
        """What would be placed next: all that a group lacks to its minimum, else one pod more."""
        lacking = list(self.lacking(group.root))
        if lacking:
            return lacking
        return next(([pod.spec] for leaf in group.root.leaves() for pod in self.waiting(leaf)[:1]), [])
