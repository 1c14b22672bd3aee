"""The cluster at a time when all pods that are leaving have left: where nominations are made.

A pod that is leaving holds its devices until it is gone, so what is placed there now can only be nominated. Two states
say what may be bound and what has to wait: the one that is, and this one, in which everything that is placed anywhere
is placed too. There is room for it here, since here fewer pods run.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from quartermaster.cluster.snapshot import Snapshot
from quartermaster.cluster.state import ClusterState
from quartermaster.cluster.statement import Statement
from quartermaster.model.podgroup import PodGroup
from quartermaster.model.topology import Topology
from quartermaster.scheduling.gangs import Gangs
from quartermaster.scheduling.placing import Patient, Rng
from quartermaster.scheduling.plan import GroupPlacement, record, taken_from
from quartermaster.scheduling.policies.base import PlacementPolicy
from quartermaster.scheduling.turns import Turns


class Later:
    """The later state, on a statement of its own. `state` is copied; accounts are to be known to it already."""

    def __init__(
        self,
        state: ClusterState,
        leaving: Mapping[str, bool],
        *,
        placement: PlacementPolicy,
        topologies: Mapping[str, Topology],
        rng: Rng,
    ) -> None:
        later = state.snapshot().state
        busy = sorted({later.forget(pod).row for pod, frees in leaving.items() if frees})
        self.statement = Statement(Snapshot(later))
        self.placer = Patient(self.statement, policy=placement, rng=rng, busy=np.array(busy, dtype=np.int64))
        self._gangs = Gangs(self.placer, topologies=topologies, leaving=leaving)

    def follow(self, placement: GroupPlacement) -> None:
        """Place what was placed among those that are leaving; there is room for it here."""
        record(self.statement, placement)

    def place(self, group: PodGroup, account: int, turns: Turns) -> GroupPlacement | None:
        """Place the next part of a group, if its queue may have what that turns out to be."""
        start, mark = len(self.placer.placed.pods), self.placer.mark()
        if not self._gangs.advance(group, account):
            return None
        if turns.overdrawn(group, self.statement.state, self.placer.placed, start) is not None:
            self.placer.undo(mark)
            return None
        return taken_from(self.placer.placed, start, group=group.name, account=account, nominated=True)
