"""What a JobSet says itself of how it is to be scheduled (``spec.scheduling``, which its own groups come from).

One policy for the whole, or one for some replicated jobs each: a gang, no gang (``basic``: every pod on its own), or
every job of a replicated job a gang of its own (``job``).
"""

from __future__ import annotations

from dataclasses import dataclass

from quartermaster.workloads.fields import at, items, mapping, optional, text
from quartermaster.workloads.group import Closeness, Json


@dataclass(frozen=True, slots=True, kw_only=True)
class Policy:
    """`targets` are names of replicated jobs, empty for all. `least` is None where the number is not given."""

    targets: frozenset[str] = frozenset()
    gang: bool = True
    each_job: bool = False
    least: int | None = None
    near: Closeness | None = None


WHOLE = Policy()
"""Of a JobSet that says nothing: a gang."""


def policies(spec: Json) -> tuple[Policy, ...]:
    """One for each entry; what no entry speaks of comes under `WHOLE`."""
    scheduling = mapping(spec, "scheduling", where="spec")
    found = [_policy(scheduling, "spec.scheduling", frozenset())]
    for where, entry in items(scheduling, "replicatedJobs", where="spec.scheduling"):
        named = at(entry, "targetReplicatedJobs", where=where)
        targets = frozenset(str(name) for name in named) if isinstance(named, list) else frozenset()
        if not targets:
            continue
        if at(entry, "job", where=where) is not None:
            found.append(_policy(mapping(entry, "job", where=where), f"{where}.job", targets, each_job=True))
        else:
            found.append(_policy(entry, where, targets))
    return tuple(found)


def _policy(value: Json, where: str, targets: frozenset[str], *, each_job: bool = False) -> Policy:
    policy = mapping(value, "schedulingPolicy", where=where) or mapping(value, "policy", where=where)
    near = next((text(one, "key") for _, one in items(value, "schedulingConstraints.topology", where=where)), "")
    basic = at(policy, "basic") is not None
    return Policy(
        targets=targets,
        gang=not basic,
        each_job=each_job and not basic,
        least=optional(policy, "gang.minCount", where=where) or None,
        near=Closeness(required=near) if near else None,
    )


def policy_of(name: str, found: tuple[Policy, ...]) -> Policy:
    """The policy of a replicated job: that of the entry that names it, else that of the whole."""
    return next((policy for policy in found if name in policy.targets), found[0])
