"""What a placement policy is: a score per node class for a pod shape. The highest wins, then the lowest row.

Scores depend on the class alone, never on other nodes: that is what lets the engine remember them and keep one
heap per shape. A policy may also say which device a pod that shares one takes, by its free share (`level`); else the
pod takes the fullest device that has room. Of devices with equal free share the lowest index is taken.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol, runtime_checkable

import numpy as np
from numpy.typing import NDArray

from quartermaster.cluster.shapes import Shape
from quartermaster.cluster.state import ClusterState
from quartermaster.scheduling.view import ClassView


@dataclass(frozen=True, slots=True)
class Scores:
    """Score per class, and the level of the device to share, if the policy cares."""

    score: NDArray[np.float64]
    level: NDArray[np.int64] | None = None


class Scorer(Protocol):
    """A policy bound to one state; free to remember what it worked out about classes."""

    def score(self, view: ClassView, shape: Shape) -> Scores:
        """Scores of the view's classes for a pod of `shape`; every class is known to fit."""
        ...


@runtime_checkable
class ScoresOne(Protocol):
    """A scorer whose formula is cheap enough in plain Python that columns do not pay for one class.

    It has to give the same number as `Scorer.score` to the last bit, or ties would depend on how often one asks.
    """

    def score_one(self, state: ClusterState, number: int, shape: Shape) -> tuple[float, int | None]:
        """The score of one class that fits, and the level of the device to share, if the policy cares."""
        ...


class PlacementPolicy(Protocol):
    """A named way of scoring. Policies are values: equal ones give equal decisions."""

    @property
    def randomised(self) -> bool:
        """Whether nodes (and devices) are drawn at random among those that fit, scores unasked."""
        ...

    def bind(self, state: ClusterState) -> Scorer:
        """The scorer for a state; lives as long as the state keeps its class numbers."""
        ...
