"""Types of `v1alpha1` as structural schemas, the OpenAPI subset that custom resource definitions are made of.

Refuses everything such a schema has no word for, references above all: a recursive type is a mistake in the type.
"""

from __future__ import annotations

import ast
import inspect
import textwrap
from functools import cache
from typing import Any, Final

from msgspec import inspect as info

from quartermaster.api.v1alpha1 import Observed, Part

Json = dict[str, Any]

_SCALARS: Final[dict[type, str]] = {
    info.BoolType: "boolean",
    info.IntType: "integer",
    info.FloatType: "number",
    info.StrType: "string",
}
_BOUNDS: Final = {
    "ge": "minimum",
    "le": "maximum",
    "pattern": "pattern",
    "min_length": "minLength",
    "max_length": "maxLength",
}


def schema(kind: type[Part]) -> Json:
    """The schema of a type, with descriptions, bounds, rules and, where the server is to fill them in, defaults."""
    return _of(info.type_info(kind))


def _of(what: info.Type) -> Json:
    if isinstance(what, info.Metadata):
        return _of(what.type) | (what.extra_json_schema or {})
    if isinstance(what, info.StructType):
        return _struct(what)
    if isinstance(what, info.UnionType):
        return _union(what)
    if isinstance(what, info.ListType):
        return _sized({"type": "array", "items": _of(what.item_type)}, what, "Items")
    if isinstance(what, info.DictType):
        return _sized({"type": "object", "additionalProperties": _of(what.value_type)}, what, "Properties")
    if isinstance(what, info.EnumType):
        return {"type": "string", "enum": [member.value for member in what.cls]}
    if isinstance(what, info.LiteralType):
        return {"type": "string", "enum": list(what.values)}
    made: Json = {"type": _SCALARS[type(what)]}
    bounds = ((word, getattr(what, name, None)) for name, word in _BOUNDS.items())
    return made | {word: bound for word, bound in bounds if bound is not None}


def _sized(made: Json, what: info.ListType | info.DictType, of: str) -> Json:
    bounds = {f"min{of}": what.min_length, f"max{of}": what.max_length}
    return made | {word: bound for word, bound in bounds.items() if bound is not None}


def _union(what: info.UnionType) -> Json:
    inner = [_of(one) for one in what.types if not isinstance(one, info.NoneType)]
    if len(inner) == 1:
        return inner[0]
    assert [one["type"] for one in inner] == ["integer", "string"], "the only union that a structural schema has"
    bounds = {word: bound for one in inner for word, bound in one.items() if word != "type"}
    return {"anyOf": [{"type": "integer"}, {"type": "string"}], "x-kubernetes-int-or-string": True} | bounds


def _struct(what: info.StructType) -> Json:
    docs = _field_docs(what.cls)
    properties = {}
    for field in what.fields:
        inner = _of(field.type)
        inner["description"] = docs[field.name]
        if (
            type(field.default) in (bool, int, float, str)
            and field.default != ""
            and not issubclass(what.cls, Observed)
        ):
            inner["default"] = field.default
        properties[field.encode_name] = inner
    made: Json = {"type": "object", "description": _plain(what.cls.__doc__ or ""), "properties": properties}
    if required := [field.encode_name for field in what.fields if field.required]:
        made["required"] = required
    assert issubclass(what.cls, Part)
    if rules := what.cls.RULES:
        made["x-kubernetes-validations"] = [{"rule": rule, "message": message} for rule, message in rules]
    return made


@cache
def _field_docs(kind: type) -> dict[str, str]:
    """The docstrings of fields, which Python itself does not keep."""
    (body,) = ast.parse(textwrap.dedent(inspect.getsource(kind))).body
    assert isinstance(body, ast.ClassDef)
    docs = {}
    for field, text in zip(body.body, body.body[1:], strict=False):
        if isinstance(field, ast.AnnAssign) and isinstance(field.target, ast.Name) and isinstance(text, ast.Expr):
            assert isinstance(text.value, ast.Constant)
            docs[field.target.id] = _plain(str(text.value.value))
    return docs


def _plain(text: str) -> str:
    """Lines of a docstring as lines of a text: one for each paragraph."""
    return "\n\n".join(" ".join(part.split()) for part in text.strip().split("\n\n"))
