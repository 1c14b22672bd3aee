"""What an object becomes: groups of roles, each with the pods that it needs, wants and may grow to.

A **group** is what is admitted as one. Roles that cannot exist at the same time are in different groups, numbered by
`phase`, so that nothing ever waits for a pod that nobody will make. Counts are pods, everywhere; a role that comes in
parts (jobs of a JobSet, hosts of a Ray replica, segments) has these below it, and `min_parts` says how many of them
must be there. `min` and `desired` of a group are the sums of its roles: they are computed, and so cannot disagree.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, Final

from quartermaster.model.errors import InvalidInput

Json = dict[str, Any]

DEFAULT_QUEUE: Final = "default"
"""Where a group goes that names no queue, unless its namespace is bound to one."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Closeness:
    """How near the pods are to be. Levels are node labels or aliases; an empty `topology` is the one that has them."""

    topology: str = ""
    required: str = ""
    preferred: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Role:
    """Pods that play the same part. `max` is where an autoscaler may take it (None: no end); `template` is its pod."""

    name: str
    min: int
    desired: int
    max: int | None
    topology: Closeness | None = None
    parts: tuple[Role, ...] = ()
    min_parts: int = 0
    template: Json | None = field(default=None, compare=False, repr=False)

    def __post_init__(self) -> None:
        if not 0 <= self.min <= self.desired:
            raise InvalidInput(f"role '{self.name}'", f"needs {self.min} of {self.desired} pods", "need at most all")
        if self.parts:
            least = sum(sorted(part.min for part in self.parts)[: self.min_parts])
            if (least, sum(part.desired for part in self.parts)) != (self.min, self.desired):
                raise InvalidInput(f"role '{self.name}'", "its parts do not add up", "correct the parts")

    @staticmethod
    def of(name: str, count: int, *, least: int | None = None, most: int | None = None, **more: Any) -> Role:
        """`count` pods, all of them needed unless `least` says fewer; not elastic unless `most` says more."""
        needed = count if least is None else max(0, min(least, count))
        return Role(name=name, min=needed, desired=count, max=max(count, most or 0), **more)

    @staticmethod
    def split(name: str, parts: tuple[Role, ...], *, least: int | None = None, **more: Any) -> Role:
        """A role that is the sum of its parts, of which `least` (default: all) must be whole."""
        needed = len(parts) if least is None else max(0, min(least, len(parts)))
        low = sum(sorted(part.min for part in parts)[:needed])
        high = sum(part.desired for part in parts)
        most = more.pop("most", None)
        return Role(name=name, min=low, desired=high, max=max(high, most or 0), parts=parts, min_parts=needed, **more)


@dataclass(frozen=True, slots=True, kw_only=True)
class Bring:
    """Pods that one object brings to a group which others belong to as well; `role` is the sub-group that they name."""

    owner: str
    count: int
    role: str = ""
    template: Json | None = field(default=None, compare=False, repr=False)


@dataclass(frozen=True, slots=True, kw_only=True)
class Joined:
    """A group that pods name: what its object declares, and who brings pods. `min` is for all of it together."""

    min: int
    declared: tuple[Role, ...] = ()
    brings: tuple[Bring, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Group:
    """What is admitted as one, and what its object says of it.

    `kind`, `namespace` and `uid` are those of the object that the group belongs to; together with `name` they are its
    `key`, so a name that is used again is another group. `after` is what a later `phase` waits for.

    `each` says that this stands for several equal groups: ``index`` (groups of a LeaderWorkerSet: `copies` of them,
    told apart by an index that is put before the `suffix` of the name) or ``pod`` (every pod on its own). `per` says
    that the group comes again for every trial of an experiment or firing of a cron job, `at_once` of them at a time.

    `pooled`: the minimum may be met by pods of any role; those of the roles are then only how it would be shared out.
    `open`: how many pods there will be is not known, so those that are there when it starts are needed, and later ones
    are not. `joined`: its pods name it, so those of several objects may make it up.

    `runtime` is how long its owner says that it will run at most. Times are seconds.
    """

    name: str
    namespace: str
    kind: str
    uid: str = ""
    phase: int = 1
    after: str = ""
    roles: tuple[Role, ...] = ()
    each: str = ""
    copies: int = 1
    index: int | None = None
    suffix: str = ""
    per: str = ""
    at_once: int = 1
    pooled: bool = False
    open: bool = False
    joined: Joined | None = None
    suspended: bool = False
    queue: str = ""
    priority_class: str = ""
    priority: int | None = None
    preemptible: bool = True
    topology: Closeness | None = None
    runtime: float | None = None
    min_runtime: float | None = None
    max_runtime: float | None = None
    preemption_delay: float | None = None
    staleness_grace: float | None = None
    why: tuple[str, ...] = ()

    @property
    def min(self) -> int:
        """How many pods it starts with."""
        return sum(role.min for role in self.roles)

    @property
    def desired(self) -> int:
        """How many pods it has when complete."""
        return sum(role.desired for role in self.roles)

    @property
    def max(self) -> int | None:
        """How many pods it may grow to; None: no end."""
        ends = [role.max for role in self.roles]
        return None if None in ends else sum(end for end in ends if end is not None)

    @property
    def key(self) -> str:
        """Its identity: two groups with one key are the same."""
        return "/".join(part for part in (self.namespace, self.kind, self.name, self.uid) if part)

    def role(self, path: tuple[str, ...]) -> Role | None:
        """The role, or part of one, at `path`."""
        found: Role | None = None
        inside = self.roles
        for name in path:
            found = next((role for role in inside if role.name == name), None)
            if found is None:
                return None
            inside = found.parts
        return found


@dataclass(frozen=True, slots=True, kw_only=True)
class Member:
    """Where one live pod belongs: its group, the role in it, and which one of that role it is, if it says so.

    An empty `role` is a pod of the group that fits none of its roles.
    """

    group: Group
    role: tuple[str, ...] = ()
    index: int | None = None
    why: tuple[str, ...] = ()

    @property
    def phase(self) -> int:
        """That of its group."""
        return self.group.phase
