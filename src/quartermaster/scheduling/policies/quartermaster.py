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

import math
from typing import Final, TypeVar

import numpy as np
from numpy.typing import NDArray

from quartermaster.cluster.shapes import Shape
from quartermaster.cluster.state import ClusterState
from quartermaster.model.units import DEVICE
from quartermaster.scheduling.filters import shares
from quartermaster.scheduling.policies.base import Scores
from quartermaster.scheduling.policies.fragmentation import Mix
from quartermaster.scheduling.policies.worth import Worth
from quartermaster.scheduling.view import ClassView

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

Move = tuple[int, tuple[int, ...]]
"""(free share of the device taken, all devices' afterwards)"""

Amount = TypeVar("Amount", float, NDArray[np.float64])


class Quartermaster:
    """Least loss of what nodes could still be filled with; the project's default."""

    randomised = False

    def __init__(self, mix: Mix) -> None:
        self.mix = mix

    def bind(self, state: ClusterState) -> QuartermasterScorer:
        """Fold the mix into tables."""
        del state  # What the worth remembers is the state's, so it is not shared between two.
        return QuartermasterScorer(Worth(self.mix))


class QuartermasterScorer:
    """The policy on the classes of one state."""

    def __init__(self, worth: Worth) -> None:
        self._worth = worth
        self._moves: dict[tuple[tuple[int, ...], int], list[Move]] = {}

    def score(self, view: ClassView, shape: Shape) -> Scores:
        """Whole steps; for a share also the level of the device that costs least, the fullest among equals."""
        worth = self._worth
        devices = view.devices.astype(np.int64)
        accepted, room, cpu = worth.accepted(view.profiles)[view.profile], worth.room(devices), view.free[:, 0]
        now = worth.worth(accepted, cpu, room)
        left = cpu - shape.spec.cpu
        slack = _slack(cpu.astype(np.float64), view.gpu_free.astype(np.float64))
        if shape.count != 1 or shape.whole:
            # Several shares on several devices are valued as whole devices: rare, and only a score.
            after = worth.worth(accepted, left, worth.without(room, shape.count) if shape.count else room)
            return Scores(np.floor(_steps(shape.count * DEVICE + after - now + slack)))
        best = np.full(len(view), -np.inf)
        level = np.zeros(len(view), dtype=np.int64)
        share = shares(view, shape)
        tried = devices >= share[:, None]
        tried[:, :-1] &= devices[:, :-1] != devices[:, 1:]
        for column in np.flatnonzero(tried.any(axis=0)).tolist():
            rows = np.flatnonzero(tried[:, column])
            levels = devices[rows, column]
            moved = worth.moved((room[0][rows], room[1][rows], room[2][rows]), levels[:, None], share[rows, None])
            after = worth.worth(accepted[rows], left[rows], moved)
            scores = np.floor(_steps(share[rows] + after - now[rows] + slack[rows]))
            better = scores >= best[rows]
            best[rows[better]] = scores[better]
            level[rows[better]] = levels[better]
        return Scores(best, level)

    def score_one(self, state: ClusterState, number: int, shape: Shape) -> tuple[float, int | None]:
        """`score` of one class."""
        worth, profiles = self._worth, state.classes.profiles
        profile, free, devices, _, _ = state.classes.keys[number]
        cpu = free[0]
        left = cpu - shape.spec.cpu
        now = worth.of(profiles, profile, cpu, devices)
        slack = _slack(cpu, sum(devices))
        count = shape.count
        if count == 1 and not shape.whole:
            share = shape.share_on(profiles[profile].gpu_memory) if shape.by_memory else shape.share
            assert share is not None, "the class fits"
            best, chosen = -math.inf, 0
            for level, rest in self._moves_of(devices, share):
                score = _steps(share + worth.of(profiles, profile, left, rest) - now + slack) // 1
                if score >= best:
                    best, chosen = score, level
            return best, chosen
        if shape.whole or not count:
            after = worth.of(profiles, profile, left, devices[count:] + (0,) * count)
        else:
            after = worth.of_less(profiles, profile, left, devices, taken=count)
        return _steps(count * DEVICE + after - now + slack) // 1, None

    def _moves_of(self, devices: tuple[int, ...], share: int) -> list[Move]:
        """The devices on which a share fits, most free first, one of each level."""
        key = (devices, share)
        known = self._moves.get(key)
        if known is None:
            known = self._moves[key] = []
            for level in sorted({free for free in devices if free >= share}, reverse=True):
                rest = list(devices)
                rest[rest.index(level)] -= share
                known.append((level, tuple(sorted(rest, reverse=True))))
        return known


def _slack(cpu: Amount, gpu_free: Amount) -> Amount:
    """What is free beyond need, in micro-GPU, from millicores and micro-GPU."""
    return CPU_SLACK * cpu / CPU_SCALE * DEVICE - GPU_SLACK * gpu_free / GPU_SCALE


def _steps(micro: Amount) -> Amount:
    # A hair is added so that sums that should be equal do not fall on two sides of a step.
    return micro / (STEP * DEVICE) + 1e-9
