"""The training operator's jobs, which all have a map of replica specs, and both operators' MPIJob.

All roles exist at the same time, but for the launcher of an MPIJob that waits for its workers. The order in which
roles are listed here is the order in which a smaller ``minAvailable`` is shared out: what leads comes first.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Final

from quartermaster.workloads.fields import (
    at,
    count,
    flag,
    label,
    mapping,
    optional,
    text,
    version_of,
)  # fmt: skip
from quartermaster.workloads.group import Group, Json, Role
from quartermaster.workloads.reading import Reading, shared_out

_SPECS: Final[Mapping[str, str]] = {
    "PyTorchJob": "pytorchReplicaSpecs",
    "TFJob": "tfReplicaSpecs",
    "XGBoostJob": "xgbReplicaSpecs",
    "JAXJob": "jaxReplicaSpecs",
    "PaddleJob": "paddleReplicaSpecs",
    "MPIJob": "mpiReplicaSpecs",
}
_LEADERS: Final = ("launcher", "master", "chief", "ps", "scheduler", "server")
_POLICY: Final = "runPolicy.schedulingPolicy"
_LAUNCHER_NEXT: Final = "all workers Ready"


def training(read: Reading) -> tuple[Group, ...]:
    """One gang of all roles: as many as ``minAvailable``, else an elastic job's least, else all."""
    roles, why = _roles(read, _SPECS[read.kind.kind])
    return (_gang(read, roles, why),) if any(role.desired for role in roles) else ()


def mpi(read: Reading) -> tuple[Group, ...]:
    """A launcher and workers; the launcher comes second if it is made to wait for them."""
    roles, why = _roles(read, _SPECS["MPIJob"])
    launchers = [role for role in roles if role.name == "launcher"]
    workers = [role for role in roles if role.name != "launcher"]
    waits = text(read.spec, "launcherCreationPolicy", where="spec") == "WaitForWorkersReady"
    if not waits or version_of(read.top) == "v1" or not sum(role.desired for role in workers):
        return (_gang(read, roles, why),) if any(role.desired for role in roles) else ()
    said = "the launcher is made when all workers are Ready, so they do not wait for it; room for it is kept"
    first = _gang(read, workers, [said, *why], suffix="-workers", ahead=sum(role.desired for role in launchers))
    if not launchers:
        return (first,)
    second = _gang(read, launchers, [said], suffix="-launcher", phase=2, after=_LAUNCHER_NEXT, declared=False)
    return first, second


def _roles(read: Reading, key: str) -> tuple[list[Role], list[str]]:
    specs = mapping(read.spec, key, where="spec")
    least, most, why = _elastic(read.spec)
    found = []
    newer = read.kind.kind == "MPIJob" and version_of(read.top) != "v1"
    for name in sorted(specs, key=_rank):
        where = f"spec.{key}.{name}"
        spec = mapping(specs, name, where=f"spec.{key}")
        lower = name.lower()
        usual = 0 if newer and lower == "worker" else 1
        size = count(spec, "replicas", usual, where=where)
        if newer and lower == "launcher":
            size = 1
        template = mapping(spec, "template", where=where)
        elastic = lower == "worker" and (least is not None or most is not None)
        found.append(
            Role.of(lower, size, least=least if elastic else None, most=most if elastic else None, template=template)
        )
    return found, why


def _rank(name: str) -> tuple[int, str]:
    lower = name.lower()
    return (_LEADERS.index(lower) if lower in _LEADERS else len(_LEADERS), lower)


def _elastic(spec: Json) -> tuple[int | None, int | None, list[str]]:
    if at(spec, "elasticPolicy", where="spec") is None:
        return None, None, []
    least = optional(spec, "elasticPolicy.minReplicas", where="spec")
    most = optional(spec, "elasticPolicy.maxReplicas", where="spec")
    why = [f"elastic: {'all' if least is None else least} to {'all' if most is None else most} workers"]
    return least, most, why


def _gang(
    read: Reading, roles: Sequence[Role], why: Sequence[str], *, ahead: int = 0, declared: bool = True, **more: Any
) -> Group:
    """`ahead`: pods of a later phase that ``minAvailable`` counts as well."""
    said = list(why)
    total = sum(role.desired for role in roles)
    needed = optional(read.spec, f"{_POLICY}.minAvailable", where="spec") if declared else None
    if needed is None and declared:
        needed = read.least
    if needed is not None:
        if needed > total + ahead:
            said.append(f"minAvailable {needed} is more than its {total + ahead} pods: all are needed")
        else:
            said.append(f"needs {needed} pods: as it says")
        roles = shared_out(roles, max(1, min(needed - ahead, total)))
    elif not said:
        said.append("all roles talk to each other: they start together")
    return read.gang(
        roles,
        why=said,
        queue=text(read.spec, f"{_POLICY}.queue", where="spec"),
        priority=text(read.spec, f"{_POLICY}.priorityClass", where="spec"),
        suspended=flag(read.spec, "runPolicy.suspend", where="spec"),
        **more,
    )


def any_replica_specs(read: Reading) -> tuple[Group, ...]:
    """A kind that is not known but has a map of replica specs, as all training operators have: a gang of all."""
    found = replica_specs(read.top)
    if not found:
        return ()
    roles, why = _roles(read, found)
    why = [f"not a known kind, but its {found} are those of a training job: all roles start together", *why]
    return (_gang(read, roles, why),) if any(role.desired for role in roles) else ()


def replica_specs(value: Json) -> str:
    """The key of a map of replica specs; empty if it has none."""
    spec = value.get("spec")
    for key, inside in (spec if isinstance(spec, dict) else {}).items():
        shaped = isinstance(inside, dict) and inside and all(isinstance(one, dict) for one in inside.values())
        if key.lower().endswith("replicaspecs") and shaped and all("template" in one for one in inside.values()):
            return str(key)
    return ""


def seat(pod: Json) -> tuple[str, int | None]:
    """(role, index): by labels, and by the name of the job for the launcher that is a Job."""
    prefix = "training.kubeflow.org/"
    role = label(pod, prefix + "replica-type", prefix + "job-role").lower()
    index = label(pod, prefix + "replica-index")
    return role, int(index) if index.isdecimal() else None
