"""What every status is made of: conditions that remember when they changed, and patches that say only what is new."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, NamedTuple

from quartermaster.api.reading import Json, written
from quartermaster.api.times import stamp
from quartermaster.api.v1alpha1 import Condition, Part


class Said(NamedTuple):
    """A condition as it is now."""

    type: str
    holds: bool
    reason: str
    message: str = ""


def conditions(value: Json, said: Iterable[Said], *, now: float) -> list[Condition]:
    """The conditions of an object; the time of one whose status did not change stays. Others' conditions stay too."""
    before = {item["type"]: item for item in (value.get("status") or {}).get("conditions") or ()}
    found = []
    for one in said:
        was = before.pop(one.type, {})
        status = "True" if one.holds else "False"
        found.append(
            Condition(
                type=one.type,
                status="True" if one.holds else "False",
                reason=one.reason,
                message=one.message,
                last_transition_time=was["lastTransitionTime"] if was.get("status") == status else stamp(now),
                observed_generation=value["metadata"].get("generation", 0),
            )
        )
    return found + [_kept(item) for item in before.values()]


def _kept(item: Json) -> Condition:
    return Condition(
        type=item["type"],
        status=item["status"],
        reason=item["reason"],
        message=item.get("message", ""),
        last_transition_time=item["lastTransitionTime"],
        observed_generation=item.get("observedGeneration", 0),
    )


def patch(value: Json, status: Part) -> Json | None:
    """The merge patch that gives an object this status; None if it has it, so that nothing is written."""
    change = _difference(value.get("status") or {}, written(status))
    return {"status": change} if change else None


def _difference(before: Json, after: Json) -> Json:
    """Of two JSON objects, what a merge patch has to say; null removes."""
    change: dict[str, Any] = {name: None for name in before if name not in after}
    for name, item in after.items():
        was = before.get(name)
        if isinstance(item, dict) and isinstance(was, dict):
            if inner := _difference(was, item):
                change[name] = inner
        elif item != was:
            change[name] = item
    return change
