"""OpenAPI v2 as protobuf: read back by hand, and asked for as client-go asks."""

import struct
from typing import Any

import pytest

from quartermaster.local.apiserver.openapi_protobuf import MEDIA, document
from quartermaster.local.apiserver.protobuf import _fields
from quartermaster.testing.kubernetes import Json, kubernetes

DOCUMENT: Json = {
    "swagger": "2.0",
    "info": {"title": "t", "version": "v"},
    "definitions": {
        "A": {
            "type": "object",
            "required": ["b"],
            "properties": {
                "b": {"$ref": "#/definitions/B", "default": {}},
                "c": {"type": "array", "items": {"type": "integer", "format": "int32", "minimum": 1.5}},
            },
            "additionalProperties": {"type": "string"},
            "x-kubernetes-group-version-kind": [{"group": "", "kind": "A", "version": "v1"}],
        },
        "B": {"additionalProperties": False, "enum": ["x", 1], "maxLength": 300},
    },
}


def parts(raw: Any, number: int) -> list[Any]:
    return [value for found, value in _fields(memoryview(raw)) if found == number]


def text(raw: Any, number: int) -> str:
    (value,) = parts(raw, number)
    return bytes(value).decode()


def named(raw: Any) -> Json:
    return {text(item, 1): parts(item, 2)[0] for item in parts(raw, 1)}


def test_each_field_is_where_clients_look() -> None:
    raw = document(DOCUMENT)
    assert text(raw, 1) == "2.0"
    a, b = named(parts(raw, 9)[0]).values()
    assert (text(parts(a, 22)[0], 1), text(a, 19)) == ("object", "b")
    properties = named(parts(a, 25)[0])
    assert text(properties["b"], 1) == "#/definitions/B"
    assert text(parts(properties["b"], 5)[0], 2) == "{}\n"
    items = parts(parts(properties["c"], 23)[0], 1)[0]
    assert (text(items, 2), struct.unpack("<d", parts(items, 9)[0])) == ("int32", (1.5,))
    assert text(parts(parts(parts(a, 21)[0], 1)[0], 22)[0], 1) == "string"
    extension = parts(a, 31)[0]
    assert text(extension, 1) == "x-kubernetes-group-version-kind"
    assert text(parts(extension, 2)[0], 2) == '[{"group":"","kind":"A","version":"v1"}]\n'
    assert parts(parts(b, 21)[0], 2) == [0]
    assert ([text(value, 2) for value in parts(b, 20)], parts(b, 12), parts(b, 11)) == (['"x"\n', "1\n"], [], [300])


@pytest.mark.parametrize("sign", [".", "@"])
async def test_clients_get_all_types(sign: str) -> None:
    accept = f"application/com.github.proto-openapi.spec.v2{sign}v1.0+protobuf"
    async with kubernetes() as api:
        answer = await api.send("GET", "/openapi/v2", accept=accept)
        assert (answer.status, answer.content_type) == (200, MEDIA)
        types = named(parts(answer.body, 9)[0])
        assert types.keys() == (await api.get("/openapi/v2"))["definitions"].keys()
        assert "io.k8s.api.core.v1.PodList" in types
