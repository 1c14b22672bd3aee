"""The two shapes a loaded trace has: pods on a listed cluster, or jobs over time on a cluster of equal nodes."""

from __future__ import annotations

import re
from dataclasses import dataclass
from enum import StrEnum
from typing import Final

from quartermaster.model.errors import InvalidInput
from quartermaster.model.node import MAX_DEVICES, Node
from quartermaster.model.pod import Pod

_SHAPE: Final = re.compile(r"([0-9]{1,7})[xX]([0-9]{1,7})")

MAX_NODES: Final = 1_000_000


@dataclass(frozen=True, slots=True, kw_only=True)
class ClusterTrace:
    """Nodes, and pods that want to be on them, in file order: order is part of an experiment.

    `lifetimes` are the pods' recorded (creation, deletion) seconds, where the file has them.
    """

    name: str
    nodes: tuple[Node, ...]
    pods: tuple[Pod, ...]
    lifetimes: tuple[tuple[float, float], ...] | None = None

    @property
    def gpus(self) -> int:
        """GPUs of all nodes."""
        return sum(node.gpus for node in self.nodes)

    @property
    def gpu_demand(self) -> int:
        """Micro-GPU that all pods ask for together."""
        return sum(pod.spec.gpu.count * pod.spec.gpu.share for pod in self.pods)


@dataclass(frozen=True, slots=True, kw_only=True)
class ClusterShape:
    """Equal nodes: the cluster of traces that record none."""

    nodes: int
    gpus_per_node: int

    def __post_init__(self) -> None:
        if not 1 <= self.nodes <= MAX_NODES:
            raise InvalidInput("cluster: nodes", f"{self.nodes} nodes", f"give 1 to {MAX_NODES}")
        if not 1 <= self.gpus_per_node <= MAX_DEVICES:
            raise InvalidInput(
                "cluster: GPUs per node",
                f"{self.gpus_per_node} GPUs",
                f"give 1 to {MAX_DEVICES}",
            )

    @classmethod
    def parse(cls, text: str) -> ClusterShape:
        """The shape that `NODESxGPUS` says: ``8x8`` is 8 nodes of 8 GPUs."""
        match = _SHAPE.fullmatch(text.strip())
        if not match:
            raise InvalidInput(
                "cluster",
                f"'{text}' is not a cluster shape",
                "give NODESxGPUS, such as 8x8",
            )
        return cls(nodes=int(match[1]), gpus_per_node=int(match[2]))

    @property
    def gpus(self) -> int:
        """GPUs of all nodes."""
        return self.nodes * self.gpus_per_node

    def __str__(self) -> str:
        return f"{self.nodes}x{self.gpus_per_node}"


class OverheadRule(StrEnum):
    """When a job pays its overhead, the seconds on its GPUs that do not advance it."""

    PER_START = "per-start"
    """Once for each start and restart, as on a real cluster."""

    PER_EVENT = "per-event"
    """In every interval between two events of the simulation, interrupted or not: what Muri's simulator does, and
    needed for its published digits (it is worth about 1 %)."""
