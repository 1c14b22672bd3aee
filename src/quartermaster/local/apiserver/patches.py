"""JSON patch (RFC 6902), JSON merge patch (RFC 7386), strategic merge patch, and the differences that make them.

`diff(a, b)` of each kind gives a patch p with patch(a, p) == b: what kubectl does on its side, used by tests and
clients. Patches change the object they are given.
"""

from __future__ import annotations

from copy import deepcopy
from typing import Any

from quartermaster.local.apiserver.errors import ApiError, Json, bad_request, unprocessable
from quartermaster.local.apiserver.quoting import go_text
from quartermaster.local.apiserver.schemas import ANY, Field, Type

_DIRECTIVE = "$patch"
_RETAIN = "$retainKeys"
_ORDER = "$setElementOrder/"
_DELETE = "$deleteFromPrimitiveList/"


def json_patch(value: Any, operations: Any) -> Any:
    """Apply RFC 6902 operations; raises ApiError 400 or 422."""
    if not isinstance(operations, list):
        raise bad_request(
            "error decoding patch: json: cannot unmarshal object into Go value of type []handlers.jsonPatchOp"
        )
    if len(operations) > 10_000:
        text = f"The allowed maximum operations in a JSON patch is 10000, got {len(operations)}"
        raise ApiError(413, "RequestEntityTooLarge", text)
    for operation in operations:
        if not isinstance(operation, dict) or not isinstance(operation.get("path"), str):
            raise bad_request("error decoding patch: an operation is an object with op and path")
        value = _operate(value, operation)
    return value


def _operate(value: Any, operation: Json) -> Any:
    name, path = operation.get("op"), _pointer(operation["path"])
    if name == "test":
        if _get(value, path) != operation.get("value"):
            raise unprocessable()
        return value
    if name == "remove":
        _take(value, path)
        return value
    if name in ("add", "replace"):
        if name == "replace":
            _get(value, path)
            if path:
                _set(value, path, operation.get("value"), insert=False)
                return value
        return _set(value, path, operation.get("value"), insert=True)
    if name in ("move", "copy"):
        source = _pointer(str(operation.get("from", "")))
        item = _take(value, source) if name == "move" else deepcopy(_get(value, source))
        return _set(value, path, item, insert=True)
    raise unprocessable()


def _pointer(path: str) -> list[str]:
    if path and not path.startswith("/"):
        raise bad_request(f"invalid JSON pointer: {path}")
    return [part.replace("~1", "/").replace("~0", "~") for part in path.split("/")[1:]]


def _index(items: list[Any], part: str, *, end: bool) -> int:
    if part == "-" and end:
        return len(items)
    try:
        number = int(part)
    except ValueError:
        raise unprocessable() from None
    if number < 0:
        number += len(items)
    if not 0 <= number < len(items) + end:
        raise unprocessable()
    return number


def _get(value: Any, path: list[str]) -> Any:
    for part in path:
        if isinstance(value, dict) and part in value:
            value = value[part]
        elif isinstance(value, list):
            value = value[_index(value, part, end=False)]
        else:
            raise unprocessable()
    return value


def _take(value: Any, path: list[str]) -> Any:
    if not path:
        raise unprocessable()
    parent = _get(value, path[:-1])
    if isinstance(parent, dict) and path[-1] in parent:
        return parent.pop(path[-1])
    if isinstance(parent, list):
        return parent.pop(_index(parent, path[-1], end=False))
    raise unprocessable()


def _set(value: Any, path: list[str], item: Any, *, insert: bool) -> Any:
    if not path:
        return item
    parent = _get(value, path[:-1])
    if isinstance(parent, dict):
        parent[path[-1]] = item
    elif isinstance(parent, list):
        number = _index(parent, path[-1], end=insert)
        if insert:
            parent.insert(number, item)
        else:
            parent[number] = item
    else:
        raise unprocessable()
    return value


def json_diff(old: Any, new: Any, path: str = "") -> list[Json]:
    """Operations that make `new` of `old`."""
    if old == new and type(old) is type(new):
        return []
    if isinstance(old, dict) and isinstance(new, dict):
        found: list[Json] = []
        for key in old:
            at = f"{path}/{key.replace('~', '~0').replace('/', '~1')}"
            found += json_diff(old[key], new[key], at) if key in new else [{"op": "remove", "path": at}]
        for key, item in new.items():
            if key not in old:
                found.append(
                    {"op": "add", "path": f"{path}/{key.replace('~', '~0').replace('/', '~1')}", "value": item}
                )
        return found
    return [{"op": "replace", "path": path, "value": new}]


def merge_patch(value: Any, patch: Any) -> Any:
    """Apply RFC 7386."""
    if not isinstance(patch, dict):
        return patch
    if not isinstance(value, dict):
        value = {}
    for key, item in patch.items():
        if item is None:
            value.pop(key, None)
        elif isinstance(item, dict):
            value[key] = merge_patch(value.get(key), item)
        else:
            value[key] = item
    return value


def merge_diff(old: Json, new: Json) -> Json:
    """The merge patch that makes `new` of `old`; `new` has no nulls (a merge patch cannot say them)."""
    found: Json = dict.fromkeys([key for key in old if key not in new])
    for key, item in new.items():
        if key not in old:
            found[key] = item
        elif isinstance(item, dict) and isinstance(old[key], dict):
            inner = merge_diff(old[key], item)
            if inner:
                found[key] = inner
        elif item != old[key] or type(item) is not type(old[key]):
            found[key] = item
    return found


def strategic_patch(value: Any, patch: Any, type_: Type) -> Any:
    """Apply a strategic merge patch; raises ApiError 400."""
    if not isinstance(patch, dict):
        raise bad_request("error decoding patch: json: cannot unmarshal into Go value of type map[string]interface {}")
    return _merge_map(value if isinstance(value, dict) else {}, patch, type_)


def _merge_map(value: Json, patch: Json, type_: Type) -> Json:
    directive = patch.get(_DIRECTIVE)
    if directive == "replace":
        return {key: item for key, item in patch.items() if key != _DIRECTIVE}
    if directive == "delete":
        return {}
    if directive not in (None, "merge"):
        raise ApiError(500, "", f"unknown patch type: {go_text(directive)} in map: {go_text(patch)}")
    retained = patch.get(_RETAIN)
    if isinstance(retained, list):
        for key in [key for key in value if key not in retained]:
            del value[key]
    before = {key: list(item) for key, item in value.items() if isinstance(item, list)}
    for key, item in patch.items():
        if key in (_DIRECTIVE, _RETAIN) or key.startswith((_ORDER, _DELETE)):
            continue
        field = type_.fields.get(key)
        of = field.type if field is not None else type_.element or ANY
        if item is None:
            value.pop(key, None)
        elif isinstance(item, dict):
            base = value.get(key)
            value[key] = _merge_map(base if isinstance(base, dict) else {}, item, of)
        elif isinstance(item, list) and field is not None and "merge" in field.strategies:
            merged = _merge_list(value.get(key), item, field)
            sent = [part for part in item if not (isinstance(part, dict) and _DIRECTIVE in part)]
            value[key] = _ordered(merged, sent, before.get(key) or [], field)
        else:
            value[key] = item
    for key, item in patch.items():
        if key.startswith(_DELETE) and isinstance(item, list):
            name = key.removeprefix(_DELETE)
            if isinstance(value.get(name), list):
                value[name] = [part for part in value[name] if part not in item]
    for key, item in patch.items():
        if key.startswith(_ORDER) and isinstance(item, list):
            name = key.removeprefix(_ORDER)
            field = type_.fields.get(name)
            if field is not None and isinstance(value.get(name), list):
                value[name] = _ordered(value[name], item, before.get(name) or value[name], field)
    return value


def _merge_list(base: Any, patch: list[Any], field: Field) -> list[Any]:
    items = list(base) if isinstance(base, list) else []
    key = field.merge_key
    if not key:
        return items + [item for item in patch if item not in items]
    if any(isinstance(item, dict) and item.get(_DIRECTIVE) == "replace" for item in patch):
        return [item for item in patch if not (isinstance(item, dict) and _DIRECTIVE in item)]
    of = field.type.element or ANY
    for item in patch:
        if not isinstance(item, dict):
            raise bad_request("Invalid value: items of a list that merges by key are objects")
        directive = item.get(_DIRECTIVE)
        name = item.get(key)
        if name is None:
            raise ApiError(500, "", f"map: {go_text(item)} does not contain declared merge key: {key}")
        at = next((n for n, old in enumerate(items) if isinstance(old, dict) and old.get(key) == name), None)
        if directive == "delete":
            items = [old for old in items if not (isinstance(old, dict) and old.get(key) == name)]
        elif at is None:
            items.append(_merge_map({}, item, of))
        else:
            items[at] = _merge_map(items[at], item, of)
    return items


def _ordered(items: list[Any], order: list[Any], before: list[Any], field: Field) -> list[Any]:
    """Items named by `order` in that order; others keep their place of `before` among them, new ones go first."""
    key = field.merge_key

    def name(item: Any) -> Any:
        return _hashable(item.get(key) if key and isinstance(item, dict) else item)

    places = {name(item): place for place, item in reversed(list(enumerate(before)))}
    ranks = {name(item): rank for rank, item in reversed(list(enumerate(order)))}
    named = sorted((item for item in items if name(item) in ranks), key=lambda item: ranks[name(item)])
    others = [item for item in items if name(item) not in ranks]
    result: list[Any] = []
    while others and named:
        left, right = places.get(name(others[0]), -1), places.get(name(named[0]), -1)
        result.append(others.pop(0) if left >= 0 and right >= 0 and left < right else named.pop(0))
    return result + named + others


def _hashable(value: Any) -> Any:
    return str(value) if isinstance(value, dict | list) else value


def strategic_diff(old: Json, new: Json, type_: Type) -> Json:
    """The strategic merge patch that makes `new` of `old`."""
    found: Json = {key: None for key in old if key not in new}
    for key, item in new.items():
        field = type_.fields.get(key)
        of = field.type if field is not None else type_.element or ANY
        before = old.get(key)
        if key not in old:
            found[key] = item
        elif item == before and type(item) is type(before):
            continue
        elif isinstance(item, dict) and isinstance(before, dict):
            inner = strategic_diff(before, item, of)
            if inner:
                found[key] = inner
        elif isinstance(item, list) and isinstance(before, list) and field is not None and "merge" in field.strategies:
            found |= _list_diff(key, before, item, field)
        else:
            found[key] = item
    return found


def _list_diff(key: str, old: list[Any], new: list[Any], field: Field) -> Json:
    name = field.merge_key
    if not name:
        gone = [item for item in old if item not in new]
        found: Json = {_ORDER + key: new}
        if gone:
            found[_DELETE + key] = gone
        added = [item for item in new if item not in old]
        return found | ({key: added} if added else {})
    of = field.type.element or ANY
    before = {_hashable(item.get(name)): item for item in old}
    after = {_hashable(item.get(name)): item for item in new}
    patches: list[Json] = []
    for which, item in after.items():
        if which not in before:
            patches.append(item)
        elif item != before[which]:
            patches.append({name: item[name]} | strategic_diff(before[which], item, of))
    patches += [{_DIRECTIVE: "delete", name: item[name]} for which, item in before.items() if which not in after]
    found = {_ORDER + key: [{name: item[name]} for item in new]}
    return found | ({key: patches} if patches else {})
