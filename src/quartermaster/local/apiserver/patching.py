"""PATCH that is no apply: a body and what it does to the live object, with the real server's words when it cannot.

The result of a patch is decoded like any body, but a result that is no object of its kind is 422 and quotes it: the
client sent only a difference and has never seen the whole.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from quartermaster.local.apiserver.bodies import check_bytes, repeated_fields_of, typed
from quartermaster.local.apiserver.codec import Malformed, decode, encode
from quartermaster.local.apiserver.errors import (
    ApiError,
    Json,
    Undecodable,
    bad_request,
    invalid,
    invalid_value,
    unsupported_media,
    unsupported_patch,
)
from quartermaster.local.apiserver.kinds import Kind
from quartermaster.local.apiserver.patches import json_patch, merge_patch, strategic_patch
from quartermaster.local.apiserver.quoting import go_text, in_go_order, paths_of, sorted_where
from quartermaster.local.apiserver.schemas import ANY, Type

JSON_PATCH = "application/json-patch+json"
MERGE_PATCH = "application/merge-patch+json"
STRATEGIC_PATCH = "application/strategic-merge-patch+json"
APPLY_PATCH = "application/apply-patch+yaml"

Decode = Callable[[Kind, Json, list[str]], list[str]]
"""Brings an object of a kind to normal form; the strings are repeated fields, the result warnings."""


@dataclass(slots=True)
class Patch:
    """One patch: a function of the live object, which may be asked again for another. Raises ApiError 400, 415, 422.

    `other` finds the kind that a patched object says it is, if it is not `kind` any more.
    """

    media: str
    raw: bytes
    kind: Kind
    type: Type
    decode: Decode
    other: Callable[[str, str], Kind | None]
    warnings: list[str] = field(default_factory=list)

    def __post_init__(self) -> None:
        if self.kind.custom is not None and self.media not in (JSON_PATCH, MERGE_PATCH):
            raise unsupported_media((JSON_PATCH, MERGE_PATCH, APPLY_PATCH))
        if self.media not in (JSON_PATCH, MERGE_PATCH, STRATEGIC_PATCH):
            raise unsupported_patch()
        self._body()

    def _body(self) -> Any:
        """The body, decoded afresh: patching takes it apart."""
        try:
            body = decode(self.raw)
        except Malformed as wrong:
            raise bad_request(self._undecoded(wrong.why)) from None
        found = {list: "array", str: "string", bool: "bool", int: "number", float: "number"}.get(type(body), "object")
        if self.media == JSON_PATCH:
            if not isinstance(body, list):
                raise bad_request(
                    f"error decoding patch: json: cannot unmarshal {found} into Go value of type []handlers.jsonPatchOp"
                )
        elif not isinstance(body, dict):
            why = f"json: cannot unmarshal {found} into Go value of type map[string]interface {{}}"
            raise bad_request(self._undecoded(why))
        return body

    def _undecoded(self, why: str) -> str:
        return why if self.media == STRATEGIC_PATCH else f"error decoding patch: {why}"

    def __call__(self, live: Json) -> Json:
        """The patched object in normal form. `live` is taken apart."""
        before = encode(live)
        result = self._applied(live, self._body())
        try:
            self.warnings = self._decoded(result)
        except Undecodable as wrong:
            raise self._refused(decode(before), wrong) from None
        if not (result.get("metadata") or {}).get("name"):
            name = decode(before)["metadata"]["name"]
            why = f"the name of the object ({name} based on URL) was undeterminable: name must be provided"
            raise bad_request(why)
        return result

    def _applied(self, live: Json, body: Any) -> Json:
        if self.media == JSON_PATCH:
            result = json_patch(live, body)
        elif self.media == MERGE_PATCH:
            result = merge_patch(live, body)
        else:
            result = strategic_patch(live, body, self.type)
        if not isinstance(result, dict):
            raise bad_request("the patched object is not an object")
        return result

    def _decoded(self, result: Json) -> list[str]:
        kind = self.kind
        said = (str(result.get("apiVersion") or ""), str(result.get("kind") or ""))
        if self.media == STRATEGIC_PATCH:
            result["apiVersion"], result["kind"] = kind.api_version, kind.kind  # it patches fields of a struct
        elif kind.custom is None and said != (kind.api_version, kind.kind):
            other = self.other(*said)
            if other is None:
                why = f'no kind "{said[1]}" is registered for version "{said[0]}" in scheme "pkg/runtime/scheme.go:111"'
                raise Undecodable(kind.kind, kind.version, why)
            if other.custom is None:
                check_bytes(result, other)
                self.decode(other, result, [])
            typed(result, kind.kind, kind.api_version)
        check_bytes(result, kind)
        repeated = repeated_fields_of(self.raw)
        if self.media == JSON_PATCH:
            repeated = [f"json patch {text}" for text in repeated]
        return self.decode(kind, result, repeated)

    def _refused(self, before: Json, wrong: Undecodable) -> ApiError:
        """422 that quotes what the patch made, or of strategic patches the patch itself."""
        body, why = self._body(), wrong.why
        if self.media == STRATEGIC_PATCH:
            quoted, why = go_text(body), wrong.conversion
        else:
            touched = paths_of(body) if self.media == JSON_PATCH else body
            ordered = in_go_order(before, self.type if self.kind.custom is None else ANY)
            quoted = encode(sorted_where(self._applied(ordered, body), touched)).decode()
        return invalid("", "", "", [invalid_value("patch", quoted, why)])
