"""A cluster that has objects of several schedulers: one set of queues and topologies to decide by.

What is ours goes before a peer's of the same name, so that one queue after the other can be taken over. Refuses to
report: `migrate` says what of a peer's objects is not carried over.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Final

from quartermaster.api.peers import kai, kueue, volcano
from quartermaster.api.peers.carrying import Json
from quartermaster.api.v1alpha1 import GROUP

KINDS: Final = (
    ("scheduling.run.ai", "Queue", "queues"),
    ("kai.scheduler", "Topology", "topologies"),
    ("scheduling.volcano.sh", "Queue", "queues"),
    ("topology.volcano.sh", "HyperNode", "hypernodes"),
    (kueue.GROUP, "ClusterQueue", "clusterqueues"),
    (kueue.GROUP, "LocalQueue", "localqueues"),
    (kueue.GROUP, "Cohort", "cohorts"),
    (kueue.GROUP, "ResourceFlavor", "resourceflavors"),
    (kueue.GROUP, "Topology", "topologies"),
)
"""What peers have that is to be read: API group, kind, plural. Any version will do."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Mixed:
    """Objects of ours, those of peers among them, for `queues_from` and `topologies_from`.

    `local_queues` has the queue that is meant by the name of a LocalQueue, by its namespace and name. `node_labels` are
    labels that nodes have to be seen with, since HyperNodes name nodes and our topologies go by labels.
    """

    queues: Sequence[Json]
    topologies: Sequence[Json]
    local_queues: Mapping[tuple[str, str], str]
    node_labels: Mapping[str, Mapping[str, str]]

    def queue(self, name: str, *, namespace: str) -> str:
        """The queue that a workload of a namespace means by a name."""
        return self.local_queues.get((namespace, name), name)


def mixed(objects: Iterable[Json]) -> Mixed:
    """Everything together, from Queue and Topology objects of ours and all that there is of `KINDS`.

    Of one name there is one: ours, else KAI's, else Volcano's, else Kueue's. Times of creation are those of the peer's
    objects where there is one for one. Nodes are wanted too, where HyperNodes select them by pattern or label.
    """
    objects = list(objects)
    own = [value for value in objects if str(value.get("apiVersion", "")).partition("/")[0] == GROUP]
    born = {(value["kind"], value["metadata"]["name"]): value["metadata"] for value in objects}
    made = [value for peer in (kai, volcano, kueue) for value in peer.carry(objects).manifests]
    everything = [*own, *(_dated(value, born) for value in made)]
    return Mixed(
        queues=_first([value for value in everything if value["kind"] == "Queue"]),
        topologies=_first([value for value in everything if value["kind"] == "Topology"]),
        local_queues=kueue.local_queues(objects),
        node_labels={
            value["metadata"]["name"]: value["metadata"]["labels"] for value in made if value["kind"] == "Node"
        },
    )


def _dated(value: Json, born: Mapping[tuple[str, str], Json]) -> Json:
    name = value["metadata"]["name"]
    found = born.get((value["kind"], name)) or born.get(("ClusterQueue", name)) or {}
    if "creationTimestamp" not in found:
        return value
    return {**value, "metadata": {**value["metadata"], "creationTimestamp": found["creationTimestamp"]}}


def _first(values: Iterable[Json]) -> list[Json]:
    return list({value["metadata"]["name"]: value for value in reversed(list(values))}.values())[::-1]
