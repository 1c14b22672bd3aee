"""A case as a session of ours: cluster, queues and groups, built afresh from where the tasks are now.

Only units and names are translated; the rules are those of the one engine, switched to KAI's defaults.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Final

from quartermaster.cluster.state import ClusterState
from quartermaster.model import node as model_node
from quartermaster.model.labels import AffinityTerm, LabelSelector, Operator, Requirement
from quartermaster.model.pod import GpuRequest, Pod, PodSpec
from quartermaster.model.podgroup import PodGroup, SubGroup
from quartermaster.model.queue import UNLIMITED, Queue, QueueTree, Quota
from quartermaster.model.topology import Level, Topology, TopologyConstraint
from quartermaster.model.units import CPU, DEVICE, GPU, MEMORY, MIB
from quartermaster.scheduling.cycle import Policies
from quartermaster.scheduling.policies.kai import KaiScore, Way
from quartermaster.scheduling.rules import KAI_RULES, Action, Rules
from quartermaster.testing.scenarios.kai import case as kai
from quartermaster.testing.scenarios.kai.case import ALLOCATED, OVER, PLACED, Case, Status, Task
from quartermaster.testing.scenarios.kai.states import States, gpus_of

NOW: Final = 1_000_000.0
"""Virtual time of every session: ages are counted back from it, so any value after the oldest job will do."""

MEGABYTE: Final = 1_000_000
LAST_START_AGE: Final = 60.0
"""How long ago jobs started that have something allocated when a session is built."""

NODE_NAME_LABEL: Final = "kai.scheduler/type"
ACTIONS: Final = {
    "allocate": Action.ALLOCATE,
    "consolidation": Action.CONSOLIDATE,
    "reclaim": Action.RECLAIM,
    "preempt": Action.PREEMPT,
    "stalegangeviction": Action.STALE,
}

NEVER: Final = "kai.scheduler/never"
"""An extended resource that no node has: asked for by tasks that the case says can never be placed."""

SATURATION_SPELLINGS: Final = (
    "relcaimerSaturationMultiplier",
    "reclaimerSaturationMultiplier",
    "reclaimerUtilizationMultiplier",
)
"""The code reads the first, the documents say the last."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Session:
    """What one cycle is asked: see `scheduling.cycle.cycle`."""

    state: ClusterState
    policies: Policies
    groups: Sequence[PodGroup]
    running: Sequence[PodGroup]


def open_session(case: Case, plugins: Sequence[kai.Plugin], states: States) -> Session:
    """The session of `case` with its tasks where `states` says. Raises `InvalidInput` for what cannot be played."""
    have = {plugin.name: plugin.arguments for plugin in plugins}
    predicates = case.call_limits.present and "predicates" in have
    specs = _specs(case, predicates=predicates)
    state = ClusterState(nodes_of_case(case))
    for job, task in sorted(case.tasks, key=lambda item: item[1].task_id):
        at = states[task.task_id]
        if at.status in PLACED and at.node:
            state.assume(
                task.task_id, specs[task.task_id], at.node, at.devices, queue=job.queue, preemptible=job.preemptible
            )
            if at.status in {Status.RELEASING, Status.STUCK}:
                state.leave(task.task_id, frees=at.status is Status.RELEASING)
    groups = [(job, _group(job, specs, states)) for job in case.jobs]
    return Session(
        state=state,
        policies=_policies(case, have),
        groups=[group for job, group in groups if _any(job, states, {Status.PENDING})],
        running=[group for job, group in groups if _any(job, states, PLACED)],
    )


def nodes_of_case(case: Case) -> list[model_node.Node]:
    """The nodes of a case, in its order."""
    return [_node(node) for node in case.nodes]


def groups_of_case(case: Case, states: States) -> list[PodGroup]:
    """The jobs of a case with every rule that they state, whatever is switched off."""
    specs = _specs(case, predicates=True)
    return [_group(job, specs, states) for job in case.jobs]


def _specs(case: Case, *, predicates: bool) -> dict[str, PodSpec]:
    return {task.task_id: _spec(case, job, task, predicates=predicates) for job, task in case.tasks}


def _any(job: kai.Job, states: States, wanted: frozenset[Status] | set[Status]) -> bool:
    return any(states[task.task_id].status in wanted for task in job.tasks)


# ---- cluster


def _node(node: kai.Node) -> model_node.Node:
    have = node.allocatable
    return model_node.Node(
        name=node.name,
        cpu=have.cpu_milli,
        memory=have.memory_bytes,
        pods=have.pods,
        extended=have.other,
        gpus=round(have.gpu_count),
        gpu_memory=node.gpu_memory_mib_per_device * MIB,
        labels=node.labels,
    )


def _spec(case: Case, job: kai.Job, task: Task, *, predicates: bool) -> PodSpec:
    ask = task.request
    terms = _affinity(job, task) if predicates else {}
    extended = dict(ask.other)
    if task.pvc_names or task.task_id == case.harness_overrides.get(
        "task_that_is_always_rejected_before_victim_search"
    ):
        extended[NEVER] = 1
    return PodSpec(
        cpu=ask.cpu_milli,
        memory=ask.memory_bytes,
        extended=tuple(sorted(extended.items())),
        gpu=_gpus(task),
        node_affinity=_node_names(task) if predicates else (),
        affinity=terms.get("with", ()),
        anti_affinity=terms.get("apart", ()),
        namespace=job.namespace,
        labels=tuple(sorted(task.pod_affinity_labels.items())),
    )


def _gpus(task: Task) -> GpuRequest:
    ask = task.gpu_request
    if not ask.is_shared_gpu_request:
        return GpuRequest(count=gpus_of(task))
    if ask.gpu_memory_mib_per_device:
        return GpuRequest(count=ask.device_count, memory=ask.gpu_memory_mib_per_device * MIB)
    return GpuRequest(count=ask.device_count, share=round(ask.portion_per_device * DEVICE))


def _node_names(task: Task) -> tuple[LabelSelector, ...]:
    if not task.node_affinity_names:
        return ()
    named = Requirement(key=NODE_NAME_LABEL, operator=Operator.IN, values=tuple(task.node_affinity_names))
    return (LabelSelector(requirements=(named,)),)


def _affinity(job: kai.Job, task: Task) -> Mapping[str, tuple[AffinityTerm, ...]]:
    keys = {"with": task.pod_affinity_topology_key, "apart": task.pod_anti_affinity_topology_key}
    selector = LabelSelector.of(task.pod_affinity_labels)
    return {
        how: (AffinityTerm(selector=selector, topology_key=key, namespaces=frozenset({job.namespace})),)
        for how, key in keys.items()
        if key
    }


# ---- groups


def _group(job: kai.Job, specs: Mapping[str, PodSpec], states: States) -> PodGroup:
    pods: dict[str, list[Pod]] = {}
    for task in job.tasks:
        over = states[task.task_id].status in OVER
        pod = Pod(task.task_id, specs[task.task_id], priority=task.task_priority, gated=over)
        pods.setdefault(task.sub_group_name, []).append(pod)
    grace = job.staleness_grace_period_seconds
    if _any(job, states, {Status.SUCCEEDED}):  # Part of it has done its work: never stale.
        grace = UNLIMITED
    return PodGroup(
        name=job.name,
        queue=job.queue,
        root=_tree(job.sub_group_tree, pods),
        priority=job.priority,
        created=NOW - job.age_seconds,
        preemptible=job.preemptible,
        preemption_delay=job.preemption_delay_seconds or 0.0,
        started=NOW - LAST_START_AGE if _any(job, states, ALLOCATED) else None,
        stale_since=None if job.stale_for_seconds is None else NOW - job.stale_for_seconds,
        staleness_grace=UNLIMITED if grace is not None and grace < 0 else grace,
    )


def _tree(part: kai.GroupSet, pods: Mapping[str, list[Pod]]) -> SubGroup:
    """Our tree; a set of one pod set and no rule of its own is that pod set."""
    children = [_tree(child, pods) for child in part.sub_groups]
    children += [_leaf(leaf, pods.get(leaf.name, [])) for leaf in part.pod_sets]
    own = _constraint(part.topology_constraint)
    if len(children) == 1 and part.min_sub_groups in {None, 1} and not (own and children[0].topology):
        return replace(children[0], topology=own or children[0].topology)
    return SubGroup(name=part.name, children=tuple(children), min=part.min_sub_groups, topology=own)


def _leaf(leaf: kai.PodSet, pods: Sequence[Pod]) -> SubGroup:
    """A pod set; pods that it needs and that nobody made are there as pods which are not to be scheduled."""
    missing = [
        Pod(f"{leaf.name}/missing-{number}", PodSpec(), gated=True) for number in range(len(pods), leaf.min_members)
    ]
    return SubGroup(
        name=leaf.name,
        pods=(*pods, *missing),
        min=leaf.min_members,
        topology=_constraint(leaf.topology_constraint),
    )


def _constraint(asked: kai.Constraint | None) -> TopologyConstraint | None:
    if asked is None or not (asked.required_level or asked.preferred_level):
        return None
    return TopologyConstraint(topology=asked.topology, required=asked.required_level, preferred=asked.preferred_level)


# ---- policies


def _policies(case: Case, have: Mapping[str, Mapping[str, str]]) -> Policies:
    placement = have.get("nodeplacement", {})
    return Policies(
        placement=KaiScore(
            gpu=_way(placement.get("gpu")),
            cpu=_way(placement.get("cpu")),
            devices="pack" if "gpupack" in have else "spread" if "gpuspread" in have else None,
            by_kind="resourcetype" in have,
            share_first="gpusharingorder" in have,
        ),
        queues=queue_tree(case, quotas="proportion" in have, runtimes="minruntime" in have),
        topologies={topology.name: topology for topology in topologies(case)},
        actions=tuple(ACTIONS[action] for action in case.actions),
        rules=_rules(case, have.get("proportion", {})),
    )


def _way(strategy: str | None) -> Way | None:
    return {"binpack": "pack", "spread": "spread"}.get(strategy or "")  # type: ignore[return-value]  # the two ways


def _rules(case: Case, proportion: Mapping[str, str]) -> Rules:
    multiplier = next((proportion[name] for name in SATURATION_SPELLINGS if name in proportion), None)
    return replace(
        KAI_RULES,
        staleness_grace=float(case.harness_overrides.get("default_staleness_grace_period_seconds", 0)),
        saturation_multiplier=KAI_RULES.saturation_multiplier if multiplier is None else max(1.0, float(multiplier)),
        history=float(proportion.get("kValue", KAI_RULES.history)),
    )


def topologies(case: Case) -> Iterator[Topology]:
    """The topologies of a case."""
    for topology in case.topologies:
        yield Topology(
            name=topology.name,
            levels=tuple(Level(label=label) for label in topology.level_labels_outer_to_inner),
        )


def queue_tree(case: Case, *, quotas: bool = True, runtimes: bool = True) -> QueueTree:
    """The queues; without the plug-ins that look at them, quotas and minimum run times are left out."""
    return QueueTree(
        Queue(
            name=queue.name,
            parent=queue.parent or None,
            priority=queue.priority,
            created=queue.created_offset_minutes * 60,
            quotas=_quotas(queue) if quotas else dict.fromkeys((CPU, MEMORY, GPU), Quota(deserved=UNLIMITED)),
            reclaim_min_runtime=queue.reclaim_min_runtime_seconds if runtimes else None,
            preempt_min_runtime=queue.preempt_min_runtime_seconds if runtimes else None,
        )
        for queue in case.queues
    )


def _quotas(queue: kai.Queue) -> dict[str, Quota]:
    units = {CPU: (queue.cpu_milli, 1), MEMORY: (queue.memory_mb, MEGABYTE), GPU: (queue.gpu, 1)}
    return {resource: _quota(quota, unit) for resource, (quota, unit) in units.items()}


def _quota(quota: kai.Quota, unit: int) -> Quota:
    """What is deserved beyond the limit can never be had: KAI takes the lesser, and we refuse to be told both."""
    deserved, limit = (UNLIMITED if value < 0 else value * unit for value in (quota.deserved, quota.limit))
    return Quota(
        deserved=min(deserved, limit),
        limit=limit,
        over_quota_weight=max(0.0, quota.over_quota_weight),
    )
