r"""Protobuf bodies of client-go: ``k8s\0``, an envelope, and a message of a published type.

Decoded by a table of field numbers made from the published .proto files. Go writes every plain field, zero or not,
and pointers only when set: the table says which is which, so the result is what the same object would be in JSON.
protobuf_encoder.py is the way back, for clients that read nothing else.
"""

from __future__ import annotations

import base64
import struct
from collections.abc import Iterator
from typing import Any

from quartermaster.local.apiserver.codec import decode, micro_timestamp, timestamp
from quartermaster.local.apiserver.errors import Json, bad_request, not_acceptable_kind
from quartermaster.local.apiserver.protobuf_encoder import META, Encoder, delimited
from quartermaster.local.apiserver.shipped import shipped

MAGIC = b"k8s\x00"

_PACKAGES = {
    "": "k8s.io.api.core",
    "apiextensions.k8s.io": "k8s.io.apiextensions_apiserver.pkg.apis.apiextensions",
    "apiregistration.k8s.io": "k8s.io.kube_aggregator.pkg.apis.apiregistration",
}
_META_KINDS = frozenset(("DeleteOptions", "CreateOptions", "UpdateOptions", "PatchOptions", "Status", "ListOptions"))


class Protobuf:
    """Both directions; the table is read at the first message."""

    def __init__(self) -> None:
        self._messages: dict[str, dict[str, list[str]]] | None = None
        self._encoder = Encoder(self._table)

    def decode(self, raw: bytes) -> Json:
        """An object with kind and apiVersion; raises ApiError 400."""
        if not raw.startswith(MAGIC):
            raise bad_request("provided data does not appear to be a protobuf message, expected prefix [107 56 115 0]")
        try:
            envelope = dict(_fields(memoryview(raw)[len(MAGIC) :]))
            type_meta = {number: bytes(value).decode() for number, value in _fields(envelope.get(1, b""))}
            content = envelope.get(2, memoryview(b""))
            if envelope.get(4) and bytes(envelope[4]).startswith(b"application/json"):
                found: Json = decode(bytes(content))
                return found
            api_version, kind = type_meta.get(1, ""), type_meta.get(2, "")
            value = self._message(self._name(api_version, kind), content)
        except (ValueError, IndexError, KeyError, TypeError, AttributeError, struct.error, RecursionError) as wrong:
            raise bad_request(f"unable to decode protobuf: {wrong}") from None
        return {"kind": kind, "apiVersion": api_version} | value

    def encode(self, value: Json) -> bytes:
        """The envelope and the message of an object; raises ApiError 406 if its kind has no message."""
        api_version, kind = value.get("apiVersion", ""), value.get("kind", "")
        try:
            content = self._encoder.message(self._name(api_version, kind), value)
        except ValueError:
            raise not_acceptable_kind(kind) from None
        meta = delimited(1, api_version.encode()) + delimited(2, kind.encode())
        return MAGIC + delimited(1, meta) + delimited(2, content) + delimited(3, b"") + delimited(4, b"")

    def event(self, kind: bytes, value: Json) -> bytes:
        """One event of a watch, behind its length."""
        content = delimited(1, kind) + delimited(2, delimited(1, self.encode(value)))
        return len(content).to_bytes(4, "big") + content

    def _name(self, api_version: str, kind: str) -> str:
        if kind in _META_KINDS:
            return f"{META}.{kind}"
        group, _, version = api_version.rpartition("/")
        if group == "meta.k8s.io":
            return f"{META}.{kind}"
        package = _PACKAGES.get(group) or f"k8s.io.api.{group.split('.')[0]}"
        return f"{package}.{version}.{kind}"

    def _table(self, name: str) -> dict[str, list[str]]:
        if self._messages is None:
            self._messages = shipped("protobuf")
        table = self._messages.get(name)
        if table is None:
            raise ValueError(f"no message {name}")
        return table

    def _message(self, name: str, data: Any) -> Json:
        table = self._table(name)
        value: Json = {}
        for number, item in _fields(data):
            entry = table.get(str(number))
            if entry is None:
                continue  # a later release's field
            field, kind, label, flags = entry
            flags, _, renamed = flags.partition("=")
            field = renamed or field
            if "i" in flags:
                inner = self._message(kind, item)
                value |= {key: part for key, part in inner.items() if key not in value}
            elif label == "repeated":
                packed = kind in ("int32", "int64", "uint32", "uint64", "bool") and not isinstance(item, int)
                items = _varints(item) if packed else [item]
                value.setdefault(field, []).extend(self._value(kind, part) for part in items)
            elif label:
                pair = dict(_fields(item))
                key_kind = label.removeprefix("map:")
                key = self._value(key_kind, pair.get(1, memoryview(b"")))
                default: Any = 0 if kind in ("int32", "int64", "bool") else memoryview(b"")
                value.setdefault(field, {})[str(key)] = self._value(kind, pair.get(2, default))
            else:
                found = self._value(kind, item)
                if found is None or (not found and found != {} and "*" not in flags and field != "raw"):
                    continue
                value[field] = found
        return value

    def _value(self, kind: str, item: Any) -> Any:
        if kind == "string":
            return bytes(item).decode()
        if kind in ("int32", "int64"):
            return item - (1 << 64) if item >> 63 else item
        if kind in ("uint32", "uint64"):
            return item
        if kind == "bool":
            return bool(item)
        if kind == "bytes":
            return base64.b64encode(item).decode()
        if kind == "double":
            return struct.unpack("<d", item)[0]
        if kind == "float":
            return struct.unpack("<f", item)[0]
        return self._known(kind.rpartition(".")[2], kind, item)

    def _known(self, short: str, kind: str, item: Any) -> Any:
        if short == "Quantity":
            return bytes(dict(_fields(item)).get(1, b"0")).decode() or "0"
        if kind in (f"{META}.Time", f"{META}.MicroTime"):
            parts = dict(_fields(item))
            seconds = self._value("int64", parts.get(1, 0))
            if not parts or seconds <= -62135596800:
                return None
            return timestamp(seconds) if short == "Time" else micro_timestamp(seconds + parts.get(2, 0) / 1e9)
        if short == "IntOrString":
            parts = dict(_fields(item))
            return bytes(parts.get(3, b"")).decode() if parts.get(1) else self._value("int32", parts.get(2, 0))
        if short in ("FieldsV1", "RawExtension", "JSON"):
            raw = bytes(dict(_fields(item)).get(1, b""))
            return decode(raw) if raw else None
        if short == "Duration" and kind.startswith(META):
            return f"{self._value('int64', dict(_fields(item)).get(1, 0)) / 1e9:g}s"
        if short in ("JSONSchemaPropsOrArray", "JSONSchemaPropsOrBool", "JSONSchemaPropsOrStringArray"):
            return self._either(short, kind, item)
        if short in ("Verbs", "ExtraValue", "OptionalNames"):
            return [bytes(part).decode() for _, part in _fields(item)]
        return self._message(kind, item)

    def _either(self, short: str, kind: str, item: Any) -> Any:
        package = kind.rpartition(".")[0]
        parts = list(_fields(item))
        schemas = [
            self._message(f"{package}.JSONSchemaProps", part)
            for number, part in parts
            if number == 1 and short != "JSONSchemaPropsOrBool"
        ]
        if short == "JSONSchemaPropsOrBool":
            named = dict(parts)
            return self._message(f"{package}.JSONSchemaProps", named[2]) if 2 in named else bool(named.get(1, 0))
        if short == "JSONSchemaPropsOrStringArray":
            strings = [bytes(part).decode() for number, part in parts if number == 2]
            return strings or (schemas[0] if schemas else [])
        many = [self._message(f"{package}.JSONSchemaProps", part) for number, part in parts if number == 2]
        return many or (schemas[0] if schemas else {})


def _fields(data: Any) -> Iterator[tuple[int, Any]]:
    """(number, value) of one message: an int for varints, bytes for the rest."""
    view = memoryview(data)
    position, end = 0, len(view)
    while position < end:
        tag, position = _varint(view, position)
        number, wire = tag >> 3, tag & 7
        if wire == 0:
            value, position = _varint(view, position)
            yield number, value
            continue
        if wire == 2:
            size, position = _varint(view, position)
        elif wire in (1, 5):
            size = 8 if wire == 1 else 4
        else:
            raise ValueError(f"wire type {wire}")
        if size > end - position:
            raise ValueError("unexpected end of message")
        yield number, view[position : position + size]
        position += size


def _varint(view: memoryview, position: int) -> tuple[int, int]:
    value = shift = 0
    while True:
        byte = view[position]
        position += 1
        value |= (byte & 0x7F) << shift
        if byte < 0x80:
            return value & 0xFFFFFFFFFFFFFFFF, position
        shift += 7
        if shift > 63:
            raise ValueError("varint is too long")


def _varints(data: Any) -> list[int]:
    view, position, found = memoryview(data), 0, []
    while position < len(view):
        value, position = _varint(view, position)
        found.append(value)
    return found
