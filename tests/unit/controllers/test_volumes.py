"""Pods with volumes in a whole cluster: when they wait and what they say, where they go, and what is written first."""

import contextlib
from collections.abc import AsyncIterator
from typing import Any

import pytest

from quartermaster.api.volumes import SELECTED_NODE
from quartermaster.kube.api import MERGE
from quartermaster.local.fleet.presets import parse
from tests.unit.cli.cluster import Local, condition, local, workload
from tests.unit.controllers.storage import (
    CLAIMS,
    CLASSES,
    DRIVER,
    DRIVERS,
    HOST,
    LOCAL,
    VOLUMES,
    Binder,
    binding,
    claim,
    storage_class,
    volume,
)

Json = dict[str, Any]
THREE = parse("pools: [{preset: dgx-h100, name: h, count: 3}]", "three")
PODS = "/api/v1/namespaces/default/pods"


@contextlib.asynccontextmanager
async def cluster(*objects: Json) -> AsyncIterator[tuple[Local, Binder]]:
    """Three machines of 8 GPUs, and these objects, before any pod is there."""
    async with local(THREE) as it, binding(it.client) as binder:
        await it.after(5)
        await it.client.send("POST", DRIVERS, {"metadata": {"name": DRIVER}, "spec": {}})
        for value in objects:
            await create(it, value)
        await it.after(1)
        yield it, binder


async def create(it: Local, value: Json) -> Json:
    path = CLASSES if "provisioner" in value else VOLUMES if "capacity" in value["spec"] else CLAIMS
    return await it.client.send("POST", path, value)


async def submit(it: Local, name: str, *claims: str, ephemeral: str = "", **more: Any) -> None:
    body = workload(name, run=None, **({"gpus": 1} | more))
    volumes: list[Json] = [{"name": each, "persistentVolumeClaim": {"claimName": each}} for each in claims]
    if ephemeral:
        template = {"spec": claim("", ephemeral)["spec"]}
        volumes.append({"name": "scratch", "ephemeral": {"volumeClaimTemplate": template}})
    body["spec"]["volumes"] = volumes
    await it.client.send("POST", PODS, body)


async def places(it: Local) -> dict[str, str]:
    return {name: pod["spec"].get("nodeName", "") for name, pod in (await it.pods()).items()}


async def why(it: Local, name: str = "p") -> str:
    return str(condition((await it.pods())[name], "PodScheduled").get("message", ""))


async def get(it: Local, name: str, path: str = CLAIMS) -> Json:
    return await it.client.send("GET", f"{path}/{name}")


async def selected(it: Local, name: str) -> str:
    return str((await get(it, name))["metadata"].get("annotations", {}).get(SELECTED_NODE, ""))


# ---- why it waits


async def test_a_pod_waits_for_a_claim_that_is_not_there_and_starts_when_it_is() -> None:
    async with cluster(storage_class("disk")) as (it, _):
        await submit(it, "p", "data")
        await it.after(10)
        assert "persistentvolumeclaim 'data' not found" in await why(it)
        await create(it, claim("data"))
        await it.after(10)
        assert (await places(it))["p"].startswith("h-")


async def test_a_claim_of_an_immediate_class_has_to_be_bound_first() -> None:
    async with cluster(storage_class("disk", waits=False)) as (it, binder):
        binder.idle = True
        await create(it, claim("data"))
        await submit(it, "p", "data")
        await it.after(10)
        said = await why(it)
        assert "pod has unbound immediate PersistentVolumeClaims" in said
        assert "waits for volume claim 'data' to be bound" in said
        assert not await selected(it, "data")
        binder.idle = False
        await create(it, claim("other"))
        await it.after(10)
        assert (await places(it))["p"]


async def test_a_claim_that_is_being_deleted_serves_nobody() -> None:
    held = claim("data")
    held["metadata"]["finalizers"] = ["example.com/held"]
    async with cluster(storage_class("disk"), held) as (it, _):
        await it.client.send("DELETE", f"{CLAIMS}/data")
        await submit(it, "p", "data")
        await it.after(10)
        assert "persistentvolumeclaim 'data' is being deleted" in await why(it)


async def test_a_class_that_is_not_there_is_named() -> None:
    async with cluster(claim("data", "nowhere")) as (it, _):
        await submit(it, "p", "data")
        await it.after(10)
        assert "storageclass 'nowhere' not found" in await why(it)


async def test_an_ephemeral_volume_needs_a_claim_that_is_the_pods_own() -> None:
    async with cluster(storage_class("disk")) as (it, _):
        await submit(it, "p", ephemeral="disk")
        await it.after(10)
        assert "waiting for ephemeral volume controller to create the persistentvolumeclaim 'p-scratch'" in await why(
            it
        )
        await create(it, claim("p-scratch"))
        await it.after(10)
        assert "persistentvolumeclaim 'p-scratch' was not created for this pod" in await why(it)
        uid = (await it.pods())["p"]["metadata"]["uid"]
        owner = {"apiVersion": "v1", "kind": "Pod", "name": "p", "uid": uid, "controller": True}
        change = {"metadata": {"ownerReferences": [owner]}}
        await it.client.send("PATCH", f"{CLAIMS}/p-scratch", change, media=MERGE)
        await it.after(10)
        assert (await places(it))["p"] == await selected(it, "p-scratch")


async def test_a_claim_for_one_pod_is_one_pods() -> None:
    async with cluster(storage_class("disk"), claim("data", mode="ReadWriteOncePod")) as (it, _):
        await submit(it, "first", "data")
        await it.after(10)
        assert (await places(it))["first"]
        await submit(it, "second", "data")
        await it.after(10)
        assert "is ReadWriteOncePod and in use by pod default/first" in await why(it, "second")
        await it.client.send("DELETE", f"{PODS}/first", {"gracePeriodSeconds": 0})
        await it.after(10)
        assert (await places(it)) == {"second": await selected(it, "data")}


async def test_two_pods_of_one_decision_do_not_share_a_claim_for_one_pod() -> None:
    async with cluster(storage_class("disk"), claim("data", mode="ReadWriteOncePod")) as (it, _):
        await submit(it, "a", "data")
        await submit(it, "b", "data")
        await it.after(60)
        assert sorted(bool(node) for node in (await places(it)).values()) == [False, True]


async def test_pods_of_a_group_that_need_not_be_whole_do_not_wait_for_the_claim_of_another() -> None:
    async with cluster(storage_class("disk")) as (it, _):
        body: Json = {"metadata": {"name": "g"}, "spec": {"min": 1}}
        head = {"apiVersion": "quartermaster.dev/v1alpha1", "kind": "PodGroup"}
        await it.client.send("POST", "/apis/quartermaster.dev/v1alpha1/namespaces/default/podgroups", head | body)
        for name, claims in (("a", ["missing"]), ("b", [])):
            pod = workload(name, run=None, gpus=1)
            pod["metadata"]["labels"] = {"quartermaster.dev/pod-group": "g"}
            pod["spec"]["volumes"] = [{"name": one, "persistentVolumeClaim": {"claimName": one}} for one in claims]
            await it.client.send("POST", PODS, pod)
        await it.after(10)
        found = await places(it)
        assert (found["a"], bool(found["b"])) == ("", True)
        assert "persistentvolumeclaim 'missing' not found" in await why(it, "a")


# ---- where it goes


async def test_a_pod_goes_where_its_bound_volume_is() -> None:
    bound = claim("data", "local", volumeName="v")
    async with cluster(LOCAL, volume("v", "local", "h-2"), bound) as (it, _):
        await submit(it, "p", "data")
        await it.after(10)
        assert await places(it) == {"p": "h-2"}


async def test_a_volume_that_no_node_reaches_keeps_the_pod_waiting_and_the_explanation_says_so() -> None:
    bound = claim("data", "local", volumeName="v")
    async with cluster(LOCAL, volume("v", "local", "elsewhere"), bound) as (it, _):
        await submit(it, "p", "data")
        await it.after(10)
        assert await places(it) == {"p": ""}
        assert "node selector or affinity" in await why(it)


async def test_a_volume_is_made_on_the_node_that_was_decided_before_the_pod_is_bound() -> None:
    async with cluster(storage_class("disk"), claim("data")) as (it, binder):
        binder.idle = True
        await submit(it, "p", "data")
        await it.after(10)
        node = await selected(it, "data")
        assert node.startswith("h-")
        assert await places(it) == {"p": ""}
        binder.idle = False
        await create(it, claim("nudge"))
        await it.after(5)
        assert await places(it) == {"p": node}
        assert binder.chosen == [("data", node)]


async def test_a_class_makes_volumes_only_in_its_topologies() -> None:
    topology = [{"matchLabelExpressions": [{"key": HOST, "values": ["h-1"]}]}]
    async with cluster(storage_class("disk", allowedTopologies=topology), claim("data")) as (it, _):
        await submit(it, "p", "data")
        await it.after(10)
        assert await places(it) == {"p": "h-1"}


async def test_a_local_volume_is_taken_that_fits_and_is_the_smallest() -> None:
    volumes = [
        volume("small", "local", "h-0", size="5Gi"),
        volume("large", "local", "h-1", size="100Gi"),
        volume("right", "local", "h-1", size="10Gi"),
        volume("other", "other", "h-2"),
        volume("block", "local", "h-2", volumeMode="Block"),
    ]
    async with cluster(LOCAL, *volumes, claim("data", "local")) as (it, _):
        await submit(it, "p", "data")
        await it.after(10)
        assert await places(it) == {"p": "h-1"}
        assert (await get(it, "data"))["spec"]["volumeName"] == "right"
        found = await get(it, "right", VOLUMES)
        assert found["metadata"]["annotations"] == {"pv.kubernetes.io/bound-by-controller": "yes"}


async def test_without_a_volume_that_fits_it_waits_until_there_is_one() -> None:
    async with cluster(LOCAL, volume("small", "local", "h-0", size="5Gi"), claim("data", "local")) as (it, _):
        await submit(it, "p", "data")
        await it.after(10)
        assert "didn't find available persistent volumes to bind" in await why(it)
        await create(it, volume("v", "local", "h-2"))
        await it.after(10)
        assert await places(it) == {"p": "h-2"}


async def test_two_claims_of_one_pod_have_a_volume_each_on_one_node() -> None:
    volumes = [volume("a", "local", "h-0"), volume("b", "local", "h-1"), volume("c", "local", "h-1")]
    async with cluster(LOCAL, *volumes, claim("one", "local"), claim("two", "local")) as (it, _):
        await submit(it, "p", "one", "two")
        await it.after(10)
        assert await places(it) == {"p": "h-1"}
        assert {(await get(it, name))["spec"]["volumeName"] for name in ("one", "two")} == {"b", "c"}


async def test_pods_that_come_at_once_get_a_volume_each() -> None:
    claims = [claim(f"data-{index}", "local") for index in range(3)]
    async with cluster(LOCAL, *(volume(f"v-{i}", "local", f"h-{i}") for i in range(3)), *claims) as (it, _):
        for index in range(3):
            await submit(it, f"p-{index}", f"data-{index}")
        await it.after(60)
        assert sorted((await places(it)).values()) == ["h-0", "h-1", "h-2"]


async def test_a_gang_gets_a_volume_each_though_all_of_it_would_fit_on_one_node() -> None:
    claims = [claim(f"data-{index}", "local") for index in range(3)]
    async with cluster(LOCAL, *(volume(f"v-{i}", "local", f"h-{i}") for i in range(3)), *claims) as (it, _):
        for index in range(3):
            await submit(it, f"g-{index}", f"data-{index}", gang=3)
        await it.after(120)
        assert sorted((await places(it)).values()) == ["h-0", "h-1", "h-2"]


# ---- gangs and failures


async def test_all_claims_of_a_gang_are_bound_before_any_of_its_pods() -> None:
    async with cluster(storage_class("disk"), claim("a"), claim("b")) as (it, binder):
        binder.idle = True
        await submit(it, "g-0", "a", gang=3, gpus=8)
        await submit(it, "g-1", "b", gang=3, gpus=8)
        await submit(it, "g-2", gang=3, gpus=8)
        await it.after(10)
        assert await selected(it, "a")
        assert await selected(it, "b")
        assert set((await places(it)).values()) == {""}
        binder.idle = False
        await create(it, claim("nudge"))
        await it.after(10)
        assert sorted((await places(it)).values()) == ["h-0", "h-1", "h-2"]


async def test_a_provisioner_without_room_takes_the_node_off_and_the_gang_is_decided_on_again() -> None:
    async with cluster(storage_class("disk"), claim("a")) as (it, binder):
        await submit(it, "probe", "a")
        await it.after(10)
        first = (await places(it))["probe"]
        binder.refuses = {first}
        await it.client.send("DELETE", f"{PODS}/probe", {"gracePeriodSeconds": 0})
        await create(it, claim("b"))
        await submit(it, "g-0", "b", gang=2)
        await submit(it, "g-1", gang=2)
        await it.after(10)
        assert ("b", first) in binder.chosen
        assert set((await places(it)).values()) == {""}, "held back: nothing of the gang is bound"
        binder.refuses = set()
        await it.after(300)
        assert "" not in (await places(it)).values()


async def test_after_ten_minutes_the_annotation_is_taken_off_and_the_devices_are_free() -> None:
    async with cluster(storage_class("disk"), claim("data")) as (it, binder):
        binder.idle = True
        for index in range(3):
            await submit(it, f"g-{index}", *(["data"] if not index else []), gang=3, gpus=8)
        await it.after(10)
        node = await selected(it, "data")
        assert node
        await submit(it, "single", gpus=8)
        await it.after(580)
        assert await selected(it, "data") == node
        assert set((await places(it)).values()) == {""}, "the gang has all devices"
        await it.after(15)
        found = await places(it)
        assert found.pop("single"), "the gang was refused, and is held back"
        assert set(found.values()) == {""}
        assert not await selected(it, "data")


async def test_a_pod_that_goes_while_its_claim_is_served_gives_everything_back() -> None:
    async with cluster(storage_class("disk"), claim("data")) as (it, binder):
        binder.idle = True
        await submit(it, "p", "data")
        await it.after(10)
        assert await selected(it, "data")
        await it.client.send("DELETE", f"{PODS}/p", {"gracePeriodSeconds": 0})
        await it.after(10)
        assert not await selected(it, "data")


async def test_a_claim_that_two_pods_of_a_gang_share_keeps_them_where_its_volume_is() -> None:
    volumes = [volume(f"v-{index}", "local", f"h-{index}") for index in range(3)]
    async with cluster(LOCAL, *volumes, claim("data", "local")) as (it, _):
        await submit(it, "g-0", "data", gang=2, gpus=4)
        await submit(it, "g-1", "data", gang=2, gpus=4)
        await it.after(120)
        found = set((await places(it)).values())
        assert len(found) == 1
        assert "" not in found


@pytest.mark.parametrize("mode", ["WaitForFirstConsumer", "Immediate"])
async def test_a_pod_of_another_scheduler_is_left_alone(mode: str) -> None:
    async with cluster(storage_class("disk", waits=mode != "Immediate"), claim("data")) as (it, _):
        body = workload("p", run=None, gpus=1)
        body["spec"] |= {
            "schedulerName": "other",
            "volumes": [{"name": "data", "persistentVolumeClaim": {"claimName": "data"}}],
        }
        await it.client.send("POST", PODS, body)
        await it.after(10)
        assert await places(it) == {"p": ""}
        assert not await selected(it, "data")
