"""Applied configurations: from a body to an object that says only what it says.

What is wrong with one is said as the library of server-side apply says it, by paths through its typed values; whether
it is an object of its kind otherwise is found out when it has been merged.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import yaml

from quartermaster.local.apiserver.codec import Malformed, decode, plain_yaml
from quartermaster.local.apiserver.errors import ApiError, Json, bad_request
from quartermaster.local.apiserver.fieldsets import child, item_key, step_text
from quartermaster.local.apiserver.kinds import Kind
from quartermaster.local.apiserver.normal import Mismatch, normalize
from quartermaster.local.apiserver.quoting import go_text
from quartermaster.local.apiserver.schemas import ANY, Type

_GO_TYPES = {str: "string", bool: "bool", list: "[]interface {}", dict: "map[string]interface {}"}
_SHAPES = {"struct": dict, "map": dict, "list": list}


def configuration(raw: bytes, kind: Kind, name: str) -> Json:
    """An applied configuration of `kind` for the object called `name`. Raises ApiError 400."""
    config = _read(raw)
    said = str(config.get("apiVersion") or ""), str(config.get("kind") or "")
    if said != (kind.api_version, kind.kind):
        group_version = said[0] if said[0] or said[1] else "/"
        raise bad_request(f"invalid object type: {group_version}, Kind={said[1]}")
    metadata = config.setdefault("metadata", {})
    if not isinstance(metadata, dict):
        raise _untyped(config, kind, [f".metadata: expected map, got {_shown(metadata)}"])
    if metadata.get("managedFields") is not None:
        raise bad_request("metadata.managedFields must be nil")
    if metadata.get("name", name) != name:
        raise bad_request(f"the name of the object ({metadata['name']}) does not match the name on the URL ({name})")
    return config


def check_named(config: Json, name: str) -> None:
    """Whether a configuration that makes an object names it; raises ApiError 400."""
    if not config["metadata"].get("name"):
        raise bad_request(f"the name of the object ({name} based on URL) was undeterminable: name must be provided")


def _read(raw: bytes) -> Json:
    config: Any
    try:
        config = decode(raw)
    except Malformed:
        try:
            config = plain_yaml(raw)
        except yaml.YAMLError as wrong:
            text = f"error decoding YAML: error converting YAML to JSON: yaml: {_yaml_problem(wrong)}"
            raise bad_request(text) from None
        except (ValueError, RecursionError) as wrong:
            raise bad_request(f"error decoding YAML: error converting YAML to JSON: {wrong}") from None
    if config is None:
        return {}
    if not isinstance(config, dict):
        found = {list: "array", str: "string", bool: "bool"}.get(type(config), "number")
        why = f"error unmarshaling JSON: while decoding JSON: json: cannot unmarshal {found} into Go value of type "
        raise bad_request(f"error decoding YAML: {why}map[string]interface {{}}")
    return config


def _yaml_problem(wrong: yaml.YAMLError) -> str:
    """The problem and its line, counted as Go's library counts: from zero, but for what its scanner finds."""
    if not isinstance(wrong, yaml.MarkedYAMLError):
        return str(wrong)
    lines = [mark.line for mark in (wrong.context_mark, wrong.problem_mark) if mark is not None and mark.line]
    at = lines[0] + isinstance(wrong, yaml.scanner.ScannerError) if lines else 0
    return f"line {at}: {wrong.problem}" if at else str(wrong.problem)


def check_configuration(config: Json, kind: Kind, type_: Type, *, strict: bool) -> None:
    """Bring a configuration into normal form as far as it goes; raises ApiError 400, or 500 as the real server does.

    Structs that are always written are not part of what was applied, so nothing is added.
    """
    if kind.custom is not None:
        kind.custom.decode_applied(config, strict=strict)
        return
    problems = list(_problems(config, type_, ""))
    if problems:
        raise _untyped(config, kind, problems)
    try:
        normalize(config, type_, whole=False)
    except Mismatch as wrong:
        raise ApiError(500, "", wrong.conversion) from None


def _untyped(config: Json, kind: Kind, problems: list[str]) -> ApiError:
    metadata = config["metadata"] if isinstance(config.get("metadata"), dict) else {}
    who = f"{metadata.get('namespace', '')}/{metadata.get('name', '')}; {kind.api_version}, Kind={kind.kind}"
    text = problems[0] if len(problems) == 1 else "errors:\n" + "\n".join(f"  {problem}" for problem in problems)
    return ApiError(500, "", f"failed to create typed patch object ({who}): {text}")


def _problems(value: Any, type_: Type, path: str) -> Iterator[str]:
    """What does not fit the schema, field by field."""
    if value is None or type_.shape == "any":
        return
    wanted: type[Any] | None = _SHAPES.get(type_.shape)
    if wanted is None:
        problem = _scalar_problem(value, type_.shape)
        if problem:
            yield f"{path}: {problem}"
    elif not isinstance(value, wanted):
        yield f"{path}: expected {'list' if wanted is list else 'map'}, got {_shown(value)}"
    elif isinstance(value, dict):
        for key, item in sorted(value.items()):
            of, field = child(type_, key)
            if type_.shape == "struct" and field is None and not type_.preserve:
                yield f"{path}.{key}: field not declared in schema"
            else:
                yield from _problems(item, of, f"{path}.{key}")
    else:
        yield from _list_problems(value, type_, path)


def _list_problems(items: list[Any], type_: Type, path: str) -> Iterator[str]:
    seen: set[str] = set()
    for index, item in enumerate(items):
        step = f"[{index}]"
        if not type_.atomic:
            if type_.keys and not isinstance(item, dict):
                kind = "a null element" if item is None else "non-map elements"
                yield f"{path}: element {index}: associative list with keys may not have {kind}"
                return
            if type_.keys and item_key(type_, item) == "k:{}":
                names = "[" + " ".join(f'"{key}"' for key in type_.keys) + "]"
                why = f"omits all key fields {names} (and doesn't have default values for any key fields)"
                yield f"{path}: element {index}: associative list with keys has an element that {why}"
                return
            key = item_key(type_, item)
            step = step_text(key)
            if key in seen:
                yield f"{path}: duplicate entries for key {step}"
            seen.add(key)
        yield from _problems(item, type_.element or ANY, path + step)


def _scalar_problem(value: Any, shape: str) -> str:
    number = isinstance(value, int | float) and not isinstance(value, bool)
    if shape in ("integer", "number"):
        return "" if number else f"expected numeric (int or float), got {_GO_TYPES[type(value)]}"
    if shape == "boolean":
        return "" if isinstance(value, bool) else f"expected boolean, got {_shown(value)}"
    if shape in ("string", "bytes"):
        return (
            "" if isinstance(value, str) else f"expected string, got &value.valueUnstructured{{Value:{_shown(value)}}}"
        )
    return f"expected any scalar, got {_shown(value)}" if isinstance(value, dict | list) else ""


def _shown(value: Any) -> str:
    return f"&{{{go_text(value)}}}"
