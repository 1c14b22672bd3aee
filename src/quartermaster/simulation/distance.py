"""Jobs that are slower where their pods are farther apart, on a cluster of racks.

The seconds of an iteration that a trace has are taken for those of the best place that a job of its size can have: one
node if it fits on one, else the fewest nodes, in one rack if these fit in one. Elsewhere an iteration takes as many
times longer as `scheduling.locality` says of the two. What a trace has measured itself (`Job.pace`) is better than
this model, and counting both would count the network twice: refused.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from quartermaster.model.errors import InvalidInput
from quartermaster.model.node import Node
from quartermaster.model.topology import Level, Topology, TopologyConstraint
from quartermaster.scheduling.locality import Traffic, spread
from quartermaster.simulation.traces.cluster import ClusterShape
from quartermaster.simulation.traces.jobs import JobTrace

RACK: Final = "rack"
RACKS: Final = Topology(name="racks", levels=(Level(label=RACK),))
CLOSE: Final = TopologyConstraint(topology=RACKS.name, preferred=RACK)
"""What a job of several nodes asks for where there are racks."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Locality:
    """What jobs send, and how many nodes a rack has (0: all nodes are in one)."""

    traffic: Traffic
    rack: int = 0

    @staticmethod
    def parse(text: str, *, rack: int = 0) -> Locality:
        """``FABRIC:NETWORK``, the shares of a step that are traffic for NVLink and for the network: ``0.1:0.3``."""
        parts = text.split(":")
        try:
            fabric, network = map(float, parts)
        except ValueError:
            raise InvalidInput("--locality", f"'{text}' is not FABRIC:NETWORK", "give two shares, as 0.1:0.3") from None
        return Locality(traffic=Traffic(fabric=fabric, network=network), rack=rack)

    def check(self, trace: JobTrace) -> None:
        """Raise `InvalidInput` for a trace whose speeds depend on placement already."""
        if any(job.pace for job in trace.jobs):
            problem = f"'{trace.name}' has measured speeds by placement"
            raise InvalidInput("--locality", problem, "leave it out, or take another trace")


class Distance:
    """The nodes of a cluster in their racks, and how much slower a job is on some of them."""

    def __init__(self, cluster: ClusterShape, locality: Locality) -> None:
        self._traffic, self._size = locality.traffic, cluster.gpus_per_node
        self.topology = RACKS if locality.rack else None
        self._nodes = [
            Node(name=str(row), cpu=0, memory=0, gpus=cluster.gpus_per_node, labels=label(row, locality.rack))
            for row in range(cluster.nodes)
        ]

    def slowdown(self, rows: Sequence[int], *, gpus: int) -> float:
        """How many times as long as in the best place a job of so many GPUs takes on these nodes: 1 or more."""
        return self._multiplier(rows) / self._multiplier(range(-(-gpus // self._size)))

    def _multiplier(self, rows: Sequence[int]) -> float:
        return self._traffic.multiplier(spread([(self._nodes[row], ()) for row in rows], self.topology))


def label(row: int, rack: int) -> dict[str, str]:
    """The labels of a node, by its row: racks are filled one after the other."""
    return {RACK: str(row // rack)} if rack else {}
