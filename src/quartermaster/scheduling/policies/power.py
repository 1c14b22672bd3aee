"""PWR: the node whose power draw rises least.

"Power- and Fragmentation-aware Online Scheduling for GPU Datacenters", CCGrid'25. Power model of that work: a GPU
draws its full power as soon as any share of it is allocated and its idle power otherwise; of the cpu packages, those
needed for the busy cores (two vCPU to a core) draw full power and the others idle power.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

from quartermaster.cluster.shapes import Shape
from quartermaster.cluster.state import ClusterState
from quartermaster.model.units import DEVICE
from quartermaster.scheduling.filters import shares
from quartermaster.scheduling.policies.base import Scorer, Scores
from quartermaster.scheduling.view import ClassView

GPU_WATTS: Final = {
    "T4": (10, 70),
    "A10": (30, 150),
    "P100": (25, 250),
    "V100M16": (30, 300),
    "V100M32": (30, 300),
    "A100": (50, 400),
    "G2": (30, 150),
    "G3": (50, 400),
}
"""(idle, full) watts per GPU model."""

OTHER_GPU_WATTS: Final = (50, 400)
"""For models that the paper does not list."""

PACKAGE_WATTS: Final = (15, 120)
"""(idle, full) watts of a cpu package (E5-2682 v4)."""

MILLICORES_PER_PACKAGE: Final = 16 * 2 * 1000
"""16 cores of two vCPU each."""


def watts(view: ClassView) -> NDArray[np.float64]:
    """Power that a node of each class draws."""
    return _cpu_watts(view, view.free[:, 0]) + _gpu_watts(view, view.gpus - view.idle)


def _gpu_watts(view: ClassView, busy: NDArray[np.int64]) -> NDArray[np.float64]:
    table = np.array([GPU_WATTS.get(profile.gpu_model, OTHER_GPU_WATTS) for profile in view.profiles])[view.profile]
    power: NDArray[np.float64] = table[:, 0] * (view.gpus - busy) + table[:, 1] * busy
    return power


def _cpu_watts(view: ClassView, free: NDArray[np.int64]) -> NDArray[np.float64]:
    idle, full = PACKAGE_WATTS
    total = view.allocatable[:, 0]
    packages = -(-total // MILLICORES_PER_PACKAGE)
    busy = -(-(total - free) // MILLICORES_PER_PACKAGE)
    power: NDArray[np.float64] = idle * (packages - busy) + full * busy.astype(np.float64)
    return power


@dataclass(frozen=True, slots=True)
class PWR:
    """Least rise in watts; a share goes to the fullest device, hence to one that is busy already if there is one."""

    randomised: bool = False

    def bind(self, state: ClusterState) -> Scorer:
        """Nothing to prepare."""
        del state
        return self

    def score(self, view: ClassView, shape: Shape) -> Scores:
        """Watts saved against the worst case: minus the rise."""
        busy = view.gpus - view.idle
        if shape.count and shape.whole:
            more = busy + shape.count
        elif shape.count:
            room_in_use = ((view.devices >= shares(view, shape)[:, None]) & (view.devices < DEVICE)).sum(axis=1)
            more = busy + np.maximum(shape.count - room_in_use, 0)
        else:
            more = busy
        after = _cpu_watts(view, view.free[:, 0] - shape.spec.cpu) + _gpu_watts(view, more)
        return Scores(watts(view) - after)
