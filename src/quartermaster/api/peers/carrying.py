"""What becomes of a peer's objects: the objects of ours that are made from them, why, and what is lost."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from fractions import Fraction
from typing import Any, Final, TypeVar

from quartermaster.api.quantities import exact
from quartermaster.api.v1alpha1 import API_VERSION, UNLIMITED
from quartermaster.model.errors import InvalidInput

Json = dict[str, Any]
T = TypeVar("T")

_BINARY: Final = (("Pi", 2**50), ("Ti", 2**40), ("Gi", 2**30), ("Mi", 2**20), ("Ki", 2**10))
_DECIMAL: Final = (("G", 10**9), ("M", 10**6), ("k", 10**3))


@dataclass(slots=True, kw_only=True)
class Carried:
    """One object of ours, what it comes from, why it is as it is, and what of its origin it cannot say."""

    manifest: Json
    source: str
    why: list[str] = field(default_factory=list)
    lost: list[str] = field(default_factory=list)


@dataclass(slots=True, kw_only=True)
class Carrying:
    """All that becomes of some objects.

    `kept` are understood as they are, so that nothing is made; `lost` have no counterpart at all: (object, why).
    """

    carried: list[Carried] = field(default_factory=list)
    kept: list[str] = field(default_factory=list)
    lost: list[tuple[str, str]] = field(default_factory=list)

    @property
    def manifests(self) -> list[Json]:
        """The objects of ours."""
        return [one.manifest for one in self.carried]


def ours(kind: str, name: str, spec: Json) -> Json:
    """An object of ours, less what it leaves out."""
    said = {key: value for key, value in spec.items() if value not in (None, {}, "")}
    return {"apiVersion": API_VERSION, "kind": kind, "metadata": {"name": name}, "spec": said}


def title(value: Json) -> str:
    """How an object is called in reports: kind, namespace, name."""
    metadata = value["metadata"]
    namespace = metadata.get("namespace", "")
    return f"{value['kind']} {namespace}/{metadata['name']}" if namespace else f"{value['kind']} {metadata['name']}"


def of_kinds(objects: Iterable[Json], group: str) -> dict[str, list[Json]]:
    """The objects of one API group by kind, whatever their version, in order."""
    found: dict[str, list[Json]] = {}
    for value in objects:
        if str(value.get("apiVersion", "")).partition("/")[0] == group:
            found.setdefault(value["kind"], []).append(value)
    return found


def spec_of(value: Json) -> Json:
    """The spec of an object; raises InvalidInput if it is none."""
    spec = value.get("spec") or {}
    if not isinstance(spec, dict):
        raise InvalidInput("spec", "is no object", "see the peer's reference")
    return spec


def amount(quantity: Any, *, field: str) -> Fraction:
    """An amount as it was written; raises InvalidInput with the field."""
    try:
        return exact(quantity)
    except InvalidInput as wrong:
        raise InvalidInput(field, wrong.problem, wrong.fix) from None


def quantity(value: Fraction | None, *, memory: bool = False) -> str | int | None:
    """An amount as a quantity, without loss; None is unlimited."""
    if value is None:
        return UNLIMITED
    if value.denominator != 1:
        milli = -(-value.numerator * 1000 // value.denominator)
        return f"{milli}m"
    whole = value.numerator
    if memory:
        for unit, size in (*_BINARY, *_DECIMAL):
            if whole and whole % size == 0:
                return f"{whole // size}{unit}"
    return whole


def each(values: Iterable[Json], make: Callable[[Json], T], found: Carrying) -> Iterator[T]:
    """What is made of every object; one that cannot be read is lost, and leaves the others alone."""
    for value in values:
        try:
            yield make(value)
        except InvalidInput as wrong:
            found.lost.append((title(value), f"cannot be read: {wrong}"))
        except (LookupError, TypeError, AttributeError, ValueError) as wrong:  # a peer's objects may be anything at all
            found.lost.append((title(value), f"cannot be read: {type(wrong).__name__}: {wrong}"))
