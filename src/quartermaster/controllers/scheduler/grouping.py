"""Which pods belong together, kept group by group: only a group of which something changed is looked at again.

What a group is comes from its owner (`workloads`): its minimum, its roles, its queue. Here the pods that exist are
fitted into that. A group *waits* while a pod of it wants a node, and *runs* while one has one; it may do both. Until
as many pods exist as its minimum asks for, it is *short*: deciding on it would be deciding on half a gang.

Refuses to know where pods are; `Occupancy` does.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass, field, replace
from typing import Protocol

from quartermaster.api import pods as api_pods
from quartermaster.controllers.scheduler.occupancy import FOREIGN, Occupancy, Record
from quartermaster.model.errors import InvalidInput
from quartermaster.model.pod import Pod
from quartermaster.model.podgroup import PodGroup
from quartermaster.model.reservation import Reservation


class Wish(Protocol):
    """What a group's owner wants of it, and how its pods are fitted in."""

    @property
    def queue(self) -> str:
        """The queue it names; empty for none."""

    def group(self, pods: Iterable[tuple[Pod, object]], *, done: int) -> PodGroup | str:
        """The group of the pods that exist, each with its place in it; or why it cannot start yet."""


@dataclass(slots=True)
class Known:
    """A group. `value` is None while something is wrong with it, and `wrong` says what."""

    name: str
    wish: Wish
    places: dict[str, object] = field(default_factory=dict)
    """Its pods that exist, and where in the group each belongs."""
    value: PodGroup | None = None
    wrong: str = ""
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
    """All groups by name. `resolve` gives the queue that a group is charged to, or raises InvalidInput."""

    def __init__(self, occupancy: Occupancy, *, resolve: Callable[[str, str], str]) -> None:
        self.groups: dict[str, Known] = {}
        self.waiting: dict[str, Known] = {}
        self.running: dict[str, Known] = {}
        self.timed: dict[str, Known] = {}
        """Groups that may run for a limited time."""
        self.wrong: dict[str, Known] = {}
        """Groups that cannot be decided on."""
        self._occupancy = occupancy
        self._resolve = resolve
        self._of: dict[str, str] = {}
        self._dirty: dict[str, None] = {}

    def group_of(self, pod: str) -> Known | None:
        """The group of a pod; None if it has none, or none yet."""
        name = self._of.get(pod)
        return None if name is None else self.groups[name]

    def join(self, pod: str, group: str, wish: Wish, place: object) -> None:
        """A pod belongs to a group now, and the group is this."""
        was = self._of.get(pod)
        if was is not None and was != group:
            self.leave(pod)
        known = self.groups.get(group)
        if known is None:
            known = self.groups[group] = Known(group, wish)
        elif known.wish != wish:
            known.wish = wish
        self._of[pod] = group
        known.places[pod] = place
        self._dirty[group] = None

    def leave(self, pod: str) -> None:
        """A pod is no more."""
        group = self._of.pop(pod, None)
        if group is not None:
            del self.groups[group].places[pod]
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
            if not known.places:
                for table in (self.groups, self.waiting, self.running, self.timed, self.wrong):
                    table.pop(name, None)
                continue
            self._look(known)
            looked.append(known)
            value = known.value
            _file(self.waiting, known, is_in=known.waits and value is not None)
            _file(self.running, known, is_in=known.runs and value is not None)
            _file(self.timed, known, is_in=known.runs and value is not None and value.max_runtime is not None)
            _file(self.wrong, known, is_in=value is None)
        return looked

    def _look(self, known: Known) -> None:
        records = self._occupancy.records
        state = self._occupancy.state
        there = [(name, records[name]) for name in known.places]
        live = [(name, record) for name, record in there if _counts(record)]
        known.unfit = None
        known.runs = any(name in state.pods for name, _ in live)
        known.waits = any(name not in state.pods and not api_pods.gated(record.pod) for name, record in live)
        queue, known.wrong = FOREIGN, ""
        try:
            queue = self._resolve(known.wish.queue, there[0][1].pod.metadata.namespace)
        except InvalidInput as wrong:
            known.wrong = str(wrong)
        known.wrong = next((f"{name}: {record.wrong}" for name, record in live if record.wrong), known.wrong)
        value: PodGroup | str = known.wrong
        if not known.wrong:
            pods = [(_pod(name, record), known.places[name]) for name, record in sorted(live)]
            done = sum(record.pod.status.phase == "Succeeded" for _, record in there)
            try:
                value = known.wish.group(pods, done=done)
            except InvalidInput as wrong:
                value = str(wrong)
        if isinstance(value, str):
            known.value, known.wrong = None, value
        else:
            known.value = self._dated(known, replace(value, name=known.name, queue=queue), there)
        preemptible = known.value is not None and known.value.preemptible
        for name, _ in live:
            self._occupancy.charge(name, queue=queue, preemptible=preemptible)

    def _dated(self, known: Known, value: PodGroup, there: list[tuple[str, Record]]) -> PodGroup:
        state = self._occupancy.state
        return replace(
            value,
            created=min(record.pod.created for _, record in there),
            started=min((record.since for name, record in there if name in state.pods), default=None),
            stale_since=known.stale_since,
            last_evicted=known.last_evicted,
            requeued=known.requeued,
            reserved=known.reserved,
        )


def _counts(record: Record) -> bool:
    """Whether a pod is one that its group has: not one that ended, or that goes before it ever had a node."""
    return record.live and not (record.pod.leaving and not record.node)


def _pod(name: str, record: Record) -> Pod:
    assert record.spec is not None, "groups with a pod that was not understood are not made"
    return Pod(name, record.spec, priority=record.pod.spec.priority or 0, gated=api_pods.gated(record.pod))


def _file(table: dict[str, Known], known: Known, *, is_in: bool) -> None:
    if is_in:
        table[known.name] = known
    else:
        table.pop(known.name, None)
