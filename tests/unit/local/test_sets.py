"""StatefulSets and DaemonSets end to end: order, names, claims, partitions, nodes, revisions."""

from typing import Any

import pytest

from quartermaster.testing.controllers import APPS, NODES, Controlled, controlled, workload

Json = dict[str, Any]
WEB = f"{APPS}/statefulsets/web"
AGENT = f"{APPS}/daemonsets/agent"


async def images(cluster: Controlled) -> dict[str, str]:
    return {
        pod["metadata"]["name"]: pod["spec"]["containers"][0]["image"] for pod in (await cluster.get("pods"))["items"]
    }


async def image(cluster: Controlled, path: str, name: str) -> None:
    patch = {"spec": {"template": {"spec": {"containers": [{"name": "main", "image": name}]}}}}
    await cluster.patch(path, patch, "strategic")


async def steps(cluster: Controlled, count: int) -> list[list[str]]:
    """Names of pods as the controllers leave them, step by step of the kubelet."""
    seen = []
    for _ in range(count):
        await cluster.manager.settle()
        seen.append(await cluster.names("pods"))
        await cluster.kubelet.step()
    return seen


async def test_ordered_pods_come_one_by_one_and_go_in_reverse() -> None:
    async with controlled("n1") as cluster:
        await cluster.create(f"{APPS}/statefulsets", workload("StatefulSet", replicas=3, serviceName="web"))
        assert await steps(cluster, 3) == [["web-0"], ["web-0", "web-1"], ["web-0", "web-1", "web-2"]]
        await cluster.settle()
        await cluster.patch(f"{WEB}/scale", {"spec": {"replicas": 1}})
        seen = await steps(cluster, 4)
        assert [names for index, names in enumerate(seen) if index == 0 or names != seen[index - 1]] == [
            ["web-0", "web-1", "web-2"],
            ["web-0", "web-1"],
            ["web-0"],
        ]


async def test_an_ordered_set_waits_for_a_pod_that_is_not_ready() -> None:
    async with controlled("n1") as cluster:
        cluster.kubelet.ready = lambda pod: bool(pod["metadata"]["name"] != "web-1")
        await cluster.create(f"{APPS}/statefulsets", workload("StatefulSet", replicas=3, serviceName="web"))
        await cluster.settle()
        assert await cluster.names("pods") == ["web-0", "web-1"]


async def test_parallel_pods_come_at_once_with_their_identity_and_claims() -> None:
    async with controlled("n1") as cluster:
        claim = {
            "metadata": {"name": "data"},
            "spec": {"accessModes": ["ReadWriteOnce"], "resources": {"requests": {"storage": "1Gi"}}},
        }
        body = workload(
            "StatefulSet",
            replicas=2,
            serviceName="web",
            podManagementPolicy="Parallel",
            volumeClaimTemplates=[claim],
            ordinals={"start": 5},
        )
        await cluster.create(f"{APPS}/statefulsets", body)
        assert (await steps(cluster, 1))[0] == ["web-5", "web-6"]
        await cluster.settle()
        pod = await cluster.get("pods/web-6")
        assert (pod["spec"]["hostname"], pod["spec"]["subdomain"]) == ("web-6", "web")
        assert pod["spec"]["volumes"][0] == {"name": "data", "persistentVolumeClaim": {"claimName": "data-web-6"}}
        assert pod["metadata"]["labels"]["apps.kubernetes.io/pod-index"] == "6"
        assert pod["metadata"]["labels"]["statefulset.kubernetes.io/pod-name"] == "web-6"
        assert await cluster.names("persistentvolumeclaims") == ["data-web-5", "data-web-6"]
        await cluster.patch(f"{WEB}/scale", {"spec": {"replicas": 0}})
        await cluster.settle()
        assert await cluster.names("pods") == []
        assert await cluster.names("persistentvolumeclaims") == ["data-web-5", "data-web-6"]


async def test_a_partition_keeps_lower_ordinals_as_they_were() -> None:
    async with controlled("n1") as cluster:
        strategy = {"type": "RollingUpdate", "rollingUpdate": {"partition": 2}}
        body = workload("StatefulSet", replicas=4, serviceName="web", updateStrategy=strategy)
        await cluster.create(f"{APPS}/statefulsets", body)
        await cluster.settle()
        await image(cluster, WEB, "image:2")
        await cluster.settle()
        assert await images(cluster) == {"web-0": "image:1", "web-1": "image:1", "web-2": "image:2", "web-3": "image:2"}
        told = (await cluster.get(WEB))["status"]
        assert (told["currentReplicas"], told["updatedReplicas"]) == (2, 2)
        await cluster.delete("pods/web-0")
        await cluster.settle()
        assert (await images(cluster))["web-0"] == "image:1"
        await cluster.patch(WEB, {"spec": {"updateStrategy": {"rollingUpdate": {"partition": 0}}}})
        await cluster.settle()
        assert set((await images(cluster)).values()) == {"image:2"}
        told = (await cluster.get(WEB))["status"]
        assert told["currentRevision"] == told["updateRevision"]
        assert (told["currentReplicas"], told["updatedReplicas"], told["readyReplicas"]) == (4, 4, 4)


async def test_revisions_are_kept_and_come_again_on_top() -> None:
    async with controlled("n1") as cluster:
        await cluster.create(f"{APPS}/statefulsets", workload("StatefulSet", replicas=1, serviceName="web"))
        await cluster.settle()
        for name in ("image:2", "image:1"):
            await image(cluster, WEB, name)
            await cluster.settle()
        found = (await cluster.get(f"{APPS}/controllerrevisions"))["items"]
        assert sorted(item["revision"] for item in found) == [2, 3]
        assert await images(cluster) == {"web-0": "image:1"}


async def test_a_failed_member_is_replaced() -> None:
    async with controlled("n1") as cluster:
        await cluster.create(f"{APPS}/statefulsets", workload("StatefulSet", replicas=1, serviceName="web"))
        await cluster.settle()
        before = await cluster.get("pods/web-0")
        await cluster.kubelet.say(before, "Failed")
        await cluster.settle()
        after = await cluster.get("pods/web-0")
        assert after["metadata"]["uid"] != before["metadata"]["uid"]
        assert after["status"]["phase"] == "Running"


async def test_daemons_run_where_selector_and_taints_let_them() -> None:
    async with controlled("n1") as cluster:
        await cluster.add_nodes("n2", taints=[{"key": "gpu", "effect": "NoSchedule"}])
        await cluster.add_nodes("n3", unschedulable=True)
        await cluster.create(f"{APPS}/daemonsets", workload("DaemonSet", "agent"))
        await cluster.settle()

        async def where() -> list[str]:
            return sorted(pod["spec"]["nodeName"] for pod in (await cluster.get("pods"))["items"])

        assert await where() == ["n1", "n3"]
        told = (await cluster.get(AGENT))["status"]
        assert (told["desiredNumberScheduled"], told["numberReady"], told["numberAvailable"]) == (2, 2, 2)
        await cluster.add_nodes("n4")
        await cluster.settle()
        assert await where() == ["n1", "n3", "n4"]
        await cluster.patch(AGENT, {"spec": {"template": {"spec": {"nodeSelector": {"disk": "ssd"}}}}})
        await cluster.settle()
        assert await where() == []
        await cluster.patch(f"{NODES}/n1", {"metadata": {"labels": {"disk": "ssd"}}})
        await cluster.settle()
        assert await where() == ["n1"]


@pytest.mark.parametrize("most", [1, 2, "50%"])
async def test_daemons_roll_within_what_may_be_missing(most: int | str) -> None:
    nodes = ["n1", "n2", "n3", "n4"]
    async with controlled(*nodes) as cluster:
        strategy = {"type": "RollingUpdate", "rollingUpdate": {"maxUnavailable": most}}
        await cluster.create(f"{APPS}/daemonsets", workload("DaemonSet", "agent", updateStrategy=strategy))
        await cluster.settle()
        await image(cluster, AGENT, "image:2")
        least = 4
        for _ in range(30):
            await cluster.manager.settle()
            pods = (await cluster.get("pods"))["items"]
            ready = [
                pod
                for pod in pods
                if not pod["metadata"].get("deletionTimestamp") and pod["status"]["phase"] == "Running"
            ]
            least = min(least, len(ready))
            await cluster.kubelet.step()
        assert least == 4 - (1 if most == 1 else 2)
        assert set((await images(cluster)).values()) == {"image:2"}
        assert (await cluster.get(AGENT))["status"]["updatedNumberScheduled"] == 4
