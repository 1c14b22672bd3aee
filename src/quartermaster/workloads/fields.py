"""Fields of objects that others wrote: absent ones have defaults, wrong ones are told by their path.

An API server has checked the types of what it serves, a manifest nobody has; so every reader goes through here, and a
mistake is an `InvalidInput` that names the field.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterator
from typing import Any

from quartermaster.model.errors import InvalidInput
from quartermaster.workloads.group import Json

MANY = 10_000
"""More groups, or parts of one, from one object are taken for a mistake: they would fill the memory first."""


def at(value: Json, path: str, *, where: str = "") -> Any:
    """What is at ``a.b.c``; None if any of it is absent. Keys that have dots in them are not for this."""
    found: Any = value
    keys = path.split(".")
    for depth, key in enumerate(keys):
        if found is None:
            return None
        if not isinstance(found, dict):
            inside = ".".join(filter(None, (where, *keys[:depth])))
            raise InvalidInput(inside or "the object", f"is {_said(found)}", "give a mapping")
        found = found.get(key)
    return found


def mapping(value: Json, path: str, *, where: str = "") -> Json:
    """The mapping at `path`, empty if absent."""
    found = at(value, path, where=where)
    if found is None:
        return {}
    if not isinstance(found, dict):
        raise InvalidInput(_join(where, path), f"is {_said(found)}", "give a mapping")
    return found


def items(value: Json, path: str, *, where: str = "") -> Iterator[tuple[str, Json]]:
    """The mappings listed at `path`, each with the path by which it is to be named."""
    found = at(value, path, where=where)
    if found is None:
        return
    if not isinstance(found, list):
        raise InvalidInput(_join(where, path), f"is {_said(found)}", "give a list")
    for index, item in enumerate(found):
        name = f"{_join(where, path)}[{index}]"
        if not isinstance(item, dict):
            raise InvalidInput(name, f"is {_said(item)}", "give a mapping")
        yield name, item


def count(value: Json, path: str, default: int, *, where: str = "") -> int:
    """A number of things, 0 or more; digits in quotes are a number too."""
    found = optional(value, path, where=where)
    return default if found is None else found


def optional(value: Json, path: str, *, where: str = "") -> int | None:
    """As `count`, with None for what is absent."""
    found = at(value, path, where=where)
    return None if found is None else _number(found, _join(where, path))


def few(number: int, where: str) -> int:
    """A number of things that are told one by one."""
    if number > MANY:
        raise InvalidInput(where, f"is {number}", f"give at most {MANY}")
    return number


def _number(found: object, where: str) -> int:
    if isinstance(found, str) and found.strip().isdecimal():
        found = int(found)
    if isinstance(found, float) and found.is_integer():
        found = int(found)
    if isinstance(found, bool) or not isinstance(found, int) or found < 0:
        raise InvalidInput(where, f"{_said(found)} is no count", "give a whole number of 0 or more")
    return found


def text(value: Json, path: str, *, where: str = "") -> str:
    """A word; empty if absent."""
    found = at(value, path, where=where)
    if found is None:
        return ""
    if isinstance(found, dict | list | bool):
        raise InvalidInput(_join(where, path), f"is {_said(found)}", "give a text")
    return str(found)


def flag(value: Json, path: str, *, where: str = "") -> bool:
    """Whether it is set; false if absent."""
    found = at(value, path, where=where)
    if found is None:
        return False
    if not isinstance(found, bool):
        raise InvalidInput(_join(where, path), f"is {_said(found)}", "give true or false")
    return found


# ---- metadata


def label(value: Json | None, *keys: str) -> str:
    """The first of these labels that it has; empty if none."""
    return _mark(value, "labels", keys)


def annotation(value: Json | None, *keys: str) -> str:
    """The first of these annotations that it has; empty if none."""
    return _mark(value, "annotations", keys)


def mark(value: Json | None, *keys: str) -> str:
    """The first of these that it has as a label or, failing that, as an annotation."""
    return label(value, *keys) or annotation(value, *keys)


def _mark(value: Json | None, what: str, keys: tuple[str, ...]) -> str:
    metadata = None if value is None else value.get("metadata")
    marks = metadata.get(what) if isinstance(metadata, dict) else metadata
    if not marks:
        return ""  # most have none, and every object is asked for dozens
    if not isinstance(marks, dict):
        raise InvalidInput(f"metadata.{what}", f"is {_said(marks)}", "give a mapping")
    for key in keys:
        found = marks.get(key)
        if isinstance(found, dict | list):
            raise InvalidInput(f"metadata.{what}[{key}]", f"is {_said(found)}", "give a text")
        if found not in (None, ""):
            return str(found).lower() if isinstance(found, bool) else str(found)
    return ""


def marked_count(value: Json | None, *keys: str) -> int | None:
    """A count that stands in an annotation or label; None if none of them is there."""
    found = mark(value, *keys)
    return _number(found, f"annotation {keys[0] if len(keys) == 1 else ' or '.join(keys)}") if found else None


def name_of(value: Json) -> str:
    """Its name, or what the server will begin it with."""
    name = text(value, "metadata.name")
    return name or text(value, "metadata.generateName").rstrip("-.") or text(value, "kind").lower() or "unnamed"


def group_kind(value: Json) -> tuple[str, str]:
    """(API group, kind)."""
    version = text(value, "apiVersion")
    return version.rpartition("/")[0], text(value, "kind")


def version_of(value: Json) -> str:
    """``v1`` of ``batch/v1``."""
    return text(value, "apiVersion").rpartition("/")[2]


_DURATION = re.compile(r"(\d+(?:\.\d+)?)(ms|us|µs|ns|d|h|m|s)")
_UNITS = {"d": 86400.0, "h": 3600.0, "m": 60.0, "s": 1.0, "ms": 1e-3, "us": 1e-6, "µs": 1e-6, "ns": 1e-9}


def seconds(said: str, where: str) -> float | None:
    """``90s``, ``1h30m``, ``never`` or plain seconds; None for an empty text."""
    if not said:
        return None
    if said == "never":
        return math.inf
    if re.fullmatch(r"\d+(\.\d+)?", said):
        return float(said)
    parts = _DURATION.findall(said)
    if "".join(number + unit for number, unit in parts) != said:
        raise InvalidInput(where, f"'{said}' is no duration", "give seconds, or such as 90s, 30m, 1h30m")
    return sum(float(number) * _UNITS[unit] for number, unit in parts)


def _join(where: str, path: str) -> str:
    return f"{where}.{path}" if where else path


def _said(found: object) -> str:
    shown = repr(found)
    return shown if len(shown) <= 40 else f"{shown[:37]}..."
