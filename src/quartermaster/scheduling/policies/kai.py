"""KAI Scheduler's node scores, for running its own test cases on this engine.

KAI adds up scores a power of ten apart, so they are really an order: a shared GPU with room before a fresh one, pods
without GPUs on nodes without GPUs, then packing (or spreading) of the resource that the pod is about: GPUs for a pod
with GPUs, else cpu. Each is a switch, since each is a plug-in there. Facts: KAI-Scheduler at commit d5bc503a, plug-ins
gpusharingorder, resourcetype, nodeplacement, gpupack and gpuspread. What KAI scores by nodes that the pod cannot see
(topology, nominated nodes, room that is still being freed) is no score here: the engine does it.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from quartermaster.cluster.shapes import Shape
from quartermaster.cluster.state import ClusterState
from quartermaster.model.units import DEVICE
from quartermaster.scheduling.filters import shares
from quartermaster.scheduling.policies.base import Scorer, Scores
from quartermaster.scheduling.view import ClassView

Way = Literal["pack", "spread"]

SHARING = 10_000.0
KIND = 10.0
PLACEMENT = 9.0


@dataclass(frozen=True, slots=True)
class KaiScore:
    """The sum of the scores that are switched on.

    `gpu` and `cpu`: how nodes are chosen; `devices`: how the device for a share is; `by_kind`: pods without GPUs go
    where there are none; `share_first`: devices that are shared already come before idle ones, wherever they are.
    """

    gpu: Way | None = "pack"
    cpu: Way | None = "pack"
    devices: Way | None = "pack"
    by_kind: bool = True
    share_first: bool = True
    randomised: bool = False

    def bind(self, state: ClusterState) -> Scorer:
        """Nothing to prepare."""
        del state
        return self

    def score(self, view: ClassView, shape: Shape) -> Scores:
        """See the module."""
        score = self._placement(view, shape)
        if self.by_kind and not shape.count:
            score += KIND * (view.gpus == 0)
        if not shape.count or shape.whole:
            return Scores(score)
        share = shares(view, shape)[:, None]
        shared = (view.devices >= share) & (view.devices < DEVICE)
        if self.share_first:
            score += SHARING * (shared.sum(axis=1) >= shape.count)
        return Scores(score, self._level(view, share[:, 0]))

    def _placement(self, view: ClassView, shape: Shape) -> NDArray[np.float64]:
        way = self.gpu if shape.count else self.cpu
        if way is None:
            return np.zeros(len(view))
        if shape.count:
            free, total = view.gpu_free / DEVICE, view.gpus.astype(np.float64)
        else:
            free, total = view.free[:, 0].astype(np.float64), view.allocatable[:, 0].astype(np.float64)
        if way == "spread":
            return PLACEMENT * free / np.maximum(total, 1.0)
        # KAI ranks by what is free in absolute terms, so a small node is packed before a large one.
        return PLACEMENT / (1.0 + free / (1.0 if shape.count else 1000.0))

    def _level(self, view: ClassView, share: NDArray[np.int64]) -> NDArray[np.int64]:
        """The free share of the device to take: packed, the fullest with room; spread, the emptiest."""
        devices = view.devices.astype(np.int64)
        room = devices >= share[:, None]
        if self.devices == "spread":
            emptiest: NDArray[np.int64] = np.where(room, devices, -1).max(axis=1)
            return emptiest
        fullest: NDArray[np.int64] = np.where(room, devices, np.iinfo(np.int64).max).min(axis=1)
        return fullest
