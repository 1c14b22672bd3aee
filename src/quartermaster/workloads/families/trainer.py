"""TrainJob: its runtime says which replicated jobs there are, it says how many nodes, and both together are a JobSet.

Initializers run only if the TrainJob has something to initialize. With MPI, the launcher comes after the nodes; where
it runs as a node itself, there is one node less. The runtimes that Trainer ships are known by name, for a reader who
has only the TrainJob.
"""

from __future__ import annotations

from typing import Final

from quartermaster.workloads.families import jobset
from quartermaster.workloads.fields import at, count, flag, items, label, mapping, optional, text
from quartermaster.workloads.group import Group, Json
from quartermaster.workloads.reading import Reading

TRAINER: Final = "trainer.kubeflow.org"
_INITIALIZERS: Final = {"dataset-initializer": "dataset", "model-initializer": "model"}


def train_job(read: Reading) -> tuple[Group, ...]:
    """The gangs of the JobSet that it becomes."""
    runtime, said = _runtime(read)
    replicated = [
        (where, _filled(read, runtime, job))
        for where, job in items(runtime, "spec.template.spec.replicatedJobs")
        if _exists(read, text(job, "name"), _step(job))
    ]
    return jobset.gangs(read, replicated, said)


def _runtime(read: Reading) -> tuple[Json, list[str]]:
    name = text(read.spec, "runtimeRef.name", where="spec")
    kind = text(read.spec, "runtimeRef.kind", where="spec") or "ClusterTrainingRuntime"
    group = text(read.spec, "runtimeRef.apiGroup", where="spec") or TRAINER
    found = read.find(group, kind, name, cluster=kind == "ClusterTrainingRuntime")
    if found is not None:
        return found, [f"replicated jobs are those of the {kind} {name}"]
    shipped = _shipped(read, name)
    known = "read as the one that Trainer ships" if _is_shipped(name) else "read as one job of nodes"
    return shipped, [f"the {kind} {name or '(none named)'} is not here: {known}"]


def _is_shipped(name: str) -> bool:
    return name.startswith(("deepspeed-", "mlx-", "torch-", "torchtune-", "jax-", "xgboost-"))


def _shipped(read: Reading, name: str) -> Json:
    """A runtime of that name as far as grouping goes: initializers as the TrainJob asks for them, then nodes."""
    before = [
        {"name": job, "template": {"metadata": {"labels": {jobset.STEP: job}}}}
        for job, wanted in _INITIALIZERS.items()
        if at(read.spec, f"initializer.{wanted}", where="spec") is not None
    ]
    waits = [{"name": job["name"], "status": "Complete"} for job in before]
    trainer = {"metadata": {"labels": {jobset.STEP: "trainer"}}}
    if name.startswith(("deepspeed-", "mlx-")):
        policy: Json = {"mpi": {"runLauncherAsNode": True}}
        jobs: list[Json] = [
            {"name": "node", "dependsOn": waits},
            {"name": "launcher", "template": trainer, "dependsOn": [{"name": "node", "status": "Ready"}]},
        ]
    else:
        policy, jobs = {}, [{"name": "node", "template": trainer, "dependsOn": waits}]
    return {"spec": {"mlPolicy": policy, "template": {"spec": {"replicatedJobs": [*before, *jobs]}}}}


def _step(job: Json) -> str:
    return label(mapping(job, "template"), jobset.STEP)


def _exists(read: Reading, name: str, step: str) -> bool:
    wanted = _INITIALIZERS.get(step) or _INITIALIZERS.get(name)
    return wanted is None or at(read.spec, f"initializer.{wanted}", where="spec") is not None


def _filled(read: Reading, runtime: Json, job: Json) -> Json:
    """A replicated job with the number of nodes that the TrainJob asks for."""
    mpi = at(runtime, "spec.mlPolicy.mpi") is not None
    name = text(job, "name")
    is_nodes = name == "node" if mpi else _step(job) == "trainer" or name == "node"
    waits = [edge for _, edge in items(job, "dependsOn") if _exists(read, text(edge, "name"), "")]
    job = {**job, "dependsOn": waits}
    if not is_nodes:
        return job
    asked = optional(read.spec, "trainer.numNodes", where="spec")
    nodes = count(runtime, "spec.mlPolicy.numNodes", 1) if asked is None else asked
    if mpi and flag(runtime, "spec.mlPolicy.mpi.runLauncherAsNode"):
        nodes = max(nodes - 1, 1)
    child = mapping(job, "template")
    inner = {**mapping(child, "spec"), "parallelism": nodes, "completions": nodes}
    return {**job, "replicas": 1, "template": {**child, "spec": inner}}
