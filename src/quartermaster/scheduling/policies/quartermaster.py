"""Our own policy: keep what a node could still be filled with.

FGD asks which of a node's free devices a pod of each class could use, as if one pod were all that will come and cpu
mattered only up to the first one. A node is filled by many. So the **worth** of a node is what it could still be
filled with: for each class m of the mix, alone, k(m) pods fit by devices and by cpu, and

    worth = sum over m of p(m) * host(m) * ((1 - w) * k(m) * g(m) + w * U(m)),      w = USABLE_WEIGHT

with g(m) the GPU that one pod takes and U(m) FGD's usable GPU, which steadies the first term where k is small. k is
a real number, since cpu left over by one class serves another. p is over classes with GPU. A pod goes where it costs
least worth beyond its own GPU; when that is about equal, to a node with less GPU and more cpu free:

    score = floor((g - worth lost + CPU_SLACK * free cpu / 128 cores - GPU_SLACK * free GPU / 8) / STEP),    in GPUs.

Why it packs better: (1) the fractional k charges a pod for cpu that strands GPU *before* the node runs out, which is
where FGD loses most when cpu is the second bottleneck; (2) what is left of a device is valued by how many pods of each
size it takes, not by whether one fits; (3) `GPU_SLACK` leaves empty nodes to pods that need many GPUs; (4) `STEP` makes
small differences ties, and ties go to the lowest row, which packs. docs/decisions/0004-own-policy.md says how the four
constants were chosen and what each term is worth.
"""

from __future__ import annotations

from typing import Final

import numpy as np
from numpy.typing import NDArray

from quartermaster.cluster.shapes import Shape
from quartermaster.cluster.state import ClusterState
from quartermaster.model.units import DEVICE
from quartermaster.scheduling.filters import shares
from quartermaster.scheduling.policies.base import Scores
from quartermaster.scheduling.policies.fragmentation import Mix
from quartermaster.scheduling.view import ClassView

USABLE_WEIGHT: Final = 0.6
"""Weight w of FGD's usable GPU in the worth of a node."""

CPU_SLACK: Final = 0.2
"""GPUs that 128 free cores are worth when nodes are compared."""

CPU_SCALE: Final = 128_000
"""Millicores that `CPU_SLACK` is for."""

GPU_SLACK: Final = 0.12
"""GPUs by which a node with 8 GPUs free is worse than one with none, all else equal."""

GPU_SCALE: Final = 8
"""Devices that `GPU_SLACK` is for."""

STEP: Final = 0.17
"""GPUs; smaller differences are ties."""

Room = tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.int64]]
"""Per class of nodes and distinct share: devices with room, pods that fit on all devices, GPU on those with room."""


class Worth:
    """The worth of node classes under one mix. Rows are node classes, columns the mix's classes of pods."""

    def __init__(self, mix: Mix) -> None:
        wanted = [(demand, p) for demand, p in mix.classes if demand[2]]
        total = sum(p for _, p in wanted) or 1.0
        shares = sorted({demand[1] for demand, _ in wanted})
        self._shares = np.array(shares, dtype=np.int64)
        self._share_of = np.array([shares.index(demand[1]) for demand, _ in wanted], dtype=np.int64)
        self._cpu = np.array([demand[0] for demand, _ in wanted], dtype=np.float64)
        self._count = np.array([demand[2] for demand, _ in wanted], dtype=np.int64)
        self._gpu = np.array([demand[1] * demand[2] for demand, _ in wanted], dtype=np.float64)
        self._p = np.array([p / total for _, p in wanted])
        self._models = [demand[3] for demand, _ in wanted]
        self._accepted = np.zeros((0, len(wanted)), dtype=np.bool_)

    def accepted(self, view: ClassView) -> NDArray[np.bool_]:
        """Whether the node's GPU model suits the pods."""
        known = len(self._accepted)
        if known < len(view.profiles):
            new = [[not m or p.gpu_model in m for m in self._models] for p in view.profiles[known:]]
            self._accepted = np.vstack([self._accepted, np.array(new, dtype=np.bool_).reshape(len(new), -1)])
        return self._accepted[view.profile]

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
        """Micro-GPU; `cpu` is free millicores."""
        free = cpu.astype(np.float64)[:, None]
        enough, slots, usable = (part[:, self._share_of] for part in room)
        with np.errstate(divide="ignore", invalid="ignore"):
            by_cpu = np.where(self._cpu > 0, free / self._cpu, np.inf)
        filled = np.minimum(slots / self._count, by_cpu) * self._gpu
        value = (1 - USABLE_WEIGHT) * filled + USABLE_WEIGHT * usable * (enough >= self._count)
        return (value * (accepted & (free >= self._cpu))) @ self._p


class Quartermaster:
    """Least loss of what nodes could still be filled with; the project's default."""

    randomised = False

    def __init__(self, mix: Mix) -> None:
        self.mix = mix

    def bind(self, state: ClusterState) -> QuartermasterScorer:
        """Fold the mix into tables."""
        del state
        return QuartermasterScorer(Worth(self.mix))


class QuartermasterScorer:
    """The policy on the classes of one state."""

    def __init__(self, worth: Worth) -> None:
        self._worth = worth

    def score(self, view: ClassView, shape: Shape) -> Scores:
        """Whole steps; for a share also the level of the device that costs least, the fullest among equals."""
        worth = self._worth
        accepted, room, cpu = worth.accepted(view), worth.room(view), view.free[:, 0]
        now = worth.worth(accepted, cpu, room)
        left = cpu - shape.spec.cpu
        slack = CPU_SLACK * cpu / CPU_SCALE * DEVICE - GPU_SLACK * view.gpu_free / GPU_SCALE
        if shape.count != 1 or shape.whole:
            # Several shares on several devices are valued as whole devices: rare, and only a score.
            after = worth.worth(accepted, left, worth.without(room, shape.count) if shape.count else room)
            return Scores(_steps(shape.count * DEVICE + after - now + slack))
        best = np.full(len(view), -np.inf)
        level = np.zeros(len(view), dtype=np.int64)
        devices = view.devices.astype(np.int64)
        share = shares(view, shape)
        tried = devices >= share[:, None]
        tried[:, :-1] &= devices[:, :-1] != devices[:, 1:]
        for column in np.flatnonzero(tried.any(axis=0)).tolist():
            rows = np.flatnonzero(tried[:, column])
            levels = devices[rows, column]
            moved = worth.moved((room[0][rows], room[1][rows], room[2][rows]), levels[:, None], share[rows, None])
            after = worth.worth(accepted[rows], left[rows], moved)
            scores = _steps(share[rows] + after - now[rows] + slack[rows])
            better = scores >= best[rows]
            best[rows[better]] = scores[better]
            level[rows[better]] = levels[better]
        return Scores(best, level)


def _steps(micro: NDArray[np.float64]) -> NDArray[np.float64]:
    # A hair is added so that sums that should be equal do not fall on two sides of a step.
    steps: NDArray[np.float64] = np.floor(micro / (STEP * DEVICE) + 1e-9)
    return steps
