"""The kinds of ``quartermaster.dev/v1alpha1``, field by field: what is in a cluster's objects, and nothing else.

These types are the one source: the definitions that a cluster is given (`definitions`), their reference page and the
decoding of objects all come from them. Docstrings, of fields too, are what ``kubectl explain`` says. Words are those of
scenario files (docs/scenarios.md), in camelCase. `RULES` are expressions in CEL that the API server itself holds every
object to. Refuses to interpret: `queues`, `podgroups` and `topologies` turn objects into values of the model.
"""

from __future__ import annotations

from enum import StrEnum
from typing import Annotated, ClassVar, Final, Literal

import msgspec
from msgspec import Meta

GROUP: Final = "quartermaster.dev"
VERSION: Final = "v1alpha1"
API_VERSION: Final = f"{GROUP}/{VERSION}"

UNLIMITED: Final = "unlimited"
_QUANTITY: Final = r"[0-9]+(\.[0-9]+)?(m|k|M|G|T|P|E|Ki|Mi|Gi|Ti|Pi|Ei)?"
_SPAN: Final = r"([0-9]+(\.[0-9]+)?(ms|s|m|h|d))+"
_AT_LEAST: Final = "quantity(string(self.limit)).compareTo(quantity(string(self.deserved))) >= 0"

Rules = tuple[tuple[str, str], ...]
"""(expression in CEL, what to say when it does not hold)."""

Amount = Annotated[int, Meta(ge=0)] | Annotated[str, Meta(pattern=f"^{_QUANTITY}$", max_length=32)]
Promise = Annotated[int, Meta(ge=0)] | Annotated[str, Meta(pattern=f"^({UNLIMITED}|{_QUANTITY})$", max_length=32)]
Duration = Annotated[str, Meta(pattern=f"^(0|{_SPAN})$", max_length=32)]
DurationOrNever = Annotated[str, Meta(pattern=f"^(0|never|{_SPAN})$", max_length=32)]
Name = Annotated[str, Meta(pattern=r"^[a-z0-9]([-a-z0-9.]*[a-z0-9])?$", max_length=253)]
Label = Annotated[str, Meta(pattern=r"^([a-z0-9]([-a-z0-9.]*[a-z0-9])?/)?[A-Za-z0-9]([-A-Za-z0-9_.]*[A-Za-z0-9])?$",
                            max_length=317)]  # fmt: skip
Alias = Annotated[str, Meta(pattern=r"^[A-Za-z0-9]([-A-Za-z0-9_./]*[A-Za-z0-9])?$", max_length=317)]
Count = Annotated[int, Meta(ge=0, le=2**31 - 1)]
Time = Annotated[str, Meta(extra_json_schema={"format": "date-time"})]


class Part(msgspec.Struct, frozen=True, kw_only=True, rename="camel", omit_defaults=True):
    """Base of all parts of an object. What it does not know is left alone: a newer version may have written it."""

    RULES: ClassVar[Rules] = ()


class Observed(Part, frozen=True, omit_defaults=False):
    """Base of what is written into a status: zeros are said, so that columns show them."""


class Condition(Observed, frozen=True):
    """One aspect of an object's state, as Kubernetes has them."""

    type: Annotated[str, Meta(max_length=316)]
    """Which aspect."""
    status: Literal["True", "False", "Unknown"]
    """Whether it holds."""
    reason: Annotated[str, Meta(pattern=r"^[A-Za-z]([A-Za-z0-9_,:]*[A-Za-z0-9_])?$", max_length=1024)]
    """Why, in one word for programs."""
    message: Annotated[str, Meta(max_length=32768)]
    """Why, in a sentence for people."""
    last_transition_time: Time
    """When `status` last changed."""
    observed_generation: int = 0
    """The `metadata.generation` that this was said of."""


Conditions = Annotated[
    list[Condition],
    Meta(extra_json_schema={"x-kubernetes-list-type": "map", "x-kubernetes-list-map-keys": ["type"]}),
]


class Metadata(Part, frozen=True):
    """What is read of an object's metadata."""

    name: str
    namespace: str = ""
    uid: str = ""
    generation: int = 0
    creation_timestamp: str | None = None
    labels: dict[str, str] = {}
    annotations: dict[str, str] = {}


# ---- Queue


class Quota(Part, frozen=True):
    """Entitlement to one resource."""

    RULES: ClassVar[Rules] = (
        (
            f"!has(self.limit) || !has(self.deserved) || string(self.deserved) == '{UNLIMITED}' || {_AT_LEAST}",
            "limit must not be below deserved: raise the limit or lower what is deserved",
        ),
    )

    deserved: Promise = 0
    """What the queue is promised: it gets this much whenever it asks, if need be by reclaiming it from queues that hold
    more than they deserve. A quantity, or `unlimited` for no bound of its own."""
    limit: Amount | None = None
    """The most that the queue, with all queues below it, may hold. Left out: no limit of its own."""
    weight: Annotated[float, Meta(ge=0, le=1_000_000)] = 1
    """The queue's part of what is left when everybody has what it deserves, relative to its siblings of equal priority.
    With 0 it gets nothing beyond what it deserves while others ask."""


class QueueSpec(Part, frozen=True):
    """Who is entitled to what."""

    parent: Annotated[str, Meta(max_length=253)] = ""
    """The queue above this one. Left out: a queue at the top. Workloads are submitted to queues with none below."""
    priority: Annotated[int, Meta(ge=-1_000_000_000, le=1_000_000_000)] = 100
    """Siblings of higher priority are offered the surplus first."""
    gpu: Quota | None = None
    """GPUs of all models together, in devices (`8`, `500m`). Left out: nothing deserved, no limit, weight 1."""
    gpu_models: Annotated[dict[str, Quota], Meta(max_length=32)] = {}
    """Devices of single models, by the value of the node label `nvidia.com/gpu.product`. They count in `gpu` too. A
    model that one queue names is under quota in all: where it is left out nothing of it is deserved, so that only
    preemptible work runs on it there."""
    cpu: Quota | None = None
    """CPU, in cores (`16`, `500m`). Left out: as much as there is."""
    memory: Quota | None = None
    """Memory, in bytes (`512Gi`). Left out: as much as there is."""
    reclaim_min_runtime: Duration | None = None
    """For how long work of this queue runs before other queues may reclaim it. Left out: what the parent says, and
    0 s at the top."""
    preempt_min_runtime: Duration | None = None
    """For how long work of this queue runs before more important work of this queue may preempt it. Left out: what the
    parent says, and 0 s at the top."""


class Holding(Observed, frozen=True):
    """How a queue, with all queues below it, stands in one resource."""

    allocated: str = "0"
    """What its running pods hold."""
    non_preemptible: str = "0"
    """The part of it that cannot be taken back."""
    requested: str = "0"
    """What is allocated and what is waiting, together."""
    deserved: str = "0"
    """What it is promised."""
    fair_share: str = "0"
    """What it should have now, given what everybody asks for."""
    limit: str = UNLIMITED
    """The most that it may hold."""


class QueueStatus(Observed, frozen=True):
    """What was last observed."""

    observed_generation: int = 0
    """The `metadata.generation` that this was said of."""
    gpu: Holding | None = None
    """GPUs, in devices."""
    gpu_models: dict[str, Holding] = {}
    """Devices of single models, where some queue has a quota for them."""
    cpu: Holding | None = None
    """CPU, in cores."""
    memory: Holding | None = None
    """Memory, in bytes."""
    pending_groups: int = 0
    """Pod groups of this queue and those below that wait for nodes."""
    running_groups: int = 0
    """Pod groups of this queue and those below that have what they need to run."""
    children: list[str] = []
    """The queues right below."""
    conditions: Conditions = []
    """`Ready`: it is in use; while it is not, nothing new starts in it and what runs there runs on. `Overcommitted`:
    the queues below are promised more than this one."""


# ---- PodGroup


class TopologyConstraint(Part, frozen=True):
    """How near to each other pods are to be; levels are named by label or by alias."""

    RULES: ClassVar[Rules] = (
        (
            "(has(self.required) && self.required != '') || (has(self.preferred) && self.preferred != '')",
            "asks for nothing: give a required or a preferred level",
        ),
    )

    topology: Name
    """The Topology whose levels are meant."""
    required: Annotated[str, Meta(max_length=317)] = ""
    """All pods go into one domain of this level, or none starts."""
    preferred: Annotated[str, Meta(max_length=317)] = ""
    """They go into one domain of this level, which is the same as the required one or finer, where that can be."""


class SubGroup(Part, frozen=True):
    """A part of a gang: it holds pods (those with the label `quartermaster.dev/sub-group: NAME`), or sub-groups."""

    name: Annotated[str, Meta(pattern=r"^[a-z0-9]([-a-z0-9]*[a-z0-9])?$", max_length=63)]
    """What its pods, and sub-groups that name it as their parent, call it."""
    parent: Annotated[str, Meta(max_length=63)] = ""
    """The sub-group that this one is in. Left out: right below the group."""
    min: Count | None = None
    """How many of its pods, or of the sub-groups in it, have to be there for it to start. Pods need a number; of
    sub-groups it is all unless said otherwise."""
    topology: TopologyConstraint | None = None
    """Holds for everything in it."""


class PodGroupSpec(Part, frozen=True):
    """What is admitted, placed, preempted and charged as one.

    Pods join by the label `quartermaster.dev/pod-group: NAME` in the same namespace.
    """

    RULES: ClassVar[Rules] = (
        (
            "has(self.min) || (has(self.subGroups) && size(self.subGroups) > 0)",
            "min is missing: say how many pods have to be there for the group to start",
        ),
        (
            "!has(self.subGroups) || self.subGroups.all(s, !has(s.parent) || s.parent == '' || "
            "(s.parent != s.name && self.subGroups.exists(o, o.name == s.parent)))",
            "every sub-group's parent must be another sub-group of the same pod group",
        ),
        (
            "!has(self.subGroups) || self.subGroups.all(s, has(s.min) || "
            "self.subGroups.exists(o, has(o.parent) && o.parent == s.name))",
            "min is missing: a sub-group of pods has to say how many of them have to be there",
        ),
    )

    queue: Annotated[str, Meta(max_length=253)] = "default"
    """The queue that pays: one with no queues below it."""
    min: Count | None = None
    """How many pods have to be there for the group to start; pods above it come and go one by one. With sub-groups: how
    many of those right below, and all unless said otherwise."""
    sub_groups: Annotated[
        list[SubGroup],
        Meta(
            max_length=64,
            extra_json_schema={"x-kubernetes-list-type": "map", "x-kubernetes-list-map-keys": ["name"]},
        ),
    ] = []
    """The parts of the gang, as a list of a tree."""
    topology: TopologyConstraint | None = None
    """Holds for the whole group."""
    priority_class_name: Annotated[str, Meta(max_length=253)] = ""
    """The PriorityClass of the whole group. Left out: that of its pods."""
    preemptible: bool | None = None
    """Whether more important or better entitled work may evict it. Left out: whether its priority is below 100."""
    preemption_delay: Duration | None = None
    """For how long it waits before anything is evicted for its sake, so that an autoscaler can act first."""
    staleness_grace: DurationOrNever | None = None
    """For how long it may run below its minimum before it is evicted whole. Left out: what the scheduler is set to."""
    runtime: Duration | None = None
    """How long it will probably run, for backfill and estimated starts."""
    max_runtime: Duration | None = None
    """After this long it is stopped and queued again."""


class Phase(StrEnum):
    """Where a pod group is on its way."""

    PENDING = "Pending"
    NOMINATED = "Nominated"
    RUNNING = "Running"
    STALE = "Stale"
    INVALID = "Invalid"


class PodGroupStatus(Observed, frozen=True):
    """What was last observed."""

    observed_generation: int = 0
    """The `metadata.generation` that this was said of."""
    phase: Phase = Phase.PENDING
    """`Pending`: waits for nodes or for its own pods. `Nominated`: its nodes are chosen, others are still leaving them.
    `Running`: it has its minimum. `Stale`: it runs below its minimum. `Invalid`: it cannot be understood."""
    desired: int = 0
    """Pods that it has when complete, as far as they exist."""
    minimum: int = 0
    """Pods that have to be there for it to start."""
    running: int = 0
    """Pods that have a node and stay there."""
    admitted: dict[str, int] = {}
    """Pods by role that it was admitted with, while it asks for more: what is more waits for a place of its own."""
    nominated_nodes: list[str] = []
    """Nodes that are kept for it while others leave them."""
    estimated_start: Time | None = None
    """When it will probably start, where that is known."""
    started: Time | None = None
    """Since when it has its minimum."""
    stale_since: Time | None = None
    """Since when it runs below its minimum."""
    last_evicted: Time | None = None
    """When it was last evicted."""
    requeued: Time | None = None
    """When it was last stopped at its longest runtime."""
    conditions: Conditions = []
    """`Scheduled`: it has its minimum. `Unschedulable`: the last decision found no place, and why."""


# ---- Topology


class Level(Part, frozen=True):
    """A level: the node label whose values tell its domains apart."""

    label: Label
    """A node label, such as `topology.kubernetes.io/zone`."""
    alias: Alias | None = None
    """Another name for the level, such as `rack`."""
    hard: bool = False
    """A fabric that ends at its border, such as an NVLink clique: a group that asks for this level is never spread over
    two of its domains."""


class TopologySpec(Part, frozen=True):
    """Where nodes are in the network."""

    RULES: ClassVar[Rules] = (
        (
            "self.levels.all(l, !has(l.alias) || "
            "self.levels.filter(o, o.label == l.alias || (has(o.alias) && o.alias == l.alias)).size() == 1)",
            "every alias must be its own: no other level may have it as label or alias",
        ),
    )

    levels: Annotated[
        list[Level],
        Meta(
            min_length=1,
            max_length=16,
            extra_json_schema={"x-kubernetes-list-type": "map", "x-kubernetes-list-map-keys": ["label"]},
        ),
    ]
    """Levels from coarse (zone, block) to fine (rack, host). A domain is the nodes that agree in the labels of a level
    and of all levels above it."""


class LevelStatus(Observed, frozen=True):
    """A level as the nodes have it."""

    label: str
    """The node label."""
    domains: int = 0
    """How many domains there are."""
    nodes: int = 0
    """How many nodes are in one of them: those that have the labels of this level and of all above."""


class TopologyStatus(Observed, frozen=True):
    """What was last observed."""

    observed_generation: int = 0
    """The `metadata.generation` that this was said of."""
    levels: Annotated[list[LevelStatus], Meta(extra_json_schema={"x-kubernetes-list-type": "atomic"})] = []
    """The levels as the nodes have them, coarse to fine."""
    domains: str = ""
    """The same in a line: `zone 2, rack 16`."""
    conditions: Conditions = []
    """`Ready`: it can be used."""


# ---- objects


class Queue(Part, frozen=True):
    """A queue: who is entitled to what. Queues form a tree; workloads are submitted to its leaves."""

    metadata: Metadata
    spec: QueueSpec
    status: QueueStatus = QueueStatus()


class PodGroup(Part, frozen=True):
    """A gang: pods that start together or not at all."""

    metadata: Metadata
    spec: PodGroupSpec
    status: PodGroupStatus = PodGroupStatus()


class Topology(Part, frozen=True):
    """The levels of a network, by node labels."""

    metadata: Metadata
    spec: TopologySpec
    status: TopologyStatus = TopologyStatus()
