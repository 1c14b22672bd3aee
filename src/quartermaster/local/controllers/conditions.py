"""Conditions of a status: a list by type in which only a change of status moves lastTransitionTime."""

from __future__ import annotations

from quartermaster.local.apiserver.codec import timestamp
from quartermaster.local.controllers.objects import Json


def find(value: Json, kind: str) -> Json | None:
    """The condition of type `kind` of an object."""
    found: list[Json] = (value.get("status") or {}).get("conditions") or []
    return next((condition for condition in found if condition.get("type") == kind), None)


def is_true(value: Json, kind: str) -> bool:
    """Whether an object has the condition with status True."""
    condition = find(value, kind)
    return condition is not None and condition.get("status") == "True"


def put(conditions: list[Json], condition: Json, now: float) -> list[Json]:
    """The list with `condition` (type, status, reason, message) in it, times filled in.

    An equal condition keeps its times; one of equal status keeps lastTransitionTime.
    """
    old = next((item for item in conditions if item["type"] == condition["type"]), None)
    if old is not None and all(old.get(key) == value for key, value in condition.items()):
        return conditions
    made = dict(condition)
    made["lastTransitionTime"] = (
        old["lastTransitionTime"]
        if old is not None and old.get("status") == condition["status"] and "lastTransitionTime" in old
        else timestamp(now)
    )
    if old is None:
        return [*conditions, made]
    return [made if item is old else item for item in conditions]


def without(conditions: list[Json], kind: str) -> list[Json]:
    """The list without type `kind`."""
    return [condition for condition in conditions if condition["type"] != kind]
