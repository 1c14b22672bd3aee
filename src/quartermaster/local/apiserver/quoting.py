"""Objects as the real server quotes them in its messages: JSON in the order of Go's structs, and Go's own ``%v``.

What is stored keeps the order in which it came; only words to people need this one, so nothing else pays for it.
"""

from __future__ import annotations

from typing import Any

from quartermaster.local.apiserver.errors import Json
from quartermaster.local.apiserver.schemas import ANY, Type


def in_go_order(value: Any, type_: Type) -> Any:
    """A value with the fields of structs as Go declares them, and the keys of maps sorted."""
    if isinstance(value, list):
        return [in_go_order(item, type_.element or ANY) for item in value]
    if not isinstance(value, dict):
        return value
    if type_.shape == "struct":
        known = [key for key in type_.fields if key in value]
        rest = sorted(value.keys() - type_.fields.keys())
        return {
            key: in_go_order(value[key], type_.fields[key].type if key in type_.fields else ANY)
            for key in [*known, *rest]
        }
    return {key: in_go_order(value[key], type_.element or ANY) for key in sorted(value)}


def sorted_where(value: Any, touched: Any) -> Any:
    """`value` with sorted keys wherever `touched` has an object: what was decoded to be patched has no order left."""
    if isinstance(value, list) and isinstance(touched, dict):
        return [sorted_where(item, touched.get(str(index))) for index, item in enumerate(value)]
    if not isinstance(value, dict) or not isinstance(touched, dict):
        return value
    return {key: sorted_where(value[key], touched.get(key)) for key in sorted(value)}


def paths_of(operations: list[Json]) -> Json:
    """The objects and lists that a JSON patch looks into, as nested objects."""
    found: Json = {}
    for operation in operations:
        for name in ("path", "from"):
            inner = found
            for part in str(operation.get(name, "")).split("/")[1:-1]:
                inner = inner.setdefault(part.replace("~1", "/").replace("~0", "~"), {})
    return found


def go_text(value: Any) -> str:
    """A decoded JSON value as Go prints it: ``map[a:1 b:[x y]]``."""
    if isinstance(value, dict):
        return "map[" + " ".join(f"{key}:{go_text(value[key])}" for key in sorted(value)) + "]"
    if isinstance(value, list):
        return "[" + " ".join(map(go_text, value)) + "]"
    if isinstance(value, bool):
        return "true" if value else "false"
    return "<nil>" if value is None else str(value)
