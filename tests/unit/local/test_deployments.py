"""Deployments end to end: rolled, rolled back, recreated, scaled, paused; never outside the fences."""

from typing import Any

import pytest

from quartermaster.testing.controllers import APPS, Controlled, controlled, workload

WEB = f"{APPS}/deployments/web"
Json = dict[str, Any]


def conditions(value: Json) -> dict[str, tuple[str, str]]:
    return {item["type"]: (item["status"], item["reason"]) for item in value["status"]["conditions"]}


async def sets(cluster: Controlled) -> dict[str, tuple[int, str]]:
    """Replicas and revision of each replica set, by image."""
    found = (await cluster.get(f"{APPS}/replicasets"))["items"]
    return {
        item["spec"]["template"]["spec"]["containers"][0]["image"]: (
            item["spec"]["replicas"],
            item["metadata"]["annotations"]["deployment.kubernetes.io/revision"],
        )
        for item in found
    }


async def image(cluster: Controlled, name: str) -> None:
    patch = {"spec": {"template": {"spec": {"containers": [{"name": "main", "image": name}]}}}}
    await cluster.patch(WEB, patch, "strategic")


async def test_a_deployment_comes_up_and_says_so() -> None:
    async with controlled("n1", "n2") as cluster:
        await cluster.create(f"{APPS}/deployments", workload("Deployment", replicas=3))
        await cluster.settle()
        web = await cluster.get(WEB)
        told = web["status"]
        assert {
            key: told.get(key) for key in ("replicas", "updatedReplicas", "readyReplicas", "availableReplicas")
        } == {
            "replicas": 3,
            "updatedReplicas": 3,
            "readyReplicas": 3,
            "availableReplicas": 3,
        }
        assert told["observedGeneration"] == web["metadata"]["generation"]
        assert conditions(web) == {
            "Available": ("True", "MinimumReplicasAvailable"),
            "Progressing": ("True", "NewReplicaSetAvailable"),
        }
        pods = (await cluster.get("pods"))["items"]
        digest = {pod["metadata"]["labels"]["pod-template-hash"] for pod in pods}
        assert len(pods) == 3
        assert len(digest) == 1
        assert all(pod["metadata"]["generateName"] == f"web-{next(iter(digest))}-" for pod in pods)


@pytest.mark.parametrize(("surge", "unavailable"), [(1, 0), (0, 1), ("50%", "25%"), ("100%", 0), (0, "100%")])
async def test_a_rollout_stays_within_its_fences(surge: int | str, unavailable: int | str) -> None:
    def number(value: int | str, *, up: bool) -> int:
        if isinstance(value, int):
            return value
        return -(-4 * int(value[:-1]) // 100) if up else 4 * int(value[:-1]) // 100

    most, least = 4 + number(surge, up=True), 4 - number(unavailable, up=False)
    async with controlled("n1") as cluster:
        rolling = {"type": "RollingUpdate", "rollingUpdate": {"maxSurge": surge, "maxUnavailable": unavailable}}
        await cluster.create(f"{APPS}/deployments", workload("Deployment", replicas=4, strategy=rolling))
        await cluster.settle()
        await image(cluster, "image:2")
        seen = []
        for _ in range(40):
            await cluster.manager.settle()
            pods = [pod for pod in (await cluster.get("pods"))["items"] if not pod["metadata"].get("deletionTimestamp")]
            ready = sum(item["type"] == "Ready" for pod in pods for item in pod["status"].get("conditions", ()))
            seen.append((len(pods), ready))
            await cluster.kubelet.step()
        assert max(count for count, _ in seen) <= most
        assert min(ready for _, ready in seen) >= least
        assert await sets(cluster) == {"image:1": (0, "1"), "image:2": (4, "2")}


async def test_an_old_template_is_an_old_set_with_a_new_revision() -> None:
    async with controlled("n1") as cluster:
        await cluster.create(f"{APPS}/deployments", workload("Deployment", replicas=2))
        await cluster.settle()
        await image(cluster, "image:2")
        await cluster.settle()
        await image(cluster, "image:1")
        await cluster.settle()
        assert await sets(cluster) == {"image:1": (2, "3"), "image:2": (0, "2")}
        web = await cluster.get(WEB)
        assert web["metadata"]["annotations"]["deployment.kubernetes.io/revision"] == "3"
        items = (await cluster.get(f"{APPS}/replicasets"))["items"]
        history = [item["metadata"]["annotations"].get("deployment.kubernetes.io/revision-history") for item in items]
        assert sorted(filter(None, history)) == ["1"]


async def test_recreate_lets_all_go_before_any_comes() -> None:
    async with controlled("n1") as cluster:
        body = workload("Deployment", replicas=3, strategy={"type": "Recreate"})
        await cluster.create(f"{APPS}/deployments", body)
        await cluster.settle()
        await image(cluster, "image:2")
        mixed = []
        for _ in range(20):
            await cluster.manager.settle()
            pods = (await cluster.get("pods"))["items"]
            mixed.append({pod["spec"]["containers"][0]["image"] for pod in pods})
            await cluster.kubelet.step()
        assert {"image:1", "image:2"} not in mixed
        assert set() in mixed or {"image:1"} in mixed
        assert await sets(cluster) == {"image:1": (0, "1"), "image:2": (3, "2")}


async def test_a_rollout_that_gets_nowhere_is_late() -> None:
    async with controlled("n1") as cluster:
        cluster.kubelet.ready = lambda pod: bool(pod["spec"]["containers"][0]["image"] == "image:1")
        body = workload("Deployment", replicas=2, progressDeadlineSeconds=60)
        await cluster.create(f"{APPS}/deployments", body)
        await cluster.settle()
        await image(cluster, "image:2")
        await cluster.settle()
        assert conditions(await cluster.get(WEB))["Progressing"] == ("True", "ReplicaSetUpdated")
        await cluster.advance(61)
        web = await cluster.get(WEB)
        assert conditions(web)["Progressing"] == ("False", "ProgressDeadlineExceeded")
        assert web["status"]["availableReplicas"] == 2
        await image(cluster, "image:1")
        await cluster.settle()
        assert conditions(await cluster.get(WEB))["Progressing"] == ("True", "NewReplicaSetAvailable")


async def test_paused_changes_wait_and_scaling_does_not() -> None:
    async with controlled("n1") as cluster:
        await cluster.create(f"{APPS}/deployments", workload("Deployment", replicas=2))
        await cluster.settle()
        await cluster.patch(WEB, {"spec": {"paused": True}})
        await image(cluster, "image:2")
        await cluster.patch(f"{WEB}/scale", {"spec": {"replicas": 5}})
        await cluster.settle()
        assert await sets(cluster) == {"image:1": (5, "1")}
        assert conditions(await cluster.get(WEB))["Progressing"] == ("Unknown", "DeploymentPaused")
        await cluster.patch(WEB, {"spec": {"paused": None}})
        await cluster.settle()
        assert await sets(cluster) == {"image:1": (0, "1"), "image:2": (5, "2")}


async def test_a_scale_in_the_middle_is_shared() -> None:
    async with controlled("n1") as cluster:
        cluster.kubelet.ready = lambda pod: bool(pod["spec"]["containers"][0]["image"] == "image:1")
        rolling = {"type": "RollingUpdate", "rollingUpdate": {"maxSurge": 3, "maxUnavailable": 2}}
        await cluster.create(f"{APPS}/deployments", workload("Deployment", replicas=10, strategy=rolling))
        await cluster.settle()
        await image(cluster, "image:2")
        await cluster.settle()
        assert await sets(cluster) == {"image:1": (8, "1"), "image:2": (5, "2")}
        await cluster.patch(f"{WEB}/scale", {"spec": {"replicas": 15}})
        await cluster.settle()
        # The example of the Kubernetes documentation: of five more replicas three go to the larger set, two to the new.
        assert await sets(cluster) == {"image:1": (11, "1"), "image:2": (7, "2")}


async def test_old_sets_are_kept_up_to_the_limit() -> None:
    async with controlled("n1") as cluster:
        await cluster.create(f"{APPS}/deployments", workload("Deployment", replicas=1, revisionHistoryLimit=1))
        for number in range(2, 6):
            await cluster.settle()
            await image(cluster, f"image:{number}")
        await cluster.settle()
        assert await sets(cluster) == {"image:4": (0, "4"), "image:5": (1, "5")}


async def test_what_matches_is_adopted_and_what_does_not_is_let_go() -> None:
    async with controlled("n1") as cluster:
        body = workload("ReplicaSet", replicas=2)
        await cluster.create(
            "pods", {**body["spec"]["template"], "metadata": {"name": "orphan", "labels": {"app": "web"}}}
        )
        await cluster.create(f"{APPS}/replicasets", body)
        await cluster.settle()
        assert len(await cluster.names("pods")) == 2
        adopted = await cluster.get("pods/orphan")
        assert adopted["metadata"]["ownerReferences"][0]["kind"] == "ReplicaSet"
        await cluster.patch("pods/orphan", {"metadata": {"labels": {"app": "other"}}})
        await cluster.settle()
        assert "ownerReferences" not in (await cluster.get("pods/orphan"))["metadata"]
        assert len(await cluster.names("pods")) == 3


async def test_a_quota_that_refuses_pods_is_said_in_conditions_and_events() -> None:
    async with controlled("n1") as cluster:
        await cluster.create("resourcequotas", {"metadata": {"name": "q"}, "spec": {"hard": {"pods": "1"}}})
        await cluster.create(f"{APPS}/deployments", workload("Deployment", replicas=3))
        await cluster.settle()
        web = await cluster.get(WEB)
        assert conditions(web)["ReplicaFailure"] == ("True", "FailedCreate")
        events = (await cluster.get("events"))["items"]
        failed = [event for event in events if event["reason"] == "FailedCreate"]
        assert {event["type"] for event in failed} == {"Warning"}
        assert all(event["message"].startswith("Error creating: pods ") for event in failed)
        assert "exceeded quota: q" in failed[0]["message"]
        await cluster.delete("resourcequotas/q")
        await cluster.advance(10)
        web = await cluster.get(WEB)
        assert web["status"]["availableReplicas"] == 3
        assert "ReplicaFailure" not in conditions(web)


async def test_a_deployment_that_goes_takes_all_with_it() -> None:
    async with controlled("n1") as cluster:
        await cluster.create(f"{APPS}/deployments", workload("Deployment", replicas=3))
        await cluster.settle()
        await cluster.delete(WEB, {"propagationPolicy": "Foreground"})
        await cluster.settle()
        assert await cluster.names(f"{APPS}/replicasets") == []
        assert await cluster.names("pods") == []
        assert await cluster.names(f"{APPS}/deployments") == []
