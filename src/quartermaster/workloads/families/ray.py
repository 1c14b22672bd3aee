"""Ray: a head and groups of workers, which start together; who submits to them comes when they are up.

A cluster that scales itself needs its least number of workers, another one all that it asks for. A replica of several
hosts is whole or not at all. Groups belong to the RayCluster: while a RayService is upgraded it has two of them, and
each is a gang of its own.
"""

from __future__ import annotations

from quartermaster.workloads.fields import count, few, flag, items, label, mapping, optional, text
from quartermaster.workloads.group import Group, Json, Role
from quartermaster.workloads.reading import Reading

HEAD = "headgroup"


def cluster(read: Reading) -> tuple[Group, ...]:
    """The gang of a RayCluster."""
    return (_gang(read, read.spec, "spec"),)


def job(read: Reading) -> tuple[Group, ...]:
    """The gang of its cluster, then the pod that submits to it."""
    found = []
    suspended = flag(read.spec, "suspend", where="spec")
    inner = mapping(read.spec, "rayClusterSpec", where="spec")
    if inner:
        found.append(_gang(read, inner, "spec.rayClusterSpec", suspended=suspended))
    mode = text(read.spec, "submissionMode", where="spec") or "K8sJobMode"
    if mode == "K8sJobMode":
        template = mapping(read.spec, "submitterPodTemplate", where="spec") or None
        why = ["submits when the cluster is up: the cluster does not wait for it"]
        submitter = Role.of("submitter", 1, template=template)
        found.append(
            read.gang([submitter], suffix="-submitter", phase=2, after="cluster Ready", why=why, suspended=suspended)
        )
    return tuple(found)


def service(read: Reading) -> tuple[Group, ...]:
    """The gang of its cluster; of each of them, while it is upgraded."""
    for path in ("rayClusterConfig", "rayClusterSpec"):
        inner = mapping(read.spec, path, where="spec")
        if inner:
            return (_gang(read, inner, f"spec.{path}", why=["an upgrade runs a second cluster beside this one"]),)
    return ()


def cron_job(read: Reading) -> tuple[Group, ...]:
    """Each firing is a RayJob."""
    spec = mapping(read.spec, "jobTemplate", where="spec")
    child = {"apiVersion": "ray.io/v1", "kind": "RayJob", "spec": mapping(spec, "spec") or spec}
    return read.within(child, where="spec.jobTemplate", per="firing")


def _gang(read: Reading, spec: Json, where: str, *, suspended: bool = False, why: list[str] | None = None) -> Group:
    scales = flag(spec, "enableInTreeAutoscaling", where=where)
    head = mapping(spec, "headGroupSpec.template", where=where)
    roles = [Role.of(HEAD, 1, template=head)]
    for place, group in items(spec, "workerGroupSpecs", where=where):
        roles.append(_workers(group, place, scales=scales))
    said = "the head and the least number of workers" if scales else "the head and all workers that it asks for"
    return read.gang(
        roles,
        why=[f"{said}: workers wait for the head to come up", *(why or ())],
        suspended=suspended or flag(spec, "suspend", where=where),
    )


def _workers(group: Json, where: str, *, scales: bool) -> Role:
    name = text(group, "groupName", where=where) or "workers"
    hosts = max(1, count(group, "numOfHosts", 1, where=where))
    low = count(group, "minReplicas", 0, where=where)
    high = optional(group, "maxReplicas", where=where)
    wanted = max(count(group, "replicas", low, where=where), low)
    wanted = wanted if high is None else min(wanted, max(high, low))
    if flag(group, "suspend", where=where):
        wanted = low = 0
    template = mapping(group, "template", where=where)
    needed = min(low, wanted) if scales else wanted
    if not scales:
        high = wanted
    most = None if high is None else max(high, wanted) * hosts
    if hosts == 1:
        role = Role.of(name, wanted, least=needed, most=most, template=template)
    else:
        parts = tuple(Role.of(str(replica), hosts) for replica in range(few(wanted, f"{where}.replicas")))
        if not parts:
            role = Role.of(name, 0, most=most, template=template)
        else:
            role = Role.split(name, parts, least=needed, most=most, template=template)
    if most is None:
        role = Role(
            name=role.name, min=role.min, desired=role.desired, max=None, parts=role.parts,
            min_parts=role.min_parts, template=template,
        )  # fmt: skip
    return role


def seat(pod: Json) -> tuple[str, int | None]:
    """(worker group or head, index of its replica where one has several hosts)."""
    index = label(pod, "ray.io/worker-group-replica-index")
    if label(pod, "ray.io/node-type") == "head":
        return HEAD, 0
    return label(pod, "ray.io/group"), int(index) if index.isdecimal() else None
