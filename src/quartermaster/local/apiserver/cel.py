"""CEL in Kubernetes: rules of schemas and admission policies.

The language is a library's (docs/decisions/0010-cel.md); cel_syntax.py has what it cannot read, cel_library.py the
functions that Kubernetes adds, and here is the walk of a schema that finds its ``x-kubernetes-validations``. An
expression that cannot be compiled or fails is an error of its own, never a pass.
"""

from __future__ import annotations

import contextlib
import re
from collections.abc import Iterator
from functools import lru_cache
from typing import Any

from quartermaster.local.apiserver.cel_library import functions
from quartermaster.local.apiserver.cel_syntax import plain
from quartermaster.local.apiserver.errors import Cause, Json, shown
from quartermaster.local.apiserver.normal import json_type

RULES = "x-kubernetes-validations"


class CelError(ValueError):
    """An expression that cannot be compiled or evaluated."""


@lru_cache(maxsize=2048)
def program(expression: str) -> Any:
    """A compiled expression; raises CelError."""
    import cel  # noqa: PLC0415  # a native library, only for those who write rules

    try:
        return cel.compile(plain(expression))
    except (ValueError, RuntimeError, TypeError) as wrong:
        raise CelError(str(wrong)) from None


def evaluate(expression: str, variables: Json) -> Any:
    """The value of an expression; raises CelError."""
    import cel  # noqa: PLC0415

    try:
        return program(expression).execute(cel.Context(variables=variables, functions=functions()))
    except CelError:
        raise
    except Exception as wrong:  # noqa: BLE001  # the library and our functions raise many kinds; all say: no value
        raise CelError(str(wrong)) from None


class Rules:
    """The rules of a schema."""

    def __init__(self, schema: Json) -> None:
        self._schema = schema if _has_rules(schema) else None

    @property
    def any(self) -> bool:
        """Whether there is one."""
        return self._schema is not None

    def check(self, value: Json, old: Json | None) -> list[Cause]:
        """What does not hold."""
        if self._schema is None:
            return []
        return list(_check(value, old, self._schema, ""))


def _has_rules(schema: Any) -> bool:
    if not isinstance(schema, dict):
        return False
    inner = [*(schema.get("properties") or {}).values(), schema.get("items"), schema.get("additionalProperties")]
    return bool(schema.get(RULES)) or any(map(_has_rules, inner))


def _check(value: Any, old: Any, schema: Any, path: str) -> Iterator[Cause]:
    if not isinstance(schema, dict) or value is None:
        return
    for rule in schema.get(RULES) or ():
        yield from _rule(value, old, rule, path + _below(rule.get("fieldPath") or "", schema))
    if isinstance(value, dict):
        before = old if isinstance(old, dict) else {}
        properties = schema.get("properties") or {}
        more = schema.get("additionalProperties")
        for name, item in value.items():
            inner = properties.get(name, more)
            if isinstance(inner, dict):
                yield from _check(item, before.get(name), inner, f"{path}.{name}")
    elif isinstance(value, list) and isinstance(schema.get("items"), dict):
        known = _by_key(old, schema)
        for index, item in enumerate(value):
            was = known.get(_key(item, schema)) if known else None
            yield from _check(item, was, schema["items"], f"{path}[{index}]")


def _key(item: Any, schema: Json) -> Any:
    keys = schema.get("x-kubernetes-list-map-keys") or ()
    return tuple(str(item.get(key)) for key in keys) if isinstance(item, dict) else None


def _by_key(old: Any, schema: Json) -> dict[Any, Any]:
    if not isinstance(old, list) or schema.get("x-kubernetes-list-type") != "map":
        return {}
    return {_key(item, schema): item for item in old}


_STEP = re.compile(r"\.(\w+)|\['((?:[^'\\]|\\.)*)'\]")


def _below(field_path: str, schema: Any) -> str:
    """What a rule says that it is about, as the real server shows it: keys of maps in brackets."""
    shown = ""
    for match in _STEP.finditer(field_path):
        name = match[1] or match[2]
        properties = schema.get("properties") or {} if isinstance(schema, dict) else {}
        if name in properties:
            shown, schema = f"{shown}.{name}" if shown else name, properties[name]
        else:
            shown, schema = f"{shown}[{name}]", schema.get("additionalProperties") if isinstance(schema, dict) else None
    return f".{shown}" if shown else ""


def _rule(value: Any, old: Any, rule: Json, path: str) -> Iterator[Cause]:
    expression = rule["rule"]
    variables: Json = {"self": value}
    if re.search(r"\boldSelf\b", expression):
        if old is None and not rule.get("optionalOldSelf"):
            return
        variables["oldSelf"] = old
    at = path.lstrip(".")
    kind = {"bool": "boolean", "number": "integer"}.get(json_type(value), json_type(value))
    bad = f"{shown(value)}: " if kind not in ("object", "array") else ""
    try:
        holds = evaluate(expression, variables)
    except CelError as wrong:
        text = f"rule evaluation error: {wrong} evaluating rule: {rule.get('message') or expression}"
        yield Cause("FieldValueInvalid", f"Invalid value: {bad}{text}", at)
        return
    if holds is True or ("oldSelf" not in variables and old is not None and old == value):
        return  # what was wrong before and did not change may stay
    message = rule.get("message") or f"failed rule: {expression}"
    if rule.get("messageExpression"):
        with contextlib.suppress(CelError):
            message = str(evaluate(rule["messageExpression"], variables))
    reason = rule.get("reason") or "FieldValueInvalid"
    lead = {"FieldValueForbidden": "Forbidden: ", "FieldValueRequired": "Required value: "}
    yield Cause(reason, lead.get(reason, f"Invalid value: {bad}") + message, at)
