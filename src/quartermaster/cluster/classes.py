"""Node classes: nodes with equal profile and equal remaining state, interned and numbered.

Decisions are taken on classes, so their cost follows the number of different nodes and not the number of nodes. The
table only grows between two calls of `ClusterState.compact`; a class that no node is in any more costs nothing but
its row.

A node with zones or links is looked into: its class also has its `Inside`, so nodes are in one class only if they agree
device by device and zone by zone. Others pay nothing for it.
"""

from __future__ import annotations

from operator import add, sub
from typing import Any

import numpy as np
from numpy.typing import NDArray

from quartermaster.cluster.inside import Inside, held_in, less
from quartermaster.cluster.shapes import Profile, Shape
from quartermaster.model.units import DEVICE

ClassKey = tuple[int, tuple[int, ...], tuple[int, ...], int, frozenset[tuple[str, int]]]
"""(profile, free per resource, free share per device in descending order, kinds of GPU pods, host ports in use)"""


def _grown(array: NDArray[Any], size: int) -> NDArray[Any]:
    bigger = np.zeros((size, *array.shape[1:]), dtype=array.dtype)
    bigger[: len(array)] = array
    return bigger


class ClassTable:
    """The classes, as keys and as columns.

    `inside` has what is free inside, None for nodes that are not looked into; `located`: whether there are others.

    Columns (row = class number): `free` int64 [classes, resources]; `devices` int32 [classes, devices], micro-GPU
    free per device in descending order, 0 beyond the node's devices; `profile` int32; `kinds` int64 bit set.
    """

    def __init__(self, *, resources: int, devices: int) -> None:
        self.keys: list[ClassKey] = []
        self.profiles: list[Profile] = []
        self._profile_ids: dict[Profile, int] = {}
        self.inside: list[Inside | None] = []
        self.located = False
        self._ids: dict[ClassKey | tuple[ClassKey, Inside], int] = {}
        self._next: dict[tuple[int, int, int], int] = {}
        self._before: dict[tuple[int, int, int, int], int] = {}
        self.free = np.zeros((64, resources), dtype=np.int64)
        self.devices = np.zeros((64, devices), dtype=np.int32)
        self.profile = np.zeros(64, dtype=np.int32)
        self.kinds = np.zeros(64, dtype=np.int64)

    def __len__(self) -> int:
        return len(self.keys)

    def profile_id(self, profile: Profile) -> int:
        """The number of a profile, given out on first sight."""
        number = self._profile_ids.setdefault(profile, len(self.profiles))
        if number == len(self.profiles):
            self.profiles.append(profile)
        return number

    def intern(self, key: ClassKey, inside: Inside | None = None) -> int:
        """The number of the class with this key, given out on first sight."""
        full = key if inside is None else (key, inside)
        number = self._ids.get(full)
        if number is not None:
            return number
        number = len(self.keys)
        if number == len(self.free):
            size = 2 * number
            self.free, self.devices = (_grown(self.free, size), _grown(self.devices, size))
            self.profile, self.kinds = (_grown(self.profile, size), _grown(self.kinds, size))
        profile, free, devices, kinds, _ = key
        self.keys.append(key)
        self.inside.append(inside)
        self.located = self.located or inside is not None
        self._ids[full] = number
        self.free[number] = free
        self.devices[number, : len(devices)] = devices
        self.profile[number] = profile
        self.kinds[number] = kinds
        return number

    def after(self, number: int, shape: Shape, level: int) -> int:
        """The class of a node of class `number` once a pod of `shape` is on it.

        `level` is the free share of the device that a pod sharing one device takes; other pods' devices follow from
        the shape (whole: idle ones; several shares: the fullest ones that still have room). Not for classes that are
        looked into: there it depends on where inside the pod goes.
        """
        memo = (number, shape.id, level)
        known = self._next.get(memo)
        if known is not None:
            return known
        assert self.inside[number] is None, "where inside the node is not said"
        profile, free, devices, kinds, ports = self.keys[number]
        if shape.count:
            share = shape.share_on(self.profiles[profile].gpu_memory)
            assert share is not None, "a filter let a pod on devices that are too small for it"
            devices = _take(devices, shape, share, level)
            kinds |= 1 << shape.kind
        if shape.spec.host_ports:
            ports = ports | frozenset(shape.spec.host_ports)
        key = (profile, tuple(map(sub, free, shape.request)), devices, kinds, ports)
        known = self._next[memo] = self.intern(key)
        return known

    def after_at(self, number: int, shape: Shape, place: int, share: int) -> int:
        """`after` for a class that is looked into: a pod of `shape` takes `share` of each device at `place` in it."""
        memo = (number, shape.id, place)
        known = self._next.get(memo)
        if known is not None:
            return known
        (profile, free, _, kinds, ports), inside = self.keys[number], self.inside[number]
        locality = self.profiles[profile].locality
        assert inside is not None, "asked only of classes that are looked into"
        assert locality is not None, "asked only of classes that are looked into"
        levels = tuple(level - share * (place >> index & 1) for index, level in enumerate(inside.levels))
        if shape.count:
            kinds |= 1 << shape.kind
        key = (
            profile,
            tuple(map(sub, free, shape.request)),
            tuple(sorted(levels, reverse=True)),
            kinds,
            ports | frozenset(shape.spec.host_ports),
        )
        known = self._next[memo] = self.intern(key, Inside(levels, less(inside.zones, held_in(place, locality))))
        return known

    def before(
        self, number: int, shape: Shape, devices: tuple[int, ...], kinds: int, inside: Inside | None = None
    ) -> int:
        """The class of a node once a pod of `shape` has left it: `devices`, `kinds` and `inside` as they are then."""
        profile, free, _, _, ports = self.keys[number]
        if shape.spec.host_ports:
            ports = ports - frozenset(shape.spec.host_ports)
        return self.intern((profile, tuple(map(add, free, shape.request)), devices, kinds, ports), inside)


def _take(devices: tuple[int, ...], shape: Shape, share: int, level: int) -> tuple[int, ...]:
    left = list(devices)
    if shape.whole:
        del left[: shape.count]
        left.extend([0] * shape.count)
        return tuple(left)
    if shape.count == 1:
        left[left.index(level)] -= share
    else:
        room = [index for index in range(len(left)) if left[index] >= share]
        for index in room[-shape.count :]:
            left[index] -= share
    left.sort(reverse=True)
    return tuple(left)


def is_idle(devices: NDArray[np.int32]) -> NDArray[np.int64]:
    """Idle devices per row of a `devices` column."""
    return (devices == DEVICE).sum(axis=1)
