"""An object -> its groups: the reader of its kind, then what its pods name, then several equal groups told apart."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import Final

from quartermaster.workloads.catalogue import KINDS, TRAIN, GroupKind, Kind, Part
from quartermaster.workloads.external import OWN, Declared, Named, declared, joined, merged, named, settled
from quartermaster.workloads.families import (
    argo,
    core,
    grove,
    interactive,
    jobset,
    kfp,
    kserve,
    kubeflow,
    leaderworker,
    machines,
    ray,
    serving,
    spark,
    tekton,
    trainer,
    tuning,
    volcano,
    wrappers,
)
from quartermaster.workloads.fields import (
    count,
    group_kind,
    items,
    mapping,
    marked_count,
    name_of,
    optional,
    text,
    version_of,
)
from quartermaster.workloads.group import Bring, Group, Joined, Json, Role
from quartermaster.workloads.reading import Parse, Reading, shared_out
from quartermaster.workloads.wishes import MIN_MEMBER, Lookup, wishes

Reader = Callable[[Reading], tuple[Group, ...]]

READERS: Final[Mapping[GroupKind, Reader]] = {
    ("", "Pod"): core.pod,
    ("batch", "Job"): core.job,
    ("batch", "CronJob"): core.cron_job,
    ("apps", "Deployment"): core.replicas,
    ("apps", "ReplicaSet"): core.replicas,
    ("", "ReplicationController"): core.replicas,
    ("apps", "StatefulSet"): core.stateful_set,
    ("apps", "DaemonSet"): core.daemon_set,
    ("kubeflow.org", "PyTorchJob"): kubeflow.training,
    ("kubeflow.org", "TFJob"): kubeflow.training,
    ("kubeflow.org", "XGBoostJob"): kubeflow.training,
    ("kubeflow.org", "JAXJob"): kubeflow.training,
    ("kubeflow.org", "PaddleJob"): kubeflow.training,
    ("kubeflow.org", "MPIJob"): kubeflow.mpi,
    ("jobset.x-k8s.io", "JobSet"): jobset.job_set,
    ("trainer.kubeflow.org", "TrainJob"): trainer.train_job,
    ("leaderworkerset.x-k8s.io", "LeaderWorkerSet"): leaderworker.leader_worker_set,
    ("disaggregatedset.x-k8s.io", "DisaggregatedSet"): leaderworker.disaggregated_set,
    ("ray.io", "RayCluster"): ray.cluster,
    ("ray.io", "RayJob"): ray.job,
    ("ray.io", "RayService"): ray.service,
    ("ray.io", "RayCronJob"): ray.cron_job,
    ("argoproj.io", "Workflow"): argo.workflow,
    ("argoproj.io", "CronWorkflow"): argo.cron_workflow,
    ("kubeflow.org", "ScheduledWorkflow"): argo.scheduled_workflow,
    ("pipelines.kubeflow.org", "PipelineVersion"): kfp.pipeline_version,
    ("tekton.dev", "PipelineRun"): tekton.pipeline_run,
    ("tekton.dev", "TaskRun"): tekton.task_run,
    ("kubeflow.org", "Experiment"): tuning.experiment,
    ("kubeflow.org", "Trial"): tuning.trial,
    ("kubeflow.org", "Notebook"): interactive.notebook,
    ("kubeflow.org", "Workspace"): interactive.workspace,
    ("workspace.devfile.io", "DevWorkspace"): interactive.dev_workspace,
    ("serving.knative.dev", "Service"): serving.knative,
    ("serving.knative.dev", "Configuration"): serving.knative,
    ("serving.knative.dev", "Revision"): serving.revision,
    ("serving.kserve.io", "InferenceService"): kserve.inference_service,
    ("serving.kserve.io", "LLMInferenceService"): kserve.llm_inference_service,
    ("machinelearning.seldon.io", "SeldonDeployment"): serving.seldon,
    ("grove.io", "PodCliqueSet"): grove.pod_clique_set,
    ("grove.io", "PodCliqueScalingGroup"): wrappers.nothing,
    ("grove.io", "PodClique"): grove.pod_clique,
    ("nvidia.com", "DynamoGraphDeployment"): grove.dynamo,
    ("nvidia.com", "DynamoComponentDeployment"): grove.component,
    ("sparkoperator.k8s.io", "SparkApplication"): spark.application,
    ("sparkoperator.k8s.io", "ScheduledSparkApplication"): spark.scheduled,
    ("batch.volcano.sh", "Job"): volcano.job,
    ("batch.volcano.sh", "CronJob"): volcano.cron_job,
    ("workload.codeflare.dev", "AppWrapper"): wrappers.app_wrapper,
    ("kubevirt.io", "VirtualMachineInstance"): machines.instance,
    ("kubevirt.io", "VirtualMachine"): machines.machine,
    ("run.ai", "TrainingWorkload"): wrappers.nothing,
    ("run.ai", "InteractiveWorkload"): wrappers.nothing,
    ("run.ai", "DistributedWorkload"): wrappers.nothing,
    ("run.ai", "InferenceWorkload"): wrappers.nothing,
    ("run.ai", "DistributedInferenceWorkload"): wrappers.nothing,
    ("run.ai", "RunaiJob"): wrappers.one,
    ("amlarc.azureml.com", "AmlJob"): wrappers.azure,
    ("egx.nvidia.io", "SPOTRequest"): wrappers.one,
}


def nowhere(group: str, kind: str, namespace: str, name: str) -> None:
    """A lookup that finds nothing."""
    del group, kind, namespace, name


def groups_of(top: Json, *, lookup: Lookup = nowhere, parse: Parse | None = None) -> tuple[Group, ...]:
    """The groups of an object, each by itself; none if it has no pods, or is of no kind that has.

    `lookup` finds the objects that it refers to; what is missing is said in `why`. `parse` reads manifests that stand
    as text inside it. Raises `InvalidInput` for fields that cannot be read.
    """
    return tuple(one for group in merged(described(top, lookup=lookup, parse=parse)) for one in each(group))


def described(
    top: Json,
    *,
    lookup: Lookup = nowhere,
    parse: Parse | None = None,
    outer: Sequence[Json] = (),
    alone: bool = False,
) -> tuple[Group, ...]:
    """The same with equal groups told once; `outer` is what wraps the object, nearest first.

    `alone`: without a look at groups that its pods may name.
    """
    kind = kind_of(top)
    if kind is None:
        return ()
    if kind.part is Part.GROUP:
        return _object(top, kind, lookup)
    read = Reading(top=top, kind=kind, lookup=lookup, nested=_read, outer=tuple(outer), parse=parse)
    return _inside(read) if alone else _read(read)


def kind_of(top: Json) -> Kind | None:
    """Its kind, if it has groups; one that is not known has them if it looks like a training job."""
    key = group_kind(top)
    kind = KINDS.get(key)
    if kind is not None:
        return kind if kind.part is not Part.REFERENCE else None
    if kubeflow.replica_specs(top):
        return Kind(group=key[0], kind=key[1], plural="", versions=(version_of(top),), priority=TRAIN)
    return None


def each(group: Group) -> tuple[Group, ...]:
    """Several equal groups as groups of their own."""
    if not group.each:
        return (group,)
    return tuple(at_index(group, index) for index in range(group.copies))


def at_index(group: Group, index: int) -> Group:
    """One of several equal groups."""
    base = group.name.removesuffix(group.suffix) if group.suffix else group.name
    return replace(group, name=f"{base}-{index}{group.suffix}", index=index, copies=1, each="")


def _read(read: Reading) -> tuple[Group, ...]:
    return tuple(_outside(group, read) for group in _inside(read))


def _inside(read: Reading) -> tuple[Group, ...]:
    reader = READERS.get(read.kind.key, kubeflow.any_replica_specs)
    groups = _least(read, reader(read))
    version = version_of(read.top)
    if version not in read.kind.versions:
        said = f"version {version or '(none)'} is not known: read as {read.kind.versions[0]}"
        groups = tuple(replace(group, why=(*group.why, said)) for group in groups)
    return groups


def _least(read: Reading, groups: tuple[Group, ...]) -> tuple[Group, ...]:
    """Our own minimum holds for every kind that is one group and has not been read with it already."""
    needed = marked_count(read.top, MIN_MEMBER)
    if needed is None or read.kind.key in _COUNTED or len(groups) != 1 or groups[0].each:
        return groups
    (group,) = groups
    if group.min == min(needed, group.desired):
        return groups
    roles = shared_out([replace(role, parts=(), min_parts=0) for role in group.roles], needed)
    return (replace(group, roles=roles, why=(f"needs {needed} pods: as it says", *group.why[1:])),)


_COUNTED: Final = frozenset((("", "Pod"), ("apps", "StatefulSet"), ("jobset.x-k8s.io", "JobSet")))
"""Kinds to which a minimum means something of their own."""


# ---- groups that pods name


def _outside(group: Group, read: Reading) -> Group:
    """The group, or its share of the one that its pods name."""
    if group.joined is not None:
        return group
    bare = read.kind.key == ("", "Pod")
    names = [named(role.template, bare=bare) for role in group.roles]
    asked = next((name for name in names if name is not None), None)
    if asked is None or not group.desired:
        return group
    if any((name.api, name.name) != (asked.api, asked.name) if name else True for name in names):
        return replace(group, why=(*group.why, f"only some of its pods name the group {asked.name}: not joined"))
    brings = [
        Bring(
            owner=role.name, count=role.desired * group.copies, role=name.part if name else "", template=role.template
        )
        for role, name in zip(group.roles, names, strict=True)
    ]
    return enter(group, asked, brings, owners=read.owners, lookup=read.lookup, bare=bare)


def enter(
    group: Group, asked: Named, brings: Sequence[Bring], *, owners: Sequence[Json], lookup: Lookup, bare: bool
) -> Group:
    """`group` as its share of the group that its pods ask for, where they may join it; else as it is, and why."""
    size = sum(one.count for one in brings)
    if asked.api == OWN and lookup(asked.api, asked.kind, group.namespace, asked.name) is None:
        asked = replace(asked, api="")  # a name is enough, an object may say more
    if not asked.api:
        least = asked.size if asked.size is not None else size
        said = f"its pods share the name {asked.name}" + ("" if asked.size is None else f", {asked.size} of them")
        found = joined(group, asked, Declared(least=least), brings=brings, why=said)
        return replace(found, open=asked.size is None)
    value = lookup(asked.api, asked.kind, group.namespace, asked.name)
    said = f"the {asked.kind} {asked.name} ({asked.api}), which its pods name,"
    if value is None:
        if not bare:
            return replace(group, why=(*group.why, f"{said} is not here: grouped by their owner"))
        alone = joined(group, asked, Declared(least=size), brings=brings, why=f"{said} is not here: all that name it")
        return replace(alone, open=True)
    found_ = declared(value, asked.part, lookup)
    if found_ is None:
        return replace(group, why=(*group.why, f"{said} asks for no gang"))
    uids = {text(owner, "metadata.uid") for owner in owners}
    if found_.owner and found_.owner not in uids:
        return replace(group, why=(*group.why, f"{said} belongs to another owner: not joined"))
    if found_.owner and asked.api != "scheduling.k8s.io":
        return group  # made for this very owner by another scheduler: the owner itself says more
    return joined(group, asked, found_, brings=brings, why=f"{said} says how many start together")


def _object(top: Json, kind: Kind, lookup: Lookup) -> tuple[Group, ...]:
    """A group object by itself: what it asks for, with pods that are still to come."""
    if kind.key == ("kueue.x-k8s.io", "Workload"):
        return _kueue(top, kind, lookup)
    if kind.key == ("scheduling.k8s.io", "Workload"):
        listed = [text(one, "name") for _, one in items(top, "spec.podGroups", where="")]
        return tuple(group for part in listed for group in _declared(top, kind, part, lookup))
    return _declared(top, kind, "", lookup)


def _declared(top: Json, kind: Kind, part: str, lookup: Lookup) -> tuple[Group, ...]:
    found = declared(top, part, lookup)
    if found is None:
        return ()
    name = f"{name_of(top)}-{part}" if part else name_of(top)
    asked = wishes([top], [], kind, lookup, queue=found.queue, priority=found.priority)
    fields = asked.fields()
    if found.preemptible is not None:
        fields["preemptible"] = found.preemptible
    fields["topology"] = found.topology or fields["topology"]
    joins = Joined(min=found.least, declared=found.roles)
    group = Group(
        name=name,
        namespace=text(top, "metadata.namespace"),
        kind="PodGroup",
        joined=joins,
        why=("pods that name it belong to it", *asked.why),
        **settled(joins),
        **fields,
    )
    return (group,)


def _kueue(top: Json, kind: Kind, lookup: Lookup) -> tuple[Group, ...]:
    """Kueue's Workload mirrors an object that is read itself; one without an owner says what it wants by itself."""
    if any(True for _ in items(top, "metadata.ownerReferences")):
        return ()
    roles = []
    for where, one in items(top, "spec.podSets"):
        size = count(one, "count", 1, where=where)
        template = mapping(one, "template", where=where)
        roles.append(
            Role.of(text(one, "name", where=where) or "main", size, least=optional(one, "minCount"), template=template)
        )
    if not any(role.desired for role in roles):
        return ()
    queue, priority = (
        text(top, "spec.queueName"),
        text(top, "spec.priorityClassRef.name") or text(top, "spec.priorityClassName"),
    )
    asked = wishes([top], [role.template for role in roles], kind, lookup, queue=queue, priority=priority)
    group = Group(
        name=name_of(top),
        namespace=text(top, "metadata.namespace"),
        kind=kind.kind,
        uid=text(top, "metadata.uid"),
        roles=tuple(roles),
        why=("its pod sets are admitted together", *asked.why),
        **asked.fields(),
    )
    return (group,)
