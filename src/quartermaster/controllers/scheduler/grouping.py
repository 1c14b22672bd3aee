"""Which pods belong together, kept group by group: only a group of which something changed is looked at again.

What a group is comes from its owner (`workloads`): its minimum, its roles, its queue. Here the pods that exist are
fitted into that. A group *waits* while a pod of it wants a node, and *runs* while one has one; it may do both. Until
as many pods exist as its minimum asks for, it is *short*: deciding on it would be deciding on half a gang. One that is
short and runs is *broken*: nothing of it is placed, and its grace runs. A pod whose node is gone neither runs nor
waits: it was bound, and nobody binds it again.

Refuses to know where pods are; `Occupancy` does.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field, replace
from typing import Final

from quartermaster.api import pods as api_pods
from quartermaster.api.objects import PodObject
from quartermaster.controllers.scheduler.occupancy import FOREIGN, Occupancy, Record
from quartermaster.controllers.scheduler.site import Site
from quartermaster.model.errors import InvalidInput
from quartermaster.model.pod import Pod
from quartermaster.model.podgroup import PodGroup, SubGroup
from quartermaster.model.reservation import Reservation
from quartermaster.scheduling.presence import Presence
from quartermaster.workloads.assembling import Present, assembled
from quartermaster.workloads.external import merged
from quartermaster.workloads.group import Group, Member
from quartermaster.workloads.resizing import resized

GROWTH: Final = "/growth"


@dataclass(slots=True)
class Known:
    """A group. `value` is None while something is wrong with it, and `wrong` says what."""

    name: str
    members: dict[str, Member] = field(default_factory=dict)
    """Its pods that exist, and where in the group each belongs."""
    group: Group | None = None
    """What all of them make of it."""
    admitted: Group | None = None
    """What it was when it last had its minimum: what its object asks for beyond that is a new admission."""
    grown: str = ""
    """The name of the group of what it has grown by and that is not admitted yet."""
    value: PodGroup | None = None
    wrong: str = ""
    blocked: dict[str, str] = field(default_factory=dict)
    """Its pods that cannot be placed as yet, and why; the others can, if they are enough."""
    incomplete: bool = False
    """What is wrong is only that pods of it are still to come."""
    waits: bool = False
    runs: bool = False
    stale_since: float | None = None
    last_evicted: float | None = None
    requeued: float | None = None
    reserved: Reservation | None = None
    backoff: float = 0.0
    """Seconds to wait after the next binding that is refused."""
    not_before: float = 0.0
    unfit: object = None
    """Against what it was found not to fit; equal to the same again, there is no need to try."""


class Grouping:
    """All groups by name."""

    def __init__(self, occupancy: Occupancy, site: Site) -> None:
        self.groups: dict[str, Known] = {}
        self.waiting: dict[str, Known] = {}
        self.running: dict[str, Known] = {}
        self.timed: dict[str, Known] = {}
        """Groups that may run for a limited time."""
        self.wrong: dict[str, Known] = {}
        """Groups that cannot be decided on."""
        self._occupancy = occupancy
        self._site = site
        self.recall: Callable[[Group], Mapping[str, int]] = lambda _: {}
        """What is known from before of the pods by role that a group was admitted with."""
        self._of: dict[str, str] = {}
        self._dirty: dict[str, None] = {}
        self.blocks: Callable[[str, PodObject], str] = lambda _name, _pod: ""
        """Why a pod cannot be placed whatever room there is; empty if it can."""

    def group_of(self, pod: str) -> Known | None:
        """The group of a pod; None if it has none, or none yet."""
        name = self._of.get(pod)
        return None if name is None else self.groups[name]

    def join(self, pod: str, member: Member) -> None:
        """A pod belongs to this group now."""
        name = member.group.key
        was = self._of.get(pod)
        if was is not None and was != name:
            self.leave(pod)
        known = self.groups.setdefault(name, Known(name))
        self._of[pod] = name
        known.members[pod] = member
        known.group = None
        self._dirty[name] = None

    def leave(self, pod: str) -> None:
        """A pod is no more."""
        group = self._of.pop(pod, None)
        if group is not None:
            known = self.groups[group]
            del known.members[pod]
            known.group = None
            self._dirty[group] = None

    def touch(self, pod: str) -> None:
        """Something about a pod changed."""
        group = self._of.get(pod)
        if group is not None:
            self._dirty[group] = None

    def touch_all(self) -> None:
        """Something that all groups depend on changed."""
        self._dirty.update(dict.fromkeys(self.groups))

    def refresh(self) -> list[Known]:
        """Look again at every group of which something changed; returns those that there still are."""
        dirty, self._dirty = self._dirty, {}
        looked = []
        for name in dirty:
            known = self.groups.get(name)
            if known is None:
                continue
            if not known.members:
                self._drop(name)
                self._drop(known.grown)
            elif not name.endswith(GROWTH):  # what a group has grown by is looked at with it
                looked += self._look_at(known)
        return looked

    def _look_at(self, known: Known) -> list[Known]:
        """A group, and what it has grown by."""
        group = _merged(known.members.values()) if known.group is None else known.group
        known.group, found = group, [known]
        grown = self._resize(known, group)
        if grown is None:
            self._drop(known.grown)
            known.grown = ""
            self._look(known, group, known.members)
        else:
            kept, growth, joins = grown
            self._look(known, kept, known.members.keys() - joins)
            known.grown = f"{known.name}{GROWTH}"
            other = self.groups.setdefault(known.grown, Known(known.grown))
            other.group, other.members = growth, {name: known.members[name] for name in joins}
            self._look(other, growth, joins)
            if other.value is not None and other.runs and self._whole(other.value):
                known.admitted = group  # what it has grown by has found its place
                return self._look_at(known)
            found.append(other)
        if known.value is not None and grown is None and known.runs and self._whole(known.value):
            known.admitted = group
        for each in found:
            value = each.value
            _file(self.waiting, each, is_in=each.waits and value is not None)
            _file(self.running, each, is_in=each.runs and value is not None)
            _file(self.timed, each, is_in=each.runs and value is not None and value.max_runtime is not None)
            _file(self.wrong, each, is_in=value is None)
        return found

    def _drop(self, name: str) -> None:
        for table in (self.groups, self.waiting, self.running, self.timed, self.wrong):
            table.pop(name, None)

    def _whole(self, value: PodGroup) -> bool:
        state = self._occupancy.state
        return Presence(state.pods, state.leaving).satisfied(value.root)

    def _resize(self, known: Known, now: Group) -> tuple[Group, Group, set[str]] | None:
        """What of a group was admitted, what is more, and the pods of that; None if nothing is more.

        A job that is raised from 4 workers to 8 would otherwise be below its minimum at once, and be taken down.
        """
        state = self._occupancy.state
        if not any(name in state.pods for name in known.members):
            known.admitted = None
        elif known.admitted is None:
            known.admitted = _as_admitted(now, self.recall(now))
        if known.admitted is None or known.admitted == now or now.open:
            return None
        found = resized(known.admitted, now)
        if found.grown is None:
            return None
        joins: set[str] = set()
        for role in now.roles:
            mine = [name for name, member in known.members.items() if now.pooled or member.role[:1] == (role.name,)]
            mine.sort(key=lambda name: (name not in state.pods, known.members[name].index or 0, name))
            before = found.kept.role((role.name,))
            joins.update(mine[found.kept.desired if now.pooled else 0 if before is None else before.desired :])
        return found.kept, found.grown, joins

    def _look(self, known: Known, group: Group, members: Iterable[str]) -> None:
        records, state = self._occupancy.records, self._occupancy.state
        there = {name: records[name] for name in members}
        live = {name: record for name, record in there.items() if _counts(record)}
        known.unfit = None
        known.runs = any(name in state.pods for name in live)
        known.blocked = {
            name: why
            for name, record in live.items()
            if not record.node and not api_pods.gated(record.pod) and (why := self.blocks(name, record.pod))
        }
        known.waits = any(
            not record.node and name not in state.pods and name not in known.blocked and not api_pods.gated(record.pod)
            for name, record in live.items()
        )
        queue, value, known.wrong, known.incomplete = FOREIGN, None, "", False
        try:
            queue = self._site.resolve(group.queue, group.namespace)
            unread = next((f"{name}: {record.wrong}" for name, record in live.items() if record.wrong), "")
            if unread:
                known.wrong = unread
            else:
                value = self._value(known, group, there, queue)
                if value is not None and known.blocked and not known.runs and not self._enough(known, live, value):
                    value, known.wrong = None, next(f"{name}: {why}" for name, why in sorted(known.blocked.items()))
        except InvalidInput as wrong:
            known.wrong = str(wrong)
        known.value = value
        preemptible = value is not None and value.preemptible
        for name in live:
            self._occupancy.charge(name, queue=queue, preemptible=preemptible)

    def _enough(self, known: Known, live: Mapping[str, Record], value: PodGroup) -> bool:
        """Whether a group is whole without the pods of it that are blocked."""
        free = (name for name, record in live.items() if name not in known.blocked and not api_pods.gated(record.pod))
        return Presence(dict.fromkeys(free), {}).satisfied(value.root)

    def _value(self, known: Known, group: Group, there: Mapping[str, Record], queue: str) -> PodGroup | None:
        state = self._occupancy.state
        present = [
            _present(name, record, known.members[name], bound=name in state.pods, blocked=name in known.blocked)
            for name, record in sorted(there.items())
            if _counts(record) or record.pod.status.phase == "Succeeded"
        ]
        found = assembled(group, present, topologies=self._site.topologies)
        if found.root is None:
            missing = ", ".join(f"{count} of {role}" if role else str(count) for role, count in found.missing)
            known.wrong, known.incomplete = f"waits for pods that do not exist yet: {missing}", True
            known.waits = False
            if not known.runs:
                return None
        records = list(there.values())
        started = [record.started for name, record in there.items() if name in state.pods]
        return PodGroup(
            name=known.name,
            queue=queue,
            root=found.root or _broken(present),
            priority=_priority(group, records),
            created=min(record.pod.created for record in records),
            preemptible=group.preemptible,
            owner=f"{group.namespace}/{group.kind}",
            may_preempt=all(api_pods.may_preempt(record.pod) for record in records),
            preemption_delay=group.preemption_delay or 0.0,
            staleness_grace=group.staleness_grace,
            runtime=group.runtime,
            max_runtime=group.max_runtime,
            started=min(started, default=None),
            stale_since=known.stale_since,
            last_evicted=known.last_evicted,
            requeued=known.requeued,
            reserved=known.reserved,
        )


def _as_admitted(now: Group, pods: Mapping[str, int]) -> Group | None:
    if not pods:
        return None
    kept = (role for role in now.roles if role.name in pods)
    counts = ((role, min(role.desired, pods[role.name])) for role in kept)
    roles = tuple(
        replace(role, min=min(role.min, count), desired=count, parts=(), min_parts=0) for role, count in counts
    )
    return replace(now, roles=roles)


def _merged(members: Iterable[Member]) -> Group:
    """The group that its pods describe; each of them may know only a part of it."""
    distinct: list[Group] = []
    for member in members:
        if member.group not in distinct[-1:] and member.group not in distinct:
            distinct.append(member.group)
    return distinct[0] if len(distinct) == 1 else merged(distinct)[0]


def _broken(present: Iterable[Present]) -> SubGroup:
    """What is left of a gang that lost pods it needs: the lost one stands for all of them, and cannot be placed."""
    there = [one.pod for one in present if not one.ended]
    lost = Pod("", there[0].spec, gated=True)
    return SubGroup(pods=(*(replace(pod, gated=True) for pod in there), lost))


def _priority(group: Group, records: Iterable[Record]) -> int:
    if group.priority is not None:
        return group.priority
    return max((record.pod.spec.priority or 0 for record in records), default=0)


def _present(name: str, record: Record, member: Member, *, bound: bool, blocked: bool) -> Present:
    assert record.spec is not None, "groups with a pod that was not understood are not made"
    ended, astray = not record.live, bool(record.node) and not bound
    gated = ended or astray or blocked or api_pods.gated(record.pod)
    pod = Pod(name, record.spec, priority=record.pod.spec.priority or 0, gated=gated)
    return Present(pod=pod, role=member.role, index=member.index, ended=ended, bound=bound)


def _counts(record: Record) -> bool:
    """Whether a pod is one that its group has: not one that ended, or that goes before it ever had a node."""
    return record.live and not (record.pod.leaving and not record.node)


def _file(table: dict[str, Known], known: Known, *, is_in: bool) -> None:
    if is_in:
        table[known.name] = known
    else:
        table.pop(known.name, None)
