"""Server-side printing: what ``kubectl get`` shows, as a meta.k8s.io Table.

Headings are data (kinds.py); cells of built-in kinds are functions in cells.py; custom resources have paths in their
definition. A kind with neither shows its name and age, as with the real server.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from quartermaster.local.apiserver.ages import age
from quartermaster.local.apiserver.cells import CELLS
from quartermaster.local.apiserver.errors import Json
from quartermaster.local.apiserver.jsonpath import first
from quartermaster.local.apiserver.kinds import Column, Kind

_NAME = Column(
    "Name",
    "string",
    "name",
    "Name must be unique within a namespace. Is required when creating resources, although some resources may allow a "
    "client to request the generation of an appropriate name automatically. Name is primarily intended for creation "
    "idempotence and configuration definition. Cannot be updated. More info: "
    "https://kubernetes.io/docs/concepts/overview/working-with-objects/names#names",
)
_CREATED_TEXT = (
    "CreationTimestamp is a timestamp representing the server time when this object was created. It is not "
    "guaranteed to be set in happens-before order across separate operations. Clients may not set this value. It is "
    "represented in RFC3339 form and is in UTC.\n\nPopulated by the system. Read-only. Null for lists. More info: "
    "https://git.k8s.io/community/contributors/devel/sig-architecture/api-conventions.md#metadata"
)
_CREATED = Column("Created At", "date", "", _CREATED_TEXT)
_AGE = Column("Age", "date", "", _CREATED_TEXT)


def columns_of(kind: Kind) -> tuple[Column, ...]:
    """Headings of a kind."""
    if kind.custom is not None:
        return (_NAME, *kind.columns) if kind.columns else (_NAME, _AGE)
    return kind.columns if kind.columns and kind.table in CELLS else (_NAME, _CREATED)


def table_of(kind: Kind, values: Iterable[Json], *, now: float, include: str) -> Json:
    """Rows for objects of `kind`. `include` None, Metadata or Object: what of the object lies in each row."""
    columns = columns_of(kind)
    rows = [{"cells": cells_of(kind, value, now), "object": _included(value, include)} for value in values]
    return {
        "kind": "Table",
        "apiVersion": "meta.k8s.io/v1",
        "metadata": {},
        "columnDefinitions": [column.definition() for column in columns],
        "rows": rows,
    }


def _included(value: Json, include: str) -> Any:
    if include == "Object":
        return value
    if include == "None":
        return None
    return {"kind": "PartialObjectMetadata", "apiVersion": "meta.k8s.io/v1", "metadata": value["metadata"]}


def cells_of(kind: Kind, value: Json, now: float) -> list[Any]:
    """One row."""
    metadata = value["metadata"]
    if kind.custom is not None:
        if not kind.columns:
            return [metadata["name"], metadata.get("creationTimestamp")]
        return [metadata["name"], *(_custom(column, value, now) for column in kind.columns)]
    cells = CELLS.get(kind.table) if kind.columns else None
    return cells(value, now) if cells else [metadata["name"], metadata.get("creationTimestamp")]


def _custom(column: Column, value: Json, now: float) -> Any:
    found = first(value, column.path)
    if found is None:
        return None
    if column.type == "date":
        return age(found, now)
    if column.type == "string" and not isinstance(found, str):
        from quartermaster.local.apiserver.codec import encode  # noqa: PLC0415  # rarely

        return encode(found).decode()
    if column.type == "integer":
        return found if isinstance(found, int) and not isinstance(found, bool) else None
    if column.type == "boolean":
        return found if isinstance(found, bool) else None
    return found
