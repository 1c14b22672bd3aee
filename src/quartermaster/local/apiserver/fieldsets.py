"""Sets of fields of an object (sigs.k8s.io/structured-merge-diff): what is in one, what differs between two.

A set is a trie in the very form in which Kubernetes writes it (FieldsV1): ``f:name`` a field, ``k:{...}`` an item by
keys, ``v:...`` an item of a set, ``.`` the thing itself; an empty trie is a leaf. So nothing is converted to read or
write it.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from quartermaster.local.apiserver.codec import decode, encode
from quartermaster.local.apiserver.schemas import ANY, ZEROS, Field, Type

Trie = dict[str, Any]

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
        path = prefix + step_text(key)
        if has(inner):
            yield path
        yield from paths(inner, path)


def step_text(key: str) -> str:
    """One step of a path, as people read it."""
    kind, _, rest = key.partition(":")
    if kind == "f":
        return f".{rest}"
    if kind == "k":
        named = decode(rest.encode())
        return "[" + ",".join(f"{name}={encode(value).decode()}" for name, value in named.items()) + "]"
    return f"[={rest}]"


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
