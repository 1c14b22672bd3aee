"""What is measured over a whole run, by the names that thresholds use."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from statistics import fmean
from typing import Final

from quartermaster.testing.scenarios.timeline.world import World


def _waits(world: World) -> list[float]:
    """Seconds from submission to the first start, of what was submitted; to now for what never started."""
    return [
        (world.now if entry.first_started is None else entry.first_started) - entry.workload.at
        for entry in world.entries.values()
        if entry.workload.at <= world.now
    ]


METRICS: Final[Mapping[str, Callable[[World], float]]] = {
    "gpu-utilisation": lambda world: world.ledger.held / world.ledger.capacity if world.ledger.capacity else 0.0,
    "evictions": lambda world: float(world.ledger.evictions),
    "mean-wait": lambda world: fmean(_waits(world) or [0.0]),
    "max-wait": lambda world: max(_waits(world), default=0.0),
    "completed": lambda world: float(sum(entry.ended is not None for entry in world.entries.values())),
    "lost-gpu-seconds": lambda world: world.ledger.lost,
}
"""`gpu-utilisation`: GPU time held of GPU time there was (0 to 1). `lost-gpu-seconds`: GPU time of work thrown away by
evictions and lost nodes. Waits are in seconds, from submission to first start."""
