"""Argo workflows, and what KFP makes of them: every step is a pod of its own, or an object that has its own group.

A workflow is walked from its entry point, as deep as its templates go, and a step is in the phase in which it comes at
the earliest. What only a running workflow knows (``withParam``, a template that is elsewhere) counts once, and says so.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field, replace

from quartermaster.model.errors import InvalidInput
from quartermaster.workloads.fields import MANY, at, flag, items, mapping, text
from quartermaster.workloads.group import Group, Json
from quartermaster.workloads.reading import Reading

_DEEP = 32
_NO_POD = ("suspend", "http", "plugin")


@dataclass(slots=True)
class _Walk:
    read: Reading
    templates: Mapping[str, Json]
    spec: Json
    found: list[Group] = field(default_factory=list)


def workflow(read: Reading) -> tuple[Group, ...]:
    """Its steps."""
    return _steps(read, read.spec)


def cron_workflow(read: Reading) -> tuple[Group, ...]:
    """Each firing is a workflow."""
    child = {"apiVersion": "argoproj.io/v1alpha1", "kind": "Workflow", "spec": mapping(read.spec, "workflowSpec")}
    return read.within(child, where="spec.workflowSpec", per="firing")


def scheduled_workflow(read: Reading) -> tuple[Group, ...]:
    """A recurring run of KFP: each run is a workflow of its own, and none shares a group with another."""
    spec = at(read.spec, "workflow.spec", where="spec")
    if isinstance(spec, str):
        spec = read.parse(spec) if read.parse else None
    if not isinstance(spec, dict):
        return ()
    child = {"apiVersion": "argoproj.io/v1alpha1", "kind": "Workflow", "spec": spec}
    return read.within(child, where="spec.workflow.spec", per="run")


def _steps(read: Reading, spec: Json) -> tuple[Group, ...]:
    spec = _with_template(read, spec)
    named = {
        text(template, "name", where=where): template for where, template in items(spec, "templates", where="spec")
    }
    walk = _Walk(read, named, spec)
    last = _template(walk, text(spec, "entrypoint", where="spec"), 1, 0, "")
    after = text(spec, "onExit", where="spec")
    if after:
        _template(walk, after, last + 1, 0, "")
    return tuple(walk.found)


def _with_template(read: Reading, spec: Json) -> Json:
    name = text(spec, "workflowTemplateRef.name", where="spec")
    if not name:
        return spec
    cluster = flag(spec, "workflowTemplateRef.clusterScope", where="spec")
    kind = "ClusterWorkflowTemplate" if cluster else "WorkflowTemplate"
    found = read.find("argoproj.io", kind, name, cluster=cluster)
    return {**mapping(found, "spec"), **spec} if found else spec


def _template(walk: _Walk, name: str, phase: int, depth: int, label: str) -> int:
    """Walks one template; returns the last phase that it reaches."""
    template = walk.templates.get(name)
    if template is None or depth > _DEEP:
        missing = f"its template {name or '(none)'} is not here"
        if name and depth <= _DEEP:
            _add(walk, {}, phase, label or name, [f"{missing}: it counts as one pod"])
        return phase
    if at(template, "steps") is not None:
        return _serial(walk, template, phase, depth)
    if at(template, "dag") is not None:
        return _graph(walk, template, phase, depth)
    if any(at(template, key) is not None for key in _NO_POD):
        return phase - 1
    makes = at(template, "resource") is not None
    if makes and _made(walk, text(template, "resource.manifest"), phase):
        return phase
    said = "creates an object that cannot be read here: its pods are not counted" if makes else "a pod of its own"
    _add(walk, template, phase, label or name, [f"a step: {said}"])
    return phase


def _serial(walk: _Walk, template: Json, phase: int, depth: int) -> int:
    last = phase - 1
    for row in at(template, "steps") or ():
        begin, last = last + 1, last + 1
        for step in row if isinstance(row, list) else [row]:
            if isinstance(step, dict):
                last = max(last, _task(walk, step, begin, depth))
    return max(last, phase - 1)


def _graph(walk: _Walk, template: Json, phase: int, depth: int) -> int:
    tasks = {text(task, "name"): task for _, task in items(template, "dag.tasks")}
    ends: dict[str, int] = {}

    def end(name: str, path: frozenset[str]) -> int:
        if name not in ends:
            before = [other for other in _needs(tasks[name], tasks) if other not in path]
            begin = max((end(other, path | {name}) for other in before), default=phase - 1) + 1
            ends[name] = max(begin, _task(walk, tasks[name], begin, depth))
        return ends[name]

    return max((end(name, frozenset((name,))) for name in tasks), default=phase - 1)


def _needs(task: Json, tasks: Mapping[str, Json]) -> list[str]:
    listed = at(task, "dependencies")
    words = re.findall(r"[A-Za-z0-9_-]+", text(task, "depends"))
    names = [*(listed if isinstance(listed, list) else ()), *words]
    return [name for name in dict.fromkeys(names) if name in tasks]


def _task(walk: _Walk, task: Json, phase: int, depth: int) -> int:
    """A step or task: a template by name, in place, or elsewhere; as often as its items say."""
    name = text(task, "name")
    times = _times(task)
    inline = at(task, "inline")
    last = phase
    for _ in range(times):
        if len(walk.found) > MANY:
            raise InvalidInput("spec.templates", f"more than {MANY} steps", "split the workflow")
        if isinstance(inline, dict):
            nested = _Walk(walk.read, {**walk.templates, "": inline}, walk.spec, walk.found)
            last = max(last, _template(nested, "", phase, depth + 1, name))
        else:
            wanted = text(task, "template") or text(task, "templateRef.template")
            last = max(last, _template(walk, wanted, phase, depth + 1, name))
    return last


def _times(task: Json) -> int:
    several = at(task, "withItems")
    if isinstance(several, list):
        return len(several)
    counted = text(task, "withSequence.count") if at(task, "withSequence") else ""
    return int(counted) if counted.isdecimal() else 1


def _made(walk: _Walk, manifest: str, phase: int) -> bool:
    """The groups of an object that a step creates; false if it cannot be read here."""
    child = walk.read.parse(manifest) if walk.read.parse else None
    if not isinstance(child, dict):
        return False
    groups = walk.read.within(child, where="spec.templates[].resource.manifest", phase=phase)
    walk.found.extend(groups)
    return bool(groups)


def _add(walk: _Walk, template: Json, phase: int, name: str, why: list[str]) -> None:
    """One pod, with the marks that the workflow and the template put on it."""
    marks: dict[str, Json] = {"labels": {}, "annotations": {}}
    for source in (mapping(walk.spec, "podMetadata", where="spec"), mapping(template, "metadata")):
        for what, into in marks.items():
            into.update(mapping(source, what))
    pod = {
        "priorityClassName": text(template, "priorityClassName")
        or text(walk.spec, "podPriorityClassName", where="spec"),
        "schedulerName": text(template, "schedulerName") or text(walk.spec, "schedulerName", where="spec"),
        "containers": [one for one in (at(template, "container"), at(template, "script")) if isinstance(one, dict)],
    }
    number = len(walk.found)
    step = {"apiVersion": "v1", "kind": "Pod", "metadata": dict(marks), "spec": pod}
    more = {"suspended": flag(walk.spec, "suspend", where="spec")}
    walk.found.extend(
        walk.read.within(step, where="spec.templates", name=f"{walk.read.name}-{name}-{number}", phase=phase, **more)
    )
    walk.found[-1] = _because(walk.found[-1], why)


def _because(group: Group, why: list[str]) -> Group:
    return replace(group, why=(*why, *group.why[1:]))
