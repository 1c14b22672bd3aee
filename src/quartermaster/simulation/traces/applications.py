"""Measured training jobs: how long a step takes on which GPUs, and how many steps training takes.

Both are as in the simulator of Pollux (OSDI'21, sections 3 and 5.3), for jobs whose GPUs and batch size do not change.
A step of a larger batch is worth gain = (v + s) / (v / scale + s) steps of the smallest, with s and v the gradient's
square and variance in that epoch and scale the ratio of the batches; training ends after the last measured epoch.

Placements of up to four nodes were measured. Between measured numbers of nodes a step time is interpolated along equal
GPUs per node, where that simulator interpolates over a triangulation of all measurements.
"""

from __future__ import annotations

import math
from bisect import bisect_left
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from typing import Final

import numpy as np

from quartermaster.simulation.traces.column import integer, number, text
from quartermaster.simulation.traces.shipped import shipped
from quartermaster.simulation.traces.table import read_table

SMALL_BATCHES: Final[Mapping[str, int]] = {"yolov3": 8}
"""Samples that fit a GPU at most, where that is less than the most that was measured."""

_APPLICATION = text(name="application", wanted="the application")
_PLACEMENT = text(name="placement", wanted="GPUs on each node, a digit each")
_NODES = integer(name="num_nodes", wanted="nodes", low=1)
_REPLICAS = integer(name="num_replicas", wanted="GPUs", low=1)
_LOCAL = integer(name="local_bsz", wanted="samples per GPU", low=1)
_STEP = number(name="step_time", wanted="seconds of a step", positive=True)
_SYNC = number(name="sync_time", wanted="seconds of it that synchronise gradients")
_BATCH = integer(name="batch_size", wanted="samples of a step", low=1)
_PROGRESS = number(name="progress", wanted="steps of the smallest batch so far")
_ITERATION = number(name="iteration", wanted="steps so far")
_METRIC = number(name="metric", wanted="the validation metric")
_SQUARE = number(name="grad_sqr", wanted="the gradient's square", high=math.inf)
_VARIANCE = number(name="grad_var", wanted="the gradient's variance", high=math.inf)

Times = Sequence[tuple[int, float, float]]
"""(samples per GPU, step time, part of it that synchronises), by samples."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Epoch:
    """One epoch under one batch size; see the columns."""

    progress: float
    square: float
    variance: float


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Application:
    """One application's measurements: step times by placement and by (nodes, GPUs), epochs by batch size."""

    name: str
    placements: Mapping[str, Times]
    scaling: Mapping[int, Mapping[int, Times]]
    epochs: Mapping[int, Sequence[Epoch]]

    @property
    def batches(self) -> list[int]:
        """The batch sizes that were measured, ascending."""
        return sorted(self.epochs)

    @property
    def largest_local(self) -> int:
        """The most samples that fit a GPU."""
        return SMALL_BATCHES.get(self.name) or max(times[-1][0] for times in self.placements.values())

    def split(self, *, batch: int, gpus: int) -> tuple[int, int]:
        """(samples per GPU, times that they are computed before gradients are synchronised) for a batch."""
        local = -(-batch // gpus)
        rounds = -(-local // self.largest_local)
        if gpus == 1 and batch > self.batches[0]:
            rounds = max(2, rounds)
        return min(-(-local // rounds), self.batches[-1] // (gpus * rounds)), rounds

    def steps(self, *, batch: int, gpus: int) -> float:
        """Steps that training takes."""
        local, rounds = self.split(batch=batch, gpus=gpus)
        batch = local * rounds * gpus
        scale = batch / self.batches[0]
        total = done = 0.0
        for epoch in range(min(len(measured) for measured in self.epochs.values())):
            there = min(measured[epoch].progress for measured in self.epochs.values())
            square = self._between(batch, [self.epochs[size][epoch].square for size in self.batches])
            variance = self._between(batch, [self.epochs[size][epoch].variance for size in self.batches])
            total += (there - done) * (variance / scale + square) / (variance + square)
            done = there
        return total

    def _between(self, batch: int, values: Sequence[float]) -> float:
        return float(np.interp(batch, self.batches, values))

    def step_time(self, placement: Sequence[int], *, batch: int) -> float:
        """Seconds of a step on so many GPUs of each node."""
        local, rounds = self.split(batch=batch, gpus=sum(placement))
        step, sync = self._measured(placement, local)
        return step + (rounds - 1) * (step - sync)

    def _measured(self, placement: Sequence[int], local: int) -> tuple[float, float]:
        turns = ["".join(map(str, (*placement[turn:], *placement[:turn]))) for turn in range(len(placement))]
        known = self.placements.get(min(turns))
        if known is not None:
            return _at(known, local)
        counts = sorted(self.scaling)
        nodes, density = min(len(placement), counts[-1]), sum(placement) / len(placement)
        high = counts[bisect_left(counts, nodes)]
        low = high if high == nodes else counts[bisect_left(counts, nodes) - 1]
        part = (nodes - low) / (high - low) if high > low else 0.0
        return _mix(self._scaled(low, density, local), self._scaled(high, density, local), part)

    def _scaled(self, nodes: int, density: float, local: int) -> tuple[float, float]:
        sizes = sorted(self.scaling[nodes])
        gpus = min(max(nodes * density, sizes[0]), sizes[-1])
        high = sizes[bisect_left(sizes, gpus)]
        low = high if high == gpus else sizes[bisect_left(sizes, gpus) - 1]
        part = (gpus - low) / (high - low) if high > low else 0.0
        return _mix(_at(self.scaling[nodes][low], local), _at(self.scaling[nodes][high], local), part)


def _at(times: Times, local: int) -> tuple[float, float]:
    sizes = [size for size, _, _ in times]
    return tuple(float(np.interp(local, sizes, [row[column] for row in times])) for column in (1, 2))  # type: ignore[return-value]


def _mix(low: tuple[float, float], high: tuple[float, float], part: float) -> tuple[float, float]:
    return low[0] + part * (high[0] - low[0]), low[1] + part * (high[1] - low[1])


@cache
def applications() -> Mapping[str, Application]:
    """The six measured applications, by name."""
    placements: dict[str, dict[str, list[tuple[int, float, float]]]] = {}
    table = read_table(
        file=shipped("philly-pollux/app_placements.csv.gz"), columns=(_APPLICATION, _PLACEMENT, _LOCAL, _STEP, _SYNC)
    )
    rows = zip(table[_APPLICATION], table[_PLACEMENT], table[_LOCAL], table[_STEP], table[_SYNC], strict=True)
    for name, placement, local, step, sync in rows:
        placements.setdefault(name, {}).setdefault(placement, []).append((local, step, sync))
    epochs = _epochs()
    scaling = _scaling()
    return {
        name: Application(
            name=name,
            placements={placement: sorted(times) for placement, times in known.items()},
            scaling=scaling[name] | {4: _mean(known)},
            epochs=epochs[name],
        )
        for name, known in placements.items()
    }


def _scaling() -> dict[str, dict[int, dict[int, list[tuple[int, float, float]]]]]:
    found: dict[str, dict[int, dict[int, list[tuple[int, float, float]]]]] = {}
    table = read_table(
        file=shipped("philly-pollux/app_scalability.csv.gz"),
        columns=(_APPLICATION, _NODES, _REPLICAS, _LOCAL, _STEP, _SYNC),
    )
    columns = (table[_APPLICATION], table[_NODES], table[_REPLICAS], table[_LOCAL], table[_STEP], table[_SYNC])
    for name, nodes, gpus, local, step, sync in zip(*columns, strict=True):
        found.setdefault(name, {}).setdefault(nodes, {}).setdefault(gpus, []).append((local, step, sync))
    return {
        name: {nodes: {gpus: sorted(times) for gpus, times in sizes.items()} for nodes, sizes in counts.items()}
        for name, counts in found.items()
    }


def _mean(placements: Mapping[str, Times]) -> dict[int, list[tuple[int, float, float]]]:
    """Step times on four nodes by GPUs: the mean over the placements that were measured."""
    cells: dict[int, dict[int, list[tuple[float, float]]]] = {}
    for placement, times in placements.items():
        if len(placement) == 4:
            for local, step, sync in times:
                cells.setdefault(sum(map(int, placement)), {}).setdefault(local, []).append((step, sync))
    return {
        gpus: [
            (local, sum(step for step, _ in pairs) / len(pairs), sum(sync for _, sync in pairs) / len(pairs))
            for local, pairs in sorted(locals_.items())
        ]
        for gpus, locals_ in cells.items()
    }


def _epochs() -> dict[str, dict[int, list[Epoch]]]:
    found: dict[str, dict[int, list[Epoch]]] = {}
    table = read_table(
        file=shipped("philly-pollux/app_validation.csv.gz"),
        columns=(_APPLICATION, _BATCH, _PROGRESS, _ITERATION, _METRIC, _SQUARE, _VARIANCE),
    )
    columns = (table[_APPLICATION], table[_BATCH], table[_PROGRESS], table[_SQUARE], table[_VARIANCE])
    for name, batch, progress, square, variance in zip(*columns, strict=True):
        epoch = Epoch(progress=progress, square=square, variance=variance)
        found.setdefault(name, {}).setdefault(batch, []).append(epoch)
    return found
