"""Whether a schema is structural: its types can be read off its properties, whatever its junctors say.

Only such schemas can prune, default and own fields. Junctors (``anyOf`` and its kin) may restrict values of what is
specified outside of them, and specify nothing themselves.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from quartermaster.local.apiserver.errors import Cause, Json, forbidden_value, invalid_value, required

_EMPTY = {
    "root": "must not be empty at the root",
    "field": "must not be empty for specified object fields",
    "item": "must not be empty for specified array items",
}
_NOT_NESTED = {
    "type": "must be empty to be structural",
    "additionalProperties": "must be undefined to be structural",
    "default": "must be undefined to be structural",
    "title": "must be empty to be structural",
    "description": "must be empty to be structural",
    "nullable": "must be false to be structural",
    "x-kubernetes-preserve-unknown-fields": "must be false to be structural",
    "x-kubernetes-embedded-resource": "must be false to be structural",
    "x-kubernetes-int-or-string": "must be false to be structural",
    "x-kubernetes-list-map-keys": "must be empty to be structural",
    "x-kubernetes-list-type": "must be undefined to be structural",
    "x-kubernetes-map-type": "must be undefined to be structural",
    "x-kubernetes-validations": "must be empty to be structural",
}
_INT_OR_STRING = [{"type": "integer"}, {"type": "string"}]


def structural_problems(schema: Any, path: str) -> list[Cause]:
    """Where a schema is not structural, in the order of the messages."""
    found = list(_problems(schema, path, "root"))
    if isinstance(schema, dict):
        found += _incomplete(schema, schema, path, path)  # the real server looks at the junctors of the root only
    return sorted(found, key=lambda cause: f"{cause.field}: {cause.message}")


def _problems(schema: Any, path: str, level: str) -> Iterator[Cause]:
    if not isinstance(schema, dict):
        return
    kind = schema.get("type")
    free = schema.get("x-kubernetes-preserve-unknown-fields") or schema.get("x-kubernetes-int-or-string")
    if schema.get("x-kubernetes-embedded-resource") and kind != "object":
        why = "must be object if x-kubernetes-embedded-resource is true"
        yield invalid_value(f"{path}.type", kind, why) if kind else required(f"{path}.type", why)
    elif not kind and not free:
        yield required(f"{path}.type", _EMPTY[level])
    if level == "root" and kind and kind != "object":
        yield invalid_value(f"{path}.type", kind, "must be object at the root")
    if kind == "array" and not isinstance(schema.get("items"), dict):
        yield required(f"{path}.items", "must be specified")
    if schema.get("uniqueItems"):
        why = "uniqueItems cannot be set to true since the runtime complexity becomes quadratic"
        yield forbidden_value(f"{path}.uniqueItems", why)
    yield from _junctors(schema, path, level)
    yield from _problems(schema.get("items"), f"{path}.items", "item")
    for name, inner in (schema.get("properties") or {}).items():
        yield from _problems(inner, f"{path}.properties[{name}]", "field")
    more = schema.get("additionalProperties")
    if isinstance(more, dict):
        if level == "root":
            yield forbidden_value(f"{path}.additionalProperties", "must not be used at the root")
        if schema.get("properties"):
            why = "additionalProperties and properties are mutual exclusive"
            yield forbidden_value(f"{path}.additionalProperties", why)
        yield from _problems(more, f"{path}.additionalProperties", "field")


def _alternatives(schema: Json, path: str) -> Iterator[tuple[Json, str]]:
    """The schemas of all junctors of a schema, and where they are."""
    for junctor in ("anyOf", "allOf", "oneOf"):
        for index, inner in enumerate(schema.get(junctor) or ()):
            yield inner, f"{path}.{junctor}[{index}]"
    if isinstance(schema.get("not"), dict):
        yield schema["not"], f"{path}.not"


def _junctors(schema: Json, path: str, level: str) -> Iterator[Cause]:
    """What junctors specify though they may only restrict."""
    either = bool(schema.get("x-kubernetes-int-or-string"))
    if either and schema.get("anyOf") == _INT_OR_STRING:
        schema = {key: item for key, item in schema.items() if key != "anyOf"}
    for inner, at in _alternatives(schema, path):
        first = either and at == f"{path}.allOf[0]" and inner.get("anyOf") == _INT_OR_STRING
        yield from _nested({key: item for key, item in inner.items() if not (first and key == "anyOf")}, at, level)


def _nested(schema: Any, path: str, level: str) -> Iterator[Cause]:
    if not isinstance(schema, dict):
        return
    for key, why in _NOT_NESTED.items():
        if schema.get(key):
            yield forbidden_value(f"{path}.{key}", why)
    for inner, at in _alternatives(schema, path):
        yield from _nested(inner, at, level)
    yield from _nested(schema.get("items"), f"{path}.items", level)
    for name, inner in (schema.get("properties") or {}).items():
        at = f"{path}.properties[{name}]"
        if name == "metadata":
            yield forbidden_value(at, "must not be specified in a nested context")
        yield from _nested(inner, at, "field")


def _incomplete(schema: Json, whole: Any, path: str, at: str) -> Iterator[Cause]:
    """What junctors below `at` restrict and `whole`, the schema at `path`, does not specify."""
    for inner, place in _alternatives(schema, at):
        yield from _unspecified(inner, whole, path, place)


def _unspecified(inner: Any, whole: Any, path: str, at: str) -> Iterator[Cause]:
    if not isinstance(inner, dict):
        return
    if not isinstance(whole, dict):
        yield required(path, f"because it is defined in {at}")
        return
    yield from _incomplete(inner, whole, path, at)
    if "items" in inner:
        yield from _unspecified(inner["items"], whole.get("items"), f"{path}.items", f"{at}.items")
    known = whole.get("properties") or {}
    for name, part in (inner.get("properties") or {}).items():
        yield from _unspecified(part, known.get(name), f"{path}.properties[{name}]", f"{at}.properties[{name}]")
