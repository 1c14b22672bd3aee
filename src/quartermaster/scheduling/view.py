"""Node classes as columns: what filters and scores read. One row per class asked for."""

from __future__ import annotations

from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from quartermaster.cluster.classes import is_idle
from quartermaster.cluster.shapes import Profile
from quartermaster.cluster.state import ClusterState


class ClassView:
    """The classes `ids` of a state, column by column (units of `model.units`; read only)."""

    def __init__(self, state: ClusterState, ids: NDArray[np.int64]) -> None:
        self.state = state
        self.ids = ids

    def __len__(self) -> int:
        return len(self.ids)

    @cached_property
    def free(self) -> NDArray[np.int64]:
        """Free amount per resource [classes, resources], columns as `state.resources`."""
        return self.state.classes.free[self.ids]

    @cached_property
    def devices(self) -> NDArray[np.int32]:
        """Free micro-GPU per device [classes, devices], descending."""
        return self.state.classes.devices[self.ids]

    @cached_property
    def idle(self) -> NDArray[np.int64]:
        """Idle devices per class."""
        return is_idle(self.devices)

    @cached_property
    def gpu_free(self) -> NDArray[np.int64]:
        """Free micro-GPU over all devices of a node."""
        return self.devices.sum(axis=1, dtype=np.int64)

    @cached_property
    def profile(self) -> NDArray[np.int32]:
        """Profile number per class."""
        return self.state.classes.profile[self.ids]

    @cached_property
    def kinds(self) -> NDArray[np.int64]:
        """Bit set of the kinds of GPU pods on a node."""
        return self.state.classes.kinds[self.ids]

    @cached_property
    def profiles(self) -> list[Profile]:
        """All profiles by number."""
        return self.state.classes.profiles

    @cached_property
    def gpus(self) -> NDArray[np.int64]:
        """Devices per node."""
        return np.array([profile.gpus for profile in self.profiles], dtype=np.int64)[self.profile]

    @cached_property
    def allocatable(self) -> NDArray[np.int64]:
        """Allocatable amount per resource [classes, resources]."""
        return np.array([profile.allocatable for profile in self.profiles], dtype=np.int64)[self.profile]
