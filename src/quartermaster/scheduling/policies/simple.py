"""Packing, spreading, first fit and chance: the policies that need no paper."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from quartermaster.cluster.shapes import Shape
from quartermaster.cluster.state import ClusterState
from quartermaster.model.units import DEVICE
from quartermaster.scheduling.policies.base import Scorer, Scores
from quartermaster.scheduling.view import ClassView


def used_fraction(view: ClassView, shape: Shape) -> Scores:
    """How full the node would be: the mean over cpu, memory and GPU of what is in use once the pod is there, 0..1."""
    scale = _scales(view)[view.profile]
    left = (view.free[:, :2] - shape.request[:2]) * scale[:, :2]
    gpu = (view.gpu_free - shape.count * shape.share) * scale[:, 2]
    return Scores(1 - (left.sum(axis=1) + gpu) / 3)


def _scales(view: ClassView) -> NDArray[np.float64]:
    """One over what nodes of a profile have of cpu, memory and GPU; 0 for what they have not [profiles, 3]."""
    known: NDArray[np.float64] | None = view.state.caches.get("scales")
    if known is None or len(known) < len(view.profiles):
        total = np.array([(*profile.allocatable[:2], profile.gpus * DEVICE) for profile in view.profiles], dtype=float)
        known = view.state.caches["scales"] = np.where(total > 0, 1 / np.maximum(total, 1), 0)
    return known


@dataclass(frozen=True, slots=True)
class BinPack:
    """The fullest node that fits, so that others stay empty."""

    randomised: bool = False

    def bind(self, state: ClusterState) -> Scorer:
        """Nothing to prepare."""
        del state
        return self

    def score(self, view: ClassView, shape: Shape) -> Scores:
        """See `used_fraction`."""
        return used_fraction(view, shape)


@dataclass(frozen=True, slots=True)
class Spread:
    """The emptiest node, so that a failing one takes little with it."""

    randomised: bool = False

    def bind(self, state: ClusterState) -> Scorer:
        """Nothing to prepare."""
        del state
        return self

    def score(self, view: ClassView, shape: Shape) -> Scores:
        """See `used_fraction`; less is better."""
        return Scores(-used_fraction(view, shape).score)


@dataclass(frozen=True, slots=True)
class FirstFit:
    """The lowest row that fits. What job-level simulators of the literature do."""

    randomised: bool = False

    def bind(self, state: ClusterState) -> Scorer:
        """Nothing to prepare."""
        del state
        return self

    def score(self, view: ClassView, shape: Shape) -> Scores:
        """All nodes are equal."""
        del shape
        return Scores(np.zeros(len(view)))


@dataclass(frozen=True, slots=True)
class Random:
    """A node drawn evenly among those that fit, and a device of it likewise."""

    randomised: bool = True

    def bind(self, state: ClusterState) -> Scorer:
        """Nothing to prepare."""
        del state
        return self

    def score(self, view: ClassView, shape: Shape) -> Scores:
        """Never asked for a decision; all nodes are equal."""
        del shape
        return Scores(np.zeros(len(view)))
