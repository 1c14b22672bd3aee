"""The devices of a machine as NVIDIA's DRA driver publishes them: device classes and ResourceSlices. Pure.

Names and shapes follow dra-driver-nvidia-gpu. A GPU that is cut statically is its instances; one that is cut by claims
(its gate DynamicMIG) is itself and every instance at every place, and counters that all of them draw from say which
exclude each other. On a real node NVML has the numbers; ours are fleet/data/mig.yaml's.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from quartermaster.kube.api import Json
from quartermaster.local.fleet import mig
from quartermaster.local.fleet.objects import gpu_uuid, identity, pci_bus_id
from quartermaster.local.fleet.presets import Gpu, Machine, presets

DRIVER = "gpu.nvidia.com"
API_VERSION = "resource.k8s.io/v1"
_DRIVEN = f"device.driver == '{DRIVER}'"
_TYPE = f"device.attributes['{DRIVER}'].type"
_A_SLICE = 64
"""Devices of one slice: the API's limit for devices with counters, taken for all."""


def device_classes() -> list[Json]:
    """The classes that NVIDIA's chart installs for GPUs and MIG instances."""
    return [
        {
            "apiVersion": API_VERSION,
            "kind": "DeviceClass",
            "metadata": {"name": name},
            "spec": {"selectors": [{"cel": {"expression": f"{_DRIVEN} && {_TYPE} == '{kind}'"}}]},
        }
        for name, kind in ((DRIVER, "gpu"), ("mig.nvidia.com", "mig"))
    ]


def resource_slices(kind: Machine, name: str, *, config: str, by_claim: bool, generation: int = 1) -> list[Json]:
    """The slices of a node; none without GPUs. `by_claim`: its GPUs are cut as claims ask for it, not by `config`."""
    if not kind.gpus:
        return []
    if by_claim:
        parts = [{"sharedCounters": [_counters(kind, index) for index in range(kind.gpus)]}]
        each = [[_consuming(kind, index, item) for item in _possible(kind, name, index)] for index in range(kind.gpus)]
    else:
        instances = mig.layout(_gpu(kind).mig, config)
        parts = []
        each = [
            [_instance(kind, name, index, profile, start) for profile, start in instances]
            or [_whole(kind, name, index)]
            for index in range(kind.gpus)
        ]
    parts += [{"devices": devices} for devices in _packed(each)]
    pool = {"name": name, "generation": generation, "resourceSliceCount": len(parts)}
    return [
        {
            "apiVersion": API_VERSION,
            "kind": "ResourceSlice",
            "metadata": {"name": f"{name}-{DRIVER}" + (f"-{number}" if number else "")},
            "spec": {"driver": DRIVER, "nodeName": name, "pool": pool, **part},
        }
        for number, part in enumerate(parts)
    ]


def _packed(each: Iterable[list[Json]]) -> list[list[Json]]:
    """Devices in lists that a slice can hold; those of one GPU stay together."""
    packed: list[list[Json]] = [[]]
    for devices in each:
        if packed[-1] and len(packed[-1]) + len(devices) > _A_SLICE:
            packed.append([])
        packed[-1] += devices
    return packed


def _gpu(kind: Machine) -> Gpu:
    return presets().gpus[kind.gpu]


def _common(kind: Machine, index: int) -> Json:
    gpu, driver = _gpu(kind), presets().driver
    return {
        "productName": {"string": gpu.name},
        "brand": {"string": "Nvidia"},
        "architecture": {"string": "-".join(part.capitalize() for part in gpu.family.split("-"))},
        "cudaComputeCapability": {"version": f"{gpu.compute}.0"},
        "driverVersion": {"version": ".".join(str(int(part)) for part in driver.version.split("."))},
        "cudaDriverVersion": {"version": f"{driver.cuda}.0"},
        "resource.kubernetes.io/pciBusID": {"string": pci_bus_id(index)},
        "resource.kubernetes.io/pcieRoot": {"string": f"pci0000:{pci_bus_id(index)[5:7]}"},
        "resource.kubernetes.io/numaNode": {"int": kind.numa[index]},
    }


def _whole(kind: Machine, name: str, index: int) -> Json:
    gpu = _gpu(kind)
    return {
        "name": f"gpu-{index}",
        "attributes": {"type": {"string": "gpu"}, "uuid": {"string": gpu_uuid(name, index)}} | _common(kind, index),
        "capacity": {
            "memory": {"value": f"{gpu.memory_mib}Mi"},
            "multiprocessors": {"value": str(gpu.multiprocessors)},
        },
    }


def _engines(profile: mig.Profile) -> dict[str, str]:
    """What an instance has of its GPU, as far as it is known."""
    known = {
        "copyEngines": profile.copy_engines,
        "multiprocessors": profile.multiprocessors,
        "decoders": profile.decoders,
    }
    found = {key: str(value) for key, value in known.items() if value is not None}
    return found | ({"memory": f"{profile.memory_mib}Mi"} if profile.memory_mib is not None else {})


def _instance(kind: Machine, name: str, index: int, profile: mig.Profile, start: int) -> Json:
    short = profile.name.replace(".", "").replace("+", "")
    title = f"gpu-{index}-mig-{short}-{profile.number}-{start}"
    attributes = {
        "type": {"string": "mig"},
        "uuid": {"string": f"MIG-{identity(name, title)}"},
        "parentUUID": {"string": gpu_uuid(name, index)},
        "profile": {"string": profile.name},
    }
    capacity = {f"memorySlice{unit}": {"value": "1"} for unit in range(start, start + profile.size)}
    capacity |= {key: {"value": value} for key, value in _engines(profile).items()}
    return {"name": title, "attributes": attributes | _common(kind, index), "capacity": capacity}


# ---- cut by claims


def _possible(kind: Machine, name: str, index: int) -> Iterator[tuple[Json, dict[str, str]]]:
    """Every device that a GPU can become, with what it draws of the GPU's counters."""
    gpu = _gpu(kind)
    units = max(profile.size for profile in mig.geometry()[gpu.mig].values())
    yield _whole(kind, name, index), _all_of(kind)
    for profile in mig.geometry()[gpu.mig].values():
        for start in profile.starts:
            drawn = _drawn(profile) | {f"memory-slice-{unit}": "1" for unit in range(start, start + profile.size)}
            assert start + profile.size <= units, "a table that was checked by tests"
            device = _instance(kind, name, index, profile, start)
            capacity = {key: value for key, value in device["capacity"].items() if not key.startswith("memorySlice")}
            yield device | {"capacity": capacity}, drawn


def _drawn(profile: mig.Profile) -> dict[str, str]:
    """What an instance draws: capacities by the names that counters may have, which are DNS labels."""
    return {name.replace("copyEngines", "copy-engines"): value for name, value in _engines(profile).items()}


def _all_of(kind: Machine) -> dict[str, str]:
    """The counters of a whole GPU: what its largest instance has, and all its own memory and multiprocessors."""
    gpu = _gpu(kind)
    largest = max(mig.geometry()[gpu.mig].values(), key=lambda profile: (profile.size, profile.copy_engines))
    own = {"memory": f"{gpu.memory_mib}Mi", "multiprocessors": str(gpu.multiprocessors)}
    return _drawn(largest) | own | {f"memory-slice-{unit}": "1" for unit in range(largest.size)}


def _counters(kind: Machine, index: int) -> Json:
    return {
        "name": f"gpu-{index}-counter-set",
        "counters": {name: {"value": value} for name, value in _all_of(kind).items()},
    }


def _consuming(kind: Machine, index: int, item: tuple[Json, dict[str, str]]) -> Json:
    device, drawn = item
    known = _all_of(kind)
    counters = {name: {"value": value} for name, value in drawn.items() if name in known}
    return device | {"consumesCounters": [{"counterSet": f"gpu-{index}-counter-set", "counters": counters}]}
