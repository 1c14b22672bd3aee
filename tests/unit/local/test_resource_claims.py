"""Claims of pods: made from templates, allocated where the pod is bound, given back when it has ended."""

from collections.abc import Callable
from typing import Any

import pytest

from quartermaster.local.controllers import devices
from quartermaster.local.controllers.resourceclaims import DEVICES
from quartermaster.local.fleet.devices import device_classes, resource_slices
from quartermaster.local.fleet.presets import machine
from quartermaster.testing.controllers import Controlled, controlled
from quartermaster.testing.kubernetes import pod

Json = dict[str, Any]
DRA = "/apis/resource.k8s.io/v1"
CLAIMS, TEMPLATES = f"{DRA}/namespaces/default/resourceclaims", f"{DRA}/namespaces/default/resourceclaimtemplates"
CLASSES = {item["metadata"]["name"]: item for item in device_classes()}


def exactly(name: str = "gpu", kind: str = "gpu.nvidia.com", **more: Any) -> Json:
    return {"name": name, "exactly": {"deviceClassName": kind, **more}}


def claim(*requests: Json, **more: Any) -> Json:
    return {"metadata": {"name": "c"}, "spec": {"devices": {"requests": list(requests), **more}}}


def cel(expression: str) -> list[Json]:
    return [{"cel": {"expression": expression}}]


def cel_of(pattern: str) -> Callable[[str], list[Json]]:
    return lambda value: cel(pattern.format(value))


def slices(preset: str = "dgx-h100", *, by_claim: bool = False) -> list[Json]:
    kind = machine(preset)
    return resource_slices(kind, "n", config=kind.mig, by_claim=by_claim)


def allocated(*claims: Json, offered: list[Json] | None = None, taken: tuple[str, ...] = ()) -> list[list[str]]:
    found = devices.allocate(
        claims,
        node="n",
        slices=slices() if offered is None else offered,
        classes=CLASSES,
        taken=[("gpu.nvidia.com", "n", name) for name in taken],
    )
    return [[item["device"] for item in allocation["devices"]["results"]] for allocation in found]


def test_the_first_free_devices_in_order_of_their_names_are_taken() -> None:
    assert allocated(claim(exactly(count=2)), taken=("gpu-1",)) == [["gpu-0", "gpu-2"]]
    assert allocated(claim(exactly()), claim(exactly())) == [["gpu-0"], ["gpu-1"]]


@pytest.mark.parametrize(
    ("expression", "names"),
    [
        ("device.attributes['gpu.nvidia.com'].productName == 'NVIDIA H100 80GB HBM3'", ["gpu-0"]),
        ("device.attributes['resource.kubernetes.io'].numaNode == 1", ["gpu-4"]),
        ("device.capacity['gpu.nvidia.com'].memory.compareTo(quantity('40Gi')) >= 0", ["gpu-0"]),
        ("device.driver == 'gpu.nvidia.com' && device.attributes['gpu.nvidia.com'].type == 'gpu'", ["gpu-0"]),
    ],
)
def test_selectors_are_cel(expression: str, names: list[str]) -> None:
    assert allocated(claim(exactly(selectors=cel(expression)))) == [names]


@pytest.mark.parametrize(
    "request_",
    [
        exactly(count=9),
        exactly(selectors=cel("device.capacity['gpu.nvidia.com'].memory.compareTo(quantity('90Gi')) > 0")),
        exactly(selectors=cel("device.attributes['gpu.nvidia.com'].notThere == 'x'")),
        exactly(selectors=cel("device.driver ==")),
        exactly(kind="nobody.knows.it"),
        exactly(kind="mig.nvidia.com"),
        exactly(capacity={"requests": {"memory": "1Gi"}}),
    ],
)
def test_what_cannot_be_had_is_refused(request_: Json) -> None:
    with pytest.raises(devices.Impossible):
        allocated(claim(request_))


def test_all_means_every_one_and_none_less() -> None:
    wanted = claim(
        exactly(allocationMode="All", selectors=cel("device.attributes['resource.kubernetes.io'].numaNode == 1"))
    )
    assert allocated(wanted) == [["gpu-4", "gpu-5", "gpu-6", "gpu-7"]]
    with pytest.raises(devices.Impossible):
        allocated(wanted, taken=("gpu-5",))


def test_the_next_alternative_is_taken_when_the_first_cannot_be_had() -> None:
    options = [
        {"name": "big", "deviceClassName": "gpu.nvidia.com", "count": 9},
        {"name": "small", "deviceClassName": "gpu.nvidia.com"},
    ]
    found = devices.allocate(
        [claim({"name": "gpu", "firstAvailable": options})], node="n", slices=slices(), classes=CLASSES, taken=[]
    )
    assert [item["request"] for item in found[0]["devices"]["results"]] == ["gpu/small"]


def test_constraints_bind_devices_together_or_apart() -> None:
    cut = slices("a100-mig")
    three = [exactly(f"m{number}", "mig.nvidia.com") for number in range(3)]
    taken = tuple(device["name"] for device in cut[0]["spec"]["devices"][:6])  # one is left on the first GPU
    (together,) = allocated(
        claim(*three, constraints=[{"matchAttribute": "gpu.nvidia.com/parentUUID"}]), offered=cut, taken=taken
    )
    assert {name.partition("-mig")[0] for name in together} == {"gpu-1"}
    (apart,) = allocated(claim(*three, constraints=[{"distinctAttribute": "gpu.nvidia.com/parentUUID"}]), offered=cut)
    assert [name.partition("-mig")[0] for name in apart] == ["gpu-0", "gpu-1", "gpu-2"]


def test_a_pool_that_is_not_complete_offers_nothing_and_a_newer_generation_replaces_an_older() -> None:
    (old,) = slices()
    new = {**old, "metadata": {"name": "new"}, "spec": {**old["spec"], "devices": old["spec"]["devices"][:1]}}
    new["spec"]["pool"] = {"name": "n", "generation": 2, "resourceSliceCount": 1}
    with pytest.raises(devices.Impossible):
        allocated(claim(exactly(count=2)), offered=[old, new])
    new["spec"]["pool"] = {"name": "n", "generation": 2, "resourceSliceCount": 2}
    with pytest.raises(devices.Impossible):
        allocated(claim(exactly()), offered=[old, new])


def test_a_search_that_leads_nowhere_ends() -> None:
    odd = [exactly(f"r{number}", count=2) for number in range(6)]
    with pytest.raises(devices.Impossible):
        allocated(claim(*odd, constraints=[{"matchAttribute": "gpu.nvidia.com/uuid"}]))


@pytest.mark.parametrize(
    ("profiles", "devices_"),
    [
        (["1g.10gb"] * 7, [f"gpu-0-mig-1g10gb-19-{start}" for start in range(7)]),
        (["3g.40gb", "4g.40gb"], ["gpu-0-mig-3g40gb-9-4", "gpu-0-mig-4g40gb-5-0"]),
        (["7g.80gb"], ["gpu-0-mig-7g80gb-0-0"]),
        (["3g.40gb", "2g.20gb", "1g.10gb", "1g.10gb"], None),
    ],
)
def test_instances_of_one_gpu_share_its_counters(profiles: list[str], devices_: list[str] | None) -> None:
    one = cel_of("device.attributes['gpu.nvidia.com'].profile == '{}'")
    wanted = claim(
        *(exactly(f"m{number}", "mig.nvidia.com", selectors=one(profile)) for number, profile in enumerate(profiles)),
        constraints=[{"matchAttribute": "gpu.nvidia.com/parentUUID"}],
    )
    (found,) = allocated(wanted, offered=slices(by_claim=True))
    assert {name.partition("-mig")[0] for name in found} == {"gpu-0"}
    assert devices_ is None or found == devices_
    other = claim(exactly(), exactly("m", "mig.nvidia.com", selectors=one("7g.80gb")))
    ((whole, cut),) = allocated(other, offered=slices(by_claim=True), taken=tuple(found))
    assert (whole, cut.partition("-mig")[0]) == ("gpu-1", "gpu-2"), "what is cut is no longer whole, nor the other way"


def test_eight_instances_do_not_fit_on_a_gpu_that_has_seven() -> None:
    one = cel_of("device.attributes['gpu.nvidia.com'].profile == '{}'")
    eight = [exactly(f"m{number}", "mig.nvidia.com", selectors=one("1g.10gb")) for number in range(8)]
    with pytest.raises(devices.Impossible):
        allocated(
            claim(*eight, constraints=[{"matchAttribute": "gpu.nvidia.com/parentUUID"}]),
            offered=slices(by_claim=True),
        )


async def prepared(cluster: Controlled) -> None:
    for item in device_classes():
        await cluster.create(f"{DRA}/deviceclasses", item)
    for item in slices():
        await cluster.create(f"{DRA}/resourceslices", item)
    body = {"metadata": {"name": "five"}, "spec": {"spec": claim(exactly(count=5))["spec"]}}
    await cluster.create(TEMPLATES, body)


def user(name: str, **source: str) -> Json:
    made = pod(name, resourceClaims=[{"name": "gpu", **source}])
    made["spec"]["containers"][0]["resources"] = {"claims": [{"name": "gpu"}]}
    return made


async def test_a_pod_gets_its_claim_and_gives_it_back() -> None:
    async with controlled("n") as cluster:
        await prepared(cluster)
        await cluster.create("pods", user("a", resourceClaimTemplateName="five"))
        await cluster.create("pods", user("b", resourceClaimTemplateName="five"))
        await cluster.settle()
        found = (await cluster.get(CLAIMS))["items"]
        assert (
            sorted(item["metadata"]["annotations"]["resource.kubernetes.io/pod-claim-name"] for item in found)
            == ["gpu"] * 2
        )
        having = [item for item in found if item.get("status", {}).get("allocation")]
        assert [item["status"]["reservedFor"][0]["name"] for item in having] == ["a"]
        assert having[0]["metadata"]["finalizers"] == ["resource.kubernetes.io/delete-protection"]
        first = await cluster.get("pods/a")
        assert first["metadata"]["annotations"][DEVICES].split(",")[4] == "gpu.nvidia.com/n/gpu-4"
        events = (await cluster.get("events"))["items"]
        assert [item["involvedObject"]["name"] for item in events if item["reason"] == "FailedDeviceAllocation"] == [
            "b"
        ]
        await cluster.kubelet.say(first, "Succeeded")
        await cluster.advance(20)
        left = (await cluster.get(CLAIMS))["items"]
        assert [item["status"]["reservedFor"][0]["name"] for item in left] == ["b"], (
            "what was made for a pod goes with it"
        )
        assert DEVICES in (await cluster.get("pods/b"))["metadata"]["annotations"]


async def test_a_claim_of_its_own_is_shared_and_kept() -> None:
    async with controlled("n") as cluster:
        await prepared(cluster)
        await cluster.create(CLAIMS, claim(exactly(count=1)))
        for name in ("a", "b"):
            await cluster.create("pods", user(name, resourceClaimName="c"))
        await cluster.settle()
        told = (await cluster.get(f"{CLAIMS}/c"))["status"]
        assert sorted(item["name"] for item in told["reservedFor"]) == ["a", "b"]
        for name in ("a", "b"):
            await cluster.delete(f"pods/{name}")
        await cluster.settle()
        assert "allocation" not in (await cluster.get(f"{CLAIMS}/c")).get("status", {})
        await cluster.delete(f"{CLAIMS}/c")
        await cluster.settle()
        assert await cluster.names(CLAIMS) == []
