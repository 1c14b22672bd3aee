"""Objects that wrap others, and kinds of Run:ai and Azure ML that are known by little more than their name."""

from __future__ import annotations

from dataclasses import replace

from quartermaster.workloads.catalogue import workload
from quartermaster.workloads.fields import at, count, flag, group_kind, items, mapping, text
from quartermaster.workloads.group import Group, Json, Role
from quartermaster.workloads.reading import Reading


def app_wrapper(read: Reading) -> tuple[Group, ...]:
    """The groups of each component; of one whose kind is not known, the pod sets that it declares are one gang."""
    suspended = flag(read.spec, "suspend", where="spec")
    found: list[Group] = []
    for number, (where, component) in enumerate(items(read.spec, "components", where="spec")):
        child = mapping(component, "template", where=where)
        if workload(group_kind(child)) is not None:
            groups = read.within(child, where=f"{where}.template")
            found += [replace(group, suspended=group.suspended or suspended) for group in groups]
            continue
        sets = list(items(component, "podSets", where=where))
        roles = [
            Role.of(
                f"pod-set-{index}", count(one, "replicas", 1, where=place), template=_found(child, text(one, "path"))
            )
            for index, (place, one) in enumerate(sets)
        ]
        if any(role.desired for role in roles):
            why = [f"{text(child, 'kind') or 'its kind'} is not known: the pod sets declared for it start together"]
            found.append(read.gang(roles, suffix=f"-{number}", why=why, suspended=suspended))
    return tuple(found)


def _found(child: Json, path: str) -> Json | None:
    """The template at a declared path (``template.spec.template``), if it is a plain one."""
    inner = path.removeprefix("template.")
    found = at(child, inner) if inner and "[" not in inner else None
    return found if isinstance(found, dict) else None


def nothing(read: Reading) -> tuple[Group, ...]:
    """A wrapper whose contents are other objects of the cluster, which have the groups."""
    del read
    return ()


def one(read: Reading) -> tuple[Group, ...]:
    """One group that starts with its first pod."""
    size = max(count(read.spec, "parallelism", 1, where="spec"), 1)
    template = mapping(read.spec, "template", where="spec")
    role = Role.of("main", size, least=read.least or 1, template=template)
    return (read.gang([role], why=[f"starts with {role.min} of its pods"]),)


def azure(read: Reading) -> tuple[Group, ...]:
    """As many nodes as its environment says."""
    size = count(read.spec, "job.options.envs.AZUREML_NODE_COUNT", 1, where="spec")
    return (read.gang([Role.of("main", size)], why=["its nodes start together"]),) if size else ()
