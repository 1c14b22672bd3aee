"""One recorded case as data: the fields that playing and judging it need, checked as they are read.

Amounts stay in the units of the file (millicores, bytes, devices; -1 for no bound): `session` turns them into ours.
Fields that change nothing are left out, and a file may hold more than is named here.
"""

from __future__ import annotations

from collections.abc import Iterator
from enum import StrEnum
from typing import Any, Final, Literal

import msgspec

from quartermaster.model.errors import InvalidInput

FORMAT: Final = "kai-cases/1"


class Status(StrEnum):
    """Where a task stands in its life."""

    PENDING = "Pending"
    GATED = "Gated"
    ALLOCATED = "Allocated"
    PIPELINED = "Pipelined"
    BINDING = "Binding"
    BOUND = "Bound"
    RUNNING = "Running"
    RELEASING = "Releasing"
    STUCK = "StuckInReleasing"
    SUCCEEDED = "Succeeded"
    FAILED = "Failed"


ALLOCATED = frozenset({Status.ALLOCATED, Status.BINDING, Status.BOUND, Status.RUNNING})
"""Holds its node and means to stay."""

PLACED = ALLOCATED | {Status.PIPELINED, Status.RELEASING, Status.STUCK}
"""Has a node, be it for a while."""

OVER = frozenset({Status.GATED, Status.SUCCEEDED, Status.FAILED})
"""Not to be scheduled (yet, or any more)."""


class Case(msgspec.Struct, frozen=True, kw_only=True):
    """A case. `kind`: one session (`unit`), rounds of sessions (`integration`), or one session without a table."""

    id: str
    name: str
    kind: Literal["unit", "integration", "custom"]
    actions: list[Literal["allocate", "consolidation", "reclaim", "preempt", "stalegangeviction"]]
    rounds: Rounds | None = None
    harness_overrides: dict[str, Any] = {}
    plugins: list[Plugin] | Literal["default"] = "default"
    call_limits: CallLimits
    nodes: list[Node]
    queues: list[Queue]
    jobs: list[Job]
    topologies: list[Topology] = []
    dra: Claims | None = None
    expected: Expected
    observed: Observed
    features: list[str] = []

    @property
    def tasks(self) -> Iterator[tuple[Job, Task]]:
        """All tasks with their jobs, in table order."""
        for job in self.jobs:
            for task in job.tasks:
                yield job, task


class Rounds(msgspec.Struct, frozen=True):
    """How often the session is played before the expectation has to hold, and how often after."""

    until_match: int
    after_match: int


class Plugin(msgspec.Struct, frozen=True):
    """A part of KAI that is switched on."""

    name: str
    arguments: dict[str, str] = {}


class CallLimits(msgspec.Struct, frozen=True):
    """The most committed calls of one session. `present`: KAI loads its predicates only if the case has limits."""

    present: bool
    max_binds: int
    max_evictions: int
    max_pipelines: int


class Amounts(msgspec.Struct, frozen=True):
    """Resources; `other` holds extended ones (MIG profiles)."""

    cpu_milli: int = 0
    memory_bytes: int = 0
    gpu_count: float = 0
    pods: int = 0
    other: dict[str, int] = {}


class Node(msgspec.Struct, frozen=True):
    """A node; only `allocatable` says what it has."""

    name: str
    allocatable: Amounts
    gpu_memory_mib_per_device: int
    labels: dict[str, str]
    mig_strategy: str = ""
    numa: Numa | None = None


class Zone(msgspec.Struct, frozen=True):
    """What a NUMA zone has left."""

    id: str
    available: Amounts


class Numa(msgspec.Struct, frozen=True):
    """The NUMA zones of a node and the resources that count in them."""

    policy: str
    aligned_resources: list[str]
    zones: list[Zone]


class Quota(msgspec.Struct, frozen=True):
    """Entitlement to one resource; -1 is unlimited."""

    deserved: float
    limit: float
    over_quota_weight: float


class Queue(msgspec.Struct, frozen=True):
    """A queue or department. Memory is in units of 10^6 bytes."""

    name: str
    parent: str
    priority: int
    created_offset_minutes: float
    gpu: Quota
    cpu_milli: Quota
    memory_mb: Quota
    reclaim_min_runtime_seconds: float | None = None
    preempt_min_runtime_seconds: float | None = None


class Constraint(msgspec.Struct, frozen=True):
    """Topology levels by node label; empty is not asked for."""

    topology: str
    required_level: str = ""
    preferred_level: str = ""


class PodSet(msgspec.Struct, frozen=True):
    """A leaf of a job's tree."""

    name: str
    min_members: int
    topology_constraint: Constraint | None = None


class GroupSet(msgspec.Struct, frozen=True):
    """An inner node of a job's tree; without a minimum, all its members are needed."""

    name: str
    min_sub_groups: int | None = None
    topology_constraint: Constraint | None = None
    sub_groups: list[GroupSet] = []
    pod_sets: list[PodSet] = []


class GpuAsk(msgspec.Struct, frozen=True):
    """What a task asks of GPUs; `gpu_count` is 0 for requests by memory, MIG instances and claims."""

    device_count: int
    portion_per_device: float
    gpu_memory_mib_per_device: int
    gpu_count: float
    is_shared_gpu_request: bool
    dra_gpu_counts: dict[str, int] = {}


class Task(msgspec.Struct, frozen=True):
    """One pod."""

    task_id: str
    state: Status
    node_name: str
    gpu_groups: list[str]
    request: Amounts
    gpu_request: GpuAsk
    resolved_gpu_groups: list[str] = []
    sub_group_name: str = "default"
    task_priority: int | None = None
    node_affinity_names: list[str] = []
    pod_affinity_labels: dict[str, str] = {}
    pod_affinity_topology_key: str = ""
    pod_anti_affinity_topology_key: str = ""
    mig_instances: dict[str, int] = {}
    resource_claim_names: list[str] = []
    resource_claim_templates: dict[str, str] = {}
    pvc_names: list[str] = []
    annotations: dict[str, str] = {}


class Job(msgspec.Struct, frozen=True):
    """A pod group; ages are seconds before the session."""

    name: str
    namespace: str
    queue: str
    priority: int
    preemptible: bool
    age_seconds: float
    sub_group_tree: GroupSet
    tasks: list[Task]
    last_start_age_seconds: float | None = None
    stale_for_seconds: float | None = None
    staleness_grace_period_seconds: float | None = None
    preemption_delay_seconds: float | None = None
    delete_in_test: bool = False


class Topology(msgspec.Struct, frozen=True):
    """Levels by node label, outermost first."""

    name: str
    level_labels_outer_to_inner: list[str]


class Claims(msgspec.Struct, frozen=True):
    """Dynamic resource allocation; claims are counted as whole GPUs."""

    resource_claims: list[Claim] = []


class Claim(msgspec.Struct, frozen=True):
    """A resource claim by name, with the labels that say whose it is."""

    name: str
    labels: dict[str, str] | None = None


class ExpectedTasks(msgspec.Struct, frozen=True):
    """What has to be true of all tasks of a job, or of one task; None is not checked."""

    status: Status
    node_name: str | None
    gpus_required: float
    gpus_accepted: float | None = None
    cpu_milli_required: int | None = None
    memory_bytes_required: int | None = None
    numa_zones: list[int] | None = None
    last_start_older_than_seconds: float | None = None


class ExpectedNode(msgspec.Struct, frozen=True):
    """GPUs of a node that nobody holds, and that are about to be given back."""

    idle_gpus: float
    releasing_gpus: float
    numa_zones_available: dict[int, dict[str, str]] | None = None


class Expected(msgspec.Struct, frozen=True):
    """The table of expectations: jobs by name, tasks by id, nodes by name."""

    jobs: dict[str, ExpectedTasks]
    tasks: dict[str, ExpectedTasks]
    nodes: dict[str, ExpectedNode]


class ObservedTask(msgspec.Struct, frozen=True):
    """A task after a session of KAI."""

    status: Status
    node_name: str
    gpu_groups: list[str] = []
    accepted_gpu_count: float = 0
    numa_zones: list[int] = []


class Operation(msgspec.Struct, frozen=True):
    """A committed call of KAI."""

    op: Literal["bind", "evict", "pipeline"]
    task: str


class ObservedRound(msgspec.Struct, frozen=True):
    """A session of KAI, as recorded; the tasks are in it, or those of an earlier round."""

    phase: str
    matched_against_expected: bool
    ops: list[Operation]
    tasks: dict[str, ObservedTask] | None = None
    tasks_same_as_round: int | None = None


class Observed(msgspec.Struct, frozen=True):
    """What KAI did."""

    rounds: list[ObservedRound]
    stability: str = "identical"

    def tasks(self, number: int) -> dict[str, ObservedTask]:
        """The tasks of a round."""
        found = self.rounds[number]
        if found.tasks is not None:
            return found.tasks
        return {} if found.tasks_same_as_round is None else self.tasks(found.tasks_same_as_round)


class File(msgspec.Struct, frozen=True):
    """A file of cases."""

    format: str
    default_plugins: list[Plugin]
    cases: list[Case]


def read(text: bytes, *, file: str) -> File:
    """The cases of a file; raises `InvalidInput` that names the file and the field."""
    try:
        found = msgspec.json.decode(text, type=File)
    except msgspec.DecodeError as wrong:
        problem, _, where = str(wrong).partition(" - at `$.")
        raise InvalidInput(
            f"{file}: {where.rstrip('`') or 'the file'}", problem, "see scenarios/kai/README.md for the format"
        ) from None
    if found.format != FORMAT:
        raise InvalidInput(f"{file}: format", f"is '{found.format}'", f"only '{FORMAT}' is known")
    return found
