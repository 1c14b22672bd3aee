"""The format of a stage, and reading it: YAML documents in the shape of KWOK's ``kind: Stage``.

As in KWOK: resourceRef, selector with matchExpressions (key, operator, values), weight, delay with
durationMilliseconds, jitterDurationMilliseconds and their ...From, next with patches, event, delete. Different:
templates are YAML with values to compute (``=name``, see `facts`), not Go templates; a delay can count ``since`` a time
that the object carries, so that a restart does not begin it anew.
"""

from __future__ import annotations

from collections.abc import Iterable
from functools import cache
from importlib.resources import files
from pathlib import Path
from typing import Any, Literal

import msgspec
import yaml

from quartermaster.local.stages import paths
from quartermaster.model.errors import InvalidInput


class _Part(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, rename="camel"):
    """Base of all parts of a document."""


class Reference(_Part, frozen=True):
    """Which resource, by its plural."""

    resource: Literal["pods", "nodes"]


class Condition(_Part, frozen=True):
    """One test on a value: a path of the object, of its node (``@.path``), or computed (``=name``)."""

    key: str
    operator: Literal["In", "NotIn", "Exists", "DoesNotExist"]
    values: list[str] = []


class Selector(_Part, frozen=True):
    """All conditions hold."""

    match_expressions: list[Condition] = []


class From(_Part, frozen=True):
    """A number of seconds computed (``=name``) or found (``.path``); absent if that gives nothing."""

    expression_from: str


class Delay(_Part, frozen=True):
    """Between duration and jitterDuration, evenly. `since`: the path of the time from which it counts."""

    duration_milliseconds: int = 0
    duration_from: From | None = None
    jitter_duration_milliseconds: int | None = None
    since: str = ""


class Patch(_Part, frozen=True):
    """A strategic merge patch; `subresource` is ``status`` or empty."""

    template: dict[str, Any]
    subresource: Literal["", "status"] = ""


class Event(_Part, frozen=True):
    """What is told in an event."""

    type: Literal["Normal", "Warning"]
    reason: str
    message: str


class Next(_Part, frozen=True):
    """What happens. `delete` leaves no grace; `evict` asks disruption budgets first."""

    patches: list[Patch] = []
    event: Event | None = None
    delete: bool = False
    evict: bool = False


class Spec(_Part, frozen=True):
    """A stage without its name."""

    resource_ref: Reference
    selector: Selector = Selector()
    weight: int = 0
    delay: Delay = Delay()
    next: Next = Next()


class Metadata(_Part, frozen=True):
    """The name of a stage."""

    name: str


class Stage(_Part, frozen=True):
    """One stage: on which objects, how long after, what."""

    api_version: Literal["quartermaster.dev/v1alpha1"]
    kind: Literal["Stage"]
    metadata: Metadata
    spec: Spec

    @property
    def name(self) -> str:
        """How it is called in tests and messages."""
        return self.metadata.name


def read(text: str, where: str) -> list[Stage]:
    """The stages of a YAML text; raises InvalidInput that names `where`."""
    try:
        documents = [document for document in yaml.safe_load_all(text) if document is not None]
    except yaml.YAMLError as wrong:
        raise InvalidInput(
            where, f"is not YAML ({str(wrong).splitlines()[0]})", "give stages, one a document"
        ) from None
    found = []
    for number, document in enumerate(documents):
        try:
            stage = msgspec.convert(document, Stage)
        except msgspec.ValidationError as wrong:
            raise InvalidInput(f"{where}: document {number}", str(wrong), "see the stages that are shipped") from None
        for condition in stage.spec.selector.match_expressions:
            _check(condition, f"{where}: stage '{stage.name}'")
        if stage.spec.weight < 0:
            raise InvalidInput(f"{where}: stage '{stage.name}': weight", f"is {stage.spec.weight}", "give 0 or more")
        found.append(stage)
    return found


def _check(condition: Condition, where: str) -> None:
    paths.parse(condition.key.lstrip("@")) if not condition.key.startswith("=") else None
    if bool(condition.values) != (condition.operator in ("In", "NotIn")):
        raise InvalidInput(
            f"{where}: {condition.key}",
            f"{condition.operator} with {condition.values}",
            "In and NotIn take values, the others none",
        )


SETS = ("pods", "nodes", "chaos")


@cache
def shipped(name: str) -> tuple[Stage, ...]:
    """A set that comes with the program: pods, nodes or chaos."""
    if name not in SETS:
        raise InvalidInput(f"stages '{name}'", "are not shipped", f"use one of: {', '.join(SETS)}")
    return tuple(read((files(__package__) / "data" / f"{name}.yaml").read_text(), f"{name}.yaml"))


def everything(extra: Iterable[Path] = ()) -> tuple[Stage, ...]:
    """All shipped sets and the files of `extra`; a later stage takes the place of one with its name."""
    found = {stage.name: stage for name in SETS for stage in shipped(name)}
    for path in extra:
        try:
            text = path.read_text()
        except OSError as wrong:
            raise InvalidInput(str(path), f"cannot be read ({wrong.strerror})", "name a file of stages") from None
        found |= {stage.name: stage for stage in read(text, str(path))}
    return tuple(found.values())
