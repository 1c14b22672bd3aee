"""What a simulation run yields: numbers, curves and samples, as plain values."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any


@dataclass(frozen=True, slots=True)
class Curve:
    """Points of a line."""

    x: tuple[float, ...]
    y: tuple[float, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Task:
    """One run to make."""

    source: Any
    policy: str
    seed: int
    until: float = 1.3
    overhead: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Run:
    """The outcome of one run."""

    policy: str
    seed: int
    metrics: Mapping[str, float]
    curves: Mapping[str, Curve] = field(default_factory=dict)
    samples: Mapping[str, tuple[float, ...]] = field(default_factory=dict)
    queue_share: Mapping[str, Curve] = field(default_factory=dict)
    note: str = ""
