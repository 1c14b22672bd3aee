"""All that a decision is made on, as one frozen value: what is there, who wants it, and by which rules.

Where the state has arrays, a situation has names, so that it can be written down, changed and compared. A gang's pods
have places or wait; a place may be on its way out.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from functools import cached_property

from quartermaster.cluster.state import ClusterState
from quartermaster.model.disruption import DisruptionBudget
from quartermaster.model.errors import InvalidInput
from quartermaster.model.node import Node
from quartermaster.model.pod import Pod
from quartermaster.model.podgroup import PodGroup
from quartermaster.model.queue import QueueTree
from quartermaster.model.topology import Topology
from quartermaster.scheduling.plan import devices_of
from quartermaster.scheduling.presence import Presence
from quartermaster.scheduling.rules import ALL_ACTIONS, Action, Rules


@dataclass(frozen=True, slots=True, kw_only=True)
class Place:
    """A node and the indexes of its devices. `leaving`: the pod is terminating; None, or whether its room counts."""

    node: str
    devices: tuple[int, ...] = ()
    leaving: bool | None = None


@dataclass(frozen=True, kw_only=True)
class Situation:
    """A cluster at `now` (virtual seconds). `places` has the pods that are somewhere; all others wait.

    `placement` names a placement policy. Raises `InvalidInput` when names are there twice, or places name what is not.
    """

    nodes: tuple[Node, ...]
    queues: QueueTree
    groups: tuple[PodGroup, ...]
    places: Mapping[str, Place]
    now: float = 0.0
    topologies: Mapping[str, Topology] = field(default_factory=dict)
    budgets: tuple[DisruptionBudget, ...] = ()
    prices: Mapping[str, float] = field(default_factory=dict)
    rules: Rules = field(default_factory=Rules)
    actions: tuple[Action, ...] = ALL_ACTIONS
    placement: str = "quartermaster"

    def __post_init__(self) -> None:
        seen: set[str] = set()
        for group in self.groups:
            if group.name in seen:
                raise InvalidInput(f"workload '{group.name}'", "is there twice", "give each workload a name of its own")
            seen.add(group.name)
        unknown = self.places.keys() - self.pods.keys()
        if unknown:
            raise InvalidInput(f"pod '{min(unknown)}'", "has a place but no workload", "name a pod of a workload")

    @cached_property
    def pods(self) -> dict[str, tuple[Pod, PodGroup]]:
        """All pods by name, each with its group."""
        found: dict[str, tuple[Pod, PodGroup]] = {}
        for group in self.groups:
            for pod in group.pods:
                if pod.name in found:
                    raise InvalidInput(f"pod '{pod.name}'", "belongs to two workloads", "rename one of them")
                found[pod.name] = pod, group
        return found

    def group(self, name: str) -> PodGroup | None:
        """The group of that name."""
        return next((group for group in self.groups if group.name == name), None)

    def state(self) -> ClusterState:
        """The state that a cycle looks at; raises `InvalidInput` for a place that cannot be."""
        state = ClusterState(self.nodes)
        for name, place in self.places.items():
            pod, group = self.pods[name]
            state.assume(name, pod.spec, place.node, place.devices, queue=group.queue, preemptible=group.preemptible)
            if place.leaving is not None:
                state.leave(name, frees=place.leaving)
        return state

    def staying(self, group: PodGroup) -> list[str]:
        """The pods of a group that have a place and are to keep it."""
        return [pod.name for pod in group.pods if (at := self.places.get(pod.name)) and at.leaving is None]

    def waiting(self) -> Iterator[PodGroup]:
        """The groups with pods that have no place."""
        for group in self.groups:
            if any(pod.name not in self.places and not pod.gated for pod in group.pods):
                yield group

    def running(self) -> Iterator[PodGroup]:
        """The groups with pods that have a place."""
        for group in self.groups:
            if any(pod.name in self.places for pod in group.pods):
                yield group

    def presence(self) -> Presence:
        """Who is there, asked group by group."""
        leaving = {name: place.leaving for name, place in self.places.items() if place.leaving is not None}
        return Presence(self.places, leaving)


def places_of(state: ClusterState) -> dict[str, Place]:
    """Where all pods of a state are."""
    return {
        pod: Place(node=state.node(at.row).name, devices=devices_of(at.devices), leaving=state.leaving.get(pod))
        for pod, at in state.pods.items()
    }
