"""The worth of node classes (formula in `quartermaster.py`): in columns for many, one by one for a few.

A cycle of single pods meets new classes one or two at a time, and there a NumPy call costs more than the sums in it. So
the worth of one class is worked out in plain Python and remembered: it depends on profile, free cpu and devices but
not on the shape, and the node that one shape leaves behind is a class that the next shape weighs. Hence a pair of
class and shape is two look-ups, mostly.

Columns and single classes agree to the last bit, since ties decide: every value goes through the same operations, and
both add up the mix's classes in the order of the mix.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

import numpy as np
from numpy.typing import NDArray

from quartermaster.cluster.shapes import Profile
from quartermaster.model.units import DEVICE
from quartermaster.scheduling.policies.fragmentation import Mix
from quartermaster.scheduling.view import ClassView

USABLE_WEIGHT: Final = 0.6
"""Weight w of FGD's usable GPU in the worth of a node."""

Room = tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.int64]]
"""Per class of nodes and distinct share: devices with room, pods that fit on all devices, GPU on those with room."""

RoomOfOne = list[tuple[int, int, int]]
"""`Room` of one class, share by share."""


class Worth:
    """The worth of node classes under one mix, in micro-GPU. Rows are node classes, columns the mix's classes of pods.

    What is remembered is per profile number, so an object serves one state as long as that keeps its class numbers.
    """

    def __init__(self, mix: Mix) -> None:
        wanted = [(demand, p) for demand, p in mix.classes if demand[2]]
        total = sum(p for _, p in wanted) or 1.0
        shares = sorted({demand[1] for demand, _ in wanted})
        self._shares = np.array(shares, dtype=np.int64)
        self._share_of = np.array([shares.index(demand[1]) for demand, _ in wanted], dtype=np.int64)
        self._cpu = np.array([demand[0] for demand, _ in wanted], dtype=np.int64)
        self._count = np.array([demand[2] for demand, _ in wanted], dtype=np.int64)
        self._gpu = np.array([demand[1] * demand[2] for demand, _ in wanted], dtype=np.int64)
        self._p = np.array([p / total for _, p in wanted], dtype=np.float64)
        self._models = [demand[3] for demand, _ in wanted]
        self._accepted = np.zeros((0, len(wanted)), dtype=np.bool_)
        columns = (self._share_of, self._cpu, self._count, self._gpu, self._p)
        self._terms = list(zip(*(column.tolist() for column in columns), strict=True))
        self._accepted_terms: list[list[tuple[int, int, int, int, float]]] = []
        self._rooms: dict[tuple[int, ...], RoomOfOne] = {}
        self._worths: dict[tuple[int, int, tuple[int, ...]], float] = {}

    # ---- in columns

    def accepted(self, view: ClassView) -> NDArray[np.bool_]:
        """Whether the node's GPU model suits the pods."""
        known = len(self._accepted)
        if known < len(view.profiles):
            new = [self._suits(profile) for profile in view.profiles[known:]]
            self._accepted = np.vstack([self._accepted, np.array(new, dtype=np.bool_).reshape(len(new), -1)])
        return self._accepted[view.profile]

    def _suits(self, profile: Profile) -> list[bool]:
        return [not models or profile.gpu_model in models for models in self._models]

    def room(self, view: ClassView) -> Room:
        """What is free on the devices."""
        devices = view.devices.astype(np.int64)[:, None, :]
        shares = self._shares[:, None]
        enough = devices >= shares
        return enough.sum(axis=2), (devices // shares).sum(axis=2), (devices * enough).sum(axis=2)

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
        if not self._terms:
            return np.zeros(len(cpu))
        free = cpu[:, None]
        enough, slots, usable = (part[:, self._share_of] for part in room)
        with np.errstate(divide="ignore", invalid="ignore"):
            by_cpu = np.where(self._cpu > 0, free / self._cpu, np.inf)
        filled = np.minimum(slots / self._count, by_cpu) * self._gpu
        value = (1 - USABLE_WEIGHT) * filled + USABLE_WEIGHT * usable * (enough >= self._count)
        value *= accepted & (free >= self._cpu)
        value *= self._p
        # Neither `@` nor `sum`: those add in an order of their own, and it differs with the number of rows.
        total: NDArray[np.float64] = np.add.accumulate(value, axis=1)[:, -1]
        return total

    # ---- one by one

    def of(self, profiles: Sequence[Profile], profile: int, cpu: int, devices: tuple[int, ...]) -> float:
        """The worth of the class with this profile (number), `cpu` free millicores and this much free per device."""
        key = (profile, cpu, devices)
        known = self._worths.get(key)
        if known is None:
            known = self._worths[key] = self.of_room(profiles, profile, cpu, self.room_of(devices))
        return known

    def room_of(self, devices: tuple[int, ...]) -> RoomOfOne:
        """`room` of one class; not to be changed."""
        known = self._rooms.get(devices)
        if known is None:
            known = self._rooms[devices] = []
            for share in self._shares.tolist():
                enough = [free for free in devices if free >= share]
                known.append((len(enough), sum(free // share for free in devices), sum(enough)))
        return known

    def without_of(self, room: RoomOfOne, devices: int) -> RoomOfOne:
        """`without` of one class."""
        shares = self._shares.tolist()
        return [
            (enough - devices, slots - devices * (DEVICE // share), usable - devices * DEVICE)
            for share, (enough, slots, usable) in zip(shares, room, strict=True)
        ]

    def of_room(self, profiles: Sequence[Profile], profile: int, cpu: int, room: RoomOfOne) -> float:
        """`worth` of one class."""
        accepted = self._accepted_terms
        for new in profiles[len(accepted) :]:
            accepted.append([term for term, suits in zip(self._terms, self._suits(new), strict=True) if suits])
        total = 0.0
        for share, wanted, count, gpu, p in accepted[profile]:
            if wanted > cpu:
                continue
            enough, slots, usable = room[share]
            fit = slots / count
            if wanted and cpu / wanted < fit:
                fit = cpu / wanted
            value = (1 - USABLE_WEIGHT) * (fit * gpu)
            if enough >= count:
                value += USABLE_WEIGHT * usable
            total += value * p
        return total
