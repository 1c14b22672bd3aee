"""What pods and their owners are told of decisions: conditions, nominations, events.

A group that waits is told of on all its pods, because autoscalers look there, and once on what owns it. What is about
to be otherwise anyway (pods of a gang that are still being made) is said late and without numbers.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

from quartermaster.api import pods as api_pods
from quartermaster.api.objects import PodObject
from quartermaster.controllers.scheduler.executor import Gang
from quartermaster.controllers.scheduler.grouping import Known
from quartermaster.controllers.scheduler.occupancy import Occupancy
from quartermaster.controllers.scheduler.teller import PATIENCE_S, Teller, Word
from quartermaster.kube.api import STRATEGIC, Json
from quartermaster.kube.clock import Clock
from quartermaster.kube.events import Events
from quartermaster.scheduling.plan import Evict
from quartermaster.scheduling.rules import Action

LATE_S: Final = 5.0

REASONS: Final[dict[str, str]] = {
    Action.RECLAIM: "Reclaimed",
    Action.PREEMPT: "Preempted",
    Action.CONSOLIDATE: "Moved",
    Action.STALE: "GangBroken",
    Action.MAX_RUNTIME: "MaxRuntimeReached",
}
"""What events call the rules that allow evictions."""


class Narrator:
    """Tells. `owner` gives the object that owns a group, as far as it is known."""

    def __init__(
        self,
        occupancy: Occupancy,
        teller: Teller,
        events: Events,
        *,
        clock: Clock,
        owner: Callable[[Known], Json | None],
    ) -> None:
        self._occupancy, self._teller, self._events, self._clock, self._owner = occupancy, teller, events, clock, owner
        self._said: dict[str, str] = {}
        """Why groups wait, as it was last said of them."""

    def waits(self, known: Known, message: str) -> None:
        """A group was decided on, and waits."""
        if self._said.get(known.name) != message:
            self._said[known.name] = message
            about = self._owner(known) or _ref(self._occupancy.records[next(iter(known.members))].pod)
            self._events.record(about, "Warning", "FailedScheduling", message)
        self._explain(known, message, patience=PATIENCE_S)

    def undecidable(self, known: Known) -> None:
        """A group cannot be decided on as it is."""
        if known.incomplete:
            self._explain(known, "waits for pods of its group that do not exist yet", patience=LATE_S)
        else:
            self.waits(known, known.wrong)

    def blocked(self, known: Known) -> None:
        """Some pods of a group cannot be placed; the rest of it is decided on."""
        self._explain(known, "", patience=PATIENCE_S)

    def bound(self, known: Known, gang: Gang) -> None:
        """One event for a gang, on what owns it; for single pods, on the pod."""
        self._said.pop(known.name, None)
        first = gang.bindings[0]
        if len(gang.bindings) == 1:
            self._events.record(_ref(first.pod), "Normal", "Scheduled", f"Assigned {first.name} to {first.node}")
            return
        nodes = len({binding.node for binding in gang.bindings})
        title = known.name if known.group is None else known.group.name
        said = f"Assigned {len(gang.bindings)} pods of {title} to {nodes} nodes"
        self._events.record(self._owner(known) or _ref(first.pod), "Normal", "Scheduled", said)

    def evicted(self, evict: Evict, pod: PodObject) -> str:
        """A pod has to leave; returns the sentence that says why."""
        reason = f"{evict.reason}" + (f", for {evict.beneficiary}" if evict.beneficiary else "")
        self._events.record(_ref(pod), "Warning", REASONS.get(evict.action, "Evicted"), reason)
        return reason

    def nominated(self, name: str, node: str) -> None:
        """A node is being cleared for a pod."""
        pod = self._occupancy.records[name].pod
        if pod.status.nominated_node_name != node:
            self._say((name, "where"), pod, api_pods.nomination(pod, node), node, patience=PATIENCE_S)

    def hush(self, name: str) -> None:
        """What was to be said of a pod holds no longer."""
        self._teller.forget((name, "why"))
        self._teller.forget((name, "where"))

    def gone(self, group: str) -> None:
        """A group is no more."""
        self._said.pop(group, None)

    def _explain(self, known: Known, message: str, *, patience: float) -> None:
        stamp = api_pods.stamp(self._clock())
        for name in known.members:
            record = self._occupancy.records[name]
            if name in self._occupancy.state.pods or not record.live or api_pods.gated(record.pod):
                continue
            why = known.blocked.get(name, message)
            if why and api_pods.unschedulable_reason(record.pod) != why:
                body = api_pods.unschedulable(record.pod, why, stamp)
                self._say((name, "why"), record.pod, body, why, patience=patience)

    def _say(self, subject: tuple[str, str], pod: PodObject, body: Json, content: object, *, patience: float) -> None:
        path = f"/api/v1/namespaces/{pod.metadata.namespace}/pods/{pod.metadata.name}/status"
        self._teller.say(subject, Word("PATCH", path, body, STRATEGIC, (pod.metadata.uid, content)), patience=patience)


def _ref(pod: PodObject) -> Json:
    """A pod as events name it."""
    metadata = pod.metadata
    return {
        "apiVersion": "v1",
        "kind": "Pod",
        "namespace": metadata.namespace,
        "name": metadata.name,
        "uid": metadata.uid,
    }
