"""The cluster of a scenario while virtual time goes on: who is where, who waits, who leaves.

It does what nodes and controllers do to the decisions of a cycle, as simply as can be: a bound pod runs at once; an
evicted one holds its place for the grace period and then waits again, its work lost; nominated ones are bound, all of a
group's together, as soon as their room is there; a group with a run time ends that long after it last reached its
minimum.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field, replace

from quartermaster.cluster.state import ClusterState
from quartermaster.model.disruption import DisruptionBudget
from quartermaster.model.errors import InvalidInput
from quartermaster.model.labels import LabelSelector
from quartermaster.model.node import Node
from quartermaster.model.pod import Pod
from quartermaster.model.podgroup import PodGroup
from quartermaster.model.units import DEVICE
from quartermaster.scheduling.plan import Plan, devices_of
from quartermaster.testing.scenarios.invariants import Seat, overbooked, satisfied
from quartermaster.testing.scenarios.timeline import building
from quartermaster.testing.scenarios.timeline import document as doc


@dataclass(slots=True)
class Place:
    """Where a pod runs, since when, and when it will be gone if it was told to leave."""

    node: str
    devices: tuple[int, ...]
    since: float
    gone_at: float | None = None


@dataclass(slots=True)
class Entry:
    """A group and what has become of it."""

    workload: doc.Workload
    group: PodGroup
    started: float | None = None
    first_started: float | None = None
    ended: float | None = None
    last_evicted: float | None = None
    stale_since: float | None = None
    evicted: int = 0
    reason: str = ""
    pods: tuple[Pod, ...] = field(init=False)

    def __post_init__(self) -> None:
        self.pods = tuple(self.group.pods)

    @property
    def ends(self) -> float | None:
        """When it will have run for its run time."""
        runtime = self.workload.runtime
        return None if runtime is None or self.started is None else self.started + runtime


@dataclass(slots=True, kw_only=True)
class Ledger:
    """What is added up over the run; GPU times in device-seconds."""

    held: float = 0.0
    capacity: float = 0.0
    lost: float = 0.0
    evictions: int = 0


class World:
    """The state of a scenario at `now`; changed by `pass_time`, `happen` and `carry_out` alone."""

    def __init__(self, scenario: doc.Scenario) -> None:
        self.scenario = scenario
        self.now = 0.0
        self.all_nodes = {node.name: node for node in building.nodes(scenario)}
        self.down: set[str] = set()
        self.queues = building.queues(scenario.queues)
        self.topologies = building.topologies(scenario)
        self.entries: dict[str, Entry] = {}
        for workload, group in building.groups(scenario):
            if group.name in self.entries:
                raise InvalidInput(f"workload '{group.name}'", "is there twice", "give each workload a name of its own")
            self.entries[group.name] = Entry(workload, group)
        self.of_pod: dict[str, Entry] = {}
        for entry in self.entries.values():
            for pod in entry.pods:
                if pod.name in self.of_pod:
                    raise InvalidInput(f"pod '{pod.name}'", "belongs to two workloads", "rename one of them")
                self.of_pod[pod.name] = entry
        self.places: dict[str, Place] = {}
        self.nominations: list[list[Seat]] = []
        self.fresh: set[str] = set()
        self.ledger = Ledger()

    # ---- what is there

    @property
    def nominated(self) -> dict[str, Seat]:
        """The pods that wait for room which is kept for them."""
        return {seat.pod: seat for seats in self.nominations for seat in seats}

    @property
    def nodes(self) -> list[Node]:
        """The nodes that are up."""
        return [node for name, node in self.all_nodes.items() if name not in self.down]

    def present(self) -> Iterator[Entry]:
        """Groups that were submitted and have not ended."""
        for entry in self.entries.values():
            if entry.workload.at <= self.now and entry.ended is None:
                yield entry

    def staying(self, entry: Entry) -> set[str]:
        """Pods of a group that run and have not been told to leave."""
        return {pod.name for pod in entry.pods if (at := self.places.get(pod.name)) and at.gone_at is None}

    def waiting(self, entry: Entry) -> list[str]:
        """Pods of a group that have no node."""
        return [pod.name for pod in entry.pods if pod.name not in self.places]

    def state(self) -> ClusterState:
        """The cluster as a cycle sees it."""
        state = ClusterState(self.nodes)
        for name, place in self.places.items():
            entry = self.of_pod[name]
            spec = next(pod.spec for pod in entry.pods if pod.name == name)
            state.assume(
                name, spec, place.node, place.devices, queue=entry.group.queue, preemptible=entry.group.preemptible
            )
            if place.gone_at is not None:
                state.leave(name, frees=True)
        return state

    def as_group(self, entry: Entry) -> PodGroup:
        """The group with its history."""
        return replace(
            entry.group, started=entry.started, last_evicted=entry.last_evicted, stale_since=entry.stale_since
        )

    def budgets(self) -> list[DisruptionBudget]:
        """Disruption budgets with what is left of them: pods that leave, or wait to come back, use them up."""
        found = []
        for budget in self.scenario.budgets:
            selector = LabelSelector.of(budget.match)
            missing = sum(
                selector.matches(pod.spec.label_map)
                for entry in self.present()
                if entry.first_started is not None
                for pod in entry.pods
                if pod.name not in self.staying(entry)
            )
            found.append(
                DisruptionBudget(
                    name=budget.name,
                    namespace=building.NAMESPACE,
                    selector=selector,
                    allowed=max(0, budget.max_unavailable - missing),
                )
            )
        return found

    def seats(self) -> list[Seat]:
        """Who sits where, for the invariants."""
        sitting = [
            Seat(pod=name, node=place.node, devices=place.devices, leaving=place.gone_at is not None)
            for name, place in self.places.items()
        ]
        return sitting + [seat for seats in self.nominations for seat in seats]

    # ---- what happens

    def pass_time(self, now: float) -> None:
        """Go on to `now`: what was held is added up, pods whose grace is over are gone, and groups end."""
        span = now - self.now
        self.ledger.capacity += span * sum(node.gpus for node in self.nodes)
        self.ledger.held += span * sum(self.gpus(name) for name in self.places)
        self.now = now
        self._vacate(name for name, place in self.places.items() if place.gone_at is not None and place.gone_at <= now)
        for entry in self.entries.values():
            if entry.ended is None and entry.ends is not None and entry.ends <= now:
                self.end(entry)
        self._bind_nominated()
        self._look_after()

    def _bind_nominated(self) -> None:
        """Bind nominations whose room is there now, all pods of one together."""
        up = {node.name: node for node in self.nodes}
        for seats in list(self.nominations):
            if any(seat.pod in self.places or seat.node not in up for seat in seats):
                continue
            sitting = [Seat(pod=name, node=place.node, devices=place.devices) for name, place in self.places.items()]
            specs = {pod.name: pod.spec for entry in self.entries.values() for pod in entry.pods}
            here = {seat.node for seat in seats}
            taken = [[seat for seat in (*sitting, *seats) if seat.node == node] for node in here]
            if not any(any(overbooked(up[on[0].node], on, specs, "now")) for on in taken):
                self.nominations.remove(seats)
                for seat in seats:
                    self.places[seat.pod] = Place(seat.node, seat.devices, self.now)

    def gpus(self, pod: str) -> float:
        """Devices that a pod holds; a share counts as the part that it is."""
        place, entry = self.places[pod], self.of_pod[pod]
        ask = next(one.spec.gpu for one in entry.pods if one.name == pod)
        return ask.count * (ask.share_on(self.all_nodes[place.node].gpu_memory) or DEVICE) / DEVICE

    def _vacate(self, names: Iterable[str]) -> None:
        for name in list(names):
            del self.places[name]

    def end(self, entry: Entry) -> None:
        """A group has done its work; its pods are gone."""
        entry.ended = self.now
        mine = {pod.name for pod in entry.pods}
        self.nominations = [seats for seats in self.nominations if not any(seat.pod in mine for seat in seats)]
        self._vacate(pod.name for pod in entry.pods if pod.name in self.places)

    def happen(self, event: doc.Event) -> None:
        """An event of the document, whose names are known to exist."""
        if event.complete is not None:
            self.end(self.entries[event.complete])
        if event.node_down is not None:
            self.down.add(event.node_down)
            lost = [name for name, place in self.places.items() if place.node == event.node_down]
            self._lose(lost)
            self._vacate(lost)
        if event.node_up is not None:
            self.down.discard(event.node_up)
        if event.queue is not None:
            self.scenario = doc.with_queue(self.scenario, event.queue)
            self.queues = building.queues(self.scenario.queues)
        self._look_after()

    def _lose(self, names: Iterable[str]) -> None:
        self.ledger.lost += sum((self.now - self.places[name].since) * self.gpus(name) for name in names)

    def carry_out(self, plan: Plan) -> None:
        """Do what a cycle decided."""
        # Who moves is not there to be nominated anew, so its new place is kept until it has left the old one.
        self.nominations = [seats for seats in self.nominations if any(seat.pod in self.places for seat in seats)]
        self.fresh.clear()
        for evict in plan.evictions:
            entry = self.of_pod[evict.pod]
            self._lose([evict.pod])
            self.places[evict.pod].gone_at = self.now + self.scenario.grace
            entry.last_evicted = self.now
            entry.evicted += 1
            self.ledger.evictions += 1
        for placement in plan.placements:
            seats = [
                Seat(pod=pod, node=plan.nodes[row], devices=devices_of(mask), nominated=placement.nominated)
                for pod, row, mask in zip(placement.pods, placement.rows, placement.masks, strict=True)
            ]
            self.fresh.update(placement.pods)
            if placement.nominated:
                self.nominations.append(seats)
            else:
                self.places.update({seat.pod: Place(seat.node, seat.devices, self.now) for seat in seats})
        for entry in self.present():
            entry.reason = ""
        for one in plan.unschedulable:
            self.entries[one.group].reason = str(one.explanation)
        self._look_after()

    def _look_after(self) -> None:
        """Note which groups run, and which have fallen below their minimum."""
        for entry in self.present():
            staying = self.staying(entry)
            if staying and satisfied(entry.group.root, staying):
                entry.started = self.now if entry.started is None else entry.started
                entry.first_started = entry.started if entry.first_started is None else entry.first_started
                entry.stale_since = None
            else:
                entry.started = None
                stale = bool(staying)
                entry.stale_since = (self.now if entry.stale_since is None else entry.stale_since) if stale else None
