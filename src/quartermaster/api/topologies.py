"""Topology objects as the levels that gangs are placed by.

One that cannot be used is left out, and a problem says why; gangs that ask for it wait.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from quartermaster.api import v1alpha1
from quartermaster.api.reading import Json, Problem, Reason, read
from quartermaster.model.errors import InvalidInput
from quartermaster.model.topology import Level, Topology


@dataclass(frozen=True, slots=True, kw_only=True)
class Topologies:
    """The topologies of a cluster by name, and what is wrong with the others."""

    topologies: Mapping[str, Topology]
    problems: Mapping[str, Problem]


def topologies_from(objects: Iterable[Json]) -> Topologies:
    """The topologies of these objects; of several with one name the first counts."""
    found: dict[str, Topology] = {}
    problems: dict[str, Problem] = {}
    for value in objects:
        name = value["metadata"]["name"]
        if name in found or name in problems:
            continue
        try:
            found[name] = topology_from(read(value, v1alpha1.Topology))
        except InvalidInput as wrong:
            problems[name] = Problem(Reason.INVALID_SPEC, str(wrong))
    return Topologies(topologies=found, problems=problems)


def topology_from(value: v1alpha1.Topology) -> Topology:
    """One topology; raises InvalidInput for names that are not unique."""
    levels = tuple(Level(label=level.label, alias=level.alias or "", hard=level.hard) for level in value.spec.levels)
    return Topology(name=value.metadata.name, levels=levels)
