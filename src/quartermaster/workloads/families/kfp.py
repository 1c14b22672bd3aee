"""Kubeflow Pipelines, as its compiler writes them: every task is a pod, which a small driver pod comes before.

A compiled pipeline is no object of Kubernetes; a PipelineVersion has it inside. Its runs are Argo workflows, so this is
only for saying beforehand what they will ask for. Queue and priority of a task can only stand in its pod's metadata.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace

from quartermaster.model.errors import InvalidInput
from quartermaster.workloads.fields import MANY, at, mapping, text
from quartermaster.workloads.group import Group, Json
from quartermaster.workloads.reading import Reading

_DEEP = 16
_WHY = "a task is a pod of its own, after a driver pod that asks for no GPU"


@dataclass(frozen=True, slots=True)
class _Walk:
    read: Reading
    components: Json
    pods: Json
    found: list[Group] = field(default_factory=list)


def pipeline_version(read: Reading) -> tuple[Group, ...]:
    """One group per task that has a container, in the phase in which it comes at the earliest."""
    pipeline = mapping(read.spec, "pipelineSpec", where="spec")
    executors = mapping(read.spec, "platformSpec.platforms.kubernetes.deploymentSpec.executors", where="spec")
    walk = _Walk(read, mapping(pipeline, "components"), executors)
    _graph(walk, mapping(pipeline, "root.dag.tasks", where="spec.pipelineSpec"), 1, 0)
    return tuple(replace(group, per="run") for group in walk.found)


def _graph(walk: _Walk, tasks: Json, phase: int, depth: int) -> int:
    """Walks the tasks of a graph; returns the last phase that they reach."""
    ends: dict[str, int] = {}

    def end(name: str, path: frozenset[str]) -> int:
        if name not in ends:
            before = [other for other in _needs(tasks, name) if other not in path]
            begin = max((end(other, path | {name}) for other in before), default=phase - 1) + 1
            ends[name] = _task(walk, name, mapping(tasks, name), begin, depth)
        return ends[name]

    return max((end(name, frozenset((name,))) for name in tasks), default=phase - 1)


def _needs(tasks: Mapping[str, Json], name: str) -> list[str]:
    listed = at(tasks[name], "dependentTasks") if isinstance(tasks[name], dict) else None
    return [other for other in listed if other in tasks] if isinstance(listed, list) else []


def _task(walk: _Walk, name: str, task: Json, phase: int, depth: int) -> int:
    component = mapping(walk.components, text(task, "componentRef.name")) if walk.components else {}
    inner = mapping(component, "dag.tasks")
    if inner and depth < _DEEP:
        return max(phase, _graph(walk, inner, phase, depth + 1))
    if len(walk.found) >= MANY:
        raise InvalidInput("spec.pipelineSpec", f"more than {MANY} tasks", "split the pipeline")
    label = text(component, "executorLabel")
    marks = mapping(mapping(walk.pods, label), "podMetadata") if label in walk.pods else {}
    pod = {"apiVersion": "v1", "kind": "Pod", "metadata": dict(marks), "spec": {}}
    groups = walk.read.within(pod, where="spec.pipelineSpec", name=f"{walk.read.name}-{name}", phase=phase)
    walk.found.extend(replace(group, why=(_WHY, *group.why[1:])) for group in groups)
    return phase
