"""How many pods of a kind may be taken down at once: Kubernetes' PodDisruptionBudget, as far as eviction asks it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from quartermaster.model.errors import InvalidInput
from quartermaster.model.labels import LabelSelector


@dataclass(frozen=True, slots=True, kw_only=True)
class DisruptionBudget:
    """Pods of `namespace` matched by `selector`, of which `allowed` more may be evicted now."""

    name: str
    namespace: str
    selector: LabelSelector
    allowed: int

    def __post_init__(self) -> None:
        if self.allowed < 0:
            raise InvalidInput(
                f"disruption budget '{self.name}': allowed", f"{self.allowed} is negative", "give 0 or more"
            )

    def covers(self, *, namespace: str, labels: Mapping[str, str]) -> bool:
        """Whether a pod counts against this budget."""
        return namespace == self.namespace and self.selector.matches(labels)
