"""What a cycle looks at: a state at one generation."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from quartermaster.cluster.state import ClusterState


class Snapshot:
    """What a cycle looks at: a state at one generation.

    A cycle may try things on it through a `Statement`, and has to leave it as it was.
    """

    __slots__ = ("_state", "generation")

    def __init__(self, state: ClusterState) -> None:
        self._state = state
        self.generation = state.generation

    @property
    def state(self) -> ClusterState:
        """The state; raises `RuntimeError` if its owner changed it since it was borrowed."""
        if self._state.generation != self.generation:
            raise RuntimeError("snapshot is out of date: its state was changed after it was borrowed")
        return self._state
