"""Just enough of protobuf to look at an answer in Kubernetes' protobuf encoding.

Such an answer is four magic bytes and a `runtime.Unknown`: field 1 is the TypeMeta (1 apiVersion, 2 kind), field 2 the
object, 3 and 4 its content encoding and type. The object itself is left alone: the table asks for it as JSON too.
"""

from collections.abc import Iterator
from typing import Any

MAGIC = b"k8s\x00"


def describe(content: bytes) -> dict[str, Any]:
    """The envelope of an answer, as JSON. Raises `ValueError` if it is none."""
    if not content.startswith(MAGIC):
        return {"envelope": "<no magic bytes>"}
    fields = dict(_fields(content[len(MAGIC) :]))
    meta = dict(_fields(fields.get(1, b"")))
    return {
        "apiVersion": meta.get(1, b"").decode(),
        "kind": meta.get(2, b"").decode(),
        "has object": bool(fields.get(2)),
        "contentType": fields.get(4, b"").decode(),
    }


def _fields(data: bytes) -> Iterator[tuple[int, bytes]]:
    position = 0
    while position < len(data):
        tag, position = _varint(data, position)
        if tag & 7 != 2:
            raise ValueError(f"wire type {tag & 7} in an envelope of strings and messages")
        size, position = _varint(data, position)
        yield tag >> 3, data[position : position + size]
        position += size


def _varint(data: bytes, position: int) -> tuple[int, int]:
    value = shift = 0
    while True:
        byte = data[position]
        value |= (byte & 127) << shift
        position, shift = position + 1, shift + 7
        if byte < 128:
            return value, position
