"""Notebooks and workspaces: one pod that a person waits for, or none while it is stopped."""

from __future__ import annotations

from quartermaster.workloads.fields import annotation, at, flag, mapping
from quartermaster.workloads.group import Group, Json, Role
from quartermaster.workloads.reading import Reading


def notebook(read: Reading) -> tuple[Group, ...]:
    """One pod, unless its annotation says since when it is stopped."""
    stopped = bool(annotation(read.top, "kubeflow-resource-stopped"))
    return _one(read, mapping(read.spec, "template", where="spec"), stopped=stopped)


def workspace(read: Reading) -> tuple[Group, ...]:
    """One pod, unless it is paused. What the pod is like stands in its WorkspaceKind."""
    return _one(read, None, stopped=flag(read.spec, "paused", where="spec"))


def dev_workspace(read: Reading) -> tuple[Group, ...]:
    """One pod while it is started."""
    started = at(read.spec, "started", where="spec")
    return _one(read, None, stopped=started is not True)


def _one(read: Reading, template: Json | None, *, stopped: bool) -> tuple[Group, ...]:
    why = "stopped: it has its pod again when it is started" if stopped else "one pod, which a person works in"
    return (read.gang([Role.of("main", 1, template=template)], why=[why], suspended=stopped),)
