"""The scheduler in a whole cluster: what users submit, queues, gangs, and what kubectl shows of it all."""

from typing import Any

from tests.unit.cli.cluster import Local, condition, local

Json = dict[str, Any]
OWN = "/apis/quartermaster.dev/v1alpha1"


async def queue(it: Local, name: str, **spec: Any) -> None:
    body = {"apiVersion": "quartermaster.dev/v1alpha1", "kind": "Queue", "metadata": {"name": name}, "spec": spec}
    await it.client.send("POST", f"{OWN}/queues", body)


async def queues(it: Local) -> dict[str, Json]:
    return {item["metadata"]["name"]: item for item in (await it.client.send("GET", f"{OWN}/queues"))["items"]}


async def groups(it: Local) -> list[Json]:
    found: list[Json] = (await it.client.send("GET", f"{OWN}/podgroups"))["items"]
    return found


def job(name: str, pods: int, *, gpus: int = 8, least: int | None = None, queue: str = "") -> Json:
    limits = {"nvidia.com/gpu": str(gpus)}
    annotations = {"quartermaster.dev/run-seconds": "1000"}
    container = {"name": "main", "image": "busybox", "resources": {"limits": limits, "requests": {"cpu": "1"} | limits}}
    template = {
        "metadata": {"annotations": annotations},
        "spec": {"restartPolicy": "Never", "containers": [container]},
    }
    needed = {"quartermaster.dev/min-member": str(pods if least is None else least)}
    return {
        "metadata": {
            "name": name,
            "annotations": needed,
            "labels": {"quartermaster.dev/queue": queue} if queue else {},
        },
        "spec": {"parallelism": pods, "completions": pods, "template": template},
    }


async def submit(it: Local, body: Json) -> None:
    await it.client.send("POST", "/apis/batch/v1/namespaces/default/jobs", body)


async def nodes_of(it: Local, prefix: str) -> list[str]:
    pods = await it.pods()
    return sorted(pod["spec"].get("nodeName", "") for name, pod in pods.items() if name.startswith(prefix))


async def test_a_job_that_asks_for_a_gang_starts_whole_or_not_at_all() -> None:
    async with local() as it:
        await it.after(5)
        await submit(it, job("three", 3))
        await it.after(10)
        assert await nodes_of(it, "three") == ["", "", ""]
        (found,) = await groups(it)
        assert found["metadata"]["ownerReferences"][0]["kind"] == "Job"
        assert (found["spec"]["min"], found["status"]["phase"]) == (3, "Pending")
        assert condition(found, "Unschedulable")["status"] == "True"
        await submit(it, job("two", 2))
        await it.after(10)
        assert await nodes_of(it, "two") == ["h-0", "h-1"]
        two = next(item for item in await groups(it) if "two" in item["metadata"]["name"])
        assert (two["status"]["phase"], two["status"]["running"]) == ("Running", 2)


async def test_pods_of_a_job_without_a_gang_start_one_by_one() -> None:
    async with local() as it:
        await it.after(5)
        await submit(it, job("three", 3, least=1))
        await it.after(10)
        assert await nodes_of(it, "three") == ["", "h-0", "h-1"]


async def test_a_queue_gets_back_what_it_deserves_and_says_who_holds_what() -> None:
    async with local() as it:
        await it.after(5)
        for name, deserved in (("a", 8), ("b", 8)):
            await queue(it, name, gpu={"deserved": deserved})
        await submit(it, job("first", 2, least=1, queue="a"))
        await it.after(10)
        assert await nodes_of(it, "first") == ["h-0", "h-1"]
        await submit(it, job("second", 1, queue="b"))
        await it.after(60)
        held = {name: value["status"]["gpu"]["allocated"] for name, value in (await queues(it)).items()}
        assert held == {"a": "8", "b": "8"}
        assert "" not in await nodes_of(it, "second")


async def test_work_of_a_queue_that_is_not_there_waits_and_says_so() -> None:
    async with local() as it:
        await it.after(5)
        await queue(it, "other")
        await submit(it, job("lost", 1, queue="nowhere"))
        await it.after(10)
        (pod,) = (await it.pods()).values()
        assert "queue 'nowhere': does not exist" in condition(pod, "PodScheduled")["message"]
        await queue(it, "nowhere")
        await it.after(10)
        (pod,) = (await it.pods()).values()
        assert pod["spec"].get("nodeName")


async def test_a_queue_that_cannot_be_used_says_why() -> None:
    async with local() as it:
        await it.after(5)
        await queue(it, "child", parent="nobody")
        await it.after(5)
        found = (await queues(it))["child"]
        assert condition(found, "Ready")["reason"] == "ParentNotFound"


async def test_a_pod_group_of_ours_is_followed() -> None:
    async with local() as it:
        await it.after(5)
        body = {"metadata": {"name": "g"}, "spec": {"min": 3}}
        head = {"apiVersion": "quartermaster.dev/v1alpha1", "kind": "PodGroup"}
        await it.client.send("POST", f"{OWN}/namespaces/default/podgroups", head | body)
        for name in ("a", "b"):
            await submit_pod(it, name, "g")
        await it.after(10)
        assert await nodes_of(it, "") == ["", ""]
        (found,) = await groups(it)
        assert condition(found, "Scheduled")["reason"] == "PodsMissing"
        change = {"spec": {"min": 2}}
        path = f"{OWN}/namespaces/default/podgroups/g"
        await it.client.send("PATCH", path, change, media="application/merge-patch+json")
        await it.after(10)
        assert await nodes_of(it, "") == ["h-0", "h-1"]
        (found,) = await groups(it)
        assert (found["status"]["phase"], found["status"]["running"]) == ("Running", 2)


async def submit_pod(it: Local, name: str, group: str) -> None:
    limits = {"nvidia.com/gpu": "8"}
    container = {"name": "main", "image": "busybox", "resources": {"limits": limits, "requests": limits}}
    metadata = {"name": name, "labels": {"quartermaster.dev/pod-group": group}}
    body = {"metadata": metadata, "spec": {"restartPolicy": "Never", "containers": [container]}}
    await it.client.send("POST", "/api/v1/namespaces/default/pods", body)


async def test_a_gang_that_is_raised_keeps_running_and_what_is_more_is_admitted_apart() -> None:
    async with local() as it:
        await it.after(5)
        body = {"metadata": {"name": "g"}, "spec": {"min": 1}}
        head = {"apiVersion": "quartermaster.dev/v1alpha1", "kind": "PodGroup"}
        await it.client.send("POST", f"{OWN}/namespaces/default/podgroups", head | body)
        await submit_pod(it, "a", "g")
        await it.after(10)
        assert await nodes_of(it, "a") == ["h-0"]
        path = f"{OWN}/namespaces/default/podgroups/g"
        await it.client.send("PATCH", path, {"spec": {"min": 3}}, media="application/merge-patch+json")
        for name in ("b", "c"):
            await submit_pod(it, name, "g")
        await it.after(600)
        pods = await it.pods()
        assert "deletionTimestamp" not in pods["a"]["metadata"], "it had its minimum when it was admitted"
        assert await nodes_of(it, "") == ["", "", "h-0"], "two more of which one has room: none"
        await it.client.send("PATCH", path, {"spec": {"min": 2}}, media="application/merge-patch+json")
        await it.after(60)
        assert await nodes_of(it, "") == ["", "h-0", "h-1"]


async def test_a_stateful_set_with_claims_runs_and_its_volumes_go_with_them() -> None:
    async with local() as it:
        await it.after(5)
        container: Json = {"name": "main", "image": "busybox", "resources": {"requests": {"cpu": "1"}}}
        claim = {
            "metadata": {"name": "data"},
            "spec": {"accessModes": ["ReadWriteOnce"], "resources": {"requests": {"storage": "1Gi"}}},
        }
        labels = {"app": "db"}
        spec: Json = {
            "replicas": 2,
            "serviceName": "db",
            "selector": {"matchLabels": labels},
            "template": {"metadata": {"labels": labels}, "spec": {"containers": [container]}},
            "volumeClaimTemplates": [claim],
        }
        container["volumeMounts"] = [{"name": "data", "mountPath": "/data"}]
        await it.client.send(
            "POST", "/apis/apps/v1/namespaces/default/statefulsets", {"metadata": {"name": "db"}, "spec": spec}
        )
        await it.after(120)
        assert await it.phases() == {"db-0": "Running", "db-1": "Running"}
        volumes = (await it.client.send("GET", "/api/v1/persistentvolumes"))["items"]
        assert len(volumes) == 2
        await it.client.send("DELETE", "/apis/apps/v1/namespaces/default/statefulsets/db")
        await it.after(60)
        for name in ("data-db-0", "data-db-1"):
            await it.client.send("DELETE", f"/api/v1/namespaces/default/persistentvolumeclaims/{name}")
        await it.after(60)
        assert (await it.client.send("GET", "/api/v1/persistentvolumes"))["items"] == []
