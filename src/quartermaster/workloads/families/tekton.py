"""Tekton: every task of a run is one pod. A matrix makes several; what runs ``finally`` comes last."""

from __future__ import annotations

from dataclasses import replace
from math import prod

from quartermaster.workloads.fields import at, items, mapping, text
from quartermaster.workloads.group import Group, Json
from quartermaster.workloads.reading import Reading


def pipeline_run(read: Reading) -> tuple[Group, ...]:
    """One group per task, in the phase in which it comes at the earliest."""
    pipeline = mapping(read.spec, "pipelineSpec", where="spec")
    name = text(read.spec, "pipelineRef.name", where="spec") or text(read.spec, "pipelineRef.resolver", where="spec")
    if not pipeline:
        found = read.find("tekton.dev", "Pipeline", name)
        pipeline = mapping(found, "spec") if found else {}
    if not pipeline:
        why = f"the Pipeline {name or '(none named)'} is not here: how many tasks it has is not known; each is one pod"
        return _pod(read, read.name, 1, why)
    tasks = {text(task, "name"): task for _, task in items(pipeline, "tasks")}
    depths: dict[str, int] = {}

    def depth(task: str, path: frozenset[str]) -> int:
        if task not in depths:
            before = [other for other in _needs(tasks[task]) if other in tasks and other not in path]
            depths[task] = 1 + max((depth(other, path | {task}) for other in before), default=0)
        return depths[task]

    found_groups: list[Group] = []
    for task, body in tasks.items():
        for number in range(_times(body)):
            suffix = f"-{number}" if _times(body) > 1 else ""
            phase = depth(task, frozenset((task,)))
            found_groups += _pod(read, f"{read.name}-{task}{suffix}", phase, "a task is a pod of its own")
    last = max(depths.values(), default=0) + 1
    for _, body in items(pipeline, "finally"):
        found_groups += _pod(read, f"{read.name}-{text(body, 'name')}", last, "runs when all tasks have ended")
    return tuple(found_groups)


def _needs(task: Json) -> list[str]:
    listed = at(task, "runAfter")
    names = [str(name) for name in listed] if isinstance(listed, list) else []
    for _, parameter in items(task, "params"):
        value = parameter.get("value")
        if isinstance(value, str) and "$(tasks." in value:  # a result of another task
            names += [part.split(".", 1)[0] for part in value.split("$(tasks.")[1:]]
    return names


def _times(task: Json) -> int:
    values = [parameter.get("value") for _, parameter in items(task, "matrix.params")]
    sizes = [len(value) for value in values if isinstance(value, list)]
    return min(prod(sizes), 256) if sizes else 1


def task_run(read: Reading) -> tuple[Group, ...]:
    """One pod."""
    return _pod(read, read.name, 1, "a task is a pod of its own")


def _pod(read: Reading, name: str, phase: int, why: str) -> tuple[Group, ...]:
    template: Json = {}
    for path in ("taskRunTemplate.podTemplate", "podTemplate"):
        template = template or mapping(read.spec, path, where="spec")
    pod = {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": name}, "spec": template}
    groups = read.within(pod, where="spec", phase=phase)
    return tuple(replace(group, why=(why, *group.why[1:])) for group in groups)
