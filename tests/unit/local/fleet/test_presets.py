"""Presets are machines that the model accepts, with what NVIDIA's own components would say of them."""

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from quartermaster.api.nodes import node_from
from quartermaster.api.objects import NodeObject, read
from quartermaster.local.apiserver import names as label_rules
from quartermaster.local.fleet import mig
from quartermaster.local.fleet.devices import resource_slices
from quartermaster.local.fleet.objects import names, node, offered, reserved
from quartermaster.local.fleet.presets import Pool, default_fleet, machine, parse, presets
from quartermaster.model.errors import InvalidInput
from quartermaster.model.units import MIB

MACHINES = sorted(presets().machines)
MODELS = presets().gpus


@pytest.mark.parametrize("preset", MACHINES)
def test_a_machine_is_a_node_of_the_model(preset: str) -> None:
    kind, pool = machine(preset), Pool(preset=preset)
    found = node_from(read(NodeObject, node(pool, f"{preset}-0")))
    whole = kind.gpus if not kind.gpu or kind.mig == "all-disabled" else 0
    assert (found.gpus, found.cpu) == (whole, kind.cpu * 1000 - reserved(kind)[0])
    assert 0.9 * kind.memory_gib * 2**30 < found.memory < kind.memory_gib * 2**30
    assert len(kind.numa) == kind.gpus or not kind.gpus
    if kind.gpus:
        gpu = presets().gpus[kind.gpu]
        assert (found.gpu_model, found.gpu_memory) == (gpu.product, gpu.memory_mib * MIB)
        assert found.extended.get("rdma/hca", 0) == kind.nics


@pytest.mark.parametrize("preset", MACHINES)
def test_labels_are_labels(preset: str) -> None:
    labels = node(Pool(preset=preset), f"{preset}-0")["metadata"]["labels"]
    for key, value in labels.items():
        assert re.fullmatch(r"([a-z0-9.-]+/)?[A-Za-z0-9]([-A-Za-z0-9_.]*[A-Za-z0-9])?", key)
        assert len(value) <= 63
        assert re.fullmatch(r"([A-Za-z0-9]([-A-Za-z0-9_.]*[A-Za-z0-9])?)?", value)
    assert label_rules.subdomain_problem(labels["kubernetes.io/hostname"]) == ""


@pytest.mark.parametrize("preset", [name for name in MACHINES if machine(name).gpus])
def test_slices_have_the_devices_that_the_plugin_offers(preset: str) -> None:
    pool = Pool(preset=preset)
    kind = machine(preset)
    (published,) = resource_slices(kind, f"{preset}-0", config=kind.mig, by_claim=False)
    devices = published["spec"]["devices"]
    assert len(devices) == sum(amount for name, amount in offered(pool).items() if name.startswith("nvidia.com/"))
    assert len({device["name"] for device in devices}) == len(devices) <= 128
    assert len({device["attributes"]["uuid"]["string"] for device in devices}) == len(devices)
    assert all(len(device["attributes"]) + len(device["capacity"]) <= 32 for device in devices)


def test_names_of_mig_devices_follow_the_driver() -> None:
    (published,) = resource_slices(machine("a100-mig"), "m-0", config="all-1g.5gb", by_claim=False)
    assert [device["name"] for device in published["spec"]["devices"]][:3] == [
        "gpu-0-mig-1g5gb-19-0",
        "gpu-0-mig-1g5gb-19-1",
        "gpu-0-mig-1g5gb-19-2",
    ]
    assert resource_slices(machine("cpu"), "c-0", config="all-disabled", by_claim=False) == []


@pytest.mark.parametrize("preset", [name for name in MACHINES if machine(name).gpus and MODELS[machine(name).gpu].mig])
def test_gpus_that_claims_cut_are_everything_they_can_become_within_the_limits_of_the_api(preset: str) -> None:
    kind = machine(preset)
    published = resource_slices(kind, "n", config="all-disabled", by_claim=True)
    groups = [group for item in published for group in item["spec"].get("sharedCounters", ())]
    devices = [device for item in published for device in item["spec"].get("devices", ())]
    assert len(groups) == kind.gpus <= 8
    assert all(len(item["spec"].get("devices", ())) <= 64 for item in published)
    assert {item["spec"]["pool"]["resourceSliceCount"] for item in published} == {len(published)}
    known = {group["name"]: group["counters"] for group in groups}
    for device in devices:
        (part,) = device["consumesCounters"]
        assert part["counters"].keys() <= known[part["counterSet"]].keys()
        assert len(device["attributes"]) + len(device["capacity"]) <= 32
    assert len(devices) == kind.gpus * (
        1 + sum(len(profile.starts) for profile in mig.geometry()[MODELS[kind.gpu].mig].values())
    )


def test_a_rack_is_one_nvlink_domain() -> None:
    pool = Pool(preset="gb200-nvl72", count=20)
    cliques = [node(pool, name)["metadata"]["labels"]["nvidia.com/gpu.clique"] for name in names(pool, set())]
    assert len(set(cliques[:18])) == 1
    assert len(set(cliques)) == 2


def test_names_pass_over_those_that_are_taken() -> None:
    assert list(names(Pool(preset="cpu", count=2), {"cpu-0", "cpu-2"})) == ["cpu-1", "cpu-3"]


GPUS = sorted(mig.geometry())


@given(st.sampled_from(GPUS), st.data())
def test_layouts_are_legal(gpu: str, data: st.DataObject) -> None:
    profiles = mig.geometry()[gpu]
    config = data.draw(st.sampled_from([*(f"all-{name.replace('+', '.')}" for name in profiles), "all-balanced"]))
    taken: list[int] = []
    found = mig.layout(gpu, config)
    for profile, start in found:
        assert start in profile.starts
        taken += range(start, start + profile.size)
    assert len(set(taken)) == len(taken)
    for profile in {profile for profile, _ in found}:
        assert sum(other is profile for other, _ in found) <= profile.most
    assert len(found) >= 1


def test_balanced_is_nvidias() -> None:
    assert mig.resources("A100-40GB", "all-balanced", 4) == {
        "nvidia.com/gpu": 0,
        "nvidia.com/mig-3g.20gb": 4,
        "nvidia.com/mig-2g.10gb": 4,
        "nvidia.com/mig-1g.5gb": 8,
    }


@pytest.mark.parametrize(
    ("text", "part"),
    [
        ("pools: [{preset: dgx-h1000}]", "preset 'dgx-h1000': does not exist"),
        ("pools: [{preset: cpu}, {preset: cpu}]", "is there twice"),
        ("pools: [{preset: cpu, count: 0}]", "count"),
        ("pools: [{preset: cpu, size: 3}]", "size"),
        ("pools: [{preset: l40s, mig: all-1g.5gb}]", "cannot be partitioned"),
        ("pools: [{preset: dgx-h100, mig: all-1g.5gb}]", "H100-80GB has no configuration"),
        ("pools: [{preset: cpu, name: A_B}]", "name"),
        ("pools: [{preset: cpu, taints: [{key: a}]}]", "taints"),
        ("[", "fleet.yaml"),
    ],
)
def test_a_bad_fleet_is_one_line(text: str, part: str) -> None:
    with pytest.raises(InvalidInput) as wrong:
        parse(text, "fleet.yaml")
    assert part in str(wrong.value)
    assert "\n" not in str(wrong.value)


def test_the_default_fleet_is_one() -> None:
    assert sum(pool.count for pool in default_fleet().pools) == 12
