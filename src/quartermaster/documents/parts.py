"""The words for clusters, queues and workloads; docs/scenarios.md is the reference of most, docs/what-if.md of others.

Keys are in kebab-case, and unknown ones are refused. Everything that the model can say has a word here, so that a real
cluster can be written down without loss; what hand-written files hardly ever need has defaults.
"""

from __future__ import annotations

from typing import Literal

import msgspec

from quartermaster.documents.quantities import Bytes, LongestSeconds, Millicores, Seconds
from quartermaster.model.labels import Effect, Operator
from quartermaster.model.locality import TopologyPolicy, TopologyScope
from quartermaster.model.node import UNBOUNDED
from quartermaster.model.queue import DEFAULT_QUEUE_PRIORITY
from quartermaster.scheduling.rules import ALL_ACTIONS, Action

Strings = dict[str, str]

Unlimited = Literal["unlimited"]


class Part(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, rename="kebab", omit_defaults=True):
    """Base of all parts of a document."""


# ---- clusters


class Taint(Part, frozen=True):
    """A mark that keeps pods away."""

    key: str
    value: str = ""
    effect: Effect = Effect.NO_SCHEDULE


class Zone(Part, frozen=True):
    """A NUMA zone: what it can give, in integer units, and the indexes of its GPUs."""

    id: str
    allocatable: dict[str, int] = {}
    gpus: tuple[int, ...] = ()


class Locality(Part, frozen=True):
    """What is near what inside a node; the fields are those of `model.locality.Locality`."""

    policy: TopologyPolicy = TopologyPolicy.NONE
    scope: TopologyScope = TopologyScope.CONTAINER
    pins_cpu: bool = False
    pins_memory: bool = False
    threads: int = 1
    zones: list[Zone] = []
    nvlink: tuple[tuple[int, ...], ...] = ()
    switches: tuple[tuple[int, ...], ...] = ()
    rails: tuple[int, ...] = ()
    network: list[str] = []


class Nodes(Part, frozen=True):
    """`count` equal nodes: ``NAME-0``, ``NAME-1``, ...; a single one is called NAME."""

    name: str
    count: int = 1
    gpus: int = 0
    model: str = ""
    gpu_memory: Bytes = Bytes(80 * 2**30)
    cpu: Millicores = Millicores(64_000)
    memory: Bytes = Bytes(512 * 2**30)
    ephemeral_storage: Bytes = Bytes(UNBOUNDED)
    pods: int = 110
    extended: dict[str, int] = {}
    labels: Strings = {}
    taints: list[Taint] = []
    schedulable: bool = True
    locality: Locality | None = None


class Level(Part, frozen=True):
    """A topology level: the node label that tells its domains apart."""

    label: str
    alias: str = ""
    hard: bool = False


class Topology(Part, frozen=True):
    """Levels from coarse to fine."""

    name: str
    levels: list[str | Level]


class Cluster(Part, frozen=True):
    """What there is at the beginning."""

    nodes: list[Nodes]
    topologies: list[Topology] = []


# ---- queues


class Quota(Part, frozen=True):
    """Entitlement to one resource; a limit left out is none."""

    deserved: float | Unlimited = 0
    limit: float | None = None
    weight: float = 1


class Queue(Part, frozen=True):
    """A queue; GPUs in devices, cpu in cores, memory in bytes. Cpu and memory are free unless given.

    `gpu-models` has quotas of single GPU models; `usage` is the decayed share of capacity that was used (0 to 1).
    `created` orders queues that are equal in all else [as written].
    """

    name: str
    parent: str | None = None
    priority: int = DEFAULT_QUEUE_PRIORITY
    gpu: Quota = Quota()
    gpu_models: dict[str, Quota] = {}
    cpu: Quota | None = None
    memory: Quota | None = None
    reclaim_min_runtime: Seconds | None = None
    preempt_min_runtime: Seconds | None = None
    usage: dict[str, float] = {}
    created: float | None = None


# ---- workloads


class Requirement(Part, frozen=True):
    """One test of a label."""

    key: str
    operator: Operator
    values: list[str] = []


class Toleration(Part, frozen=True):
    """Lets a pod ignore taints."""

    key: str = ""
    value: str = ""
    exists: bool = False
    effect: Effect | None = None


class Affinity(Part, frozen=True):
    """Pods that are meant (all `match` requirements hold), per value of a node label."""

    topology_key: str
    namespaces: list[str]
    match: list[Requirement] = []


class Container(Part, frozen=True):
    """What one container asks for of what its pod does."""

    cpu: Millicores = Millicores(0)
    memory: Bytes = Bytes(0)
    gpus: int = 0
    extended: dict[str, int] = {}


class Pod(Part, frozen=True):
    """What a pod asks for. `gpus`: whole devices, or below 1 a share of one; with `gpu-memory`, that much of each.

    `gpu-share` is the share of each of several devices. `node-selector` holds for equal labels, `node-requirements` for
    all others; `node-affinity` is a list of such lists of which one has to hold.
    """

    gpus: float = 0
    gpu_share: float | None = None
    gpu_memory: Bytes | None = None
    models: list[str] = []
    cpu: Millicores = Millicores(1000)
    memory: Bytes = Bytes(2**30)
    ephemeral_storage: Bytes = Bytes(0)
    extended: dict[str, int] = {}
    namespace: str = "default"
    labels: Strings = {}
    node_selector: Strings = {}
    node_requirements: list[Requirement] = []
    node_affinity: list[list[Requirement]] = []
    tolerations: list[Toleration] = []
    affinity: list[Affinity] = []
    anti_affinity: list[Affinity] = []
    host_ports: list[tuple[str, int]] = []
    guaranteed: bool = False
    containers: list[Container] = []


class Named(Pod, frozen=True, kw_only=True):
    """Equal pods by their own names. `priority` orders them; `gated` ones are not to be placed yet."""

    names: list[str]
    priority: int | None = None
    gated: bool = False


class Constraint(Part, frozen=True):
    """Levels of a topology, by label or alias."""

    topology: str
    required: str = ""
    preferred: str = ""


class Group(Part, frozen=True):
    """A part of a gang, of which `min` have to be there (left out: all).

    It has `count` pods like `pod`, or `pods` that are told one by one, or sub-groups.
    """

    name: str
    count: int = 1
    min: int | None = None
    pod: Pod | None = None
    pods: list[Named] | None = None
    topology: Constraint | None = None
    sub_groups: list[Group] = []


class Workload(Group, frozen=True):
    """A pod group that is submitted `at` a time and, if it has a `runtime`, ends that long after it last started.

    At its `max_runtime` it is stopped and queued again. `repeat` submits that many: ``NAME-0``, ``NAME-1``, ... Left
    out, `preemptible` is whether the priority is below 100.
    """

    queue: str = "default"
    owner: str = ""
    at: Seconds = Seconds(0)
    priority: int = 50
    preemptible: bool | None = None
    may_preempt: bool = True
    runtime: Seconds | None = None
    max_runtime: Seconds | None = None
    preemption_delay: Seconds = Seconds(0)
    staleness_grace: LongestSeconds | None = None
    repeat: int = 1


class Policy(Part, frozen=True):
    """How is decided: a placement policy by name, and the actions that may be taken, in order."""

    placement: str = "quartermaster"
    actions: tuple[Action, ...] = ALL_ACTIONS
    staleness_grace: LongestSeconds = LongestSeconds(60)
