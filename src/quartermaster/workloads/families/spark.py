"""Spark: a driver, and executors that it asks for when it runs. A gang of all of them would never start.

Executors are in the same group and not needed, so they come one by one as room allows; a queue that admits the group
is asked for all of them.
"""

from __future__ import annotations

from quartermaster.workloads.fields import count, flag, label, mapping, optional, text
from quartermaster.workloads.group import Group, Json, Role
from quartermaster.workloads.reading import Reading


def application(read: Reading) -> tuple[Group, ...]:
    """One group that starts with its driver."""
    wanted = count(read.spec, "executor.instances", 1, where="spec")
    most: int | None = wanted
    if flag(read.spec, "dynamicAllocation.enabled", where="spec"):
        path = "dynamicAllocation"
        low = count(read.spec, f"{path}.minExecutors", 0, where="spec")
        wanted = max(count(read.spec, f"{path}.initialExecutors", 0, where="spec"), low, wanted)
        most = optional(read.spec, f"{path}.maxExecutors", where="spec")
    roles = (
        Role.of("driver", 1, template=_template(read, "driver")),
        Role.of("executor", wanted, least=0, most=most, template=_template(read, "executor")),
    )
    why = [f"starts with its driver, which asks for {wanted} executors once it runs: room for {1 + wanted} is needed"]
    return (
        read.gang(
            roles,
            why=why,
            queue=text(read.spec, "batchSchedulerOptions.queue", where="spec"),
            priority=text(read.spec, "batchSchedulerOptions.priorityClassName", where="spec"),
            suspended=flag(read.spec, "suspend", where="spec"),
        ),
    )


def scheduled(read: Reading) -> tuple[Group, ...]:
    """Each firing is an application."""
    child = {
        "apiVersion": "sparkoperator.k8s.io/v1beta2",
        "kind": "SparkApplication",
        "spec": mapping(read.spec, "template", where="spec"),
    }
    return read.within(child, where="spec.template", per="firing")


def _template(read: Reading, role: str) -> Json:
    """As much of a pod template as wishes are read from."""
    pod = mapping(read.spec, role, where="spec")
    inner = mapping(pod, "template", where=f"spec.{role}")
    metadata = mapping(inner, "metadata")
    return {
        "metadata": {
            "labels": {**mapping(metadata, "labels"), **mapping(pod, "labels", where=f"spec.{role}")},
            "annotations": {**mapping(metadata, "annotations"), **mapping(pod, "annotations", where=f"spec.{role}")},
        },
        "spec": {**mapping(inner, "spec"), **_class(pod)},
    }


def _class(pod: Json) -> Json:
    name = text(pod, "priorityClassName")
    return {"priorityClassName": name} if name else {}


def seat(pod: Json) -> tuple[str, int | None]:
    """(driver or executor, number of the executor)."""
    number = label(pod, "spark-exec-id")
    return label(pod, "spark-role"), int(number) if number.isdecimal() else None
