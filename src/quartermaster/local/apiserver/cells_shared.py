"""What the rows of many kinds have in common."""

from __future__ import annotations

from typing import Any

from quartermaster.local.apiserver.ages import age
from quartermaster.local.apiserver.errors import Json
from quartermaster.local.apiserver.selectors import from_object, to_text

Row = list[Any]
NONE = "<none>"
UNSET = "<unset>"


def name_of(value: Json) -> str:
    """What it is called."""
    name: str = value["metadata"]["name"]
    return name


def age_of(value: Json, now: float) -> str:
    """How long it has been there."""
    return age(value["metadata"].get("creationTimestamp"), now)


def dig(value: Any, *path: str, default: Any = None) -> Any:
    """The value at a path, or `default`."""
    for part in path:
        value = value.get(part) if isinstance(value, dict) else None
    return default if value is None else value


def labels_text(labels: Any) -> str:
    """Labels as people write them."""
    return ",".join(f"{key}={text}" for key, text in sorted((labels or {}).items())) or NONE


def selector_text(selector: Any) -> str:
    """A selector as people write it."""
    found = from_object(selector)
    return to_text(found) or NONE if found is not None else NONE


def containers_of(template: Any) -> tuple[str, str]:
    """Names and images of containers."""
    containers = dig(template, "spec", "containers", default=[])
    names = ",".join(item.get("name", "") for item in containers)
    return names, ",".join(item.get("image", "") for item in containers)


def template_of(value: Json) -> tuple[str, str]:
    """Names and images of a workload's containers."""
    return containers_of(dig(value, "spec", "template"))
