"""CEL, the expression language of Kubernetes policies."""

from __future__ import annotations

from quartermaster.local.apiserver.errors import Cause, Json


class Rules:
    """x-kubernetes-validations of a schema."""

    def __init__(self, schema: Json) -> None:
        self._schema = schema

    def check(self, value: Json, old: Json | None) -> list[Cause]:
        """What does not hold."""
        del value, old
        return []
