"""What a scheduler counts, by the names that docs/operating.md explains. One registry per scheduler, none global."""

from __future__ import annotations

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram

FAST = (0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0)
LONG = (0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0, 300.0, 1800.0, 7200.0, 28800.0, 86400.0)


class Metrics:
    """Counters and gauges; all times are seconds."""

    def __init__(self) -> None:
        registry = self.registry = CollectorRegistry()
        self.cycle = Histogram(
            "quartermaster_cycle_duration_seconds", "Time to decide one cycle.", registry=registry, buckets=FAST
        )
        self.tried = Counter(
            "quartermaster_groups_tried_total", "Groups that waited and were decided on.", registry=registry
        )
        self.bindings = Counter(
            "quartermaster_bindings_total", "Bindings by what became of them.", ["result"], registry=registry
        )
        self.bind = Histogram(
            "quartermaster_bind_duration_seconds",
            "From the decision on a group to the answer to its last binding.",
            registry=registry,
            buckets=FAST,
        )
        self.waited = Histogram(
            "quartermaster_group_wait_seconds",
            "From the creation of a group's first pod to the binding of its last.",
            registry=registry,
            buckets=LONG,
        )
        self.evictions = Counter(
            "quartermaster_evictions_total", "Evictions by the rule that allowed them.", ["action"], registry=registry
        )
        self.evictions_refused = Counter(
            "quartermaster_evictions_refused_total", "Evictions that the API refused.", registry=registry
        )
        self.rolled_back = Counter(
            "quartermaster_pods_rolled_back_total", "Pods evicted because their gang was not whole.", registry=registry
        )
        self.waiting = Gauge("quartermaster_groups_waiting", "Groups that want nodes.", registry=registry)
        self.running = Gauge("quartermaster_groups_running", "Groups with pods on nodes.", registry=registry)
        self.wrong = Gauge(
            "quartermaster_groups_undecidable", "Groups that cannot be decided on as they are.", registry=registry
        )
        self.nodes = Gauge("quartermaster_nodes", "Nodes that are known.", registry=registry)
        self.pods = Gauge("quartermaster_pods", "Pods that are known.", registry=registry)
        self.in_flight = Gauge("quartermaster_bindings_in_flight", "Bindings without an answer.", registry=registry)
        self.leading = Gauge("quartermaster_leading", "1 while this one decides.", registry=registry)
        self.writes = Counter(
            "quartermaster_api_writes_total",
            "Requests that change something, by purpose.",
            ["purpose"],
            registry=registry,
        )
        self.queue = Gauge(
            "quartermaster_queue_gpus", "GPUs of a queue, by what of them.", ["queue", "what"], registry=registry
        )
        self.queue_groups = Gauge(
            "quartermaster_queue_groups", "Groups of a queue, by state.", ["queue", "state"], registry=registry
        )
