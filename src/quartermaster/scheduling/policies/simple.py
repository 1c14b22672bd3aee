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


def used_fraction(view: ClassView, shape: Shape) -> NDArray[np.float64]:
    """How full the node would be: the mean over cpu, memory and GPU of what is in use once the pod is there, 0..1."""
    scale = np.array(_scales(view.state))[view.profile]
    left = (view.free[:, :2] - shape.request[:2]) * scale[:, :2]
    gpu = (view.gpu_free - shape.count * shape.share) * scale[:, 2]
    return 1 - (left[:, 0] + left[:, 1] + gpu) / 3


def used_fraction_of(state: ClusterState, number: int, shape: Shape) -> float:
    """`used_fraction` of one class."""
    profile, free, devices, _, _ = state.classes.keys[number]
    cpu, memory, gpu = _scales(state)[profile]
    left = (free[0] - shape.request[0]) * cpu + (free[1] - shape.request[1]) * memory
    return 1 - (left + (sum(devices) - shape.count * shape.share) * gpu) / 3


def _scales(state: ClusterState) -> list[tuple[float, float, float]]:
    """Per profile, one over what its nodes have of cpu, memory and GPU; 0 for what they have not."""
    known: list[tuple[float, float, float]] = state.caches.setdefault("scales", [])
    for profile in state.classes.profiles[len(known) :]:
        cpu, memory = profile.allocatable[:2]
        known.append((_inverse(cpu), _inverse(memory), _inverse(profile.gpus * DEVICE)))
    return known


def _inverse(amount: int) -> float:
    return 1 / amount if amount else 0.0


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
        return Scores(used_fraction(view, shape))

    def score_one(self, state: ClusterState, number: int, shape: Shape) -> tuple[float, None]:
        """See `used_fraction`."""
        return used_fraction_of(state, number, shape), None


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
        return Scores(-used_fraction(view, shape))

    def score_one(self, state: ClusterState, number: int, shape: Shape) -> tuple[float, None]:
        """See `used_fraction`; less is better."""
        return -used_fraction_of(state, number, shape), None


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
