"""The worth of node classes (formula in `quartermaster.py`): in columns for many, one by one for a few.

A cycle of single pods meets new classes one or two at a time, and there NumPy calls cost more than the sums in them.
So the worth of one class is remembered: it depends on profile, free cpu and devices but not on the shape, and the node
that one shape leaves behind is a class that the next shape weighs. A pair of class and shape is two look-ups, mostly.

Columns and single classes agree to the last bit, since ties decide: both come from `_value`.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

import numpy as np
from numpy.typing import NDArray

from quartermaster.cluster.shapes import Profile
from quartermaster.model.units import DEVICE
from quartermaster.scheduling.policies.fragmentation import Demand, Mix

USABLE_WEIGHT: Final = 0.6
"""Weight w of FGD's usable GPU in the worth of a node."""

Room = tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.int64]]
"""Per class of nodes and distinct share: devices with room, pods that fit on all devices, GPU on those with room."""

Terms = tuple[NDArray[np.float64], NDArray[np.float64]]
"""Two numbers per class of nodes and class of the mix, both [classes, mix]."""

NOTHING: Final[tuple[Demand, float]] = ((0, DEVICE, 1, frozenset()), 0.0)
"""Stands in where the mix has no pods with GPU: nothing is worth anything then."""


class Worth:
    """The worth of node classes under one mix, in micro-GPU.

    What is remembered is per profile number, so an object serves one state, and only as long as that keeps its numbers.
    """

    def __init__(self, mix: Mix) -> None:
        wanted = [(demand, p) for demand, p in mix.classes if demand[2]] or [NOTHING]
        total = sum(p for _, p in wanted) or 1.0
        shares = sorted({demand[1] for demand, _ in wanted})
        self._shares = np.array(shares, dtype=np.int64)
        self._share_of = np.array([shares.index(demand[1]) for demand, _ in wanted], dtype=np.int64)
        self._cpu = np.array([demand[0] for demand, _ in wanted], dtype=np.int64)
        self._count = np.array([demand[2] for demand, _ in wanted], dtype=np.int64)
        self._gpu = np.array([demand[1] * demand[2] for demand, _ in wanted], dtype=np.float64)
        self._p = np.array([p / total for _, p in wanted], dtype=np.float64)
        self._models = [demand[3] for demand, _ in wanted]
        self._accepted = np.zeros((0, len(wanted)), dtype=np.bool_)
        self._by_cpu: dict[tuple[int, int], Terms] = {}
        self._by_devices: dict[tuple[int, ...], Terms] = {}
        self._worths: dict[tuple[int, int, tuple[int, ...]], float] = {}

    # ---- in columns

    def accepted(self, profiles: Sequence[Profile]) -> NDArray[np.bool_]:
        """Whether nodes of a profile have a GPU model that suits the pods [profiles, mix]."""
        known = len(self._accepted)
        if known < len(profiles):
            new = [[not models or p.gpu_model in models for models in self._models] for p in profiles[known:]]
            self._accepted = np.vstack([self._accepted, np.array(new, dtype=np.bool_).reshape(len(new), -1)])
        return self._accepted

    def room(self, devices: NDArray[np.int64]) -> Room:
        """What is free on devices [classes, devices]."""
        free = devices[:, None, :]
        shares = self._shares[:, None]
        enough = free >= shares
        return enough.sum(axis=2), (free // shares).sum(axis=2), (free * enough).sum(axis=2)

    def moved(self, room: Room, level: NDArray[np.int64], share: NDArray[np.int64]) -> Room:
        """The room once `share` is taken from a device of `level` (both [classes, 1])."""
        rest = level - share
        had, has = level >= self._shares, rest >= self._shares
        fit = level // self._shares - rest // self._shares
        return room[0] - had + has, room[1] - fit, room[2] - had * level + has * rest

    def without(self, room: Room, devices: int) -> Room:
        """The room once `devices` idle devices are taken."""
        return room[0] - devices, room[1] - devices * (DEVICE // self._shares), room[2] - devices * DEVICE

    def worth(self, accepted: NDArray[np.bool_], cpu: NDArray[np.int64], room: Room) -> NDArray[np.float64]:
        """The worth of each class; `cpu` is free millicores."""
        return self._value(self._terms_of_cpu(accepted, cpu), self._terms_of_room(room))

    def _terms_of_cpu(self, accepted: NDArray[np.bool_], cpu: NDArray[np.int64]) -> Terms:
        """How many pods the cpu is enough for, and p, 0 where not even for one."""
        free = cpu[:, None]
        with np.errstate(divide="ignore", invalid="ignore"):
            by_cpu = np.where(self._cpu > 0, free / self._cpu, np.inf)
        return by_cpu, self._p * (accepted & (free >= self._cpu))

    def _terms_of_room(self, room: Room) -> Terms:
        """How many pods the devices are enough for, and the GPU that a single one could use, weighted."""
        enough, slots, usable = (part[:, self._share_of] for part in room)
        return slots / self._count, USABLE_WEIGHT * (usable * (enough >= self._count)).astype(np.float64)

    def _value(self, cpu: Terms, room: Terms) -> NDArray[np.float64]:
        """The sum over the mix."""
        by_cpu, p = cpu
        by_devices, usable = room
        value = np.minimum(by_devices, by_cpu)
        value *= self._gpu
        value *= 1 - USABLE_WEIGHT
        value += usable
        value *= p
        # Neither `@` nor `sum`: those add in an order of their own, which changes with the number of rows.
        total: NDArray[np.float64] = np.add.accumulate(value, axis=1)[:, -1]
        return total

    # ---- one by one

    def of(self, profiles: Sequence[Profile], profile: int, cpu: int, devices: tuple[int, ...]) -> float:
        """The worth of the class with this profile (number), `cpu` free millicores and this much free per device."""
        key = (profile, cpu, devices)
        known = self._worths.get(key)
        if known is None:
            room = self._by_devices.get(devices)
            if room is None:
                room = self._by_devices[devices] = self._terms_of_room(self._room_of(devices))
            known = self._worths[key] = self._value(self._cpu_of(profiles, profile, cpu), room).item()
        return known

    def of_less(
        self, profiles: Sequence[Profile], profile: int, cpu: int, devices: tuple[int, ...], *, taken: int
    ) -> float:
        """The same once `taken` idle devices are taken, whether there are so many or not (see `without`)."""
        room = self._terms_of_room(self.without(self._room_of(devices), taken))
        return self._value(self._cpu_of(profiles, profile, cpu), room).item()

    def _room_of(self, devices: tuple[int, ...]) -> Room:
        return self.room(np.array([devices], dtype=np.int64))

    def _cpu_of(self, profiles: Sequence[Profile], profile: int, cpu: int) -> Terms:
        terms = self._by_cpu.get((profile, cpu))
        if terms is None:
            accepted = self.accepted(profiles)[profile]
            terms = self._by_cpu[profile, cpu] = self._terms_of_cpu(accepted, np.array([cpu], dtype=np.int64))
        return terms
