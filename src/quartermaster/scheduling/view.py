"""Node classes as columns: what filters and scores read. One row per class asked for."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Generic, TypeVar, overload

import numpy as np
from numpy.typing import NDArray

from quartermaster.cluster.classes import is_idle
from quartermaster.cluster.shapes import Profile
from quartermaster.cluster.state import ClusterState

T = TypeVar("T")


class column(Generic[T]):  # noqa: N801  # reads as the decorator that it is
    """A property worked out once. Unlike `functools.cached_property` it takes no lock, which would cost more."""

    def __init__(self, work: Callable[[Any], T]) -> None:
        self._work = work
        self.__doc__ = work.__doc__

    @overload
    def __get__(self, view: None, owner: type) -> column[T]: ...
    @overload
    def __get__(self, view: object, owner: type) -> T: ...
    def __get__(self, view: object | None, owner: type) -> column[T] | T:
        if view is None:
            return self
        value = view.__dict__[self._work.__name__] = self._work(view)
        return value


class ClassView:
    """The classes `ids` of a state, column by column (units of `model.units`; read only)."""

    def __init__(self, state: ClusterState, ids: NDArray[np.int64]) -> None:
        self.state = state
        self.ids = ids

    def __len__(self) -> int:
        return len(self.ids)

    @column
    def free(self) -> NDArray[np.int64]:
        """Free amount per resource [classes, resources], columns as `state.resources`."""
        return self.state.classes.free[self.ids]

    @column
    def devices(self) -> NDArray[np.int32]:
        """Free micro-GPU per device [classes, devices], descending."""
        return self.state.classes.devices[self.ids]

    @column
    def idle(self) -> NDArray[np.int64]:
        """Idle devices per class."""
        return is_idle(self.devices)

    @column
    def gpu_free(self) -> NDArray[np.int64]:
        """Free micro-GPU over all devices of a node."""
        return self.devices.sum(axis=1, dtype=np.int64)

    @column
    def profile(self) -> NDArray[np.int32]:
        """Profile number per class."""
        return self.state.classes.profile[self.ids]

    @column
    def kinds(self) -> NDArray[np.int64]:
        """Bit set of the kinds of GPU pods on a node."""
        return self.state.classes.kinds[self.ids]

    @column
    def profiles(self) -> list[Profile]:
        """All profiles by number."""
        return self.state.classes.profiles

    @column
    def gpus(self) -> NDArray[np.int64]:
        """Devices per node."""
        return np.array([profile.gpus for profile in self.profiles], dtype=np.int64)[self.profile]

    @column
    def allocatable(self) -> NDArray[np.int64]:
        """Allocatable amount per resource [classes, resources]."""
        return np.array([profile.allocatable for profile in self.profiles], dtype=np.int64)[self.profile]
