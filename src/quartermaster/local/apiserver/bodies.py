"""Bodies of requests: by content type to an object, then strictly to its kind.

Unknown and repeated fields are ignored, warned of or refused, as ``fieldValidation`` says; built-in kinds are brought
to normal form on the way.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

from quartermaster.local.apiserver.cluster import Cluster
from quartermaster.local.apiserver.codec import Malformed, decode, decode_yaml, encode
from quartermaster.local.apiserver.errors import (
    ApiError,
    Json,
    Undecodable,
    bad_request,
    invalid,
    invalid_value,
    unsupported_media,
)
from quartermaster.local.apiserver.kinds import Kind
from quartermaster.local.apiserver.negotiation import PROTOBUF
from quartermaster.local.apiserver.normal import Mismatch, normalize
from quartermaster.local.apiserver.protobuf import MAGIC, Protobuf
from quartermaster.local.apiserver.schemas import Type
from quartermaster.local.apiserver.transport import Request
from quartermaster.local.apiserver.validation_data import base64_problem

ACCEPTED = ("application/json", "application/yaml", PROTOBUF)


def media_type(request: Request) -> str:
    """The content type without parameters, in lower case."""
    return request.headers.get("content-type", "").partition(";")[0].strip().lower()


def read(request: Request, protobuf: Protobuf) -> Any:
    """The body, decoded; raises ApiError 400 or 415."""
    media = media_type(request)
    if media == PROTOBUF or request.body.startswith(MAGIC):
        return protobuf.decode(request.body)
    if media in ("", "application/json", "text/json", "application/x-www-form-urlencoded"):
        if not request.body and request.method == "DELETE":
            return {}
        return decode(request.body)
    if media in ("application/yaml", "text/yaml", "application/x-yaml"):
        return decode_yaml(request.body) if request.body else {}
    raise unsupported_media(ACCEPTED)


def read_object(request: Request, protobuf: Protobuf, kind: Kind) -> Json:
    """The body as an object of `kind`; raises ApiError 400 if it says it is something else."""
    try:
        value = read(request, protobuf)
        if not isinstance(value, dict):
            said = {list: "array", str: "string", bool: "bool", int: "number", float: "number"}.get(type(value))
            if said is not None:
                raise Malformed(f"json: cannot unmarshal {said} into Go value of type {_TYPE_META}")
            value = {}
        if str(value.get("apiVersion", "")).count("/") > 1:
            raise bad_request(f"unexpected GroupVersion string: {value['apiVersion']}")
    except ApiError as error:
        if error.code == 400:
            lead = f"the object provided is unrecognized (must be of type {kind.kind})"
            error.message = f"{lead}: {error.message} ({_summary(request.body)})"
        raise
    if kind.custom is not None and not value.get("kind"):
        text = request.body.decode(errors="replace")
        short = f"{text[:30]} ..." if len(text) > 30 else text
        raise bad_request(
            f"the object provided is unrecognized (must be of type {kind.kind}): Object 'Kind' is missing in '{text}' "
            f"({short})"
        )
    if kind.custom is not None:
        _typed_custom(value, kind)
    else:
        typed(value, kind.kind, kind.api_version)
        check_bytes(value, kind)
    return value


_TYPE_META = 'struct { APIVersion string "json:\\"apiVersion,omitempty\\""; Kind string "json:\\"kind,omitempty\\"" }'
_SHOWN = 30


def _summary(body: bytes) -> str:
    """The start of a body as it is quoted back: in hexadecimal if it is no JSON object."""
    if not body:
        return "<empty>"
    start = body[:_SHOWN]
    text = start.decode(errors="replace") if body.startswith(b"{") else start.hex()
    return f"{text} ..." if len(body) > _SHOWN else text


def check_bytes(value: Json, kind: Kind) -> None:
    """Whether the bytes in a Secret or ConfigMap are base64; raises Undecodable."""
    names = {"secrets": ("data",), "configmaps": ("binaryData",)}.get(kind.table, ())
    problem = base64_problem(value, names)
    if problem:
        raise Undecodable(kind.kind, kind.version, problem)


def _typed_custom(value: Json, kind: Kind) -> None:
    """The same of a custom resource, whose kind is looked at with its fields; raises ApiError 400 or 422."""
    version, said = value.get("apiVersion") or "", value["kind"]
    if version != kind.api_version:
        raise bad_request(
            f"the API version in the data ({version or '/'}) does not match the expected API version "
            f"({kind.api_version})"
        )
    if said != kind.kind:
        metadata = value.get("metadata")
        name = metadata.get("name", "") if isinstance(metadata, dict) else ""
        raise invalid(said, kind.group, name, [invalid_value("kind", said, f"must be {kind.kind}")])


def typed(value: Json, kind: str, api_version: str) -> Json:
    """Check and fill kind and apiVersion."""
    said_kind, said_version = value.get("kind") or kind, value.get("apiVersion") or api_version
    if said_version != api_version:
        version = str(said_version).rpartition("/")[2]
        why = f'no kind "{said_kind}" is registered for version "{said_version}" in scheme "pkg/runtime/scheme.go:111"'
        raise Undecodable(kind, version, why, said=str(said_kind))
    if said_kind != kind:
        version = api_version.rpartition("/")[2]
        why = f"converting (v1.{said_kind}) to (core.{kind}): unknown conversion"
        raise Undecodable(kind, version, why, said=str(said_kind))
    value["kind"], value["apiVersion"] = kind, api_version
    return value


def to_normal(value: Json, type_: Type, kind: str, version: str) -> list[str]:
    """Normal form in place; returns unknown fields. Raises ApiError 400 for values of the wrong type."""
    try:
        return normalize(value, type_)
    except Mismatch as wrong:
        raise Undecodable(kind, version, wrong.text, conversion=wrong.conversion) from None


def strict(kind: str, version: str, unknown: list[str], validation: str) -> list[str]:
    """Warnings for unknown or repeated fields; raises Undecodable if validation is Strict."""
    if not unknown or validation == "Ignore":
        return []
    if validation == "Strict":
        raise Undecodable(kind, version, f"strict decoding error: {', '.join(unknown)}")
    return unknown


def unknown_fields(paths: list[str]) -> list[str]:
    """How they are called."""
    return [f'unknown field "{path}"' for path in paths]


def repeated_fields(request: Request) -> list[str]:
    """Fields that are in a JSON body twice."""
    return repeated_fields_of(request.body) if media_type(request) in ("", "application/json") else []


class _Pairs(dict[str, Any]):
    """An object that knows which of its keys were there before."""

    twice: tuple[str, ...] = ()


def repeated_fields_of(body: bytes) -> list[str]:
    """Fields that are in JSON twice, by their paths.

    JSON without spaces has the length of what it says, so most bodies are not read again.
    """
    try:
        if len(encode(decode(body))) >= len(body.strip()):
            return []
        value = json.loads(body, object_pairs_hook=_pairs)
    except (ApiError, ValueError, RecursionError):
        return []
    return [f'duplicate field "{path}"' for path in _repeated(value, "")]


def _pairs(items: list[tuple[str, Any]]) -> _Pairs:
    value = _Pairs(items)
    if len(value) != len(items):
        names = [name for name, _ in items]
        value.twice = tuple(name for name in value if names.count(name) > 1)
    return value


def _repeated(value: Any, path: str) -> Iterator[str]:
    if isinstance(value, _Pairs):
        for name in value.twice:
            yield f"{path}{name}"
        for name, item in value.items():
            yield from _repeated(item, f"{path}{name}.")
    elif isinstance(value, list):
        for index, item in enumerate(value):
            yield from _repeated(item, f"{path[:-1]}[{index}].")


def type_of(cluster: Cluster, kind: Kind) -> Type | None:
    """The published type of a built-in kind; None for custom resources."""
    return None if kind.custom is not None else cluster.schemas.of(kind.gvk)
