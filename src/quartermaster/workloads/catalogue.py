"""Every kind that is known, as data: where it is served, what it makes, and what its pods are worth by default.

An owner's pods are read from the highest known kind above them, but only as far as each kind is one that the next is
known to *make*: a Notebook that owns a training job does not describe that job's pods, and an unknown wrapper describes
nothing. `through` kinds (a workflow, a trial, a cron job) have no group of their own; what they make has.

Facts from the sources of the projects named in docs/workloads.md.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Final

GroupKind = tuple[str, str]

ANYTHING: Final[GroupKind] = ("*", "*")


class Part(StrEnum):
    """What an object is to grouping."""

    WORKLOAD = "workload"
    """Pods have it among their owners."""
    GROUP = "group"
    """Pods name it: it says how many must start together."""
    REFERENCE = "reference"
    """Workloads name it for something that they leave out."""


TRAIN, BUILD, INFERENCE = "train", "build", "inference"
CLASSES: Final[Mapping[str, int]] = {TRAIN: 50, "build-preemptible": 75, BUILD: 100, INFERENCE: 125}
"""Priority classes of the field, for clusters that do not define them."""
PREEMPTIBLE_BELOW: Final = 100


@dataclass(frozen=True, slots=True, kw_only=True)
class Kind:
    """One kind. `versions` are those that were read, newest first; another is read as the first of them."""

    group: str
    kind: str
    plural: str
    versions: tuple[str, ...]
    part: Part = Part.WORKLOAD
    makes: frozenset[GroupKind] = frozenset()
    through: bool = False
    priority: str = TRAIN
    namespaced: bool = True

    @property
    def key(self) -> GroupKind:
        """(API group, kind)."""
        return self.group, self.kind

    def made(self, child: GroupKind) -> bool:
        """Whether it is known to make objects of this kind."""
        return child in self.makes or ANYTHING in self.makes


_CORE = ("", "Pod")
_JOB = ("batch", "Job")
_STS = ("apps", "StatefulSet")
_RS = ("apps", "ReplicaSet")
_DEPLOYMENT = ("apps", "Deployment")
_JOBSET = ("jobset.x-k8s.io", "JobSet")
_LWS = ("leaderworkerset.x-k8s.io", "LeaderWorkerSet")
_RAY = ("ray.io", "RayCluster")
_WORKFLOW = ("argoproj.io", "Workflow")


def _kind(
    group: str,
    kind: str,
    plural: str,
    versions: str,
    *makes: GroupKind,
    through: bool = False,
    priority: str = TRAIN,
) -> Kind:
    return Kind(
        group=group, kind=kind, plural=plural, versions=tuple(versions.split()),
        makes=frozenset(makes), through=through, priority=priority,
    )  # fmt: skip


def _other(part: Part, group: str, kind: str, plural: str, versions: str, *, namespaced: bool = True) -> Kind:
    return Kind(
        group=group, kind=kind, plural=plural, versions=tuple(versions.split()), part=part, namespaced=namespaced
    )


_ALL: Final = (
    # Kubernetes. A leader pod of a LeaderWorkerSet owns a StatefulSet, a Spark driver its executors.
    _kind("", "Pod", "pods", "v1", _STS, _CORE),
    _kind("batch", "Job", "jobs", "v1"),
    _kind("batch", "CronJob", "cronjobs", "v1", _JOB, through=True),
    _kind("apps", "Deployment", "deployments", "v1", _RS, priority=INFERENCE),
    _kind("apps", "ReplicaSet", "replicasets", "v1"),
    _kind("apps", "StatefulSet", "statefulsets", "v1"),
    _kind("apps", "DaemonSet", "daemonsets", "v1"),
    _kind("", "ReplicationController", "replicationcontrollers", "v1"),
    # Kubeflow training operator, mpi-operator
    _kind("kubeflow.org", "PyTorchJob", "pytorchjobs", "v1"),
    _kind("kubeflow.org", "TFJob", "tfjobs", "v1"),
    _kind("kubeflow.org", "XGBoostJob", "xgboostjobs", "v1"),
    _kind("kubeflow.org", "JAXJob", "jaxjobs", "v1"),
    _kind("kubeflow.org", "PaddleJob", "paddlejobs", "v1"),
    _kind("kubeflow.org", "MPIJob", "mpijobs", "v2beta1 v1", _JOB),
    # JobSet, Trainer, LeaderWorkerSet
    _kind("jobset.x-k8s.io", "JobSet", "jobsets", "v1alpha2", _JOB),
    _kind("trainer.kubeflow.org", "TrainJob", "trainjobs", "v1alpha1", _JOBSET, through=True),
    _kind("leaderworkerset.x-k8s.io", "LeaderWorkerSet", "leaderworkersets", "v1", _STS),
    _kind("disaggregatedset.x-k8s.io", "DisaggregatedSet", "disaggregatedsets", "v1", _LWS),
    # Ray
    _kind("ray.io", "RayCluster", "rayclusters", "v1 v1alpha1"),
    _kind("ray.io", "RayJob", "rayjobs", "v1 v1alpha1", _RAY, _JOB, through=True),
    _kind("ray.io", "RayService", "rayservices", "v1 v1alpha1", _RAY, through=True),
    _kind("ray.io", "RayCronJob", "raycronjobs", "v1", ("ray.io", "RayJob"), through=True),
    # Pipelines and tuning
    _kind("argoproj.io", "Workflow", "workflows", "v1alpha1", ANYTHING, through=True),
    _kind("argoproj.io", "CronWorkflow", "cronworkflows", "v1alpha1", _WORKFLOW, through=True),
    _kind("kubeflow.org", "ScheduledWorkflow", "scheduledworkflows", "v1beta1", _WORKFLOW, through=True),
    _kind("pipelines.kubeflow.org", "PipelineVersion", "pipelineversions", "v2beta1", _WORKFLOW, through=True),
    _kind("tekton.dev", "PipelineRun", "pipelineruns", "v1 v1beta1", ("tekton.dev", "TaskRun"), through=True),
    _kind("tekton.dev", "TaskRun", "taskruns", "v1 v1beta1", through=True),
    _kind("kubeflow.org", "Experiment", "experiments", "v1beta1", ("kubeflow.org", "Trial"), through=True),
    _kind("kubeflow.org", "Trial", "trials", "v1beta1", ANYTHING, through=True),
    # Interactive
    _kind("kubeflow.org", "Notebook", "notebooks", "v1 v1beta1", _STS, priority=BUILD),
    _kind("kubeflow.org", "Workspace", "workspaces", "v1beta1", _STS, priority=BUILD),
    _kind("workspace.devfile.io", "DevWorkspace", "devworkspaces", "v1alpha2", _DEPLOYMENT),
    # Serving
    _kind("serving.knative.dev", "Service", "services", "v1",
          ("serving.knative.dev", "Configuration"), priority=INFERENCE),
    _kind("serving.knative.dev", "Configuration", "configurations", "v1",
          ("serving.knative.dev", "Revision"), priority=INFERENCE),
    _kind("serving.knative.dev", "Revision", "revisions", "v1", _DEPLOYMENT, priority=INFERENCE),
    _kind("serving.kserve.io", "InferenceService", "inferenceservices", "v1beta1",
          _DEPLOYMENT, ("serving.knative.dev", "Service"), priority=INFERENCE),
    _kind("serving.kserve.io", "LLMInferenceService", "llminferenceservices", "v1alpha2 v1alpha1",
          _DEPLOYMENT, _LWS, through=True, priority=INFERENCE),
    _kind("machinelearning.seldon.io", "SeldonDeployment", "seldondeployments", "v1 v1alpha2", _DEPLOYMENT),
    _kind("grove.io", "PodCliqueSet", "podcliquesets", "v1alpha1",
          ("grove.io", "PodClique"), ("grove.io", "PodCliqueScalingGroup")),
    _kind("grove.io", "PodCliqueScalingGroup", "podcliquescalinggroups", "v1alpha1",
          ("grove.io", "PodClique"), through=True),
    _kind("grove.io", "PodClique", "podcliques", "v1alpha1"),
    _kind("nvidia.com", "DynamoGraphDeployment", "dynamographdeployments", "v1alpha1 v1beta1",
          ("grove.io", "PodCliqueSet"), ("nvidia.com", "DynamoComponentDeployment"), _DEPLOYMENT, _LWS, through=True),
    _kind("nvidia.com", "DynamoComponentDeployment", "dynamocomponentdeployments", "v1alpha1 v1beta1",
          _DEPLOYMENT, _LWS, through=True),
    # Data, other schedulers, wrappers, machines
    _kind("sparkoperator.k8s.io", "SparkApplication", "sparkapplications", "v1beta2", _CORE),
    _kind("sparkoperator.k8s.io", "ScheduledSparkApplication", "scheduledsparkapplications", "v1beta2",
          ("sparkoperator.k8s.io", "SparkApplication"), through=True),
    _kind("batch.volcano.sh", "Job", "jobs", "v1alpha1"),
    _kind("batch.volcano.sh", "CronJob", "cronjobs", "v1alpha1", ("batch.volcano.sh", "Job"), through=True),
    _kind("workload.codeflare.dev", "AppWrapper", "appwrappers", "v1beta2", ANYTHING, through=True),
    _kind("kubevirt.io", "VirtualMachineInstance", "virtualmachineinstances", "v1"),
    _kind("kubevirt.io", "VirtualMachine", "virtualmachines", "v1",
          ("kubevirt.io", "VirtualMachineInstance"), through=True),
    *(
        _kind("run.ai", kind, kind.lower() + "s", "v2alpha1 v1", ANYTHING, through=True)
        for kind in ("TrainingWorkload", "InteractiveWorkload", "DistributedWorkload", "InferenceWorkload",
                     "DistributedInferenceWorkload")
    ),
    _kind("run.ai", "RunaiJob", "runaijobs", "v1"),
    _kind("amlarc.azureml.com", "AmlJob", "amljobs", "v1alpha1"),
    _kind("egx.nvidia.io", "SPOTRequest", "spotrequests", "v1", priority=INFERENCE),
    # Objects that say what a group is
    _other(Part.GROUP, "quartermaster.dev", "PodGroup", "podgroups", "v1alpha1"),
    _other(Part.GROUP, "scheduling.run.ai", "PodGroup", "podgroups", "v2alpha2"),
    _other(Part.GROUP, "scheduling.volcano.sh", "PodGroup", "podgroups", "v1beta1"),
    _other(Part.GROUP, "scheduling.x-k8s.io", "PodGroup", "podgroups", "v1alpha1"),
    _other(Part.GROUP, "scheduling.k8s.io", "PodGroup", "podgroups", "v1beta1 v1alpha3 v1alpha2"),
    _other(Part.GROUP, "scheduling.k8s.io", "Workload", "workloads", "v1beta1 v1alpha3 v1alpha2 v1alpha1"),
    _other(Part.GROUP, "kueue.x-k8s.io", "Workload", "workloads", "v1beta2 v1beta1"),
    # Objects that workloads refer to
    _other(Part.REFERENCE, "scheduling.k8s.io", "PriorityClass", "priorityclasses", "v1", namespaced=False),
    _other(Part.REFERENCE, "kueue.x-k8s.io", "WorkloadPriorityClass", "workloadpriorityclasses", "v1beta2 v1beta1",
           namespaced=False),
    _other(Part.REFERENCE, "trainer.kubeflow.org", "ClusterTrainingRuntime", "clustertrainingruntimes", "v1alpha1",
           namespaced=False),
    _other(Part.REFERENCE, "trainer.kubeflow.org", "TrainingRuntime", "trainingruntimes", "v1alpha1"),
    _other(Part.REFERENCE, "argoproj.io", "WorkflowTemplate", "workflowtemplates", "v1alpha1"),
    _other(Part.REFERENCE, "argoproj.io", "ClusterWorkflowTemplate", "clusterworkflowtemplates", "v1alpha1",
           namespaced=False),
    _other(Part.REFERENCE, "tekton.dev", "Pipeline", "pipelines", "v1 v1beta1"),
)  # fmt: skip

KINDS: Final[Mapping[GroupKind, Kind]] = {kind.key: kind for kind in _ALL}


def workload(key: GroupKind) -> Kind | None:
    """The kind, if pods may have it among their owners."""
    kind = KINDS.get(key)
    return kind if kind is not None and kind.part is Part.WORKLOAD else None
