"""Kubernetes' own: pods, jobs and what keeps pods running.

A parallel Job is so many independent pods: an index and a name by which they find each other, a wish to be near each
other, or an outright minimum makes it a gang. A StatefulSet in order makes pod after pod, so waiting for more than one
would be for ever.
"""

from __future__ import annotations

from quartermaster.workloads.fields import (
    at,
    count,
    flag,
    label,
    mapping,
    marked_count,
    optional,
    text,
)  # fmt: skip
from quartermaster.workloads.group import Group, Json, Role
from quartermaster.workloads.reading import Reading
from quartermaster.workloads.wishes import LEAST, nearness

SPARK_APP, SPARK_ROLE = "spark-app-selector", "spark-role"


def pod(read: Reading) -> tuple[Group, ...]:
    """One pod; those of a Spark application belong together, and executors come only when the driver asks."""
    app, role = label(read.top, SPARK_APP), label(read.top, SPARK_ROLE)
    if app and role in ("driver", "executor"):
        needed = 1 if role == "driver" else 0
        one = Role.of(role, 1, least=needed, template=read.top)
        return (read.gang([one], why=[f"a {role} of the Spark application {app}"]),)
    return (read.gang([Role.of("main", 1, template=read.top)], why=["a pod on its own"]),)


def job(read: Reading) -> tuple[Group, ...]:
    """`parallelism` pods at a time, as long as there are completions left."""
    spec = read.spec
    asked = count(spec, "parallelism", 1, where="spec")
    size = _at_once(spec, asked)
    template = mapping(spec, "template", where="spec")
    suspended = flag(spec, "suspend", where="spec")
    needed = read.least
    if needed is None:
        needed = marked_count(read.top, "kueue.x-k8s.io/job-min-parallelism")
    if needed is not None:
        role = Role.of("main", size, least=needed, template=template)
        return (read.gang([role], why=[f"needs {role.min} of {size} pods: as it says"], suspended=suspended),)
    native = _native(spec, size)
    if native:
        role = Role.of("main", size, least=native, template=template)
        return (read.gang([role], why=["a gang: as its scheduling says"], suspended=suspended),)
    if text(spec, "completionMode", where="spec") == "Indexed" and text(template, "spec.subdomain") and size > 1:
        why = "a gang: its pods have indexes and a subdomain, by which they find each other"
        return (read.gang([Role.of("main", size, template=template)], why=[why], suspended=suspended),)
    why = "pods of a Job are independent unless it says how many must start together"
    if size > 1 and any(nearness(one) for one in (template, read.top)):
        why = "a gang: its pods are to be near each other"
        return (read.gang([Role.of("main", size, template=template)], why=[why], suspended=suspended),)
    left = _at_once(spec, asked, count(read.top, "status.succeeded", 0))
    return read.singles("main", left, template, why=[why], suspended=suspended)


def _at_once(spec: Json, parallelism: int, succeeded: int = 0) -> int:
    """How many pods run at a time. Those of a gang that have ended still count as there, so they are not taken off."""
    completions = optional(spec, "completions", where="spec")
    if completions is None:
        return parallelism
    return min(parallelism, max(0, completions - succeeded))


def _native(spec: Json, size: int) -> int | None:
    """How many the Job's own ``scheduling`` asks for together; it is basic, that is none, unless it says gang."""
    for path in ("scheduling.schedulingPolicy.gang", "scheduling.policy.gang", "scheduling.gang"):
        gang = at(spec, path, where="spec")
        if isinstance(gang, dict):
            return count(gang, "minCount", size, where=f"spec.{path}")
    return None


def cron_job(read: Reading) -> tuple[Group, ...]:
    """Each firing is a Job of its own."""
    child = {"apiVersion": "batch/v1", "kind": "Job", **mapping(read.spec, "jobTemplate", where="spec")}
    return read.within(child, where="spec.jobTemplate", per="firing")


def daemon_set(read: Reading) -> tuple[Group, ...]:
    """A pod for every node that it may be on; how many these are, only the cluster knows."""
    template = mapping(read.spec, "template", where="spec")
    return read.singles("main", 1, template, why=["one pod for each node that it may be on, each on its own"])


def replicas(read: Reading) -> tuple[Group, ...]:
    """A Deployment or ReplicaSet: pods that serve alone, unless it says how many are needed."""
    size = count(read.spec, "replicas", 1, where="spec")
    template = mapping(read.spec, "template", where="spec")
    if read.least is not None:
        role = Role.of("main", size, least=read.least, template=template)
        return (read.gang([role], why=[f"needs {role.min} of {size} pods: as it says"]),)
    return read.singles("main", size, template, why=[f"pods of a {read.kind.kind} serve each on its own"])


def stateful_set(read: Reading) -> tuple[Group, ...]:
    """One group that starts with its first pod, or with more if they are made at the same time."""
    size = count(read.spec, "replicas", 1, where="spec")
    template = mapping(read.spec, "template", where="spec")
    parallel = text(read.spec, "podManagementPolicy", where="spec") == "Parallel"
    if read.least is None:
        needed, why = 1, "starts with its first pod"
    elif parallel:
        needed, why = read.least, f"needs {read.least} pods: as it says"
    else:
        needed, why = 1, f"makes pod after pod (OrderedReady), so {LEAST[0]} above 1 would wait for ever"
    return (read.gang([Role.of("main", size, least=needed, template=template)], why=[why]),) if size else ()


def seat(pod: Json) -> tuple[str, int | None]:
    """(role, index) of a pod of these kinds."""
    index = label(pod, "batch.kubernetes.io/job-completion-index", "apps.kubernetes.io/pod-index")
    return label(pod, SPARK_ROLE) or "main", int(index) if index.isdecimal() else None
