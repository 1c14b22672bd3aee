"""Who owns which field: metadata.managedFields, and server-side apply."""

from __future__ import annotations

from typing import Any

from quartermaster.local.apiserver.errors import ApiError, Json
from quartermaster.local.apiserver.fieldsets import (
    Trie,
    child,
    compare,
    difference,
    difference_deep,
    effective,
    fields_of,
    intersection,
    item_key,
    nested,
    paths,
    union,
)
from quartermaster.local.apiserver.schemas import ANY, Type

_LEAF: Trie = {}
_MOST_UPDATES = 10
_BEFORE = "before-first-apply"
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


def known_owners(said: Any, live: Json | None, *, subresource: str) -> list[Json]:
    """The entries that a write starts from: those that it says itself, if it may and they are any; else those there.

    An empty list, or one empty entry, is how to say: forget all owners.
    """
    before = list((live or {}).get("metadata", {}).get("managedFields") or ())
    if subresource or said is None:
        return before
    if said in ([], [{}]):
        return []
    valid = all(
        isinstance(entry, dict)
        and entry.get("operation") in ("Apply", "Update")
        and entry.get("apiVersion")
        and entry.get("fieldsType") == "FieldsV1"
        and isinstance(entry.get("fieldsV1", {}), dict)
        for entry in said
    )
    return list(said) if valid else before


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
    """After a write that is no apply: what changed belongs to `manager`, what went belongs to nobody.

    An object whose owners are not known stays so until somebody applies to it.
    """
    metadata = value["metadata"]
    entries = known_owners(metadata.pop("managedFields", None), old, subresource=subresource)
    if not entries and old is not None:
        return
    if entries:
        metadata["managedFields"] = entries
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
        written = mine.get("time", now) if mine is not None and fields == before else now
        kept.append(_entry(manager, "Update", api_version, written, fields, subresource))
    metadata["managedFields"] = _capped(kept)


def record_own_status(value: Json, old: Json, *, type_: Type, now: str) -> None:
    """After the server itself has written a status."""
    record_update(
        value,
        old,
        type_=type_,
        manager="kube-apiserver",
        subresource="status",
        now=now,
        api_version=str(value["apiVersion"]),
    )


def _entry(  # noqa: PLR0917  # the fields of an entry, in their order
    manager: str, operation: str, api_version: str, time: str, fields: Trie, subresource: str = ""
) -> Json:
    entry: Json = {"manager": manager, "operation": operation, "apiVersion": api_version}
    entry |= {"time": time} if time else {}
    entry |= {"fieldsType": "FieldsV1", "fieldsV1": fields}
    return entry | ({"subresource": subresource} if subresource else {})


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
    own_status: bool = True,
) -> Json:
    """Merge an applied configuration into the live object; raises ApiError 409 with every conflict.

    `live` may be changed. What this manager applied before and does not any more is removed, unless
    someone else owns it.
    """
    entries = list((live or {}).get("metadata", {}).get("managedFields") or ())
    if live is not None and not entries:
        # Whoever wrote before is not known by name, but what was written is somebody's.
        written = _without_ignored(compare({}, live, type_)[0])
        if own_status:
            written.pop("f:status", None)
        entries = [_entry(_BEFORE, "Update", api_version, now, written)] if written else []
    wanted = _without_ignored(fields_of(config, type_))
    if own_status:
        wanted.pop("f:spec" if subresource == "status" else "f:status", None)
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
        told = now if changed or removed else (mine or {}).get("time", "")
        kept.append(_entry(manager, "Apply", api_version, told, wanted, subresource))
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
