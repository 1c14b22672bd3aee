"""A machine as the Node that a real one has in a cluster. Pure.

It has GFD, topograph (old and new keys) and zone labels and what its device plugins offer; its ResourceSlices are
devices.py's. Identities are made from the node's name, so the same fleet is the same cluster every time.
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
                "machineID": identity(name, "machine").hex,
                "systemUUID": str(identity(name, "system")),
                "bootID": str(identity(name, "boot")),
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
    found = mig.resources(_gpu(kind).mig, _mig(pool, kind), kind.gpus) if kind.gpus and not pool.dynamic_mig else {}
    return found | ({"rdma/hca": kind.nics} if kind.nics else {})


def _gpu(kind: Machine) -> Gpu:
    return presets().gpus[kind.gpu]


def _mig(pool: Pool, kind: Machine) -> str:
    return pool.mig or kind.mig


def identity(name: str, what: str) -> uuid.UUID:
    """Always the same for the same thing of a node."""
    return uuid.uuid5(_NAMESPACE, f"{name}/{what}")


def _address(name: str) -> str:
    number = identity(name, "address").int
    return f"10.{number >> 16 & 31}.{number >> 8 & 255}.{1 + number % 254}"


def gpu_uuid(node_name: str, index: int) -> str:
    """A device's UUID as NVML would say it."""
    return f"GPU-{identity(node_name, f'gpu-{index}')}"


def pci_bus_id(index: int) -> str:
    """Eight devices on the buses that a DGX H100 has them on, then one every 4 buses."""
    buses = (0x1B, 0x43, 0x52, 0x61, 0x9D, 0xC3, 0xD1, 0xDF)
    return f"0000:{buses[index] if index < len(buses) else 4 * index % 256:02x}:00.0"


def _annotations(pool: Pool, kind: Machine, name: str) -> dict[str, str]:
    found = {"topograph.run/instance": name, "topograph.run/region": "local"}
    if kind.gpus:
        found |= {marks.GPU: _gpu(kind).mig or kind.gpu, marks.MIG_TRIED: _mig(pool, kind)}
        found |= {marks.MIG_PATH: marks.BY_CLAIM} if pool.dynamic_mig else {}
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
            "nvidia.com/gpu.clique": f"{identity(rack, 'cluster')}.{index // kind.rack}",
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
    return found | mig_labels(gpu.mig, gpu.product, config, kind.gpus)


def mig_labels(gpu: str, product: str, config: str, count: int) -> dict[str, str]:
    """What gpu-feature-discovery says of the instances of `count` GPUs that are cut like that (strategy mixed)."""
    found: dict[str, str] = {}
    counts: dict[str, int] = {}
    for profile, _ in mig.layout(gpu, config):
        counts[profile.name] = counts.get(profile.name, 0) + count
        prefix = profile.resource
        found |= {
            f"{prefix}.count": str(counts[profile.name]),
            f"{prefix}.product": f"{product}-MIG-{profile.name.replace('+', '.')}",
            f"{prefix}.replicas": "1",
            f"{prefix}.sharing-strategy": "none",
            f"{prefix}.slices.gi": profile.name[0],
            f"{prefix}.slices.ci": profile.name[0],
            f"{prefix}.engines.copy": str(profile.copy_engines),
        }
        for key, value in (
            ("memory", profile.memory_mib),
            ("multiprocessors", profile.multiprocessors),
            ("engines.decoder", profile.decoders),
        ):
            if value is not None:
                found[f"{prefix}.{key}"] = str(value)
    return found
