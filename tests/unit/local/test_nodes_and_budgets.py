"""Nodes that fall silent, pods that have to leave, budgets that hold them, slices that list them."""

from typing import Any

import pytest

from quartermaster.testing.controllers import APPS, NODES, Controlled, controlled, workload
from quartermaster.testing.kubernetes import Refused, pod

Json = dict[str, Any]
BUDGETS = "/apis/policy/v1/namespaces/default/poddisruptionbudgets"
SLICES = "/apis/discovery.k8s.io/v1/namespaces/default/endpointslices"


async def taints(cluster: Controlled, node: str) -> set[tuple[str, str]]:
    listed = (await cluster.get(f"{NODES}/{node}"))["spec"].get("taints", ())
    return {(taint["key"].removeprefix("node.kubernetes.io/"), taint["effect"]) for taint in listed}


async def ready(cluster: Controlled, path: str) -> str:
    listed = (await cluster.get(path))["status"]["conditions"]
    return str(next(item["status"] for item in listed if item["type"] == "Ready"))


async def test_a_node_that_falls_silent_is_left_after_its_pods_have_waited() -> None:
    async with controlled("n1", "n2") as cluster:
        await cluster.create(f"{APPS}/deployments", workload("Deployment", replicas=2))
        await cluster.settle()
        (lost,) = [item for item in (await cluster.get("pods"))["items"] if item["spec"]["nodeName"] == "n1"]
        del cluster.alive["n1"]
        cluster.kubelet.runs = False
        await cluster.advance(49)
        assert await ready(cluster, f"{NODES}/n1") == "True"
        await cluster.advance(1)
        assert await ready(cluster, f"{NODES}/n1") == "Unknown"
        assert await taints(cluster, "n1") == {("unreachable", "NoSchedule"), ("unreachable", "NoExecute")}
        assert await taints(cluster, "n2") == set()
        path = f"pods/{lost['metadata']['name']}"
        assert await ready(cluster, path) == "False"
        await cluster.advance(299)
        assert "deletionTimestamp" not in (await cluster.get(path))["metadata"]
        await cluster.advance(1)
        gone = await cluster.get(path)
        assert gone["metadata"]["deletionTimestamp"]
        reasons = {item["type"]: item.get("reason") for item in gone["status"]["conditions"]}
        assert reasons["DisruptionTarget"] == "DeletionByTaintManager"
        assert len(await cluster.names("pods")) == 3


async def test_a_node_that_is_heard_of_again_is_taken_back() -> None:
    async with controlled("n1", "n2") as cluster:
        del cluster.alive["n1"]
        await cluster.advance(60)
        assert ("unreachable", "NoExecute") in await taints(cluster, "n1")
        now = {"lastHeartbeatTime": "2026-01-01T00:01:00Z", "lastTransitionTime": "2026-01-01T00:01:00Z"}
        told = {"status": {"conditions": [{"type": "Ready", "status": "True", "reason": "KubeletReady", **now}]}}
        await cluster.heartbeat("n1")
        await cluster.patch(f"{NODES}/n1/status", told, "strategic")
        await cluster.settle()
        assert await taints(cluster, "n1") == set()


async def zone_of(cluster: Controlled, zone: str, count: int) -> list[str]:
    names = [f"{zone}{number}" for number in range(count)]
    await cluster.add_nodes(*names)
    for name in names:
        await cluster.patch(f"{NODES}/{name}", {"metadata": {"labels": {"topology.kubernetes.io/zone": zone}}})
    return names


async def evicted(cluster: Controlled, names: list[str]) -> int:
    return sum([("unreachable", "NoExecute") in await taints(cluster, name) for name in names])


async def test_a_zone_loses_the_pods_of_one_node_in_ten_seconds() -> None:
    async with controlled() as cluster:
        names = await zone_of(cluster, "a", 8)
        for name in names[:3]:
            del cluster.alive[name]
        for passed, count in ((50, 1), (9, 1), (1, 2), (10, 3)):
            await cluster.advance(passed)
            assert await evicted(cluster, names) == count
        assert sum([("unreachable", "NoSchedule") in await taints(cluster, name) for name in names]) == 3


async def test_a_zone_that_is_mostly_gone_is_spared_and_one_that_is_all_gone_is_not() -> None:
    async with controlled() as cluster:
        sick, dead = await zone_of(cluster, "a", 5), await zone_of(cluster, "b", 2)
        for name in [*sick[:4], *dead]:
            del cluster.alive[name]
        await cluster.advance(200)
        assert await evicted(cluster, sick) == 0
        assert await evicted(cluster, dead) == 2


async def test_nobody_is_evicted_when_all_nodes_are_gone() -> None:
    async with controlled() as cluster:
        names = await zone_of(cluster, "a", 2)
        del cluster.alive[names[0]]
        await cluster.advance(100)
        assert await evicted(cluster, names) == 1
        del cluster.alive[names[1]]
        await cluster.advance(100)
        assert await evicted(cluster, names) == 0


async def test_a_node_that_says_it_is_unwell_is_tainted_for_that() -> None:
    async with controlled("n1", "n2") as cluster:
        for kind, status in (("Ready", "False"), ("MemoryPressure", "True")):
            told = {"type": kind, "status": status, "lastTransitionTime": "2026-01-01T00:00:00Z"}
            await cluster.patch(f"{NODES}/n1/status", {"status": {"conditions": [told]}}, "strategic")
        await cluster.patch(f"{NODES}/n1", {"spec": {"unschedulable": True}})
        await cluster.settle()
        assert await taints(cluster, "n1") == {
            ("not-ready", "NoSchedule"),
            ("not-ready", "NoExecute"),
            ("memory-pressure", "NoSchedule"),
            ("unschedulable", "NoSchedule"),
        }


@pytest.mark.parametrize(
    ("tolerations", "leaves"),
    [
        ([], 0),
        ([{"key": "k", "operator": "Exists"}], None),
        ([{"key": "k", "operator": "Equal", "value": "v", "effect": "NoExecute"}], None),
        ([{"key": "k", "operator": "Equal", "value": "w"}], 0),
        ([{"key": "k", "operator": "Exists", "effect": "NoExecute", "tolerationSeconds": 30}], 30),
        ([{"operator": "Exists"}], None),
    ],
)
async def test_taints_evict_those_who_do_not_bear_them(tolerations: list[Json], leaves: int | None) -> None:
    async with controlled("n1") as cluster:
        await cluster.create("pods", pod("p", tolerations=tolerations))
        await cluster.settle()
        await cluster.patch(f"{NODES}/n1", {"spec": {"taints": [{"key": "k", "value": "v", "effect": "NoExecute"}]}})
        await cluster.settle()
        for moment in range(0, 60, 15):
            there = leaves is None or moment < leaves
            assert await cluster.names("pods") == (["p"] if there else []), moment
            await cluster.advance(15)


async def test_pods_of_a_node_that_is_gone_are_removed() -> None:
    async with controlled("n1", "n2") as cluster:
        await cluster.create(f"{APPS}/deployments", workload("Deployment", replicas=2))
        await cluster.settle()
        await cluster.delete(f"{NODES}/n1")
        cluster.alive.pop("n1")
        await cluster.advance(41)
        assert {item["spec"]["nodeName"] for item in (await cluster.get("pods"))["items"]} == {"n2"}
        assert len(await cluster.names("pods")) == 2


@pytest.mark.parametrize(
    ("spec", "expected", "desired", "allowed"),
    [
        ({"minAvailable": 2}, 4, 2, 2),
        ({"minAvailable": "50%"}, 4, 2, 2),
        ({"minAvailable": "60%"}, 4, 3, 1),
        ({"maxUnavailable": 1}, 4, 3, 1),
        ({"maxUnavailable": "30%"}, 4, 2, 2),
        ({"minAvailable": 9}, 4, 9, 0),
    ],
)
async def test_a_budget_says_how_many_may_go(spec: Json, expected: int, desired: int, allowed: int) -> None:
    async with controlled("n1") as cluster:
        budget = {"metadata": {"name": "b"}, "spec": {"selector": {"matchLabels": {"app": "web"}}, **spec}}
        await cluster.create(BUDGETS, budget)
        await cluster.create(f"{APPS}/deployments", workload("Deployment", replicas=4))
        await cluster.settle()
        told = (await cluster.get(f"{BUDGETS}/b"))["status"]
        numbers = (told["expectedPods"], told["desiredHealthy"], told["disruptionsAllowed"], told["currentHealthy"])
        assert numbers == (expected, desired, allowed, 4)
        assert told["conditions"][0]["reason"] == ("SufficientPods" if allowed else "InsufficientPods")


async def test_evictions_wait_for_the_budget() -> None:
    async with controlled("n1") as cluster:
        spec = {"selector": {"matchLabels": {"app": "web"}}, "maxUnavailable": 1}
        await cluster.create(BUDGETS, {"metadata": {"name": "b"}, "spec": spec})
        await cluster.create(f"{APPS}/deployments", workload("Deployment", replicas=3))
        await cluster.settle()
        first, second, _ = await cluster.names("pods")
        await cluster.create(f"pods/{first}/eviction", {"metadata": {"name": first}})
        with pytest.raises(Refused) as refused:
            await cluster.create(f"pods/{second}/eviction", {"metadata": {"name": second}})
        assert refused.value.code == 429
        await cluster.settle()
        await cluster.create(f"pods/{second}/eviction", {"metadata": {"name": second}})
        await cluster.settle()
        told = (await cluster.get(f"{BUDGETS}/b"))["status"]
        assert (told["disruptionsAllowed"], told.get("disruptedPods")) == (1, None)


async def test_pods_that_nobody_scales_count_for_nothing_in_a_share() -> None:
    async with controlled("n1") as cluster:
        spec = {"selector": {"matchLabels": {"app": "bare"}}, "maxUnavailable": 1}
        await cluster.create(BUDGETS, {"metadata": {"name": "b"}, "spec": spec})
        await cluster.create("pods", pod() | {"metadata": {"name": "p", "labels": {"app": "bare"}}})
        await cluster.settle()
        told = (await cluster.get(f"{BUDGETS}/b"))["status"]
        assert (told["disruptionsAllowed"], told["conditions"][0]["reason"]) == (0, "InsufficientPods")


async def test_slices_follow_the_pods_of_a_service() -> None:
    async with controlled("n1") as cluster:
        service = {
            "metadata": {"name": "web"},
            "spec": {"selector": {"app": "web"}, "ports": [{"port": 80, "targetPort": "http"}]},
        }
        await cluster.create("services", service)
        body = workload("Deployment", replicas=101)
        body["spec"]["template"]["spec"]["containers"][0]["ports"] = [{"name": "http", "containerPort": 8080}]
        await cluster.create(f"{APPS}/deployments", body)
        await cluster.settle()
        slices = (await cluster.get(SLICES))["items"]
        assert sorted(len(found["endpoints"]) for found in slices) == [1, 100]
        assert {found["ports"][0]["port"] for found in slices} == {8080}
        assert all(endpoint["conditions"]["ready"] for found in slices for endpoint in found["endpoints"])
        await cluster.patch(f"{APPS}/deployments/web/scale", {"spec": {"replicas": 1}})
        await cluster.settle()
        (only,) = (await cluster.get(SLICES))["items"]
        (name,) = await cluster.names("pods")
        assert [endpoint["targetRef"]["name"] for endpoint in only["endpoints"]] == [name]
        await cluster.delete("services/web")
        await cluster.settle()
        assert await cluster.names(SLICES) == []


async def test_every_namespace_has_its_account() -> None:
    async with controlled() as cluster:
        await cluster.create("/api/v1/namespaces", {"metadata": {"name": "team"}})
        await cluster.settle()
        for namespace in ("team", "default", "kube-system"):
            assert await cluster.names(f"/api/v1/namespaces/{namespace}/serviceaccounts") == ["default"]
        await cluster.delete("/api/v1/namespaces/team/serviceaccounts/default")
        await cluster.settle()
        assert await cluster.names("/api/v1/namespaces/team/serviceaccounts") == ["default"]
        await cluster.delete("/api/v1/namespaces/team")
        await cluster.settle()
        assert "team" not in await cluster.names("/api/v1/namespaces")
