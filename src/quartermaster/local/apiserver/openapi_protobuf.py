"""OpenAPI v2 as protobuf, the one form in which client-go asks for it (gnostic's openapi_v2.Document).

kubectl needs it wherever it checks on its own side, such as for a ``kind: List`` that is applied: without it nothing of
the list is sent. Types are all that is looked up there, so types are all that is written; paths are in the JSON form
and in version 3. Field numbers are those of OpenAPIv2.proto (github.com/google/gnostic-models).
"""

from __future__ import annotations

import struct
from collections.abc import Callable, Mapping
from typing import Any, Final

from quartermaster.local.apiserver.codec import encode
from quartermaster.local.apiserver.errors import Json

MEDIA = "application/com.github.proto-openapi.spec.v2.v1.0+protobuf"
ASKED = ("proto-openapi.spec.v2.v1.0+protobuf", "proto-openapi.spec.v2@v1.0+protobuf")
"""How the type is written in ``Accept``: now, and by clients of the first years."""

Write = Callable[[int, Any], bytes]
_DELIMITED = 2
_DOUBLE = 1


def document(openapi: Json) -> bytes:
    """The types of a version 2 document."""
    info = _string(1, openapi["info"]["title"]) + _string(2, openapi["info"]["version"])
    return _string(1, openapi["swagger"]) + _message(2, info) + _schemas(9, openapi["definitions"])


def _schema(value: Json) -> bytes:
    parts = []
    for name, item in value.items():
        if name in _FIELDS:
            number, write = _FIELDS[name]
            parts.append(write(number, item))
        elif name.startswith("x-"):
            parts.append(_message(31, _string(1, name) + _message(2, _any(item))))
    return b"".join(parts)


def _schemas(number: int, named: Mapping[str, Json]) -> bytes:
    """Properties and Definitions are both lists of names with schemas."""
    each = [_message(1, _string(1, name) + _message(2, _schema(value))) for name, value in named.items()]
    return _message(number, b"".join(each))


def _any(value: object) -> bytes:
    """A value as YAML text, which JSON is."""
    return _string(2, encode(value).decode() + "\n")


def _varint(value: int) -> bytes:
    found = bytearray()
    while value > 0x7F:
        found.append(value & 0x7F | 0x80)
        value >>= 7
    found.append(value)
    return bytes(found)


def _message(number: int, raw: bytes) -> bytes:
    return _varint(number << 3 | _DELIMITED) + _varint(len(raw)) + raw


def _string(number: int, text: str) -> bytes:
    return _message(number, text.encode())


def _strings(number: int, values: list[str]) -> bytes:
    return b"".join(_string(number, value) for value in values)


def _whole(number: int, value: int) -> bytes:
    return _varint(number << 3) + _varint(value)


def _double(number: int, value: float) -> bytes:
    return _varint(number << 3 | _DOUBLE) + struct.pack("<d", value)


def _type(number: int, value: str | list[str]) -> bytes:
    return _message(number, _strings(1, [value] if isinstance(value, str) else value))


def _additional(number: int, value: Any) -> bytes:
    return _message(number, _whole(2, value) if isinstance(value, bool) else _message(1, _schema(value)))


_FIELDS: Final[Mapping[str, tuple[int, Write]]] = {
    "$ref": (1, _string),
    "format": (2, _string),
    "title": (3, _string),
    "description": (4, _string),
    "default": (5, lambda number, value: _message(number, _any(value))),
    "multipleOf": (6, _double),
    "maximum": (7, _double),
    "exclusiveMaximum": (8, _whole),
    "minimum": (9, _double),
    "exclusiveMinimum": (10, _whole),
    "maxLength": (11, _whole),
    "minLength": (12, _whole),
    "pattern": (13, _string),
    "maxItems": (14, _whole),
    "minItems": (15, _whole),
    "uniqueItems": (16, _whole),
    "maxProperties": (17, _whole),
    "minProperties": (18, _whole),
    "required": (19, _strings),
    "enum": (20, lambda number, values: b"".join(_message(number, _any(value)) for value in values)),
    "additionalProperties": (21, _additional),
    "type": (22, _type),
    "items": (23, lambda number, value: _message(number, _message(1, _schema(value)))),
    "allOf": (24, lambda number, values: b"".join(_message(number, _schema(value)) for value in values)),
    "properties": (25, _schemas),
    "externalDocs": (29, lambda number, value: _message(number, _string(1, value.get("description", "")))),
}
