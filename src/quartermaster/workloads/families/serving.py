"""Knative, and Seldon: pods that serve each on its own, as many as are kept running."""

from __future__ import annotations

from typing import Any

from quartermaster.workloads.fields import annotation, count, items, mapping, text
from quartermaster.workloads.group import Group, Json, Role
from quartermaster.workloads.reading import Reading
from quartermaster.workloads.wishes import least

_SCALE = "autoscaling.knative.dev/"


def knative(read: Reading) -> tuple[Group, ...]:
    """A Service or Configuration: the revision that its template makes."""
    return _revision(read, mapping(read.spec, "template", where="spec"))


def revision(read: Reading) -> tuple[Group, ...]:
    """One revision, which is its own template."""
    return _revision(read, {"metadata": mapping(read.top, "metadata"), "spec": read.spec})


def _revision(read: Reading, template: Json) -> tuple[Group, ...]:
    low = _scale(template, "min-scale", "minScale")
    high = _scale(template, "max-scale", "maxScale")
    first = _scale(template, "initial-scale", "initialScale")
    size = low or (1 if first is None else first)
    said = f"scales itself between {low or 0} and {high or 'any number'} pods"
    needed = least(template, read.top)
    if needed is not None:
        role = Role.of("main", size, least=needed, most=high, template=template)
        return (read.gang([role], why=[f"needs {role.min} of {size} pods: as it says", said]),)
    return read.singles("main", size, template, why=[f"pods serve each on its own; {said}"])


def _scale(template: Json, *keys: str) -> int | None:
    found = annotation(template, *(_SCALE + key for key in keys))
    return int(found) if found.isdecimal() else None


def seldon(read: Reading) -> tuple[Group, ...]:
    """Each predictor has a Deployment for each of its component specs."""
    usual = count(read.spec, "replicas", 1, where="spec")
    found: list[Group] = []
    for where, predictor in items(read.spec, "predictors", where="spec"):
        size = count(predictor, "replicas", usual, where=where)
        name = text(predictor, "name", where=where) or "predictor"
        specs = list(items(predictor, "componentSpecs", where=where)) or [(where, {})]
        for number, (place, component) in enumerate(specs):
            own = count(component, "replicas", size, where=place)
            more: dict[str, Any] = {"suffix": f"-{name}-{number}", "why": ["pods of a predictor serve each on its own"]}
            found += read.singles(name, own, component, **more)
    return tuple(found)
