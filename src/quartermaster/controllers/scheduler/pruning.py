"""What of an object a recording keeps: the fields that decisions read, and nothing else.

Objects of users hold secrets in places that nobody foresees: environment, arguments, scripts, annotations that repeat
the whole manifest. So fields are kept by name, and one that is not named here is left out with all that is in it. A
test holds this list against every reader: whatever it lacks changes a group there.
"""

from __future__ import annotations

from typing import Any, Final

from quartermaster.kube.api import Json

_FIELDS: Final = frozenset(
    """
    accessModes allowedTopologies apiGroup apiVersion autoscaler autoscaling autoScalingConfig AZUREML_NODE_COUNT
    backoffLimit basic batchScheduler batchSchedulerOptions blockOwnerDeletion claimRef cliqueNames cliques
    clusterScope completionMode completions componentName componentRef components componentSpecs conditions
    configMapName configMapNamespace container containers containerSet controller copies count creationTimestamp dag
    dataLocal deletionTimestamp dependencies depends dependsOn deploymentSpec driver drivers dynamicAllocation
    elasticPolicy enabled enableInTreeAutoscaling entrypoint envs executor executorLabel executors explainer
    extraPodSpec finally gang generateName generation globalDefault groupName groupPlacementPolicy headGroupSpec
    highestTierAllowed highestTierName index initContainers initialExecutors initializer inline instances job
    jobTemplate key kind kueue labelSelector launcherCreationPolicy leaderTemplate leaderWorkerTemplate limits
    matchExpressions matchFields matchLabelExpressions matchLabels matrix maxExecutors maximumVolumeSize maxReplicas
    maxTrialCount metadata min minAvailable minCount minExecutors minMember minPartitions minReplicas minSubGroup
    minTaskMember mlPolicy mode model mpi multinode name namespace networkTopology nnodes nodeAffinity nodeCount
    nodeName nodeSelectorTerms nodeTopology numNodes numOfHosts numProcPerNode onExit operator options
    ownerReferences pack packDomain parallelism parallelTrialCount params parent parentRefs partitionPolicy
    partitionSize path paused phase pipeline pipelineParallelSize pipelineRef pipelineRun pipelineSpec platforms
    platformSpec podCliqueScalingGroups podGroup podGroupName podGroupReplicaKey podGroups podGroupTemplateName
    podGroupTemplateRef podManagementPolicy podMetadata podPriorityClassName podSets podSpec policy predicates
    predictor predictors preemptibility preemptible preemptionPolicy preferred preferredTopologyLevel prefill
    priority priorityClass priorityClassName priorityClassRef provisioner queue queueName ray rayClusterConfig
    rayClusterSpec reason replicas replicatedJobs requests required requiredTopologyLevel resolver resource
    resources restartPolicy roles root router runAfter runLauncherAsNode running runningEstimate runPolicy runSpec
    runStrategy runtimeRef scale scaleTarget scaleTargetRef scheduler schedulerName scheduling schedulingConstraints
    schedulingGates schedulingGroup schedulingPolicy script segmentSize selector size slices spec started
    startupPolicy startupPolicyOrder status steps storageClassName subdomain subGroupPolicy subGroups subGroupSize
    submissionMode submitterPodTemplate succeeded suspend targetReplicatedJobs tasks template templateRef templates
    topology topologyConstraint topologyKey topologyKeys topologyName trainer transformer trialSpec trialTemplate
    type uid value values volumeAttributesClassName volumeBindingMode volumeMode volumeName whenDeleted whenScaled
    withItems withSequence worker workerGroupSpecs workerSpec workerTemplate workflow workflowSpec
    workflowTemplateRef workload workloadName workloadRef
    """.split()  # noqa: SIM905  # words read best as words
)
"""Fields whose names say what they are, wherever they stand."""

_COUNTED: Final = frozenset(("data", "value", "withItems"))
"""Fields of which numbers are read, or how many there are; texts in them are what users pass on, and left empty."""

_MAPS: Final = frozenset(
    """
    allocatable capacity jaxReplicaSpecs labels limits matchLabels mpiReplicaSpecs nodeSelector paddleReplicaSpecs
    pytorchReplicaSpecs requests services tfReplicaSpecs xgbReplicaSpecs
    """.split()  # noqa: SIM905
)
"""Fields whose values have keys that users choose, or that are too many to list: all of these are kept."""

_NOTES: Final = (
    "alpha.jobset.sigs.k8s.io", "apps.kubernetes.io", "batch.kubernetes.io", "grove.io", "jobset.sigs.k8s.io",
    "kai.scheduler", "kueue.x-k8s.io", "leaderworkerset.sigs.k8s.io", "nvidia.com", "quartermaster.dev", "ray.io",
    "runai", "scheduling.k8s.io", "scheduling.volcano.sh", "scheduling.x-k8s.io", "serving.kserve.io",
    "autoscaling.knative.dev", "trainer.kubeflow.org", "volcano.sh", "workspace.devfile.io", "volume.kubernetes.io",
    "volume.beta.kubernetes.io", "pv.kubernetes.io", "storageclass.kubernetes.io",
)  # fmt: skip
"""Whose annotations ask something of a scheduler."""

_BARE_NOTES: Final = ("gpu-fraction", "gpu-memory", "gpu-fraction-num-devices", "pod-group-name")
LONGEST_NOTE: Final = 1024
"""Longer annotations are no wishes, whoever's they are."""


def pruned(value: Json) -> Json:
    """An object of a user, with no more than decisions read of it."""
    return {key: _metadata(part) if key == "metadata" else _part(key, part) for key, part in _named(value)}


def whole(value: Json) -> Json:
    """An object that says nothing but what decisions are made by; annotations are chosen all the same."""
    kept = {key: _metadata(part) if key == "metadata" else part for key, part in value.items()}
    conditions = (value.get("status") or {}).get("conditions")
    if conditions:
        kept["status"] = kept["status"] | {"conditions": [_wordless(one) for one in conditions]}
    return kept


def _wordless(condition: Json) -> Json:
    """Without what a kubelet or an operator says in free text."""
    return condition | {"message": ""} if "message" in condition else condition


def _metadata(value: Json) -> Json:
    kept = {key: part for key, part in value.items() if key in _FIELDS or key == "labels"}
    notes = {key: note for key, note in (value.get("annotations") or {}).items() if _asks(key, note)}
    return kept | {"annotations": notes} if notes else kept


def _asks(key: str, note: object) -> bool:
    domain, slash, _ = key.partition("/")
    return len(str(note)) <= LONGEST_NOTE and (domain in _NOTES if slash else key in _BARE_NOTES)


def _named(value: Json) -> list[tuple[str, Any]]:
    return [
        (key, _emptied(part) if key in _COUNTED else part)
        for key, part in value.items()
        if key in _COUNTED or (key in _FIELDS and (key != "values" or "key" in value)) or key in _MAPS
    ]


def _emptied(value: Any) -> Any:
    if isinstance(value, list):
        return [_emptied(item) for item in value]
    return "" if isinstance(value, str) else {} if isinstance(value, dict) else value


def _part(key: str, value: Any) -> Any:
    if isinstance(value, list):
        return [_part("", item) for item in value]
    if not isinstance(value, dict):
        return value
    entries = value.items() if key in _MAPS else _named(value)
    return {name: _metadata(part) if name == "metadata" else _part(name, part) for name, part in entries}
