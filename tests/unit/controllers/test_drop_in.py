"""Manifests written for KAI Scheduler and Volcano, unchanged: the local cluster's scheduler binds their gangs.

Kubernetes' own kinds have their controllers here; of others, pods are made as their operators make them.
"""

from collections.abc import Iterator
from typing import Any

import pytest

from quartermaster.local.fleet.presets import parse
from tests.unit.cli.cluster import SMALL, Local, local
from tests.unit.controllers.test_scheduling import queue
from tests.unit.workloads.samples import samples

Json = dict[str, Any]
CPU = parse("pools: [{preset: cpu, name: c}]", "cpu")
CRDS = "/apis/apiextensions.k8s.io/v1/customresourcedefinitions"
PLURALS = {("batch", "Job"): "jobs", ("apps", "Deployment"): "deployments", ("", "Pod"): "pods"}


def path_of(value: Json, plural: str) -> str:
    version = value["apiVersion"]
    return f"/{'apis' if '/' in version else 'api'}/{version}/namespaces/default/{plural}"


async def define(it: Local, value: Json) -> str:
    """Have the kind of an object served as its project's definition would; its plural."""
    group, _, version = value["apiVersion"].rpartition("/")
    kind = value["kind"]
    if (group, kind) in PLURALS:
        return PLURALS[group, kind]
    plural = f"{kind.lower()}s"
    schema = {"type": "object", "x-kubernetes-preserve-unknown-fields": True}
    served = {"name": version, "served": True, "storage": True, "schema": {"openAPIV3Schema": schema}}
    names = {"plural": plural, "kind": kind}
    spec = {"group": group, "scope": "Namespaced", "names": names, "versions": [served]}
    body = {"metadata": {"name": f"{plural}.{group}"}, "spec": spec}
    await it.client.send("POST", CRDS, body)
    return plural


def operated(owner: Json) -> Iterator[Json]:
    """The pods that an operator makes of its object."""
    spec, name = owner["spec"], owner["metadata"]["name"]
    if owner["kind"] == "PyTorchJob":
        for role, part in spec["pytorchReplicaSpecs"].items():
            marks = {"training.kubeflow.org/job-name": name, "training.kubeflow.org/replica-type": role.lower()}
            for index in range(part["replicas"]):
                labels = marks | {"training.kubeflow.org/replica-index": str(index)} | owner["metadata"]["labels"]
                yield made(f"{name}-{role.lower()}-{index}", part["template"], owner, labels=labels)
    if owner["apiVersion"].startswith("batch.volcano.sh/"):
        for task in spec["tasks"]:
            for index in range(task["replicas"]):
                notes = {
                    "scheduling.volcano.sh/group-name": f"{name}-{owner['metadata']['uid']}",
                    "volcano.sh/task-spec": task["name"],
                    "volcano.sh/task-index": str(index),
                }
                pod = made(f"{name}-{task['name']}-{index}", task["template"], owner, annotations=notes)
                pod["spec"]["schedulerName"] = spec["schedulerName"]
                yield pod


def made(name: str, template: Json, owner: Json, **marks: Json) -> Json:
    reference = {key: owner[key] for key in ("apiVersion", "kind")} | {
        key: owner["metadata"][key] for key in ("name", "uid")
    }
    metadata = {"name": name, "ownerReferences": [reference | {"controller": True}], **marks}
    return {"metadata": metadata, "spec": dict(template["spec"])}


async def submit(it: Local, sample: str) -> None:
    """As ``kubectl create -f``, and what operators do then."""
    for value in samples()[sample]:
        plural = await define(it, value)
        found = await it.client.send("POST", path_of(value, plural), value)
        for pod in operated({**found, "apiVersion": value["apiVersion"], "kind": value["kind"]}):
            await it.client.send("POST", "/api/v1/namespaces/default/pods", pod)


async def placed(it: Local) -> dict[str, str]:
    pods = await it.pods()
    return {name: pod["spec"].get("nodeName", "") for name, pod in pods.items() if not name.startswith("filler")}


async def fill(it: Local, *, leave: int, resource: str) -> None:
    """Pods that hold all but so much of a resource, for 200 s."""
    for node in (await it.client.send("GET", "/api/v1/nodes"))["items"]:
        free = int(node["status"]["allocatable"].get(resource, "0").removesuffix("m") or 0)
        if node["status"]["allocatable"].get(resource, "").endswith("m"):
            free //= 1000
        size, leave = max(0, free - leave), max(0, leave - free)
        if size:
            requests = {resource: str(size)}
            await it.submit(f"filler-{node['metadata']['name']}", run=200, requests={"cpu": "1m"} | requests)
    await it.after(5)


GANGS = {
    "job-min-member-kai.yaml": (SMALL, "nvidia.com/gpu", 6, 2, "default-queue"),
    "external-podgroup-kai.yaml": (SMALL, "nvidia.com/gpu", 2, 2, "default-queue"),
    "pytorchjob-kai.yaml": (SMALL, "nvidia.com/gpu", 3, 3, "default-queue"),
    "volcano-job.yaml": (CPU, "cpu", 6, 3, "default"),
}
"""Fleet, what it is short of, pods, least number, queue."""


@pytest.mark.parametrize("sample", sorted(GANGS))
async def test_a_gang_starts_whole_or_not_at_all(sample: str) -> None:
    fleet, resource, pods, least, name = GANGS[sample]
    async with local(fleet) as it:
        await it.after(5)
        await queue(it, name, gpu={"deserved": 16})
        if name != "default":
            await queue(it, "default", gpu={"deserved": 16})
        await fill(it, leave=least - 1, resource=resource)
        await submit(it, sample)
        await it.after(20)
        found = await placed(it)
        assert (len(found), set(found.values())) == (pods, {""}), "room for one less than its minimum"
        await it.after(250)
        found = await placed(it)
        assert len([node for node in found.values() if node]) == pods
        schedulers = {pod["spec"]["schedulerName"] for name, pod in (await it.pods()).items() if name in found}
        assert schedulers <= {"kai-scheduler", "volcano"}, "unchanged"


SINGLES = {
    "pod-gpu-fraction-kai.yaml": (SMALL, "default-queue"),
    "pod-gpu-memory-kai.yaml": (SMALL, "default-queue"),
    "deployment-volcano.yaml": (CPU, "test"),
}


@pytest.mark.parametrize("sample", sorted(SINGLES))
async def test_single_pods_are_bound(sample: str) -> None:
    fleet, name = SINGLES[sample]
    async with local(fleet) as it:
        await it.after(5)
        await submit(it, sample)
        await it.after(10)
        assert set((await placed(it)).values()) == {""}, "its queue is not there"
        await queue(it, name, gpu={"deserved": 16})
        await it.after(10)
        assert all((await placed(it)).values())
