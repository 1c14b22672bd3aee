"""What-if on a snapshot: place and evict as if it were so, go back to any checkpoint, and leave no trace.

One statement is open on a snapshot at a time. Every operation is undone exactly, so a rolled-back state equals the
state before byte for byte (`ClusterState.to_bytes`).
"""

from __future__ import annotations

from typing import Self

from quartermaster.cluster.assignment import Assignment, Batch
from quartermaster.cluster.shapes import Shape
from quartermaster.cluster.snapshot import Snapshot
from quartermaster.cluster.state import ClusterState

Checkpoint = int
"""A point to which a statement can go back."""


class Statement:
    """Operations on a snapshot's state, with an undo log. Use as a context manager: leaving it rolls all back."""

    def __init__(self, snapshot: Snapshot) -> None:
        self._snapshot = snapshot
        self.state: ClusterState = snapshot.state
        self._log: list[tuple[str, int] | tuple[str, Assignment] | Batch] = []

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.rollback(0)
        self.state.generation = self._snapshot.generation

    def place(self, pod: str, shape: Shape, row: int, devices: int, account: int) -> None:
        """Put one pod on a node."""
        self._log.append((pod, self.state.place(pod, shape, row, devices, account)))

    def place_many(self, batch: Batch) -> None:
        """Put many equal pods on equal nodes."""
        self.state.place_many(batch)
        self._log.append(batch)

    def evict(self, pod: str) -> Assignment:
        """Take a pod off its node."""
        assignment = self.state.forget(pod)
        self._log.append((pod, assignment))
        return assignment

    def checkpoint(self) -> Checkpoint:
        """The present point."""
        return len(self._log)

    def rollback(self, to: Checkpoint) -> None:
        """Undo everything since `to`, latest first."""
        state = self.state
        log = self._log
        while len(log) > to:
            entry = log.pop()
            if isinstance(entry, Batch):
                state.unplace_many(entry)
                continue
            pod, what = entry
            if isinstance(what, Assignment):
                state.place(pod, state.shapes[what.shape], what.row, what.devices, what.account)
            else:
                state.unplace(pod, what)
