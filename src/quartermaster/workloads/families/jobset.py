"""JobSet: replicated jobs, in phases where one waits for another.

``dependsOn`` makes a replicated job's pods only when others are Ready or Complete, and a start-up in order does so for
each that follows: such jobs are never waited for together. Those that no edge parts are one gang, unless the JobSet
says how it wants to be scheduled. What ends before the training begins (an initializer) is a gang of its own, since
nothing there talks to anything.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

from quartermaster.workloads.families.jobset_policies import Policy, policies, policy_of
from quartermaster.workloads.fields import (
    annotation,
    count,
    few,
    flag,
    items,
    label,
    mapping,
    marked_count,
    optional,
    text,
)  # fmt: skip
from quartermaster.workloads.group import Closeness, Group, Json, Role
from quartermaster.workloads.reading import Reading, shared_out
from quartermaster.workloads.wishes import MIN_MEMBER, least

STEP = "trainer.kubeflow.org/trainjob-ancestor-step"
EXCLUSIVE = "alpha.jobset.sigs.k8s.io/exclusive-topology"
LEAST_JOBS = "kai.scheduler/batch-min-member"


@dataclass(frozen=True, slots=True)
class _Job:
    role: Role
    depth: int
    after: str
    alone: bool
    policy: Policy


def job_set(read: Reading) -> tuple[Group, ...]:
    """The gangs of a JobSet, phase by phase."""
    return gangs(read, list(items(read.spec, "replicatedJobs", where="spec")))


def gangs(read: Reading, replicated: Sequence[tuple[str, Json]], why: Sequence[str] = ()) -> tuple[Group, ...]:
    """The same of replicated jobs from elsewhere (a TrainJob's runtime)."""
    in_order = text(read.spec, "startupPolicy.startupPolicyOrder", where="spec") == "InOrder"
    jobs = _jobs(read, replicated, in_order=in_order)
    jobs = [job for job in jobs if job.role.desired]
    depths = sorted({job.depth for job in jobs})
    together = [part for depth in depths for part in _together([job for job in jobs if job.depth == depth])]
    found: list[Group] = []
    for part in together:
        phase = depths.index(part[0].depth) + 1
        names = "-".join(job.role.name for job in part)
        after = ", ".join(dict.fromkeys(job.after for job in part if job.after))
        said = ["all replicated jobs start together"] if len(together) == 1 and not why else []
        if len(depths) > 1:
            said = [f"phase {phase} of {len(depths)}: " + (f"made after {after}" if after else "waits for none")]
        if "Ready" in after:
            said.append("runs beside what it waits for: room for both is needed")
        more: dict[str, Any] = {"phase": phase, "after": after, "suspended": flag(read.spec, "suspend", where="spec")}
        suffix = f"-{names}" if len(together) > 1 else ""
        found += _groups(read, part, suffix=suffix, why=[*said, *why], whole=len(together) == 1, **more)
    return tuple(found)


def _together(jobs: Sequence[_Job]) -> list[list[_Job]]:
    """Jobs of one phase by the policy that they are under; one that ends alone is on its own."""
    found: list[list[_Job]] = [[job] for job in jobs if job.alone]
    rest = [job for job in jobs if not job.alone]
    for policy in dict.fromkeys(job.policy for job in rest):
        under = [job for job in rest if job.policy == policy]
        found += [[job] for job in under] if policy.each_job or not policy.gang else [under]
    return found


def _groups(
    read: Reading, jobs: Sequence[_Job], *, suffix: str, why: list[str], whole: bool, **more: Any
) -> tuple[Group, ...]:
    policy, roles = jobs[0].policy, [job.role for job in jobs]
    if not policy.gang:
        (role,) = roles
        said = ["every pod on its own: as its scheduling says"]
        return read.singles(role.name, role.desired, role.template, suffix=suffix, why=[*why, *said], **more)
    if policy.near is not None:
        more["topology"] = policy.near
    if policy.each_job:
        (role,) = roles
        number = len(role.parts) or 1
        one = Role.of(role.name, role.desired // number, topology=role.topology, template=role.template)
        said = ["each of its jobs is a gang: as its scheduling says"]
        return (read.gang([one], suffix=suffix, each="index", copies=number, why=[*why, *said], **more),)
    if policy.least is not None:
        roles = list(shared_out([replace(role, parts=(), min_parts=0) for role in roles], policy.least))
        why = [*why, f"needs {policy.least} pods: as its scheduling says"]
    elif whole:
        roles, said = _least(read, roles)
        why = [*why, *said]
    return (read.gang(roles, suffix=suffix, why=why, **more),)


def _jobs(read: Reading, replicated: Sequence[tuple[str, Json]], *, in_order: bool) -> list[_Job]:
    found: dict[str, _Job] = {}
    under = policies(read.spec)
    for number, (where, job) in enumerate(replicated):
        name = text(job, "name", where=where) or f"job-{number}"
        depth, after = 0, ""
        if in_order and number:
            depth = number
            after = f"{text(replicated[number - 1][1], 'name')} Ready"
        needs = []
        for place, edge in items(job, "dependsOn", where=where):
            before = text(edge, "name", where=place)
            # Only what stands before it can be depended on: that is the rule of the API, and it rules cycles out.
            if before in found:
                depth = max(depth, found[before].depth + 1)
                needs.append(f"{before} {text(edge, 'status', where=place) or 'Ready'}")
        step = label(mapping(job, "template", where=where), STEP)
        found[name] = _Job(
            role=_role(read, job, name, where),
            depth=depth,
            after=", ".join(needs) or after,
            alone=step.endswith("-initializer"),
            policy=policy_of(name, under),
        )
    return list(found.values())


def _role(read: Reading, job: Json, name: str, where: str) -> Role:
    replicas = count(job, "replicas", 1, where=where)
    child = mapping(job, "template", where=where)
    size = count(child, "spec.parallelism", 1, where=f"{where}.template")
    completions = optional(child, "spec.completions", where=f"{where}.template")
    size = size if completions is None else min(size, completions)
    template = mapping(child, "spec.template", where=f"{where}.template")
    needed = least(child)
    key = annotation(child, EXCLUSIVE) or annotation(job, EXCLUSIVE) or annotation(read.top, EXCLUSIVE)
    near = Closeness(required=key) if key else None
    if replicas == 1:
        return Role.of(name, size, least=needed, topology=near, template=template)
    part = [
        Role.of(str(index), size, least=needed, topology=near) for index in range(few(replicas, f"{where}.replicas"))
    ]
    return Role.split(name, tuple(part), template=template)


def _least(read: Reading, roles: list[Role]) -> tuple[list[Role], list[str]]:
    """KAI's minimum of a JobSet counts replicated jobs, our own counts pods; the first ones are then needed."""
    jobs, pods = marked_count(read.top, LEAST_JOBS), marked_count(read.top, MIN_MEMBER)
    if jobs is None and pods is None:
        return roles, []
    found, left = [], pods if pods is not None else 0
    for number, role in enumerate(roles):
        if pods is not None:
            take = min(role.min, left)
            left -= take
        else:
            take = role.min if number < (jobs or 0) else 0
        found.append(role if take == role.min else _eased(role, take))
    what = f"{pods} pods" if pods is not None else f"{jobs} of {len(roles)} replicated jobs"
    return found, [f"needs {what}: as it says"]


def _eased(role: Role, needed: int) -> Role:
    """The role with a smaller minimum, in whole parts if it has parts."""
    if role.parts:
        size = role.parts[0].min or 1
        return Role.split(role.name, role.parts, least=needed // size, topology=role.topology, template=role.template)
    return Role.of(role.name, role.desired, least=needed, topology=role.topology, template=role.template)


def copy(pod: Json) -> str:
    """The index of its job, where every job is a gang."""
    return label(pod, "jobset.sigs.k8s.io/job-index")


def seat(pod: Json) -> tuple[str, int | None]:
    """(replicated job, index of its job)."""
    prefix = "jobset.sigs.k8s.io/"
    index = label(pod, prefix + "job-index")
    return label(pod, prefix + "replicatedjob-name"), int(index) if index.isdecimal() else None
