"""Bodies of requests: by content type to an object, then strictly to its kind.

Unknown and repeated fields are ignored, warned of or refused, as ``fieldValidation`` says; built-in kinds are brought
to normal form on the way.
"""

from __future__ import annotations

import json
from typing import Any

from quartermaster.local.apiserver.cluster import Cluster
from quartermaster.local.apiserver.codec import decode, decode_yaml
from quartermaster.local.apiserver.errors import ApiError, Json, bad_request, unsupported_media
from quartermaster.local.apiserver.kinds import Kind
from quartermaster.local.apiserver.negotiation import PROTOBUF
from quartermaster.local.apiserver.normal import Mismatch, normalize
from quartermaster.local.apiserver.protobuf import MAGIC, Protobuf
from quartermaster.local.apiserver.schemas import Type
from quartermaster.local.apiserver.transport import Request
from quartermaster.local.apiserver.validation_kinds import base64_problem

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
    except ApiError as error:
        if error.code == 400:
            text = request.body.decode(errors="replace")
            text = f"{text[:30]} ..." if len(text) > 30 else text
            lead = f"the object provided is unrecognized (must be of type {kind.kind})"
            error.message = f"{lead}: {error.message} ({text})"
        raise
    if not isinstance(value, dict):
        raise bad_request(
            f'{kind.kind} in version "{kind.version}" cannot be handled as a {kind.kind}: '
            "json: cannot unmarshal array into Go value of type map[string]interface {}"
        )
    if kind.custom is not None and not value.get("kind"):
        text = request.body.decode(errors="replace")
        short = f"{text[:30]} ..." if len(text) > 30 else text
        raise bad_request(
            f"the object provided is unrecognized (must be of type {kind.kind}): Object 'Kind' is missing in '{text}' "
            f"({short})"
        )
    typed(value, kind.kind, kind.api_version)
    if kind.table in ("secrets", "configmaps"):
        problem = base64_problem(value, ("data",) if kind.table == "secrets" else ("binaryData",))
        if problem:
            raise bad_request(f'{kind.kind} in version "{kind.version}" cannot be handled as a {kind.kind}: {problem}')
    return value


def typed(value: Json, kind: str, api_version: str) -> Json:
    """Check and fill kind and apiVersion."""
    said_kind, said_version = value.get("kind") or kind, value.get("apiVersion") or api_version
    if said_version != api_version:
        version = str(said_version).rpartition("/")[2]
        raise bad_request(
            f'{said_kind} in version "{version}" cannot be handled as a {kind}: no kind "{said_kind}" is registered '
            f'for version "{said_version}" in scheme "pkg/runtime/scheme.go:111"'
        )
    if said_kind != kind:
        version = api_version.rpartition("/")[2]
        raise bad_request(
            f'{said_kind} in version "{version}" cannot be handled as a {kind}: '
            f"converting (v1.{said_kind}) to (core.{kind}): unknown conversion"
        )
    value["kind"], value["apiVersion"] = kind, api_version
    return value


def to_normal(value: Json, type_: Type, kind: str, version: str) -> list[str]:
    """Normal form in place; returns unknown fields. Raises ApiError 400 for values of the wrong type."""
    try:
        return normalize(value, type_)
    except Mismatch as wrong:
        if not wrong.found:
            text = wrong.wanted
        else:
            text = (
                f"json: cannot unmarshal {wrong.found} into Go struct field {kind}.{wrong.path} of type {wrong.wanted}"
            )
        raise bad_request(f'{kind} in version "{version}" cannot be handled as a {kind}: {text}') from None


def strict(kind: str, version: str, unknown: list[str], validation: str) -> list[str]:
    """Warnings for unknown or repeated fields; raises ApiError 400 if validation is Strict."""
    if not unknown or validation == "Ignore":
        return []
    if validation == "Strict":
        text = ", ".join(unknown)
        raise bad_request(f'{kind} in version "{version}" cannot be handled as a {kind}: strict decoding error: {text}')
    return unknown


def unknown_fields(paths: list[str]) -> list[str]:
    """How they are called."""
    return [f'unknown field "{path}"' for path in paths]


def repeated_fields(request: Request) -> list[str]:
    """Keys that are in a JSON body twice: only strict clients pay for looking."""
    if media_type(request) not in ("", "application/json"):
        return []
    found: list[str] = []

    def pairs(items: list[tuple[str, Any]]) -> Json:
        value = dict(items)
        if len(value) != len(items):
            names = [name for name, _ in items]
            found.extend(f'duplicate field "{name}"' for name in value if names.count(name) > 1)
        return value

    try:
        json.loads(request.body, object_pairs_hook=pairs)
    except (ValueError, RecursionError):
        return []
    return found


def to_normal_if_builtin(cluster: Cluster, kind: Kind, value: Json, validation: str) -> None:
    """Bring an applied configuration of a built-in kind to normal form, as far as its fields are said.

    Structs that are always written are not part of what was applied, so nothing is added. Raises ApiError 400.
    """
    if kind.custom is not None:
        kind.custom.decode_applied(value, strict=validation == "Strict")
        return
    type_ = cluster.schemas.of(kind.gvk)
    if type_ is None:
        return
    try:
        unknown = normalize(value, type_, whole=False)
    except Mismatch as wrong:
        raise bad_request(
            f"failed to create typed patch object: .{wrong.path}: expected {wrong.wanted}, got {wrong.found}"
        ) from None
    if unknown:
        text = "\n".join(f".{path}: field not declared in schema" for path in unknown)
        name = value.get("metadata", {}).get("name", "")
        raise ApiError(
            500,
            "InternalError",
            f"failed to create typed patch object ({name}; {kind.api_version}, Kind={kind.kind}): {text}",
        )


def type_of(cluster: Cluster, kind: Kind) -> Type | None:
    """The published type of a built-in kind; None for custom resources."""
    return None if kind.custom is not None else cluster.schemas.of(kind.gvk)
