"""A group whose object has changed, against what was admitted: growth asks again, shrinking holds at once.

What was admitted stays as it is while the surplus waits for its turn as a group of its own. Otherwise a training job
that is raised from 4 workers to 8 would be below its minimum from that moment, and be taken down for it.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

from quartermaster.workloads.group import Group, Role


@dataclass(frozen=True, slots=True)
class Resize:
    """`kept` is what was admitted and is still wanted; `grown` is to be admitted beside it, None if nothing is."""

    kept: Group
    grown: Group | None


def resized(admitted: Group, now: Group) -> Resize:
    """What of `now` was admitted, and what is more. Roles are matched by name; a role that is new is growth."""
    before = {role.name: role for role in admitted.roles}
    kept = tuple(_kept(before[role.name], role) for role in now.roles if role.name in before)
    sizes = {role.name: role for role in kept}
    grown = tuple(found for role in now.roles if (found := _grown(sizes.get(role.name), role)) is not None)
    rest = replace(now, roles=kept)
    if not grown:
        return Resize(rest, None)
    why = (f"{sum(role.desired for role in grown)} pods more than were admitted", *now.why)
    return Resize(rest, replace(now, name=f"{now.name}-growth", roles=grown, joined=None, why=why))


def _kept(before: Role, now: Role) -> Role:
    if now.parts and before.parts:
        parts = {part.name: part for part in before.parts}
        inner = tuple(_kept(parts[part.name], part) for part in now.parts if part.name in parts)
        least = min(before.min_parts, now.min_parts, len(inner))
        return Role.split(now.name, inner, least=least, most=now.max, topology=now.topology, template=now.template)
    desired = min(before.desired, now.desired)
    return replace(now, min=min(before.min, now.min, desired), desired=desired, parts=(), min_parts=0)


def _grown(kept: Role | None, now: Role) -> Role | None:
    """What is more is needed as far as it is needed now: one that was elastic grows one by one."""
    if kept is None:
        return now if now.desired else None
    more = now.desired - kept.desired
    if more <= 0:
        return None
    return replace(now, min=min(more, max(0, now.min - kept.min)), desired=more, max=more, parts=(), min_parts=0)
