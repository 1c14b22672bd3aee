"""The one question that scenarios ask of a scheduler, so that another can be put in its place."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

from quartermaster.cluster.snapshot import Snapshot
from quartermaster.model.podgroup import PodGroup
from quartermaster.scheduling.cycle import Policies
from quartermaster.scheduling.placing import Rng
from quartermaster.scheduling.plan import Plan


class Decide(Protocol):
    """A scheduling cycle: `scheduling.cycle.cycle`, or one of your own with its signature."""

    def __call__(
        self,
        snapshot: Snapshot,
        policies: Policies,
        *,
        groups: Sequence[PodGroup],
        running: Sequence[PodGroup],
        now: float,
        rng: Rng,
    ) -> Plan:
        """The plan for `groups` (pods that wait) and `running` (pods on nodes)."""
        ...


class NoChance:
    """Random numbers for policies that draw none; raises `RuntimeError` if one is drawn after all."""

    def integers(self, low: int, high: int) -> int:
        """Never called by a policy that is not randomised."""
        raise RuntimeError(f"a policy of a scenario drew a random number in {low}..{high}")
