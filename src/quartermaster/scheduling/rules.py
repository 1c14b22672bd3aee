"""The switches of a cycle: what differs between sites and between schedulers, in one value.

The defaults are ours. `KAI_RULES` are those of KAI Scheduler, so that its own test cases can be run on this engine:
its order of queues and of victims, its grace for stale gangs.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from enum import StrEnum
from typing import Final

from quartermaster.model.errors import InvalidInput


class QueueOrder(StrEnum):
    """Which of two rules comes first when sibling queues are compared; see `turns`."""

    PRIORITY_FIRST = "priority-first"
    DESERVED_FIRST = "deserved-first"


class VictimOrder(StrEnum):
    """Which of several groups of equal priority in one queue goes first."""

    LEAST_LOST = "least-lost"
    YOUNGEST = "youngest"


class Action(StrEnum):
    """What a cycle does, in this order."""

    ALLOCATE = "allocate"
    CONSOLIDATE = "consolidate"
    RECLAIM = "reclaim"
    PREEMPT = "preempt"
    STALE = "stale"


ALL_ACTIONS: Final = tuple(Action)


@dataclass(frozen=True, slots=True, kw_only=True)
class Rules:
    """How a cycle orders, and how it makes room.

    `staleness_grace`: seconds for which a gang may run below its minimum. `consolidating`: victims that find another
    place move instead of being lost. `saturation_multiplier` (1 or more): how much fuller than its victim's queue a
    reclaiming queue may become, see `reclaiming`. `max_moves`: pods that one consolidation may move (None: any number).
    `history`: how strongly past usage corrects over-quota weights (k of the fair share). `deserved_in_full`: when more
    is deserved than is there, everyone is still promised all of it, and who comes first has it. `search_budget`: nodes
    that one cycle may try while it looks for victims; what is cut is said, and comes first next time.
    """

    queue_order: QueueOrder = QueueOrder.PRIORITY_FIRST
    victim_order: VictimOrder = VictimOrder.LEAST_LOST
    staleness_grace: float = 60.0
    consolidating: bool = True
    saturation_multiplier: float = 1.0
    max_moves: int | None = 16
    history: float = 1.0
    deserved_in_full: bool = False
    search_budget: int = 200_000

    def __post_init__(self) -> None:
        if not self.staleness_grace >= 0:
            raise InvalidInput("rules: staleness_grace", f"{self.staleness_grace} is not usable", "give 0 s or more")
        if not 1 <= self.saturation_multiplier < math.inf:
            raise InvalidInput("rules: saturation_multiplier", f"is {self.saturation_multiplier}", "give 1 or more")
        if self.search_budget < 1:
            raise InvalidInput("rules: search_budget", f"is {self.search_budget}", "give 1 or more")


KAI_RULES: Final = Rules(
    queue_order=QueueOrder.DESERVED_FIRST,
    victim_order=VictimOrder.YOUNGEST,
    staleness_grace=0.0,
    max_moves=None,
    deserved_in_full=True,
)
