"""Who owns which field: metadata.managedFields, and server-side apply (sigs.k8s.io/structured-merge-diff).

A field set is a trie in the very form in which Kubernetes writes it (FieldsV1): ``f:name`` a field, ``k:{...}`` an
item by keys, ``v:...`` an item of a set, ``.`` the thing itself; an empty trie is a leaf. So nothing is converted to
read or write it.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from quartermaster.local.apiserver.codec import decode, encode
from quartermaster.local.apiserver.errors import ApiError, Cause, Json
from quartermaster.local.apiserver.schemas import ANY, ZEROS, Field, Type

Trie = dict[str, Any]

_LEAF: Trie = {}
_MOST_UPDATES = 10
_IGNORED = (
    "name",
    "namespace",
    "creationTimestamp",
    "deletionTimestamp",
    "deletionGracePeriodSeconds",
    "selfLink",
    "uid",
    "generation",
    "managedFields",
    "resourceVersion",
)
_STRUCT_OF_ANY = Type("map", element=ANY)


def child(type_: Type, key: str) -> tuple[Type, Field | None]:
    """The type of a field."""
    field = type_.fields.get(key)
    if field is not None:
        return field.type, field
    return type_.element or ANY, None


def effective(type_: Type, value: Any) -> Type:
    """Untyped objects merge key by key, untyped lists as a whole."""
    if type_.shape == "any" and isinstance(value, dict):
        return _STRUCT_OF_ANY
    return type_


def item_key(type_: Type, item: Any) -> str:
    """How an item of a list is named in a trie."""
    if not type_.keys:
        return "v:" + encode(item).decode()
    named = {}
    for key in sorted(type_.keys):
        value = item.get(key, type_.key_defaults.get(key)) if isinstance(item, dict) else None
        if value is not None:
            named[key] = value
    return "k:" + encode(named).decode()


def nested(type_: Type, value: Any) -> bool:
    """Whether a value is looked into: else it is owned whole."""
    if type_.atomic:
        return isinstance(value, dict) and type_.shape == "any"
    return (isinstance(value, dict) and type_.shape in ("struct", "map", "any")) or (
        isinstance(value, list) and type_.shape == "list"
    )


def fields_of(value: Any, type_: Type) -> Trie:
    """The set of all fields of an applied configuration."""
    type_ = effective(type_, value)
    found: Trie = {}
    if isinstance(value, list):
        for item in value:
            inner = _inside(item, type_.element or ANY)
            found[item_key(type_, item)] = {".": {}} | inner if inner else {}
        return found
    for key, item in value.items():
        of, field = child(type_, key)
        inner = _inside(item, of)
        if inner and field is None and type_.shape != "any" and type_ is not _STRUCT_OF_ANY:
            inner = {".": {}} | inner
        found[f"f:{key}"] = inner
    return found


def _inside(item: Any, type_: Type) -> Trie:
    return fields_of(item, type_) if nested(type_, item) and item else {}


def compare(old: Any, new: Any, type_: Type) -> tuple[Trie, Trie]:
    """(added or changed, removed) from `old` to `new`; `old` None if there was nothing at all."""
    changed: Trie = {}
    removed: Trie = {}
    type_ = effective(type_, new if new is not None else old)
    if isinstance(new, list) or isinstance(old, list):
        before = {item_key(type_, item): item for item in old or ()}
        after = {item_key(type_, item): item for item in new or ()}
        of = type_.element or ANY
        for key, item in after.items():
            _step(key, before.get(key), item, of, present=key in before, changed=changed, removed=removed)
        for key, item in before.items():
            if key not in after:
                removed[key] = _all(item, of)
        return changed, removed
    before, after = old or {}, new or {}
    for key, item in after.items():
        of, field = child(type_, key)
        was = before.get(key)
        there = key in before
        if not there and field is not None and old is not None:
            # Go has written it all along: an empty struct, or null.
            if field.embedded and field.type.shape == "struct":
                was, there = {}, True
            elif field.always:
                was, there = zero_of(field), True
        _step(f"f:{key}", was, item, of, present=there, changed=changed, removed=removed)
    for key, item in before.items():
        if key not in after:
            removed[f"f:{key}"] = _all(item, child(type_, key)[0])
    return changed, removed


def zero_of(field: Field) -> Any:
    """What stands where nothing was said."""
    return ZEROS.get(field.type.shape)


def _step(key: str, old: Any, new: Any, type_: Type, *, present: bool, changed: Trie, removed: Trie) -> None:
    if present and old == new:
        return
    if not nested(type_, new) or (old is not None and not nested(type_, old)):
        changed[key] = {}
        return
    inner, gone = compare(old, new, type_)
    if not present:
        changed[key] = {".": {}} | inner if inner else {}
    elif inner:
        changed[key] = inner
    if gone:
        removed[key] = gone


def _all(item: Any, type_: Type) -> Trie:
    """The thing and everything in it."""
    if nested(type_, item) and item:
        return {".": {}} | compare(None, item, type_)[0]
    return {}


def has(trie: Trie) -> bool:
    """Whether the thing itself is in the set (leaf or dot)."""
    return not trie or "." in trie


def union(left: Trie, right: Trie) -> Trie:
    """Members of either."""
    found = dict(left)
    for key, inner in right.items():
        found[key] = _union(found[key], inner) if key in found else inner
    return found


def _union(left: Trie, right: Trie) -> Trie:
    if not left and not right:
        return left
    if not left:
        return {".": {}} | right
    if not right:
        return {".": {}} | left
    return union(left, right)


def difference(left: Trie, right: Trie) -> Trie:
    """Members of `left` that are not in `right`."""
    found: Trie = {}
    for key, inner in left.items():
        other = right.get(key)
        if other is None:
            found[key] = inner
            continue
        if not inner:
            if not has(other):
                found[key] = inner
            continue
        rest = difference({name: part for name, part in inner.items() if name != "."}, other)
        keep = "." in inner and not has(other)
        if rest:
            found[key] = {".": {}} | rest if keep else rest
        elif keep:
            found[key] = {}
    return found


def intersection(left: Trie, right: Trie) -> Trie:
    """Members of both."""
    found: Trie = {}
    for key, inner in left.items():
        other = right.get(key)
        if other is None:
            continue
        both = has(inner) and has(other)
        rest = intersection(
            {name: part for name, part in inner.items() if name != "."},
            {name: part for name, part in other.items() if name != "."},
        )
        if rest:
            found[key] = {".": {}} | rest if both else rest
        elif both:
            found[key] = {}
    return found


def paths(trie: Trie, prefix: str = "") -> Iterator[str]:
    """Members as ``.spec.containers[name="x"].image``."""
    for key, inner in trie.items():
        if key == ".":
            continue
        path = prefix + _step_text(key)
        if has(inner):
            yield path
        yield from paths(inner, path)


def _step_text(key: str) -> str:
    kind, _, rest = key.partition(":")
    if kind == "f":
        return f".{rest}"
    if kind == "k":
        named = decode(rest.encode())
        return "[" + ",".join(f"{name}={encode(value).decode()}" for name, value in named.items()) + "]"
    return f"[={rest}]"


def _without_ignored(trie: Trie) -> Trie:
    found = {key: inner for key, inner in trie.items() if key not in ("f:kind", "f:apiVersion")}
    metadata = found.get("f:metadata")
    if metadata is not None:
        kept = {key: inner for key, inner in metadata.items() if key[2:] not in _IGNORED and key != "."}
        if kept:
            found["f:metadata"] = kept
        else:
            del found["f:metadata"]
    return found


def carried(value: Json, made: Json) -> None:
    """Take over the ownership that was recorded in another version of the object."""
    entries = made["metadata"].get("managedFields")
    if entries is None:
        value["metadata"].pop("managedFields", None)
    else:
        value["metadata"]["managedFields"] = entries


def record_update(
    value: Json,
    old: Json | None,
    *,
    type_: Type,
    manager: str,
    subresource: str,
    now: str,
    api_version: str,
    own_status: bool = True,
) -> None:
    """After a write that is no apply: what changed belongs to `manager`, what went belongs to nobody."""
    metadata = value["metadata"]
    entries = metadata.get("managedFields")
    if entries == [] and old is not None and old["metadata"].get("managedFields"):
        metadata.pop("managedFields")  # the way to say: forget all owners
        return
    entries = list(entries or ())
    changed, removed = compare(old or {}, value, type_)
    changed, removed = _without_ignored(changed), _without_ignored(removed)
    if own_status and subresource != "status" and old is None:
        changed.pop("f:status", None)
    if not changed and not removed:
        return
    kept: list[Json] = []
    mine: Json | None = None
    for entry in entries:
        fields = entry.get("fieldsV1", _LEAF)
        if (
            entry.get("operation") == "Update"
            and entry.get("manager") == manager
            and (entry.get("subresource", "") == subresource and entry.get("apiVersion") == api_version)
        ):
            mine = entry
            continue
        rest = difference(fields, changed) if changed else fields
        rest = difference(rest, removed) if removed else rest
        if rest:
            kept.append(entry if rest is fields else entry | {"fieldsV1": rest})
    before = mine.get("fieldsV1", _LEAF) if mine else _LEAF
    fields = union(difference(before, removed) if removed else before, changed)
    if fields:
        entry = {"manager": manager, "operation": "Update", "apiVersion": api_version, "time": now}
        if mine is not None and fields == before:
            entry["time"] = mine.get("time", now)
        entry |= {"fieldsType": "FieldsV1", "fieldsV1": fields}
        if subresource:
            entry["subresource"] = subresource
        kept.append(entry)
    metadata["managedFields"] = _capped(kept)


def _capped(entries: list[Json]) -> list[Json]:
    """In order of operation and time; the oldest updates become one entry when there are too many."""
    entries.sort(key=lambda entry: (entry.get("operation", ""), entry.get("time", "")))
    updates = [entry for entry in entries if entry.get("operation") == "Update" and not entry.get("subresource")]
    if len(updates) <= _MOST_UPDATES:
        return entries
    first, second = updates[0], updates[1]
    merged = second | {
        "manager": "ancient-changes",
        "fieldsV1": union(first.get("fieldsV1", _LEAF), second.get("fieldsV1", _LEAF)),
    }
    return [merged if entry is second else entry for entry in entries if entry is not first]


def apply(
    live: Json | None,
    config: Json,
    *,
    type_: Type,
    manager: str,
    subresource: str,
    force: bool,
    now: str,
    api_version: str,
) -> Json:
    """Merge an applied configuration into the live object; raises ApiError 409 with every conflict.

    `live` may be changed. What this manager applied before and does not any more is removed, unless
    someone else owns it.
    """
    entries = list((live or {}).get("metadata", {}).get("managedFields") or ())
    wanted = _without_ignored(fields_of(config, type_))
    mine, others = _split(entries, manager=manager, subresource=subresource)
    last = mine.get("fieldsV1", _LEAF) if mine else _LEAF
    base: Json = live if live is not None else {"metadata": {}}
    merged = merge(base, config, type_)
    if last:
        held = wanted
        for entry in others:
            held = union(held, entry.get("fieldsV1", _LEAF))
        merged = _pruned(merged, difference_deep(last, held), type_)
    changed, removed = compare(base, merged, type_)
    changed, removed = _without_ignored(changed), _without_ignored(removed)
    conflicts = []
    kept: list[Json] = []
    for entry in others:
        fields = entry.get("fieldsV1", _LEAF)
        clash = intersection(fields, changed)
        if clash:
            conflicts.append((entry, list(paths(clash))))
        rest = difference(difference(fields, clash), removed) if clash or removed else fields
        if rest:
            kept.append(entry if rest is fields else entry | {"fieldsV1": rest})
    if conflicts and not force:
        raise conflict_of(conflicts)
    if wanted:
        entry = {"manager": manager, "operation": "Apply", "apiVersion": api_version, "time": now}
        if mine is not None and wanted == last and not changed and not removed:
            entry["time"] = mine.get("time", now)
        entry |= {"fieldsType": "FieldsV1", "fieldsV1": wanted}
        if subresource:
            entry["subresource"] = subresource
        kept.append(entry)
    merged.setdefault("metadata", {})["managedFields"] = _capped(kept)
    return merged


def _split(entries: list[Json], *, manager: str, subresource: str) -> tuple[Json | None, list[Json]]:
    mine = None
    others = []
    for entry in entries:
        if (
            entry.get("operation") == "Apply"
            and entry.get("manager") == manager
            and entry.get("subresource", "") == subresource
        ):
            mine = entry
        else:
            others.append(entry)
    return mine, others


def conflict_of(conflicts: list[tuple[Json, list[str]]]) -> ApiError:
    """409 that names every field and its owner."""
    causes = []
    lines = []
    total = sum(len(fields) for _, fields in conflicts)
    for entry, fields in conflicts:
        who = f'"{entry.get("manager", "")}"'
        if entry.get("subresource"):
            who += f' with subresource "{entry["subresource"]}"'
        if entry.get("operation") == "Update":
            who += f" using {entry.get('apiVersion', '')}"
        causes += [
            {"reason": "FieldManagerConflict", "message": f"conflict with {who}", "field": field} for field in fields
        ]
        if total == 1:
            lines.append(f"conflict with {who}: {fields[0]}")
        else:
            lines.append(f"conflicts with {who}:\n" + "\n".join(f"- {field}" for field in fields))
    text = f"Apply failed with {total} conflict{'s' if total > 1 else ''}: " + "\n".join(lines)
    return ApiError(409, "Conflict", text, details={"causes": causes})


def merge(live: Any, config: Any, type_: Type) -> Any:
    """`config` over `live`: structs and maps by key, lists by their kind, all else replaced."""
    type_ = effective(type_, config)
    if not nested(type_, config) or not nested(type_, live):
        return config
    if isinstance(config, list):
        return _merge_lists(live, config, type_)
    result = dict(live)
    for key, item in config.items():
        result[key] = merge(live[key], item, child(type_, key)[0]) if key in live else item
    return result


def _merge_lists(live: list[Any], config: list[Any], type_: Type) -> list[Any]:
    """Items of `config` in their order; items of `live` alone stay before the common item that they stood before."""
    of = type_.element or ANY
    old = {item_key(type_, item): item for item in live}
    new = {item_key(type_, item): item for item in config}
    left, right = list(old), list(new)
    shared = [key for key in right if key in old]
    done: set[str] = set()
    result: list[Any] = []
    at = turn = 0
    while at < len(left) or turn < len(right):
        if at < len(left):
            key = left[at]
            if key not in new:
                result.append(old[key])
                at += 1
                continue
            both = turn < len(right)
            if key in done or (both and key != right[turn] and shared and shared[0] != key):
                at += 1  # it has its place elsewhere
                continue
        key = right[turn]
        turn += 1
        done.add(key)
        result.append(merge(old[key], new[key], of) if key in old else new[key])
        if shared and shared[0] == key:
            shared.pop(0)
    return result


def difference_deep(last: Trie, held: Trie) -> Trie:
    """Members of `last` of which neither they nor anything in them is held: what is removed as a whole."""
    found: Trie = {}
    for key, inner in last.items():
        if key == ".":
            continue
        other = held.get(key)
        if other is None:
            found[key] = {}
            continue
        rest = difference_deep(inner, other)
        if rest:
            found[key] = rest
    return found


def _pruned(value: Any, gone: Trie, type_: Type) -> Any:
    """`value` without what `gone` names; a leaf of `gone` goes with all that is in it."""
    if not gone:
        return value
    type_ = effective(type_, value)
    if isinstance(value, list):
        of = type_.element or ANY
        kept = []
        for item in value:
            inner = gone.get(item_key(type_, item))
            if inner is None:
                kept.append(item)
            elif inner:
                kept.append(_pruned(item, inner, of))
        return kept
    if not isinstance(value, dict):
        return value
    result = {}
    for key, item in value.items():
        inner = gone.get(f"f:{key}")
        if inner is None:
            result[key] = item
        elif inner:
            result[key] = _pruned(item, inner, child(type_, key)[0])
    return result


__all__ = ["Cause", "apply", "compare", "difference", "fields_of", "intersection", "merge", "record_update", "union"]
