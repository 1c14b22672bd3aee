"""Structural schemas of custom resources: prune, default, validate (apiextensions-apiserver, pkg/apiserver/schema).

One schema gives the `Type` by which objects are merged and pruned, and is itself walked to default; schema_check.py
holds values to it, and cel.py to its rules.
"""

from __future__ import annotations

from collections.abc import Iterator
from copy import deepcopy
from typing import Any

from quartermaster.local.apiserver.cel import Rules
from quartermaster.local.apiserver.errors import Cause, Json, bad_request, invalid_value, shown
from quartermaster.local.apiserver.normal import Mismatch, normalize
from quartermaster.local.apiserver.schema_check import ABSENT, BLOCKING, check, duplicates
from quartermaster.local.apiserver.schemas import ANY, Field, Schemas, Type

_META = "io.k8s.apimachinery.pkg.apis.meta.v1.ObjectMeta"
_ROOT = ("apiVersion", "kind", "metadata")


class Custom:
    """What a custom kind holds, in one version."""

    def __init__(
        self,
        *,
        schema: Json,
        schemas: Schemas,
        storage: bool = True,
        selectable: tuple[str, ...] = (),
        scale: Json | None = None,
        has_status: bool = False,
        preserve_unknown: bool = False,
        deprecation: str = "",
        by_webhook: bool = False,
    ) -> None:
        self.published = schema
        self.storage = storage
        self.by_webhook = by_webhook
        """Whether only a webhook can make another version of an object: ours are not asked."""
        self.deprecation = deprecation
        self.selectable = selectable
        self.scale = scale
        self.has_status = has_status
        self._meta = schemas.definition(_META)
        self.type = type_of(schema)
        self.type.preserve = self.type.preserve or preserve_unknown
        self.type.shape = "struct"
        self.type.fields |= {
            "apiVersion": Field(Type("string")),
            "kind": Field(Type("string")),
            "metadata": Field(self._meta),
        }
        self._rules = Rules(schema)

    def decode(self, value: Json) -> list[str]:
        """Normal form of metadata, unknown fields dropped and returned; raises ApiError 400."""
        metadata = value.get("metadata")
        try:
            unknown = (
                [f"metadata.{path}" for path in normalize(metadata, self._meta)] if isinstance(metadata, dict) else []
            )
        except Mismatch as wrong:
            raise bad_request(
                f"{value.get('kind')} cannot be handled: json: cannot unmarshal {wrong.found} into Go struct "
                f"field ObjectMeta.metadata.{wrong.path} of type {wrong.wanted}"
            ) from None
        prune(value, self.type, "", unknown)
        return sorted(unknown)

    def decode_applied(self, value: Json, *, strict: bool) -> None:
        """The same for an applied configuration."""
        unknown = self.decode(value)
        if unknown and strict:
            raise bad_request("strict decoding error: " + ", ".join(f'unknown field "{path}"' for path in unknown))

    def default(self, value: Json) -> None:
        """Fill in the defaults of the schema."""
        fill(value, self.published)

    def validate(self, value: Json, old: Json | None, *, status: bool = False) -> list[Cause]:
        """What is wrong with an object, or of a write to its status with that."""
        schema, before = self.published, old or {}
        if status:
            inner = (schema.get("properties") or {}).get("status") or {}
            causes = (
                check(value["status"], inner, before.get("status", ABSENT), at="status") if "status" in value else []
            )
        else:
            causes = check(value, schema, ABSENT if old is None else old)
            causes += self._scale_problems(value, "specReplicasPath")
        causes += self._scale_problems(value, "statusReplicasPath")
        again = list(duplicates(value, schema))
        if old is None or not any(duplicates(old, schema)):
            causes += again
        if not self._rules.any:
            return causes
        if any(cause.reason in BLOCKING for cause in causes):
            return [*causes, _UNASKED]
        return causes + self._rules.check(value, old)

    def _scale_problems(self, value: Json, name: str) -> Iterator[Cause]:
        if self.scale is None:
            return
        path = self.scale[name]
        found: Any = value
        for part in path.strip(".").split("."):
            if not isinstance(found, dict):
                yield _inaccessible(path, found, "map[string]interface{}")
                return
            if part not in found:
                return
            found = found[part]
        if isinstance(found, bool) or not isinstance(found, int):
            yield _inaccessible(path, found, "int64")
        elif found < 0:
            yield invalid_value(path, found, "should be a non-negative integer")
        elif found > _MOST:
            yield invalid_value(path, found, f"should be less than or equal to {_MOST}")


_MOST = (1 << 31) - 1
_UNASKED = invalid_value(
    "<nil>",
    None,
    "some validation rules were not checked because the object was invalid; correct the existing errors to complete "
    "validation",
)
_GO_TYPES = {"str": "string", "float": "float64", "dict": "map[string]interface {}", "list": "[]interface {}"}


def _inaccessible(path: str, value: Any, wanted: str) -> Cause:
    kind = _GO_TYPES.get(type(value).__name__, type(value).__name__)
    text = value if isinstance(value, str) else shown(value)
    return invalid_value(path, 0, f".{path.strip('.')} accessor error: {text} is of the type {kind}, expected {wanted}")


def type_of(schema: Json) -> Type:
    """The type that a structural schema says."""
    kind = schema.get("type")
    preserve = bool(schema.get("x-kubernetes-preserve-unknown-fields"))
    atomic = schema.get("x-kubernetes-map-type") == "atomic"
    nullable = bool(schema.get("nullable"))
    if schema.get("x-kubernetes-int-or-string"):
        return Type("int-or-string", nullable=nullable)
    if kind == "object" or (not kind and schema.get("properties")):
        embedded = bool(schema.get("x-kubernetes-embedded-resource"))
        if schema.get("properties") or embedded:
            made = Type("struct", preserve=preserve, atomic=atomic, nullable=nullable, embedded_object=embedded)
            must = schema.get("required") or ()
            for name, inner in (schema.get("properties") or {}).items():
                made.fields[name] = Field(type_of(inner), required=name in must, default=inner.get("default"))
            if isinstance(schema.get("additionalProperties"), dict):
                made.element = type_of(schema["additionalProperties"])
            return made
        more = schema.get("additionalProperties")
        if isinstance(more, dict):
            return Type("map", element=type_of(more), atomic=atomic, nullable=nullable)
        if more is True or preserve:
            return Type("any", preserve=True, atomic=atomic, nullable=nullable)
        return Type("struct", nullable=nullable, atomic=atomic)
    if kind == "array":
        element = type_of(schema["items"]) if isinstance(schema.get("items"), dict) else ANY
        made = Type("list", element=element, nullable=nullable)
        made.atomic = schema.get("x-kubernetes-list-type", "atomic") == "atomic"
        made.keys = tuple(schema.get("x-kubernetes-list-map-keys") or ())
        made.key_defaults = {
            key: element.fields[key].default
            for key in made.keys
            if key in element.fields and element.fields[key].default is not None
        }
        return made
    if kind in ("string", "integer", "number", "boolean"):
        return Type(kind, nullable=nullable)
    return ANY


def prune(value: Any, type_: Type, path: str, unknown: list[str]) -> None:
    """Drop what the schema does not know, in place, and say what."""
    if isinstance(value, dict):
        if type_.shape == "map" and type_.element is not None:
            for key, item in value.items():
                prune(item, type_.element, f"{path}.{key}", unknown)
            return
        if type_.shape not in ("struct", "any"):
            return
        drop = []
        for key, item in value.items():
            field = type_.fields.get(key)
            if field is not None:
                if path == "" and key in _ROOT:
                    continue
                prune(item, field.type, f"{path}.{key}", unknown)
            elif type_.embedded_object and key in _ROOT:
                continue
            elif type_.element is not None:
                prune(item, type_.element, f"{path}.{key}", unknown)
            elif not type_.preserve:
                unknown.append(f"{path}.{key}".lstrip("."))
                drop.append(key)
        for key in drop:
            del value[key]
    elif isinstance(value, list) and type_.shape == "list" and type_.element is not None:
        for index, item in enumerate(value):
            prune(item, type_.element, f"{path}[{index}]", unknown)


def fill(value: Any, schema: Any) -> None:
    """Write defaults, in place; null where null is not allowed and there is a default counts as absent."""
    if not isinstance(schema, dict):
        return
    if isinstance(value, dict):
        properties = schema.get("properties") or {}
        for name, inner in properties.items():
            if not isinstance(inner, dict):
                continue
            if "default" in inner and (name not in value or (value[name] is None and not inner.get("nullable"))):
                value[name] = deepcopy(inner["default"])
            elif name in value and value[name] is None and not inner.get("nullable"):
                del value[name]
            if name in value:
                fill(value[name], inner)
        more = schema.get("additionalProperties")
        if isinstance(more, dict):
            for name, item in value.items():
                if name not in properties:
                    fill(item, more)
    elif isinstance(value, list):
        for item in value:
            fill(item, schema.get("items"))
