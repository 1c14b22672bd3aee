"""The normal form of a built-in object: what decoding it into a Go struct and writing it again would give.

One walk does strict decoding (unknown fields are reported and dropped, wrong types are 400), drops what Go leaves out
when empty, writes the structs that Go always writes, and brings quantities and times into their one form. It changes
the object in place: objects come straight from a decoder and have one owner.
"""

from __future__ import annotations

from typing import Any

from quartermaster.local.apiserver.errors import Json
from quartermaster.local.apiserver.gotime import read_time
from quartermaster.local.apiserver.quantity import canonical
from quartermaster.local.apiserver.schemas import Type

_TEXT = ("string", "bytes")
_NAMES = {"struct": "object", "map": "object", "list": "array"}


class Mismatch(ValueError):
    """A value of the wrong type: `path` inside the object, `found` in JSON terms, `wanted` in Go's."""

    def __init__(self, path: str, found: str, wanted: str) -> None:
        super().__init__(path)
        self.path = path.lstrip(".")
        self.found = found
        self.wanted = wanted
        self.holder = ""
        """The innermost struct around it."""
        self.fields: list[str] = []
        """The fields that lead to it: neither keys of maps nor places in lists."""

    def inside(self, field: str, type_: Type) -> None:
        """Note one more struct around it."""
        self.fields.insert(0, field)
        self.holder = self.holder or type_.name.rpartition(".")[2]

    @property
    def text(self) -> str:
        """What Go's decoder says."""
        if not self.found:
            return self.wanted
        where = f"{self.holder}.{'.'.join(self.fields)}"
        return f"json: cannot unmarshal {self.found} into Go struct field {where} of type {self.wanted}"

    @property
    def conversion(self) -> str:
        """What Go says when the same value comes out of a map instead of JSON."""
        if not self.found:
            return self.wanted
        found = {"object": "map", "array": "slice", "number": "int64"}.get(self.found, self.found)
        if self.wanted.startswith(("map[", "[]")):
            return f"cannot restore {'map' if self.wanted[0] == 'm' else 'slice'} from {found}"
        if self.wanted in ("string", "bool", "int32", "float64"):
            simple = found == "int64" and self.wanted == "string"
            return f"cannot convert {found} to {self.wanted}" if simple else f"unrecognized type: {self.wanted}"
        return f"cannot restore struct from: {found}"


def normalize(value: Json, type_: Type, *, whole: bool = True) -> list[str]:
    """Bring an object into normal form, in place; returns the paths of unknown fields. Raises Mismatch.

    Without `whole`, structs that are always written are left out: an applied configuration says only what it says.
    """
    unknown: list[str] = []
    _struct(value, type_, "", unknown)
    if whole:
        fill(value, type_)
    return unknown


def _struct(value: Json, type_: Type, path: str, unknown: list[str]) -> None:
    fields = type_.fields
    drop: list[str] = []
    key = ""
    try:
        for key, item in value.items():
            field = fields.get(key)
            if field is None:
                if not type_.preserve:
                    unknown.append(f"{path}.{key}".lstrip("."))
                    drop.append(key)
                continue
            if item is None:
                drop.append(key)
                continue
            shape = field.type.shape
            if shape in _TEXT:
                if type(item) is not str:
                    _scalar(item, shape, f"{path}.{key}")
                if not item and field.omit_zero:
                    drop.append(key)
                continue
            kept = _value(item, field.type, f"{path}.{key}", unknown)
            if kept is not item:
                value[key] = kept  # keys stay as they are, so the iteration stands
            if not kept and shape != "struct" and field.omit_zero and shape != "any":
                drop.append(key)
    except Mismatch as wrong:
        wrong.inside(key, type_)
        raise
    for key in drop:
        del value[key]


def fill(value: Json, type_: Type) -> None:
    """Write what is always there, wherever it belongs."""
    for key, zero in type_.zeros():
        if key not in value:
            value[key] = zero
    for key, of, always in type_.inner():
        item = value.get(key)
        if item is None:
            if not always:
                continue
            item = value[key] = {}
        if of.shape == "struct":
            fill(item, of)
        elif of.element is not None:
            for part in item if isinstance(item, list) else item.values():
                if part is not None:
                    fill(part, of.element)


def settle(value: Json, type_: Type) -> None:
    """What is stored does not tell an empty list or map from none, where one is always written: null it is."""
    for key, zero in type_.zeros():
        if zero is None and not value.get(key):
            value[key] = None
    for key, of, _ in type_.inner():
        item = value.get(key)
        if not item:
            continue
        if of.shape == "struct":
            settle(item, of)
        elif of.element is not None:
            for part in item if isinstance(item, list) else item.values():
                if part is not None:
                    settle(part, of.element)


def _value(item: Any, type_: Type, path: str, unknown: list[str]) -> Any:
    shape = type_.shape
    if shape == "struct":
        if type(item) is not dict:
            raise Mismatch(path, json_type(item), type_.name.rpartition(".")[2] or "object")
        _struct(item, type_, path, unknown)
        return item
    if shape == "list":
        if type(item) is not list:
            raise Mismatch(path, json_type(item), "[]" + _go_name(type_.element))
        return _list(item, type_.element, path, unknown)
    if shape == "map":
        if type(item) is not dict:
            raise Mismatch(path, json_type(item), f"map[string]{_go_name(type_.element)}")
        return _map(item, type_.element, path, unknown)
    return _scalar(item, shape, path)


def _list(items: list[Any], element: Type | None, path: str, unknown: list[str]) -> list[Any]:
    assert element is not None, "list types have elements"
    if element.shape == "string":
        for item in items:
            if type(item) is not str:
                raise Mismatch(path, json_type(item), "string")
        return items
    for index, item in enumerate(items):
        if item is None and element.shape == "struct":
            item = {}  # noqa: PLW2901  # Go makes a zero value of null
        items[index] = _value(item, element, f"{path}[{index}]", unknown)
    return items


def _map(items: Json, element: Type | None, path: str, unknown: list[str]) -> Json:
    assert element is not None, "map types have elements"
    for key, item in items.items():
        if element.shape in _TEXT:
            if type(item) is not str:
                if item is None:
                    items[key] = ""
                    continue
                raise Mismatch(f"{path}.{key}", json_type(item), "string")
        elif item is not None:
            items[key] = _value(item, element, f"{path}.{key}", unknown)
    return items


def _scalar(item: Any, shape: str, path: str) -> Any:
    kind = type(item)
    if shape == "boolean":
        if kind is not bool:
            raise Mismatch(path, json_type(item), "bool")
    elif shape == "integer":
        if kind is float and item.is_integer():
            return int(item)
        if kind is not int:
            raise Mismatch(path, json_type(item), "int32")
    elif shape == "number":
        if kind not in (int, float):
            raise Mismatch(path, json_type(item), "float64")
    elif shape == "int-or-string":
        if kind not in (int, str):
            raise Mismatch(path, json_type(item), "intstr.IntOrString")
    elif shape == "quantity":
        return _quantity(item, path)
    elif shape in ("time", "micro-time"):
        return _time(item, path, micro=shape == "micro-time")
    elif shape in _TEXT and kind is not str:
        raise Mismatch(path, json_type(item), "string")
    return item


def _quantity(item: Any, path: str) -> str:
    text = item if isinstance(item, str) else str(item) if type(item) in (int, float) else None
    if text is None:
        raise Mismatch(path, json_type(item), "resource.Quantity")
    try:
        return canonical(text)
    except ValueError as wrong:
        raise Mismatch(path, "", str(wrong)) from None


def _time(item: Any, path: str, *, micro: bool) -> str:
    if not isinstance(item, str):
        raise Mismatch(path, "", f"json: cannot unmarshal {json_type(item)} into Go value of type string")
    try:
        return read_time(item, micro=micro)
    except ValueError as wrong:
        raise Mismatch(path, "", str(wrong)) from None


def json_type(value: Any) -> str:
    """What JSON calls a value's type."""
    if isinstance(value, bool):
        return "bool"
    if isinstance(value, dict):
        return "object"
    if isinstance(value, list):
        return "array"
    return "string" if isinstance(value, str) else "null" if value is None else "number"


def _go_name(type_: Type | None) -> str:
    if type_ is None:
        return "interface {}"
    if type_.name:
        parts = type_.name.split(".")
        return f"{parts[-2]}.{parts[-1]}" if len(parts) > 1 else type_.name
    return {"integer": "int32", "boolean": "bool", "bytes": "[]uint8"}.get(
        type_.shape, _NAMES.get(type_.shape, type_.shape)
    )
