"""What a scheduler counts, by the names that docs/operating.md explains. One registry per scheduler, none global.

Gauges are read when somebody looks, from what the scheduler holds anyway (`Scheduler` says from where); what has to be
worked out, as shares of queues are, is set when it is. Refuses labels with unbounded values: no pods, no groups.
"""

from __future__ import annotations

from collections.abc import AsyncGenerator
from typing import NamedTuple

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram

from quartermaster.kube.api import JSON, Api, Body, Decoded

FAST = (0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0)
LONG = (0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0, 300.0, 1800.0, 7200.0, 28800.0, 86400.0)


class Described(NamedTuple):
    """A metric for the reference."""

    name: str
    type: str
    labels: tuple[str, ...]
    text: str


class Metrics:
    """Counters and gauges; all times are seconds. `described` has them in the order of the reference."""

    def __init__(self) -> None:
        self.registry = CollectorRegistry()
        self.described: list[Described] = []
        self.leading = self._gauge("leading", "1 while this one decides, 0 while it stands by.")
        self.nodes = self._gauge("nodes", "Nodes that are known.")
        self.pods = self._gauge("pods", "Pods that are known, those of other schedulers too.")
        self.waiting = self._gauge("groups_waiting", "Groups that want nodes.")
        self.running = self._gauge("groups_running", "Groups with pods on nodes.")
        self.wrong = self._gauge("groups_undecidable", "Groups that cannot be decided on as they are.")
        self.cycle = self._histogram("cycle_duration_seconds", "Time to decide one cycle.", FAST)
        self.tried = self._counter("groups_tried_total", "Groups that waited and were decided on.")
        self.bindings = self._counter("bindings_total", "Bindings by result: bound, refused, dropped.", "result")
        self.in_flight = self._gauge("bindings_in_flight", "Bindings without an answer.")
        self.bind = self._histogram(
            "bind_duration_seconds", "From the decision on a group to the answer to its last binding.", FAST
        )
        self.waited = self._histogram(
            "group_wait_seconds", "From the creation of a group's first pod to the binding of its last.", LONG
        )
        self.evictions = self._counter("evictions_total", "Evictions by the rule that allowed them.", "action")
        self.evictions_refused = self._counter("evictions_refused_total", "Evictions that the API refused.")
        self.rolled_back = self._counter(
            "pods_rolled_back_total", "Pods evicted because a binding of their gang was refused."
        )
        self.writes = self._counter(
            "api_writes_total",
            "Requests that change something, by purpose: binding, eviction, event, status, object.",
            "purpose",
        )
        self.queue = self._gauge(
            "queue_gpus", "GPUs of a queue: allocated, requested, deserved, limit, fair-share.", "queue", "what"
        )
        self.queue_groups = self._gauge("queue_groups", "Groups of a queue: waiting, running.", "queue", "state")

    def _gauge(self, name: str, text: str, *labels: str) -> Gauge:
        return Gauge(self._describe(name, "gauge", labels, text), text, labels, registry=self.registry)

    def _counter(self, name: str, text: str, *labels: str) -> Counter:
        return Counter(self._describe(name, "counter", labels, text), text, labels, registry=self.registry)

    def _histogram(self, name: str, text: str, buckets: tuple[float, ...]) -> Histogram:
        full = self._describe(name, "histogram", (), text)
        return Histogram(full, text, registry=self.registry, buckets=buckets)

    def _describe(self, name: str, kind: str, labels: tuple[str, ...], text: str) -> str:
        self.described.append(Described(f"quartermaster_{name}", kind, labels, text))
        return self.described[-1].name


class Counted(Decoded):
    """An API of which the writes are counted. Repetitions below this are not seen."""

    def __init__(self, api: Api, writes: Counter) -> None:
        self._api = api
        self._writes = {purpose: writes.labels(purpose) for purpose in (*_PURPOSES.values(), "object")}

    async def send_raw(self, method: str, path: str, body: Body | None = None, *, media: str = JSON) -> bytes:
        """One request."""
        if method != "GET":
            self._writes[_purpose(path)].inc()
        return await self._api.send_raw(method, path, body, media=media)

    def watch_raw(self, path: str) -> AsyncGenerator[bytes, None]:
        """The lines of a watch."""
        return self._api.watch_raw(path)


_PURPOSES = {"binding": "binding", "eviction": "eviction", "status": "status", "events": "event"}


def _purpose(path: str) -> str:
    """By the end of the path; an event that is told again ends in its name."""
    parts = path.partition("?")[0].rsplit("/", 2)
    return _PURPOSES.get(parts[-1]) or ("event" if parts[-2] == "events" else "object")
