"""A machine as the objects that a real one has in a cluster. Pure.

They are a Node with GFD, topograph and zone labels and what its device plugins offer, and the ResourceSlice of NVIDIA's
DRA driver.

Names and shapes follow gpu-feature-discovery, topograph (old and new keys) and dra-driver-nvidia-gpu. Identities are
made from the node's name, so the same fleet is the same cluster every time.
"""

from __future__ import annotations

import uuid
from collections.abc import Iterator

from quartermaster.kube.api import Json
from quartermaster.local.apiserver.shipped import kubernetes_version
from quartermaster.local.fleet import marks, mig
from quartermaster.local.fleet.presets import Gpu, Machine, Pool, machine, presets, stem

NODES_PER_LEAF = 4
"""Machines under one leaf switch."""
PODS = 110
_NAMESPACE = uuid.UUID("6f1b51a4-6a25-4ca6-9d0c-6f0f1f4f7a10")
DRIVER = "gpu.nvidia.com"
_DRIVEN = f"device.driver == '{DRIVER}'"
_TYPE = f"device.attributes['{DRIVER}'].type"


def names(pool: Pool, taken: set[str]) -> Iterator[str]:
    """Names for all machines of a pool, passing over those that are taken."""
    number = made = 0
    while made < pool.count:
        name = f"{stem(pool)}-{number}"
        number += 1
        if name not in taken:
            made += 1
            yield name


def node(pool: Pool, name: str) -> Json:
    """The Node as a kubelet registers it; its conditions come with the stages."""
    kind = machine(pool.preset)
    index = int(name.rpartition("-")[2])
    total = {"cpu": kind.cpu * 1000, "memory": kind.memory_gib << 20}
    kept = reserved(kind)
    devices = {key: str(amount) for key, amount in offered(pool).items()}
    rest = {"pods": str(PODS), "ephemeral-storage": f"{kind.storage_gib}Gi", "hugepages-2Mi": "0"} | devices
    capacity = {"cpu": str(kind.cpu), "memory": f"{total['memory']}Ki"} | rest
    allocatable = {"cpu": f"{total['cpu'] - kept[0]}m", "memory": f"{total['memory'] - kept[1]}Ki"} | rest
    spec: Json = {"providerID": f"quartermaster://{pool.zone}/{name}"}
    if pool.taints:
        spec["taints"] = [dict(taint) for taint in pool.taints]
    return {
        "apiVersion": "v1",
        "kind": "Node",
        "metadata": {
            "name": name,
            "labels": _labels(pool, kind, name, index) | pool.labels,
            "annotations": _annotations(pool, kind, name),
        },
        "spec": spec,
        "status": {
            "capacity": capacity,
            "allocatable": allocatable,
            "addresses": [
                {"type": "InternalIP", "address": _address(name)},
                {"type": "Hostname", "address": name},
            ],
            "nodeInfo": {
                "architecture": kind.arch,
                "operatingSystem": "linux",
                "osImage": "Ubuntu 24.04.3 LTS",
                "kernelVersion": "6.8.0-87-generic",
                "containerRuntimeVersion": "containerd://2.1.4",
                "kubeletVersion": f"v{kubernetes_version()}",
                "kubeProxyVersion": "",
                "machineID": _id(name, "machine").hex,
                "systemUUID": str(_id(name, "system")),
                "bootID": str(_id(name, "boot")),
            },
        },
    }


def reserved(kind: Machine) -> tuple[int, int]:
    """(millicores, KiB) kept for kubelet and system: GKE's published formula."""
    cpu = left = 0.0
    for cores, share in ((1, 0.06), (1, 0.01), (2, 0.005), (kind.cpu, 0.0025)):
        part = min(cores, kind.cpu - left)
        cpu, left = cpu + part * share, left + part
    memory, left = 0.0, 0.0
    for size, share in ((4, 0.25), (4, 0.2), (8, 0.1), (112, 0.06), (kind.memory_gib, 0.02)):
        part = min(size, kind.memory_gib - left)
        memory, left = memory + part * share, left + part
    return round(cpu * 1000), round(memory * 2**20)


def offered(pool: Pool) -> dict[str, int]:
    """What device plugins offer on each machine."""
    kind = machine(pool.preset)
    found = mig.resources(_gpu(kind).mig, _mig(pool, kind), kind.gpus) if kind.gpus else {}
    return found | ({"rdma/hca": kind.nics} if kind.nics else {})


def _gpu(kind: Machine) -> Gpu:
    return presets().gpus[kind.gpu]


def _mig(pool: Pool, kind: Machine) -> str:
    return pool.mig or kind.mig


def _id(name: str, what: str) -> uuid.UUID:
    return uuid.uuid5(_NAMESPACE, f"{name}/{what}")


def _address(name: str) -> str:
    number = _id(name, "address").int
    return f"10.{number >> 16 & 31}.{number >> 8 & 255}.{1 + number % 254}"


def gpu_uuid(node_name: str, index: int) -> str:
    """A device's UUID as NVML would say it."""
    return f"GPU-{_id(node_name, f'gpu-{index}')}"


def pci_bus_id(index: int) -> str:
    """Eight devices on the buses that a DGX H100 has them on, then one every 4 buses."""
    buses = (0x1B, 0x43, 0x52, 0x61, 0x9D, 0xC3, 0xD1, 0xDF)
    return f"0000:{buses[index] if index < len(buses) else 4 * index % 256:02x}:00.0"


def _annotations(pool: Pool, kind: Machine, name: str) -> dict[str, str]:
    found = {"topograph.run/instance": name, "topograph.run/region": "local"}
    if kind.gpus:
        found |= {marks.GPU: _gpu(kind).mig or kind.gpu, marks.MIG_TRIED: _mig(pool, kind)}
    return found


def _labels(pool: Pool, kind: Machine, name: str, index: int) -> dict[str, str]:
    leaf, spine = f"{pool.zone}-{stem(pool)}-leaf-{index // NODES_PER_LEAF}", f"{pool.zone}-spine"
    found = {
        "kubernetes.io/hostname": name,
        "kubernetes.io/os": "linux",
        "kubernetes.io/arch": kind.arch,
        "node.kubernetes.io/instance-type": pool.preset,
        "topology.kubernetes.io/region": "local",
        "topology.kubernetes.io/zone": f"local-{pool.zone}",
        marks.POOL: stem(pool),
        "karpenter.sh/capacity-type": "spot" if pool.spot else "on-demand",
    }
    if not kind.gpus:
        return found
    found |= {
        "network.topology.nvidia.com/leaf": leaf,
        "network.topology.nvidia.com/spine": spine,
        "fabric.topograph.run/tier-0": leaf,
        "fabric.topograph.run/tier-1": spine,
    }
    if kind.rack:
        rack = f"{stem(pool)}-rack-{index // kind.rack}"
        found |= {
            "nvidia.com/gpu.clique": f"{_id(rack, 'cluster')}.{index // kind.rack}",
            "network.topology.nvidia.com/accelerator": rack,
            "accelerator.topograph.run/domain": rack,
        }
    return found | _discovered(pool, kind)


def _discovered(pool: Pool, kind: Machine) -> dict[str, str]:
    """What gpu-feature-discovery and the GPU operator write."""
    gpu, driver = _gpu(kind), presets().driver
    major, minor = gpu.compute.split(".")
    cuda_major, cuda_minor = driver.cuda.split(".")
    first, second, third = driver.version.split(".")
    config = _mig(pool, kind)
    found = {
        "nvidia.com/gpu.present": "true",
        "nvidia.com/gpu.product": gpu.product,
        "nvidia.com/gpu.count": str(kind.gpus),
        "nvidia.com/gpu.memory": str(gpu.memory_mib),
        "nvidia.com/gpu.family": gpu.family,
        "nvidia.com/gpu.machine": kind.machine,
        "nvidia.com/gpu.mode": "compute",
        "nvidia.com/gpu.replicas": "1",
        "nvidia.com/gpu.sharing-strategy": "none",
        "nvidia.com/gpu.compute.major": major,
        "nvidia.com/gpu.compute.minor": minor,
        "nvidia.com/cuda.driver-version.full": driver.version,
        "nvidia.com/cuda.driver-version.major": first,
        "nvidia.com/cuda.driver-version.minor": second,
        "nvidia.com/cuda.driver-version.revision": third,
        "nvidia.com/cuda.runtime-version.full": driver.cuda,
        "nvidia.com/cuda.runtime-version.major": cuda_major,
        "nvidia.com/cuda.runtime-version.minor": cuda_minor,
        "nvidia.com/mig.capable": "true" if gpu.mig else "false",
        "nvidia.com/mps.capable": "false",
        "nvidia.com/vgpu.present": "false",
    }
    if gpu.mig:
        found |= {"nvidia.com/mig.strategy": "mixed", marks.MIG_CONFIG: config, marks.MIG_STATE: "success"}
    counts: dict[str, int] = {}
    for profile, _ in mig.layout(gpu.mig, config):
        counts[profile.name] = counts.get(profile.name, 0) + kind.gpus
        prefix = profile.resource
        found[f"{prefix}.count"] = str(counts[profile.name])
        found[f"{prefix}.product"] = f"{gpu.product}-MIG-{profile.name.replace('+', '.')}"
        found[f"{prefix}.slices.gi"] = profile.name[0]
        found[f"{prefix}.slices.ci"] = profile.name[0]
        found[f"{prefix}.engines.copy"] = str(profile.copy_engines)
        if profile.memory_mib is not None:
            found[f"{prefix}.memory"] = str(profile.memory_mib)
        if profile.multiprocessors is not None:
            found[f"{prefix}.multiprocessors"] = str(profile.multiprocessors)
    return found


# ---- DRA


def device_classes() -> list[Json]:
    """The classes that NVIDIA's chart installs for GPUs and MIG instances."""
    return [
        {
            "apiVersion": "resource.k8s.io/v1",
            "kind": "DeviceClass",
            "metadata": {"name": name},
            "spec": {"selectors": [{"cel": {"expression": f"{_DRIVEN} && {_TYPE} == '{kind}'"}}]},
        }
        for name, kind in ((DRIVER, "gpu"), ("mig.nvidia.com", "mig"))
    ]


def resource_slice(pool: Pool, name: str) -> Json | None:
    """The node's devices as the DRA driver publishes them; None without GPUs."""
    kind = machine(pool.preset)
    if not kind.gpus:
        return None
    instances = mig.layout(_gpu(kind).mig, _mig(pool, kind))
    devices = [
        device
        for index in range(kind.gpus)
        for device in (
            [_instance(kind, name, index, profile, start) for profile, start in instances]
            if instances
            else [_whole(kind, name, index)]
        )
    ]
    return {
        "apiVersion": "resource.k8s.io/v1",
        "kind": "ResourceSlice",
        "metadata": {"name": f"{name}-{DRIVER}"},
        "spec": {
            "driver": DRIVER,
            "nodeName": name,
            "pool": {"name": name, "generation": 1, "resourceSliceCount": 1},
            "devices": devices,
        },
    }


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


def _instance(kind: Machine, name: str, index: int, profile: mig.Profile, start: int) -> Json:
    short = profile.name.replace(".", "").replace("+", "")
    title = f"gpu-{index}-mig-{short}-{profile.number}-{start}"
    attributes = {
        "type": {"string": "mig"},
        "uuid": {"string": f"MIG-{_id(name, title)}"},
        "parentUUID": {"string": gpu_uuid(name, index)},
        "profile": {"string": profile.name},
    }
    capacity: Json = {f"memorySlice{unit}": {"value": "1"} for unit in range(start, start + profile.size)}
    capacity["copyEngines"] = {"value": str(profile.copy_engines)}
    for key, value in (
        ("memory", profile.memory_mib),
        ("multiprocessors", profile.multiprocessors),
        ("decoders", profile.decoders),
    ):
        if value is not None:
            capacity[key] = {"value": f"{value}Mi" if key == "memory" else str(value)}
    return {"name": title, "attributes": attributes | _common(kind, index), "capacity": capacity}
