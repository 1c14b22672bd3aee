"""Objects of our kinds as typed values, and why one cannot be used: a reason for programs, a sentence for people."""

from __future__ import annotations

from collections.abc import Sequence
from enum import StrEnum
from typing import Any, NamedTuple, TypeVar

import msgspec

from quartermaster.api.v1alpha1 import Part
from quartermaster.model.errors import InvalidInput

Json = dict[str, Any]
T = TypeVar("T", bound=Part)


class Reason(StrEnum):
    """Why an object is not in use; they are reasons of conditions."""

    INVALID_SPEC = "InvalidSpec"
    PARENT_NOT_FOUND = "ParentNotFound"
    PARENT_CYCLE = "ParentCycle"
    PARENT_NOT_READY = "ParentNotReady"
    PODS_MISSING = "PodsMissing"
    QUEUE_NOT_FOUND = "QueueDoesNotExist"
    QUEUE_NOT_LEAF = "QueueHasQueuesBelow"
    TOPOLOGY_NOT_FOUND = "TopologyNotFound"
    PRIORITY_CLASS_NOT_FOUND = "PriorityClassNotFound"


class Problem(NamedTuple):
    """Why an object cannot be used."""

    reason: Reason
    message: str


def read(value: Json, kind: type[T]) -> T:
    """An object as a value; raises InvalidInput with the path of the field that is wrong."""
    try:
        return msgspec.convert(value, kind)
    except msgspec.ValidationError as wrong:
        problem, _, path = str(wrong).partition(" - at `$.")
        raise InvalidInput(path.rstrip("`") or "object", problem, "see kubectl explain") from None


def written(value: Part) -> Json:
    """A value as JSON, less what is None."""
    made: Json = _without_none(msgspec.to_builtins(value))
    return made


def _without_none(value: Any) -> Any:
    if isinstance(value, dict):
        return {name: _without_none(item) for name, item in value.items() if item is not None}
    if isinstance(value, list | tuple):
        return [_without_none(item) for item in value]
    return value


def many(names: Sequence[str], most: int = 5) -> str:
    """Some names, and how many more."""
    return ", ".join(names[:most]) + (f" and {len(names) - most} more" if len(names) > most else "")
