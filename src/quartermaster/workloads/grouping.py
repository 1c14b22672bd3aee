"""An object -> its groups: the reader of its kind, then what its pods name, then several equal groups told apart."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import Final

from quartermaster.workloads.catalogue import KINDS, TRAIN, GroupKind, Kind, Part
from quartermaster.workloads.external import merged
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
    group_kind,
    marked_count,
    version_of,
)
from quartermaster.workloads.group import Group, Json
from quartermaster.workloads.joining import of_object, outside
from quartermaster.workloads.reading import Parse, Reading, shared_out
from quartermaster.workloads.wishes import MIN_MEMBER, Lookup

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
        return of_object(top, kind, lookup)
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
    groups = _inside(read)
    if any(group.phase > 1 for group in groups):
        return groups  # one group of all phases would wait for pods that nobody makes yet
    return tuple(outside(group, read) for group in groups)


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
