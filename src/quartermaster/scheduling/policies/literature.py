"""Baselines of the GPU-sharing literature, as their authors ran them: integer scores, so that ties matter.

The formulas are those of the simulator behind "Beware of Fragmentation" (Weng et al., USENIX ATC'23): amounts are
compared with a machine of 128 cores and 8 GPUs, scores are cut to integers, the lowest row wins among equals.
Sources of each idea: DotProd, Grandl et al., "Multi-resource packing for cluster schedulers" (Tetris), SIGCOMM'14;
GpuClustering, Xiao et al., "Gandiva", OSDI'18; GpuPacking, Weng et al., "MLaaS in the wild", NSDI'22; BestFit, Protean,
Hadary et al., OSDI'20.
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

CPU_SCALE: Final = 128_000
"""Millicores of the machine that amounts are compared with."""

GPU_SCALE: Final = 8 * DEVICE
"""Micro-GPU of the machine that amounts are compared with."""


def _requested(shape: Shape) -> int:
    return shape.count * shape.share


@dataclass(frozen=True, slots=True)
class DotProd:
    """Least alignment of what is free with what is asked: 100 (1 - (c C + g I) / 2), all relative to the scale."""

    randomised: bool = False

    def bind(self, state: ClusterState) -> Scorer:
        """Nothing to prepare."""
        del state
        return self

    def score(self, view: ClassView, shape: Shape) -> Scores:
        """Integer 0..100."""
        cpu = view.free[:, 0] / CPU_SCALE * (shape.spec.cpu / CPU_SCALE)
        gpu = view.gpu_free / GPU_SCALE * (_requested(shape) / GPU_SCALE)
        return Scores(np.trunc(100 * (1 - (cpu + gpu) / 2)))


@dataclass(frozen=True, slots=True)
class BestFit:
    """Least left over: 100 (1 - (C - c) / 2 - (I - g) / 2), relative to the scale."""

    randomised: bool = False

    def bind(self, state: ClusterState) -> Scorer:
        """Nothing to prepare."""
        del state
        return self

    def score(self, view: ClassView, shape: Shape) -> Scores:
        """Integer, at most 100."""
        cpu = (view.free[:, 0] - shape.spec.cpu) / CPU_SCALE
        gpu = (view.gpu_free - _requested(shape)) / GPU_SCALE
        return Scores(np.trunc(100 * (1 - cpu / 2 - gpu / 2)))


@dataclass(frozen=True, slots=True)
class GpuClustering:
    """Equal requests together: nodes that host only this kind of GPU pod, then mixed ones, then empty ones."""

    randomised: bool = False

    def bind(self, state: ClusterState) -> Scorer:
        """Nothing to prepare."""
        del state
        return self

    def score(self, view: ClassView, shape: Shape) -> Scores:
        """Integer 0..100; pods without GPU do not care."""
        if not shape.count:
            return Scores(np.zeros(len(view)))
        own = np.int64(1 << shape.kind)
        bonus = np.select([view.kinds == own, (view.kinds & own) != 0, view.kinds == 0], [75, 50, 25], 0)
        base = 25 * (GPU_SCALE - view.gpu_free) // GPU_SCALE
        return Scores((base + bonus).astype(np.float64))


@dataclass(frozen=True, slots=True)
class GpuPacking:
    """Shared devices first, then idle devices of nodes in use, then idle nodes."""

    randomised: bool = False

    def bind(self, state: ClusterState) -> Scorer:
        """Nothing to prepare."""
        del state
        return self

    def score(self, view: ClassView, shape: Shape) -> Scores:
        """Integer 0..100; pods without GPU do not care."""
        if not shape.count:
            return Scores(np.zeros(len(view)))
        room = (view.devices >= shares(view, shape)[:, None]).sum(axis=1)
        picked = view.devices[np.arange(len(view))[:, None], room[:, None] - 1 - np.arange(shape.count)]
        idle = (picked == DEVICE).sum(axis=1)
        per_cent: NDArray[np.int64] = picked.max(axis=1).astype(np.int64) * 100 // DEVICE
        in_use = np.where(idle > 0, np.maximum(50 - idle, 33), np.maximum(100 - per_cent // 10, 50))
        untouched = view.idle == view.gpus
        return Scores(np.where(untouched, np.maximum(33 - view.gpus, view.gpus), in_use).astype(np.float64))
