"""The format of a snapshot: a cluster at one time, with everything that a decision is made on. See docs/what-if.md.

The words are those of scenarios; a snapshot adds where pods are and what has become of their groups so far.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import msgspec

from quartermaster.documents import building, parts
from quartermaster.documents.parts import Part, Requirement, Strings
from quartermaster.documents.quantities import Seconds
from quartermaster.documents.reading import content, convert, json_document, yaml_documents
from quartermaster.model.disruption import DisruptionBudget
from quartermaster.model.errors import InvalidInput
from quartermaster.model.labels import LabelSelector
from quartermaster.model.podgroup import PodGroup
from quartermaster.model.reservation import Reservation
from quartermaster.model.reservation import Seat as PodSeat
from quartermaster.scheduling.rules import QueueOrder, Rules, VictimOrder
from quartermaster.whatif.situation import Place, Situation

REFERENCE = "docs/what-if.md"

YAML = (".yaml", ".yml", ".yaml.gz", ".yml.gz")
JSON = (".json", ".json.gz")


class Seat(Part, frozen=True):
    """Where a pod is. `leaving`: it is terminating, and its room may be counted on (true) or not (false)."""

    node: str
    devices: list[int] = msgspec.field(default_factory=list)
    leaving: bool | None = None


class Reserved(Part, frozen=True, kw_only=True):
    """Room that the last cycle kept for a group: from when, and where."""

    start: Seconds
    places: dict[str, Seat]


class Present(parts.Workload, frozen=True, kw_only=True):
    """A workload with the `places` of its pods, by their names; all others wait. Times are those of `now`."""

    places: dict[str, Seat] = msgspec.field(default_factory=dict)
    started: Seconds | None = None
    checkpointed: Seconds | None = None
    last_evicted: Seconds | None = None
    stale_since: Seconds | None = None
    requeued: Seconds | None = None
    reserved: Reserved | None = None


class Allowance(Part, frozen=True):
    """A disruption budget as it stands: `allowed` more of these pods may be evicted now."""

    name: str
    allowed: int
    namespace: str = building.NAMESPACE
    match: Strings = msgspec.field(default_factory=dict)
    requirements: list[Requirement] = msgspec.field(default_factory=list)


class Policy(parts.Policy, frozen=True, kw_only=True):
    """How is decided; see `scheduling.rules` for what the switches mean."""

    queue_order: QueueOrder = QueueOrder.PRIORITY_FIRST
    victim_order: VictimOrder = VictimOrder.LEAST_LOST
    consolidating: bool = True
    saturation_multiplier: float = 1.0
    max_moves: int | None = 16
    history: float = 1.0
    deserved_in_full: bool = False
    search_budget: int = 200_000
    idle_moves: int = 0
    steady: bool = True
    reservations: int = 1
    forecast: int = 0
    forecast_groups: int = 100
    ageing: float = 0.0
    ageing_cap: float | None = None


class Snapshot(Part, frozen=True):
    """A whole snapshot. `prices` are those of a GPU by model, for the work that victims lose."""

    cluster: parts.Cluster
    workloads: list[Present]
    now: Seconds = Seconds(0)
    queues: list[parts.Queue] = msgspec.field(default_factory=list)
    budgets: list[Allowance] = msgspec.field(default_factory=list)
    prices: dict[str, float] = msgspec.field(default_factory=dict)
    policy: Policy = Policy()


def load(path: Path) -> Situation:
    """The situation that a file describes; raises `InvalidInput` with the file and the field."""
    file = str(path)
    if not path.is_file():
        raise InvalidInput(file, "does not exist", f"name a snapshot ({', '.join((*YAML, *JSON))})")
    if not path.name.endswith((*YAML, *JSON)):
        raise InvalidInput(file, "is no snapshot", f"name a file that ends in {', '.join((*YAML, *JSON))}")
    text = content(path)
    return read(text, file=file, as_json=path.name.endswith(JSON))


def read(text: bytes, *, file: str, as_json: bool = False) -> Situation:
    """The situation that a text describes; raises `InvalidInput` with `file` and the field."""
    if as_json:
        document = json_document(text, file=file)
    else:
        documents = yaml_documents(text, file=file)
        if len(documents) != 1:
            raise InvalidInput(file, f"holds {len(documents)} documents", "write one snapshot per file")
        (document,) = documents
    snapshot = convert(document, Snapshot, where=file, reference=REFERENCE)
    try:
        return situation(snapshot)
    except InvalidInput as wrong:
        raise InvalidInput(f"{file}: {wrong.field}", wrong.problem, wrong.fix) from None


def situation(snapshot: Snapshot) -> Situation:
    """A document as a situation in which every name exists and every place can be; raises `InvalidInput` if not."""
    groups: list[PodGroup] = []
    places: dict[str, Place] = {}
    for workload, group in building.groups(snapshot.workloads):
        groups.append(_with_history(group, workload))
        mine = {pod.name for pod in group.pods}
        for pod in () if workload.reserved is None else workload.reserved.places:
            building.known(f"workload '{workload.name}': reserved", pod, mine)
        places |= {pod: _place(seat) for pod, seat in workload.places.items() if pod in mine}
    for workload in snapshot.workloads:
        for pod in workload.places.keys() - places.keys():
            building.known(f"workload '{workload.name}': places", pod, _pods_of(workload, groups))
    found = Situation(
        nodes=tuple(building.nodes(snapshot.cluster.nodes)),
        topologies=building.topologies(snapshot.cluster.topologies),
        queues=building.queues(snapshot.queues),
        groups=tuple(groups),
        places=places,
        now=float(snapshot.now),
        budgets=tuple(_budgets(snapshot.budgets)),
        prices=snapshot.prices,
        rules=_rules(snapshot.policy),
        actions=snapshot.policy.actions,
        placement=snapshot.policy.placement,
    )
    building.check_names(found.groups, found.queues, found.topologies)
    found.state()
    return found


def _with_history(group: PodGroup, workload: Present) -> PodGroup:
    return replace(
        group,
        started=workload.started,
        checkpointed=workload.checkpointed,
        last_evicted=workload.last_evicted,
        stale_since=workload.stale_since,
        requeued=workload.requeued,
        reserved=None if workload.reserved is None else _reservation(workload.reserved),
    )


def _reservation(written: Reserved) -> Reservation:
    seats = (PodSeat(pod, seat.node, tuple(seat.devices)) for pod, seat in written.places.items())
    return Reservation(start=written.start, seats=tuple(seats))


def _place(seat: Seat) -> Place:
    return Place(node=seat.node, devices=tuple(seat.devices), leaving=seat.leaving)


def _pods_of(workload: Present, groups: Iterable[PodGroup]) -> list[str]:
    names = set(building.names_of(workload))
    return [pod.name for group in groups if group.name in names for pod in group.pods]


def _budgets(written: Iterable[Allowance]) -> Iterable[DisruptionBudget]:
    for one in written:
        matching = LabelSelector.of(one.match).requirements
        more = building.selector(one.requirements).requirements
        yield DisruptionBudget(
            name=one.name,
            namespace=one.namespace,
            selector=LabelSelector(requirements=(*matching, *more)),
            allowed=one.allowed,
        )


_SWITCHES = (
    "queue_order", "victim_order", "staleness_grace", "consolidating", "saturation_multiplier", "max_moves", "history",
    "deserved_in_full", "search_budget", "idle_moves", "steady", "reservations", "forecast", "forecast_groups",
    "ageing", "ageing_cap",
)  # fmt: skip


def _rules(policy: Policy) -> Rules:
    cap = math.inf if policy.ageing_cap is None else policy.ageing_cap
    return Rules(**{**{name: getattr(policy, name) for name in _SWITCHES}, "ageing_cap": cap})


def switches(rules: Rules) -> Mapping[str, Any]:
    """The rules by the names that a policy has for them."""
    return {name: getattr(rules, name) for name in _SWITCHES}
