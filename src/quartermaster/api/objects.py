"""Kubernetes objects as far as decisions read them: projections, decoded straight from the bytes of an answer.

A pod as a dictionary takes 32 KB and 150 us to decode, as a `PodObject` a seventh of the one and a tenth of the other
(docs/benchmarks.md). They are for reading only. What is written is a patch or an apply, so that fields nobody here
knows are never lost.
"""

from __future__ import annotations

from datetime import datetime
from typing import Any, ClassVar, Final, TypeVar

import msgspec

Json = dict[str, Any]
Quantity = str | int | float
Amounts = dict[str, Quantity]
T = TypeVar("T", bound="Projection")


class Projection(msgspec.Struct, rename="camel", gc=False, omit_defaults=True):
    """Fields are those of Kubernetes, in Python's spelling; unknown ones are skipped. No cycles, so no gc."""


class Owner(Projection):
    """An entry of ``metadata.ownerReferences``."""

    api_version: str
    kind: str
    name: str
    uid: str
    controller: bool | None = None

    @property
    def group(self) -> str:
        """The API group; empty for the core one."""
        return self.api_version.rpartition("/")[0]


class Meta(Projection):
    """``metadata``. Times are as the server wrote them."""

    name: str = ""
    namespace: str = ""
    uid: str = ""
    resource_version: str = ""
    generation: int = 0
    creation_timestamp: str | None = None
    deletion_timestamp: str | None = None
    labels: dict[str, str] | None = None
    annotations: dict[str, str] | None = None
    owner_references: list[Owner] | None = None


class Condition(Projection):
    """An entry of ``status.conditions``."""

    type: str
    status: str
    reason: str = ""
    message: str = ""
    observed_generation: int = 0
    last_transition_time: str | None = None


class Object(Projection):
    """What all kinds have."""

    metadata: Meta

    @property
    def key(self) -> tuple[str, str]:
        """(namespace, name)."""
        return self.metadata.namespace, self.metadata.name

    @property
    def title(self) -> str:
        """``namespace/name``: what it is called in the model."""
        return f"{self.metadata.namespace}/{self.metadata.name}"

    @property
    def labels(self) -> dict[str, str]:
        """Its labels; empty if it has none."""
        return self.metadata.labels or _NONE

    @property
    def annotations(self) -> dict[str, str]:
        """Its annotations; empty if it has none."""
        return self.metadata.annotations or _NONE

    @property
    def created(self) -> float:
        """Seconds since 1970; 0 if the server did not say."""
        return seconds(self.metadata.creation_timestamp)

    @property
    def leaving(self) -> bool:
        """Whether it has been told to go."""
        return self.metadata.deletion_timestamp is not None

    @property
    def controller(self) -> Owner | None:
        """The owner that controls it; None if nobody does."""
        for owner in self.metadata.owner_references or ():
            if owner.controller:
                return owner
        return None


_NONE: Final[dict[str, str]] = {}


def seconds(stamp: str | None) -> float:
    """An RFC 3339 time stamp as seconds since 1970; 0 for none."""
    return datetime.fromisoformat(stamp).timestamp() if stamp else 0.0


# ---- pods


class Port(Projection):
    """A container's port."""

    host_port: int = 0
    protocol: str = "TCP"


class Resources(Projection):
    """What a container asks for and may have."""

    requests: Amounts | None = None
    limits: Amounts | None = None


class Container(Projection):
    """A container, as far as it needs room."""

    name: str = ""
    resources: Resources | None = None
    ports: list[Port] | None = None
    restart_policy: str = ""


class Gate(Projection):
    """A scheduling gate."""

    name: str


class Claim(Projection):
    """A volume's ``persistentVolumeClaim``."""

    claim_name: str


class Volume(Projection):
    """A volume, as far as it says where a pod may be."""

    name: str = ""
    persistent_volume_claim: Claim | None = None
    ephemeral: Json | None = None


class SchedulingGroup(Projection):
    """The reference of a pod to a group of scheduling.k8s.io."""

    pod_group_name: str = ""


class PodSpecObject(Projection):
    """``spec`` of a pod. Affinity, tolerations and claims of devices stay as they are written."""

    node_name: str = ""
    scheduler_name: str = ""
    priority: int | None = None
    priority_class_name: str = ""
    preemption_policy: str = ""
    scheduling_gates: list[Gate] | None = None
    node_selector: dict[str, str] | None = None
    affinity: Json | None = None
    tolerations: list[Json] | None = None
    containers: list[Container] | None = None
    init_containers: list[Container] | None = None
    overhead: Amounts | None = None
    volumes: list[Volume] | None = None
    resource_claims: list[Json] | None = None
    scheduling_group: SchedulingGroup | None = None
    workload_ref: Json | None = None


class PodStatusObject(Projection):
    """``status`` of a pod."""

    phase: str = ""
    conditions: list[Condition] | None = None
    nominated_node_name: str = ""


class PodObject(Object):
    """A pod."""

    spec: PodSpecObject
    status: PodStatusObject = msgspec.field(default_factory=PodStatusObject)
    api_version: str = "v1"
    kind: str = "Pod"

    RESOURCE: ClassVar[str] = "/api/v1/pods"


# ---- nodes


class NodeSpecObject(Projection):
    """``spec`` of a node."""

    unschedulable: bool = False
    taints: list[Json] | None = None


class NodeStatusObject(Projection):
    """``status`` of a node."""

    capacity: Amounts | None = None
    allocatable: Amounts | None = None
    conditions: list[Condition] | None = None


class NodeObject(Object):
    """A node."""

    spec: NodeSpecObject = msgspec.field(default_factory=NodeSpecObject)
    status: NodeStatusObject = msgspec.field(default_factory=NodeStatusObject)

    RESOURCE: ClassVar[str] = "/api/v1/nodes"


# ---- what protects and ranks


class BudgetSpec(Projection):
    """``spec`` of a disruption budget."""

    selector: Json | None = None


class BudgetStatus(Projection):
    """``status`` of a disruption budget."""

    disruptions_allowed: int = 0


class BudgetObject(Object):
    """A PodDisruptionBudget."""

    spec: BudgetSpec = msgspec.field(default_factory=BudgetSpec)
    status: BudgetStatus = msgspec.field(default_factory=BudgetStatus)

    RESOURCE: ClassVar[str] = "/apis/policy/v1/poddisruptionbudgets"


def read(kind: type[T], value: Json | bytes) -> T:
    """An object of `kind` from JSON, parsed or not; raises `msgspec.ValidationError` for what is none."""
    if isinstance(value, bytes):
        return msgspec.json.decode(value, type=kind)
    return msgspec.convert(value, kind)
