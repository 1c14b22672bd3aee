"""Types of objects, as published: one model for built-in kinds and for custom resources.

A `Type` says which fields there are, how lists merge (atomic, set, map by keys), which fields Go always writes and
which it leaves out when zero. Strict decoding, normal form, strategic merge, server-side apply and ``kubectl
explain`` all follow from it, so none of them has a table of its own.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from quartermaster.local.apiserver.shipped import shipped

_REF = "#/components/schemas/"
_OPAQUE = (
    "io.k8s.apimachinery.pkg.runtime.RawExtension",
    "io.k8s.apimachinery.pkg.apis.meta.v1.FieldsV1",
    "io.k8s.apiextensions-apiserver.pkg.apis.apiextensions.v1.JSON",
)
_SCALARS = {
    "io.k8s.apimachinery.pkg.api.resource.Quantity": "quantity",
    "io.k8s.apimachinery.pkg.util.intstr.IntOrString": "int-or-string",
    "io.k8s.apimachinery.pkg.apis.meta.v1.Time": "time",
    "io.k8s.apimachinery.pkg.apis.meta.v1.MicroTime": "micro-time",
}


ZEROS = {"string": "", "integer": 0, "number": 0, "boolean": False, "quantity": "0", "int-or-string": 0}


@dataclass(slots=True, eq=False)
class Field:
    """A property of a struct."""

    type: Type
    strategies: frozenset[str] = frozenset()
    """Of ``x-kubernetes-patch-strategy``: merge, replace, retainKeys."""
    merge_key: str = ""
    embedded: bool = False
    """A struct that is always there: written as {} when nobody sets it."""
    always: bool = False
    """Written even when zero."""
    omit_zero: bool = False
    """Zero is the same as absent."""
    required: bool = False
    default: Any = None
    """What stands where nothing is said, unless that is its zero."""
    zero_default: bool = False
    """Whether its default is its zero: an item of a list by keys may leave it out."""


@dataclass(slots=True, eq=False)
class Type:
    """What a value is.

    `shape`: struct, map, list, string, bytes, integer, number, boolean, quantity, int-or-string, time, micro-time, any.
    """

    shape: str
    name: str = ""
    fields: dict[str, Field] = field(default_factory=dict)
    element: Type | None = None
    atomic: bool = False
    """Owned and replaced as a whole."""
    keys: tuple[str, ...] = ()
    """Of a list that is a map: what names an item. A set has none and is not atomic."""
    preserve: bool = False
    """Unknown fields stay."""
    nullable: bool = False
    embedded_object: bool = False
    """x-kubernetes-embedded-resource: apiVersion, kind and metadata belong to it."""
    key_defaults: dict[str, Any] = field(default_factory=dict)
    _inner: list[tuple[str, Type, bool]] | None = None
    _zeros: list[tuple[str, Any]] | None = None

    def zeros(self) -> list[tuple[str, Any]]:
        """(field, zero) of scalars, lists and maps that are always written."""
        if self._zeros is None:
            self._zeros = [
                (key, ZEROS.get(field.type.shape))
                for key, field in self.fields.items()
                if field.always and field.type.shape not in ("struct", "any")
            ]
        return self._zeros

    def inner(self) -> list[tuple[str, Type, bool]]:
        """(field, its type, whether it is always there) for fields with structs that are always there inside."""
        if self._inner is None:
            self._inner = [
                (key, field.type, field.embedded and field.type.shape == "struct")
                for key, field in self.fields.items()
                if (field.embedded and field.type.shape == "struct") or field.type.fills(frozenset())
            ]
        return self._inner

    def fills(self, above: frozenset[int]) -> bool:
        """Whether a struct that is always there lies anywhere inside."""
        if id(self) in above or self.scalar:
            return False
        if self.shape == "struct" and self.zeros():
            return True
        if self.element is not None:
            return self.element.shape == "struct" and self.element.fills(above | {id(self)})
        return any(
            (field.embedded and field.type.shape == "struct") or field.type.fills(above | {id(self)})
            for field in self.fields.values()
        )

    @property
    def scalar(self) -> bool:
        """Nothing inside."""
        return self.shape not in ("struct", "map", "list")


ANY = Type("any", preserve=True, atomic=True)


class Schemas:
    """Types of the built-in kinds, made when first asked for."""

    def __init__(self) -> None:
        data = shipped("schemas")
        self._definitions: dict[str, Any] = data["definitions"]
        self._kinds: dict[str, str] = data["kinds"]
        self._always: dict[str, frozenset[str]] = {
            name: frozenset(text.split()) for name, text in data["always"].items()
        }
        self._zero: dict[str, frozenset[str]] = {name: frozenset(text.split()) for name, text in data["zero"].items()}
        self._types: dict[str, Type] = {}

    def of(self, gvk: str) -> Type | None:
        """The type of ``group/version/Kind``."""
        name = self._kinds.get(gvk)
        return self.definition(name) if name else None

    def definition(self, name: str) -> Type:
        """The type of an OpenAPI definition."""
        known = self._types.get(name)
        if known is not None:
            return known
        if name in _OPAQUE:
            return ANY
        if name in _SCALARS:
            return self._types.setdefault(name, Type(_SCALARS[name], name=name))
        schema = self._definitions.get(name)
        if schema is None:
            return ANY
        made = self._types[name] = Type("any", name=name)  # in place first: definitions may contain themselves
        self._fill(made, schema, name)
        return made

    def _type(self, schema: Any) -> Type:
        if "$ref" in schema:
            return self.definition(schema["$ref"].removeprefix(_REF))
        if "allOf" in schema:
            return self._type(schema["allOf"][0])
        made = Type("any")
        self._fill(made, schema, "")
        return made

    def _fill(self, made: Type, schema: Any, name: str) -> None:
        kind = schema.get("type")
        made.atomic = schema.get("x-kubernetes-map-type") == "atomic"
        if kind == "array":
            made.shape = "list"
            made.element = self._type(schema["items"])
            made.keys = tuple(schema.get("x-kubernetes-list-map-keys", ()))
            made.atomic = schema.get("x-kubernetes-list-type", "atomic") == "atomic"
            if made.keys and made.element.shape == "struct":
                for key in made.keys:
                    field = made.element.fields.get(key)
                    if field is not None and field.zero_default:
                        made.key_defaults[key] = ZEROS[field.type.shape]
                    elif field is not None and field.default is not None:
                        made.key_defaults[key] = field.default
        elif schema.get("properties"):
            made.shape = "struct"
            required = schema.get("required", ())
            zero, always = self._zero.get(name, frozenset()), self._always.get(name, frozenset())
            for key, inner in schema["properties"].items():
                default = inner.get("default")
                made.fields[key] = Field(
                    type=self._type(inner),
                    strategies=frozenset(inner.get("x-kubernetes-patch-strategy", "").split(",")) - {""},
                    merge_key=inner.get("x-kubernetes-patch-merge-key", ""),
                    embedded=default == {},
                    omit_zero=key in zero,
                    always=key in always,
                    required=key in required,
                    default=default if default not in ({}, "", 0, None) else None,
                    zero_default=default in ("", 0) and default is not False,
                )
        elif "additionalProperties" in schema:
            made.shape = "map"
            made.element = self._type(schema["additionalProperties"])
        elif kind == "object":
            made.shape = "struct" if name and not schema.get("x-kubernetes-preserve-unknown-fields") else "any"
            made.preserve = made.shape == "any"
        elif kind in ("string", "integer", "number", "boolean"):
            made.shape = "bytes" if schema.get("format") == "byte" else kind
        elif schema.get("format") == "int-or-string":
            made.shape = "int-or-string"
        else:
            made.preserve = True
