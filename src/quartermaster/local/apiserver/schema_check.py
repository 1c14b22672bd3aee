"""Whether a value is what a JSON schema says: custom resources are checked by it.

The checks, their order and their words are those of kube-openapi, on which the real server rests. What an update leaves
as it was is let pass even if it is wrong, so that a schema can become stricter.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from functools import lru_cache
from typing import Any

from quartermaster.local.apiserver.codec import encode, seconds_of
from quartermaster.local.apiserver.errors import Cause, Json, duplicate_value, required, shown
from quartermaster.local.apiserver.normal import json_type

ABSENT = object()
"""In place of an old value: there is none to compare with."""

BLOCKING = frozenset(
    (
        "FieldValueNotSupported",
        "FieldValueRequired",
        "FieldValueTooLong",
        "FieldValueTooMany",
        "FieldValueTypeInvalid",
    )
)
"""Reasons for which rules in CEL are not even asked."""

_TYPES: dict[str, tuple[type, ...]] = {
    "object": (dict,),
    "array": (list,),
    "string": (str,),
    "boolean": (bool,),
    "integer": (int,),
    "number": (int, float),
}


@dataclass(slots=True)
class _Result:
    """What is wrong, and how many checks were made: of several alternatives the one with most of them explains."""

    causes: list[Cause] = field(default_factory=list)
    checks: int = 0

    def take(self, other: _Result) -> None:
        self.causes += [cause for cause in other.causes if cause not in self.causes]
        self.checks += other.checks


def check(value: Any, schema: Json, old: Any = ABSENT, *, at: str = "") -> list[Cause]:
    """What is wrong with `value`, which is a field `at` of the object (empty: all of it)."""
    found = _check(value, schema, "", old).causes
    if not at:
        return [cause if cause.field else Cause(cause.reason, cause.message, "<nil>") for cause in found]
    return [Cause(cause.reason, cause.message, f"{at}.{cause.field}" if cause.field else at) for cause in found]


def duplicates(value: Any, schema: Any, path: str = "") -> Iterator[Cause]:
    """Items that are twice in a list that is a set or a map."""
    if not isinstance(schema, dict):
        return
    if isinstance(value, dict):
        properties = schema.get("properties") or {}
        for name, item in value.items():
            inner = properties.get(name, schema.get("additionalProperties"))
            yield from duplicates(item, inner, f"{path}.{name}" if path else name)
    elif isinstance(value, list):
        kind, keys = schema.get("x-kubernetes-list-type"), schema.get("x-kubernetes-list-map-keys") or ()
        seen = set()
        for index, item in enumerate(value):
            if kind in ("set", "map"):
                name = {key: item.get(key) for key in keys} if kind == "map" and isinstance(item, dict) else item
                text = encode(name)
                if text in seen:
                    yield duplicate_value(f"{path}[{index}]", name)
                seen.add(text)
            yield from duplicates(item, schema.get("items"), f"{path}[{index}]")


def _check(value: Any, schema: Json, path: str, old: Any) -> _Result:
    result = _Result(checks=1)
    result.take(_type(value, schema, path))
    if value is not None:
        result.take(_junctors(value, schema, path, old))
        result.checks += 2
    if isinstance(value, str):
        result.causes += _string(value, schema, path)
    elif isinstance(value, list):
        result.take(_list(value, schema, path, old))
    elif isinstance(value, int | float) and not isinstance(value, bool):
        result.causes += _number(value, schema, path)
        result.checks += 1
    if "enum" in schema and not any(_same(value, item) for item in schema["enum"]):
        known = ", ".join(shown(item) for item in schema["enum"])
        text = f"Unsupported value: {shown(value)}: supported values: {known}"
        result.causes.append(Cause("FieldValueNotSupported", text, _name(path)))
    if isinstance(value, dict):
        result.take(_object(value, schema, path, old))
    if result.causes and old is not ABSENT and _same(value, old):
        return _Result(checks=result.checks)
    return result


def _same(one: Any, other: Any) -> bool:
    return type(one) is type(other) and one == other if isinstance(one, bool | int) else bool(one == other)


def _name(path: str) -> str:
    return path.removeprefix(".")


def _bad(path: str, value: Any, text: str) -> Cause:
    return Cause("FieldValueInvalid", f"Invalid value: {shown(value)}: {path} in body {text}", _name(path))


def _many(count: int, what: str) -> str:
    return f"{count} {what}" + ("" if count == 1 else "s")


def _whole(path: str, text: str) -> Cause:
    """Of a schema as a whole: the real server names the place only in the text."""
    return Cause("FieldValueInvalid", f'Invalid value: "": "{path}" {text}', "")


def _type(value: Any, schema: Json, path: str) -> _Result:
    wanted = ["integer", "string"] if schema.get("x-kubernetes-int-or-string") else [schema.get("type") or ""]
    if wanted == [""] or (value is None and schema.get("nullable")):
        return _Result(checks=1)
    if value is not None and any(is_type(value, name) for name in wanted):
        return _Result(checks=1)
    kind = "null" if value is None else json_type(value)
    kind = {"bool": "boolean", "number": "integer" if isinstance(value, int) else "number"}.get(kind, kind)
    text = f'Invalid value: "{kind}": {path} in body must be of type {",".join(wanted)}: "{kind}"'
    return _Result([Cause("FieldValueTypeInvalid", text, _name(path))])


def is_type(value: Any, kind: str) -> bool:
    """Whether a value is of a JSON schema type."""
    if kind in ("integer", "number") and isinstance(value, bool):
        return False
    if kind == "integer" and isinstance(value, float):
        return value.is_integer()
    return isinstance(value, _TYPES.get(kind, (object,)))


def _junctors(value: Any, schema: Json, path: str, old: Any) -> _Result:
    result = _Result(checks=1)

    def tried(name: str) -> list[_Result]:
        return [_check(value, inner, path, old) for inner in schema.get(name) or ()]

    alternatives = tried("anyOf")
    if alternatives and all(one.causes for one in alternatives):
        result.causes.append(_whole(path, "must validate at least one schema (anyOf)"))
        result.take(max(alternatives, key=lambda one: one.checks))
    alternatives = tried("oneOf")
    valid = sum(not one.causes for one in alternatives)
    if alternatives and valid != 1:
        how = f"Found {valid} valid alternatives" if valid else "Found none valid"
        result.causes.append(_whole(path, f"must validate one and only one schema (oneOf). {how}"))
        if not valid:
            result.take(max(alternatives, key=lambda one: one.checks))
    alternatives = tried("allOf")
    for one in alternatives:
        result.take(one)
    if any(one.causes for one in alternatives):
        none = ". None validated" if all(one.causes for one in alternatives) else ""
        result.causes.append(_whole(path, f"must validate all the schemas (allOf){none}"))
    if isinstance(schema.get("not"), dict) and not _check(value, schema["not"], path, old).causes:
        result.causes.append(_whole(path, "must not validate the schema (not)"))
    return result


def _string(value: str, schema: Json, path: str) -> Iterator[Cause]:
    """The first thing that is wrong, and the format."""
    if len(value) > schema.get("maxLength", len(value)):
        text = f"Too long: may not be more than {_many(schema['maxLength'], 'byte')}"
        yield Cause("FieldValueTooLong", text, _name(path))
    elif len(value) < schema.get("minLength", 0):
        yield _bad(path, value, f"should be at least {schema['minLength']} chars long")
    elif schema.get("pattern"):
        compiled = expression(schema["pattern"])
        if compiled is not None and not compiled.search(value):
            yield _bad(path, value, f"should match '{schema['pattern']}'")
    known = _FORMATS.get(str(schema.get("format", "")).replace("-", ""))
    if known is not None and not known(value):
        text = f"Invalid value: {shown(value)}: {path} in body must be of type {schema['format']}: {shown(value)}"
        yield Cause("FieldValueTypeInvalid", text, _name(path))


@lru_cache(maxsize=1024)
def expression(pattern: str) -> re.Pattern[str] | None:
    """A Go regular expression, compiled; None if Python cannot."""
    try:
        return re.compile(pattern.replace("\\z", "\\Z"))
    except re.error:
        return None


_FORMATS: dict[str, Callable[[str], bool]] = {
    "datetime": lambda value: seconds_of(value) is not None,
    "date": lambda value: seconds_of(f"{value}T00:00:00Z") is not None,
    "uuid": lambda value: re.fullmatch(r"[0-9a-fA-F]{8}(-?[0-9a-fA-F]{4}){3}-?[0-9a-fA-F]{12}", value) is not None,
    "byte": lambda value: (
        re.fullmatch(r"(?:[A-Za-z0-9+/]{4})*(?:[A-Za-z0-9+/]{2}==|[A-Za-z0-9+/]{3}=)?", value) is not None
    ),
}


def _number(value: float, schema: Json, path: str) -> Iterator[Cause]:
    if schema.get("type") == "integer" and schema.get("format") == "int32" and not -(1 << 31) <= value < 1 << 31:
        text = f'Invalid value: "": Checked value must be of type integer with format int32 in {path}'
        yield Cause("FieldValueInvalid", text, "")
    step, low, high = schema.get("multipleOf"), schema.get("minimum"), schema.get("maximum")
    if step and value % step:
        yield _bad(path, value, f"should be a multiple of {step}")
    if low is not None and (value < low or (schema.get("exclusiveMinimum") and value == low)):
        equal = "" if schema.get("exclusiveMinimum") else " or equal to"
        yield _bad(path, value, f"should be greater than{equal} {low}")
    if high is not None and (value > high or (schema.get("exclusiveMaximum") and value == high)):
        equal = "" if schema.get("exclusiveMaximum") else " or equal to"
        yield _bad(path, value, f"should be less than{equal} {high}")


def _list(value: list[Any], schema: Json, path: str, old: Any) -> _Result:
    result = _Result(checks=2)
    items = schema.get("items")
    before = _by_key(old, schema)
    for index, item in enumerate(value):
        if isinstance(items, dict):
            was = before.get(_key(item, schema), ABSENT) if before else ABSENT
            result.take(_check(item, items, f"{path}[{index}]", was))
    if len(value) < schema.get("minItems", 0):
        result.causes.append(_bad(path, len(value), f"should have at least {schema['minItems']} items"))
    if len(value) > schema.get("maxItems", len(value)):
        text = f"Too many: {len(value)}: must have at most {_many(schema['maxItems'], 'item')}"
        result.causes.append(Cause("FieldValueTooMany", text, _name(path)))
    if schema.get("uniqueItems") and len({encode(item) for item in value}) < len(value):
        text = f'Invalid value: "": {path} in body shouldn\'t contain duplicates'
        result.causes.append(Cause("FieldValueInvalid", text, _name(path)))
    return result


def _key(item: Any, schema: Json) -> bytes | None:
    keys = schema.get("x-kubernetes-list-map-keys") or ()
    return encode([item.get(key) for key in keys]) if isinstance(item, dict) else None


def _by_key(old: Any, schema: Json) -> dict[bytes | None, Any]:
    """The items that an old list had, by what names them; none of a list whose items have no names."""
    if not isinstance(old, list) or schema.get("x-kubernetes-list-type") != "map":
        return {}
    return {_key(item, schema): item for item in old}


def _object(value: Json, schema: Json, path: str, old: Any) -> _Result:
    result = _Result()
    before = old if isinstance(old, dict) else {}
    if len(value) < schema.get("minProperties", 0):
        result.causes.append(_bad(path, len(value), f"should have at least {schema['minProperties']} properties"))
    if len(value) > schema.get("maxProperties", len(value)):
        text = f"Too many: {len(value)}: must have at most {_many(schema['maxProperties'], 'item')}"
        result.causes.append(Cause("FieldValueTooMany", text, _name(path)))
    properties, more = schema.get("properties") or {}, schema.get("additionalProperties")
    if isinstance(more, dict):
        for name, item in value.items():
            if name not in properties:
                result.take(_check(item, more, f"{path}.{name}", before.get(name, ABSENT)))
    for name, inner in properties.items():
        if name in value:
            result.take(_check(value[name], inner, f"{path}.{name}" if path else name, before.get(name, ABSENT)))
    result.causes += [required(_name(f"{path}.{name}")) for name in schema.get("required") or () if name not in value]
    return result
