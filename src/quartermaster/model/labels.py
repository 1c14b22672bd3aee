"""Selectors, taints and affinity terms with the meaning that Kubernetes gives them.

Only matching lives here; which node or pod is asked is the caller's business. Nothing is parsed: `api/` turns
Kubernetes JSON into these values.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Final

from quartermaster.model.errors import InvalidInput

HOSTNAME: Final = "kubernetes.io/hostname"
"""The label in which every node has its name."""


class Operator(StrEnum):
    """How a requirement compares a label with its values."""

    IN = "In"
    NOT_IN = "NotIn"
    EXISTS = "Exists"
    DOES_NOT_EXIST = "DoesNotExist"
    GT = "Gt"
    LT = "Lt"


@dataclass(frozen=True, slots=True, kw_only=True)
class Requirement:
    """One label test. `Gt` and `Lt` compare integers and fail, as in Kubernetes, when either side is none."""

    key: str
    operator: Operator
    values: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        needs = {Operator.IN: "at least one", Operator.NOT_IN: "at least one", Operator.GT: "one", Operator.LT: "one"}
        want = needs.get(self.operator, "no")
        count = len(self.values)
        if not {"at least one": count >= 1, "one": count == 1, "no": count == 0}[want]:
            raise InvalidInput(
                f"requirement on label '{self.key}'",
                f"operator {self.operator.value} with {count} values",
                f"give it {want} value(s)",
            )

    def matches(self, labels: Mapping[str, str]) -> bool:
        """Whether `labels` pass this test."""
        present = self.key in labels
        match self.operator:
            case Operator.EXISTS:
                return present
            case Operator.DOES_NOT_EXIST:
                return not present
            case Operator.IN:
                return present and labels[self.key] in self.values
            case Operator.NOT_IN:
                return not present or labels[self.key] not in self.values
            case Operator.GT | Operator.LT:
                if not present:
                    return False
                try:
                    have, bound = int(labels[self.key]), int(self.values[0])
                except ValueError:
                    return False
                return have > bound if self.operator is Operator.GT else have < bound


@dataclass(frozen=True, slots=True, kw_only=True)
class LabelSelector:
    """All requirements hold. The empty selector matches everything."""

    requirements: tuple[Requirement, ...] = ()

    @staticmethod
    def of(labels: Mapping[str, str]) -> LabelSelector:
        """The selector that asks for exactly these label values."""
        return LabelSelector(
            requirements=tuple(
                Requirement(key=key, operator=Operator.IN, values=(value,)) for key, value in sorted(labels.items())
            )
        )

    def matches(self, labels: Mapping[str, str]) -> bool:
        """Whether every requirement holds for `labels`."""
        return all(requirement.matches(labels) for requirement in self.requirements)


class Effect(StrEnum):
    """What a taint does to pods that do not tolerate it."""

    NO_SCHEDULE = "NoSchedule"
    PREFER_NO_SCHEDULE = "PreferNoSchedule"
    NO_EXECUTE = "NoExecute"


@dataclass(frozen=True, slots=True, kw_only=True)
class Taint:
    """A mark on a node that keeps pods away."""

    key: str
    value: str = ""
    effect: Effect = Effect.NO_SCHEDULE


@dataclass(frozen=True, slots=True, kw_only=True)
class Toleration:
    """Lets a pod ignore taints. An empty key with `exists` tolerates every taint; no effect means all effects."""

    key: str = ""
    value: str = ""
    exists: bool = False
    effect: Effect | None = None

    def tolerates(self, taint: Taint) -> bool:
        """Whether this toleration covers `taint`."""
        if self.effect is not None and self.effect is not taint.effect:
            return False
        if not self.key:
            return self.exists
        return self.key == taint.key and (self.exists or self.value == taint.value)


@dataclass(frozen=True, slots=True, kw_only=True)
class AffinityTerm:
    """Pods matched by `selector` in `namespaces`, seen per value of the node label `topology_key`."""

    selector: LabelSelector
    topology_key: str
    namespaces: frozenset[str]

    def matches(self, *, namespace: str, labels: Mapping[str, str]) -> bool:
        """Whether a pod with these labels is one that the term speaks of."""
        return namespace in self.namespaces and self.selector.matches(labels)
