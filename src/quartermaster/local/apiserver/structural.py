"""Structural schemas of custom resources: prune, default, validate (apiextensions-apiserver, pkg/apiserver/schema).

One schema gives the `Type` by which objects are merged and pruned, and is itself walked to default and to validate.
The words of what is wrong are those of kube-openapi.
"""

from __future__ import annotations

import re
from copy import deepcopy
from functools import lru_cache
from typing import Any

from quartermaster.local.apiserver.cel import Rules
from quartermaster.local.apiserver.codec import encode, seconds_of
from quartermaster.local.apiserver.errors import Cause, Json, bad_request, duplicate_value, required, shown
from quartermaster.local.apiserver.jsonpath import first
from quartermaster.local.apiserver.normal import Mismatch, json_type, normalize
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
    ) -> None:
        self.published = schema
        self.storage = storage
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
        return unknown

    def decode_applied(self, value: Json, *, strict: bool) -> None:
        """The same for an applied configuration."""
        unknown = self.decode(value)
        if unknown and strict:
            raise bad_request("strict decoding error: " + ", ".join(f'unknown field "{path}"' for path in unknown))

    def default(self, value: Json) -> None:
        """Fill in the defaults of the schema."""
        fill(value, self.published)

    def validate(self, value: Json, old: Json | None) -> list[Cause]:
        """What is wrong with an object."""
        bare = {key: item for key, item in value.items() if key not in _ROOT}
        schema = self.published
        properties = {key: item for key, item in (schema.get("properties") or {}).items() if key not in _ROOT}
        causes: list[Cause] = []
        top = {key: item for key, item in schema.items() if key not in ("properties", "x-kubernetes-validations")}
        if top.get("required"):
            top["required"] = [name for name in top["required"] if name not in _ROOT]
        check(bare, top | {"properties": properties}, "", causes)
        if self.scale is not None:
            replicas = first(value, self.scale["specReplicasPath"])
            if isinstance(replicas, int) and replicas < 0:
                path = self.scale["specReplicasPath"].lstrip(".")
                causes.append(
                    Cause("FieldValueInvalid", f"Invalid value: {replicas}: should be a non-negative integer", path)
                )
        if not causes:
            causes += self._rules.check(value, old)
        return causes


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


_TYPES: dict[str, tuple[type, ...]] = {
    "object": (dict,),
    "array": (list,),
    "string": (str,),
    "boolean": (bool,),
    "integer": (int,),
    "number": (int, float),
}


def is_type(value: Any, kind: str) -> bool:
    """Whether a value is of a JSON schema type."""
    if kind in ("integer", "number") and isinstance(value, bool):
        return False
    if kind == "integer" and isinstance(value, float):
        return value.is_integer()
    return isinstance(value, _TYPES.get(kind, (object,)))


def check(value: Any, schema: Json, path: str, causes: list[Cause]) -> None:
    """Append what is wrong with `value`."""
    at = path.lstrip(".")
    if value is None and schema.get("nullable"):
        return
    if schema.get("x-kubernetes-int-or-string"):
        if isinstance(value, bool) or not isinstance(value, int | str):
            causes.append(_wrong_type(at, value, "integer,string"))
            return
    elif schema.get("type") and not is_type(value, schema["type"]):
        causes.append(_wrong_type(at, value, schema["type"]))
        return
    if "enum" in schema and value not in schema["enum"]:
        known = ", ".join(shown(item) for item in schema["enum"])
        causes.append(
            Cause("FieldValueNotSupported", f"Unsupported value: {shown(value)}: supported values: {known}", at)
        )
    if isinstance(value, dict):
        _check_object(value, schema, path, causes)
    elif isinstance(value, list):
        _check_list(value, schema, path, causes)
    elif isinstance(value, str):
        _check_string(value, schema, at, causes)
    elif isinstance(value, int | float) and not isinstance(value, bool):
        _check_number(value, schema, at, causes)
    _check_junctors(value, schema, path, causes)


def _wrong_type(at: str, value: Any, wanted: str) -> Cause:
    kind = json_type(value)
    kind = {"bool": "boolean", "number": "integer" if isinstance(value, int) else "number"}.get(kind, kind)
    named = f"{at} in body" if at else "in body"
    return Cause("FieldValueTypeInvalid", f'Invalid value: "{kind}": {named} must be of type {wanted}: "{kind}"', at)


def _bad(at: str, value: Any, text: str) -> Cause:
    return Cause("FieldValueInvalid", f"Invalid value: {shown(value)}: {at} in body {text}", at)


def _check_object(value: Json, schema: Json, path: str, causes: list[Cause]) -> None:
    at = path.lstrip(".")
    causes.extend(required(f"{path}.{name}".lstrip(".")) for name in schema.get("required") or () if name not in value)
    if len(value) < schema.get("minProperties", 0):
        causes.append(_bad(at, value, f"should have at least {schema['minProperties']} properties"))
    if len(value) > schema.get("maxProperties", len(value)):
        causes.append(
            Cause("FieldValueTooMany", f"Too many: {len(value)}: must have at most {schema['maxProperties']} items", at)
        )
    properties = schema.get("properties") or {}
    for name, inner in properties.items():
        if name in value:
            check(value[name], inner, f"{path}.{name}", causes)
    more = schema.get("additionalProperties")
    if isinstance(more, dict):
        for name, item in value.items():
            if name not in properties:
                check(item, more, f"{path}.{name}", causes)


def _check_list(value: list[Any], schema: Json, path: str, causes: list[Cause]) -> None:
    at = path.lstrip(".")
    if len(value) < schema.get("minItems", 0):
        causes.append(_bad(at, len(value), f"should have at least {schema['minItems']} items"))
    if len(value) > schema.get("maxItems", len(value)):
        causes.append(
            Cause("FieldValueTooMany", f"Too many: {len(value)}: must have at most {schema['maxItems']} items", at)
        )
    kind, keys = schema.get("x-kubernetes-list-type"), schema.get("x-kubernetes-list-map-keys") or ()
    if kind in ("set", "map") or schema.get("uniqueItems"):
        seen = set()
        for index, item in enumerate(value):
            name = {key: item.get(key) for key in keys} if kind == "map" and isinstance(item, dict) else item
            text = encode(name)
            if text in seen:
                causes.append(duplicate_value(f"{at}[{index}]", name))
            seen.add(text)
    items = schema.get("items")
    if isinstance(items, dict):
        for index, item in enumerate(value):
            check(item, items, f"{path}[{index}]", causes)


def _check_string(value: str, schema: Json, at: str, causes: list[Cause]) -> None:
    if len(value) < schema.get("minLength", 0):
        causes.append(_bad(at, value, f"should be at least {schema['minLength']} chars long"))
    if len(value) > schema.get("maxLength", len(value)):
        causes.append(Cause("FieldValueTooLong", f"Too long: may not be more than {schema['maxLength']} bytes", at))
    pattern = schema.get("pattern")
    if pattern:
        compiled = expression(pattern)
        if compiled is not None and not compiled.search(value):
            causes.append(_bad(at, value, f"should match '{pattern}'"))
    if schema.get("format") in ("date-time", "datetime") and seconds_of(value) is None:
        causes.append(_bad(at, value, f"must be of type date-time: {shown(value)}"))


@lru_cache(maxsize=1024)
def expression(pattern: str) -> re.Pattern[str] | None:
    """A Go regular expression, compiled; None if Python cannot."""
    try:
        return re.compile(pattern.replace("\\z", "\\Z"))
    except re.error:
        return None


def _check_number(value: float, schema: Json, at: str, causes: list[Cause]) -> None:
    low, high = schema.get("minimum"), schema.get("maximum")
    if low is not None and (value < low or (schema.get("exclusiveMinimum") and value == low)):
        equal = "" if schema.get("exclusiveMinimum") else " or equal to"
        causes.append(_bad(at, value, f"should be greater than{equal} {low}"))
    if high is not None and (value > high or (schema.get("exclusiveMaximum") and value == high)):
        equal = "" if schema.get("exclusiveMaximum") else " or equal to"
        causes.append(_bad(at, value, f"should be less than{equal} {high}"))
    step = schema.get("multipleOf")
    if step and value % step:
        causes.append(_bad(at, value, f"should be a multiple of {step}"))
    if schema.get("format") == "int32" and isinstance(value, int) and not -(1 << 31) <= value < (1 << 31):
        causes.append(_bad(at, value, f"must be of type int32: {shown(value)}"))


def _check_junctors(value: Any, schema: Json, path: str, causes: list[Cause]) -> None:
    at = path.lstrip(".")

    def holds(inner: Json) -> bool:
        found: list[Cause] = []
        check(value, inner, path, found)
        return not found

    for inner in schema.get("allOf") or ():
        check(value, inner, path, causes)
    if schema.get("anyOf") and not any(map(holds, schema["anyOf"])):
        causes.append(_bad(at, value, "must validate at least one schema (anyOf)"))
    if schema.get("oneOf") and sum(map(holds, schema["oneOf"])) != 1:
        causes.append(_bad(at, value, "must validate one and only one schema (oneOf)"))
    if isinstance(schema.get("not"), dict) and holds(schema["not"]):
        causes.append(_bad(at, value, "must not validate the schema (not)"))
