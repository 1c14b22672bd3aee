"""Fragmentation as FGD measures it, for many node classes at once, and the policy that descends it.

Weng et al., "Beware of Fragmentation: Scheduling GPU-Sharing Workloads with Fragmentation Gradient Descent", USENIX
ATC'23, in the form that the authors' scheduler runs. A node's fragment seen by a class of pods is the free GPU that
pods of that class could not use there: all of it when the node cannot host one, else the devices with too little left.
The node's fragment is the mean over the mix of classes, so with U the GPU on devices with room for the class

    F(node) = I - sum over classes m of p(m) * host(m) * U(m),      I: free GPU of the node.

Classes that differ only in cpu share everything but `host`, which is a step function of the free cpu; hence the mix
is folded into one weight table [step of free cpu, (share, count, models)].
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

from quartermaster.cluster.shapes import Shape
from quartermaster.cluster.state import ClusterState
from quartermaster.model.pod import PodSpec
from quartermaster.model.units import DEVICE
from quartermaster.scheduling.filters import shares
from quartermaster.scheduling.policies.base import Scores
from quartermaster.scheduling.view import ClassView

COVER: Final = 0.95
"""Share of the pods that the classes of a mix stand for; the rarest are left out."""

Demand = tuple[int, int, int, frozenset[str]]
"""A class of pods: (millicores, micro-GPU per device, devices, models accepted)."""


@dataclass(frozen=True, slots=True)
class Mix:
    """The classes of pods that are expected, each with its probability."""

    classes: tuple[tuple[Demand, float], ...]

    @staticmethod
    def of(specs: Iterable[PodSpec]) -> Mix:
        """The most frequent classes that stand for `COVER` of the pods; ties go to the larger request."""
        counts = Counter(_demand(spec) for spec in specs)
        total = sum(counts.values())
        ranked = sorted(counts.items(), key=lambda item: (-item[1], *(-n for n in item[0][:3]), sorted(item[0][3])))
        kept, covered = [], 0
        for demand, count in ranked:
            if covered >= COVER * total:
                break
            kept.append((demand, count))
            covered += count
        return Mix(tuple((demand, count / covered) for demand, count in kept))


def _demand(spec: PodSpec) -> Demand:
    return (spec.cpu, spec.gpu.share if spec.gpu.count else 0, spec.gpu.count, spec.gpu.models)


class Fragments:
    """The measure for one mix on the classes of one state. Amounts in micro-GPU, as floats."""

    def __init__(self, mix: Mix) -> None:
        gpu = [(demand, p) for demand, p in mix.classes if demand[2]]
        groups = sorted({(d[1], d[2], tuple(sorted(d[3]))) for d, _ in gpu})
        steps = sorted({d[0] for d, _ in gpu})
        self._steps = np.array(steps, dtype=np.int64)
        weight = np.zeros((len(steps) + 1, len(groups)))
        for (cpu, share, count, models), p in gpu:
            weight[steps.index(cpu) + 1 :, groups.index((share, count, tuple(sorted(models))))] += p
        self._weight = weight
        self._models = [frozenset(models) for _, _, models in groups]
        shares = sorted({share for share, _, _ in groups})
        self._shares = np.array(shares, dtype=np.int64)
        self._share_of = np.array([shares.index(share) for share, _, _ in groups], dtype=np.int64)
        self._count = np.array([count for _, count, _ in groups], dtype=np.int64)
        self._accepted = np.zeros((0, len(groups)))

    def weights(self, view: ClassView, cpu: int = 0) -> NDArray[np.float64]:
        """p(m) summed over the classes whose cpu and models suit a node that has `cpu` less [classes, groups]."""
        known = len(self._accepted)
        if known < len(view.profiles):
            new = [[not m or p.gpu_model in m for m in self._models] for p in view.profiles[known:]]
            self._accepted = np.vstack([self._accepted, np.array(new, dtype=np.float64).reshape(len(new), -1)])
        step = np.searchsorted(self._steps, view.free[:, 0] - cpu, side="right")
        return self._weight[step] * self._accepted[view.profile]

    def rooms(self, view: ClassView) -> tuple[NDArray[np.int64], NDArray[np.float64]]:
        """Per distinct share: devices with that much left, and the GPU on them [classes, shares]."""
        devices = view.devices.astype(np.int64)
        enough = devices[:, None, :] >= self._shares[:, None]
        return enough.sum(axis=2), (devices[:, None, :] * enough).sum(axis=2).astype(np.float64)

    def usable(
        self, weights: NDArray[np.float64], count: NDArray[np.int64], amount: NDArray[np.float64]
    ) -> NDArray[np.float64]:
        """Sum over the mix of the GPU that its pods could use: I - F."""
        hosts = count[:, self._share_of] >= self._count
        result: NDArray[np.float64] = np.einsum("ij,ij,ij->i", weights, hosts, amount[:, self._share_of])
        return result

    def fragment(self, view: ClassView) -> NDArray[np.float64]:
        """F per class of the view."""
        return view.gpu_free - self.usable(self.weights(view), *self.rooms(view))

    def gain(self, view: ClassView, shape: Shape) -> tuple[NDArray[np.float64], NDArray[np.int64] | None]:
        """F before - F after placing a pod of `shape`: one column per device tried, and the levels tried (shares).

        A share is tried on every device with room (columns as `view.devices`; -inf where there is none or where the
        next device has the same level); otherwise there is one column and no levels.
        """
        count, amount = self.rooms(view)
        weights = self.weights(view, shape.spec.cpu)
        now = view.gpu_free - self.usable(self.weights(view), count, amount)
        share = shares(view, shape)
        left = view.gpu_free - shape.count * share
        if not shape.count:
            return (now - (left - self.usable(weights, count, amount)))[:, None], None
        if shape.whole or shape.count > 1:
            # Several shares on several devices are counted as whole devices: rare, and only a score.
            after = self.usable(weights, count - shape.count, amount - shape.count * float(DEVICE))
            return (now - (left - after))[:, None], None
        gains = np.full(view.devices.shape, -np.inf)
        levels = view.devices.astype(np.int64)
        room = levels >= share[:, None]
        room[:, :-1] &= levels[:, :-1] != levels[:, 1:]
        for column in np.flatnonzero(room.any(axis=0)).tolist():
            rows = np.flatnonzero(room[:, column])
            level = levels[rows, column][:, None]
            rest = level - share[rows, None]
            had, has = level >= self._shares, rest >= self._shares
            after = self.usable(weights[rows], count[rows] - had + has, amount[rows] - had * level + has * rest)
            gains[rows, column] = now[rows] - (left[rows] - after)
        return gains, levels


class FGD:
    """Fragmentation gradient descent: the node, and the device, where fragmentation falls most.

    Score floor(100 / (1 + exp(-d / GPU))), d the fall in fragmentation: integers, as the authors' scheduler needs
    them, so that ties are frequent and the lowest row decides them; without that the policy loses to BestFit. Devices
    whose scores tie: the fullest.
    """

    randomised = False

    def __init__(self, mix: Mix) -> None:
        self.mix = mix

    def bind(self, state: ClusterState) -> FGDScorer:
        """Fold the mix into tables."""
        del state
        return FGDScorer(Fragments(self.mix))


class FGDScorer:
    """FGD on the classes of one state."""

    def __init__(self, fragments: Fragments) -> None:
        self.fragments = fragments

    def score(self, view: ClassView, shape: Shape) -> Scores:
        """Integer 0..100 and the level of the device that gives it."""
        gains, levels = self.fragments.gain(view, shape)
        with np.errstate(over="ignore"):
            scores = np.floor(100 / (1 + np.exp(-gains / DEVICE)))
        scores[np.isneginf(gains)] = -1
        if levels is None:
            return Scores(scores[:, 0])
        # Columns are in descending order of level: the last of the best is the fullest device.
        best = scores.shape[1] - 1 - scores[:, ::-1].argmax(axis=1)
        index = np.arange(len(view))
        return Scores(scores[index, best], levels[index, best])
