"""Reading one object: what a family's module is given, and the few shapes of groups that it can answer with."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from typing import Any

from quartermaster.model.errors import InvalidInput
from quartermaster.workloads.catalogue import Kind, workload
from quartermaster.workloads.fields import MANY, annotation, group_kind, mapping, name_of, text
from quartermaster.workloads.group import Closeness, Group, Json, Role
from quartermaster.workloads.wishes import Lookup, least, placed, wishes

DEEPEST = 16
"""Wrappers in wrappers; more are a mistake, or an attack."""

Parse = Callable[[str], Json | None]
"""A manifest given as text inside an object -> the object, or None."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Reading:
    """An object of a known kind, what wraps it (nearest first), and how to find and read others."""

    top: Json
    kind: Kind
    lookup: Lookup
    nested: Callable[[Reading], tuple[Group, ...]]
    outer: tuple[Json, ...] = ()
    parse: Parse | None = None

    @property
    def name(self) -> str:
        """Its name."""
        return name_of(self.top)

    @property
    def namespace(self) -> str:
        """Its namespace; empty in a manifest that leaves it to the user's context."""
        return text(self.top, "metadata.namespace")

    @property
    def spec(self) -> Json:
        """Its spec, empty if absent."""
        return mapping(self.top, "spec")

    @property
    def owners(self) -> tuple[Json, ...]:
        """It and what wraps it: who may speak for its pods."""
        return (self.top, *self.outer)

    @property
    def least(self) -> int | None:
        """How many must start together, where the object or what wraps it says so outright."""
        return least(self.top)

    def find(self, group: str, kind: str, name: str, *, cluster: bool = False) -> Json | None:
        """Another object, by reference."""
        return self.lookup(group, kind, "" if cluster else self.namespace, name) if name else None

    def gang(
        self,
        roles: Iterable[Role],
        *,
        suffix: str = "",
        why: Sequence[str] = (),
        queue: str = "",
        priority: str = "",
        runtime: float | None = None,
        topology: Closeness | None = None,
        **more: Any,
    ) -> Group:
        """Pods that start together; `more` are fields of the group."""
        whole, near = _together(tuple(placed(role, self.top) for role in roles))
        templates = [role.template for role in whole]
        asked = wishes(self.owners, templates, self.kind, self.lookup, queue=queue, priority=priority, runtime=runtime)
        fields = asked.fields()
        if topology is not None:
            fields["topology"] = topology
        elif near is not None:
            fields["topology"] = near
        elif fields["topology"] is None and len(whole) == 1:
            fields["topology"] = whole[0].topology
        if more.get("copies", 1) > MANY:
            raise InvalidInput("replicas", f"{more['copies']} groups", f"at most {MANY} from one object")
        return Group(
            name=f"{self.name}{suffix}",
            suffix=suffix,
            namespace=self.namespace,
            kind=self.kind.kind,
            uid=text(self.top, "metadata.uid"),
            roles=whole,
            why=(*why, *asked.why, *_nearness(fields["topology"], whole)),
            **{**fields, **more},
        )

    def singles(self, role: str, count: int, template: Json | None, **more: Any) -> tuple[Group, ...]:
        """`count` pods, each of which is a group of its own."""
        if not count:
            return ()
        one = Role.of(role, 1, template=template)
        return (self.gang([one], each="pod", copies=count, **more),)

    def within(self, child: Json, *, where: str, name: str = "", **more: Any) -> tuple[Group, ...]:
        """The groups of an object that this one makes; `more` are fields to set on them."""
        if len(self.outer) >= DEEPEST:
            raise InvalidInput(where, f"is wrapped {DEEPEST} times", "take the wrappers away")
        metadata = mapping(child, "metadata")
        named = {
            "name": metadata.get("name") or metadata.get("generateName") or name or self.name,
            "namespace": metadata.get("namespace") or self.namespace,
        }
        key = group_kind(child)
        kind = workload(key)
        if kind is None:
            return ()
        groups = self.nested(
            replace(self, top={**child, "metadata": {**metadata, **named}}, kind=kind, outer=self.owners)
        )
        return tuple(replace(group, **more) for group in groups) if more else groups


def _together(roles: tuple[Role, ...]) -> tuple[tuple[Role, ...], Closeness | None]:
    """Roles that Kueue's ``podset-group-name`` puts into one domain ask for it together, not each for its own."""
    names = {annotation(role.template, "kueue.x-k8s.io/podset-group-name") for role in roles}
    if len(roles) < 2 or len(names) != 1 or "" in names:
        return roles, None
    near = next((role.topology for role in roles if role.topology is not None), None)
    return tuple(replace(role, topology=None) for role in roles), near


def _nearness(topology: Closeness | None, roles: tuple[Role, ...]) -> list[str]:
    found = [f"all of it {_said(topology)}"] if topology is not None else []
    for role in roles:
        if role.topology is not None and role.topology != topology:
            found.append(f"{role.name} {_said(role.topology)}")
        near = next((part.topology for part in role.parts if part.topology is not None), None)
        if near is not None:
            found.append(f"each of {len(role.parts)} parts of {role.name} {_said(near)}")
    return found


def _said(near: Closeness) -> str:
    of = f" of {near.topology}" if near.topology else ""
    wanted = [f"goes into one domain of level {near.required}{of}"] if near.required else []
    if near.preferred:
        wanted.append(f"prefers one of level {near.preferred}{of}")
    return " and ".join(wanted)


def shared_out(roles: Sequence[Role], needed: int) -> tuple[Role, ...]:
    """The roles with minimums that add up to `needed`, earlier ones first; at most all of them."""
    left, found = needed, []
    for role in roles:
        take = min(role.desired, left)
        left -= take
        found.append(replace(role, min=take) if not role.parts else role)
    return tuple(found)
