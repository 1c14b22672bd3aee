"""What a Topology object is told: the domains that the nodes make of its levels. A misspelt label is seen at once."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from quartermaster.api.reading import Json
from quartermaster.api.statuses import Said, conditions
from quartermaster.api.topologies import Topologies
from quartermaster.api.v1alpha1 import LevelStatus, TopologyStatus
from quartermaster.model.topology import Topology


def topology_status(
    value: Json, known: Topologies, *, labels: Iterable[Mapping[str, str]], now: float
) -> TopologyStatus:
    """The whole status of one Topology object, from the labels of all nodes."""
    name = value["metadata"]["name"]
    problem = known.problems.get(name)
    levels: list[LevelStatus] = []
    line = ""
    if problem is not None:
        said = Said("Ready", holds=False, reason=problem.reason, message=problem.message)
    else:
        topology = known.topologies[name]
        levels = _levels(topology, labels)
        line = ", ".join(
            f"{level.alias or level.label} {seen.domains}" for level, seen in zip(topology.levels, levels, strict=True)
        )
        empty = [level.label for level in levels if not level.nodes]
        said = Said("Ready", holds=True, reason="InUse")
        if empty:
            said = Said("Ready", holds=True, reason="NoDomains", message=f"no node is in a domain of {empty[0]}")
    return TopologyStatus(
        observed_generation=value["metadata"].get("generation", 0),
        levels=levels,
        domains=line,
        conditions=conditions(value, [said], now=now),
    )


def _levels(topology: Topology, labels: Iterable[Mapping[str, str]]) -> list[LevelStatus]:
    domains: list[set[tuple[str, ...]]] = [set() for _ in topology.levels]
    nodes = [0] * len(topology.levels)
    for node in labels:
        path: tuple[str, ...] = ()
        for depth, level in enumerate(topology.levels):
            if level.label not in node:
                break
            path += (node[level.label],)
            domains[depth].add(path)
            nodes[depth] += 1
    return [
        LevelStatus(label=level.label, domains=len(found), nodes=count)
        for level, found, count in zip(topology.levels, domains, nodes, strict=True)
    ]
