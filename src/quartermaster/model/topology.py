"""Where nodes are in the network: ordered levels of node labels, and what a group asks of them.

A topology is a list of levels from coarse to fine (zone, block, rack, NVLink clique, host); a **domain** is a set of
nodes that agree in the labels of a level and of all levels above it. A node that lacks a label is in no domain of that
level or below. A level is named by its label or by its alias.
"""

from __future__ import annotations

from dataclasses import dataclass

from quartermaster.model.errors import InvalidInput

MAX_LEVELS = 16


@dataclass(frozen=True, slots=True, kw_only=True)
class Level:
    """One level: the node label whose values tell its domains apart.

    A `hard` level is a fabric that ends at its border (an NVLink clique, an NVL72 rack): devices in two of its domains
    cannot reach each other over it at all, so a group that asks for it is never spread over two.
    """

    label: str
    alias: str = ""
    hard: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Topology:
    """Named levels, coarse to fine."""

    name: str
    levels: tuple[Level, ...]

    def __post_init__(self) -> None:
        where = f"topology '{self.name}'"
        if not 1 <= len(self.levels) <= MAX_LEVELS:
            raise InvalidInput(f"{where}: levels", f"{len(self.levels)} given", f"give 1 to {MAX_LEVELS}")
        names = [name for level in self.levels for name in {level.label, level.alias} if name]
        for name in names:
            if names.count(name) > 1:
                raise InvalidInput(
                    f"{where}: levels", f"'{name}' twice", "give each level a label and alias of its own"
                )
        if not all(level.label for level in self.levels):
            raise InvalidInput(f"{where}: levels", "one has no label", "name the node label of every level")

    def depth(self, name: str) -> int:
        """The index of the level with this label or alias; raises `InvalidInput` when there is none."""
        for index, level in enumerate(self.levels):
            if name in {level.label, level.alias}:
                return index
        known = ", ".join(level.alias or level.label for level in self.levels)
        raise InvalidInput(f"topology '{self.name}': level '{name}'", "does not exist", f"use one of: {known}")


@dataclass(frozen=True, slots=True, kw_only=True)
class TopologyConstraint:
    """What a group or sub-group asks: to be inside one domain of `required`, and as close as `preferred` if it can be.

    Either may be empty. Preferred is finer than required, or it would say nothing.
    """

    topology: str
    required: str = ""
    preferred: str = ""

    def __post_init__(self) -> None:
        if not self.topology:
            raise InvalidInput("topology constraint: topology", "is empty", "name a topology")
        if not self.required and not self.preferred:
            raise InvalidInput(
                f"topology constraint on '{self.topology}'", "asks for nothing", "give a required or a preferred level"
            )

    def check(self, topology: Topology) -> None:
        """Raises `InvalidInput` when a level does not exist or the two are in the wrong order."""
        depths = [topology.depth(level) for level in (self.required, self.preferred) if level]
        if len(depths) == 2 and depths[0] > depths[1]:
            raise InvalidInput(
                f"topology constraint on '{self.topology}': preferred",
                f"level '{self.preferred}' is coarser than the required '{self.required}'",
                "prefer the same or a finer level",
            )
