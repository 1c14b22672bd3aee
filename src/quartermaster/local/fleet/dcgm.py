"""What dcgm-exporter would say of each simulated node: its text format, with numbers that follow what runs there.

Utilisation, memory, power, temperature and clocks are functions of the pods' load; energy and NVLink traffic are
counters, added up at every collection (every 30 s, as the real one collects, and at every scrape). With MIG the rows
are per instance, and GPU_UTIL is missing, as it is in reality. A simulation: the model is a straight line from idle to
full power, not a measurement.
"""

from __future__ import annotations

import math
import zlib
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Final

from quartermaster.kube.api import Json
from quartermaster.kube.clock import Clock
from quartermaster.local.fleet import marks, mig
from quartermaster.local.fleet.objects import gpu_uuid, pci_bus_id
from quartermaster.local.fleet.presets import Gpu, machine, presets
from quartermaster.local.stages.facts import XIDS, devices_of, xid_of
from quartermaster.local.stages.paths import look

COLLECT_S: Final = 30.0
STARTING_LOAD: Final = 0.02
"""Of a pod that runs and is not ready: it loads weights."""

_METRICS: Final = (
    ("DCGM_FI_DEV_SM_CLOCK", "gauge", "SM clock frequency (in MHz)."),
    ("DCGM_FI_DEV_MEM_CLOCK", "gauge", "Memory clock frequency (in MHz)."),
    ("DCGM_FI_DEV_GPU_TEMP", "gauge", "GPU temperature (in C)."),
    ("DCGM_FI_DEV_MEMORY_TEMP", "gauge", "Memory temperature (in C)."),
    ("DCGM_FI_DEV_POWER_USAGE", "gauge", "Power draw (in W)."),
    ("DCGM_FI_DEV_TOTAL_ENERGY_CONSUMPTION", "counter", "Total energy consumption since boot (in mJ)."),
    ("DCGM_FI_DEV_GPU_UTIL", "gauge", "GPU utilization (in %)."),
    ("DCGM_FI_DEV_MEM_COPY_UTIL", "gauge", "Memory utilization (in %)."),
    ("DCGM_FI_DEV_XID_ERRORS", "gauge", "Value of the last XID error encountered."),
    ("DCGM_FI_DEV_FB_FREE", "gauge", "Framebuffer memory free (in MiB)."),
    ("DCGM_FI_DEV_FB_USED", "gauge", "Framebuffer memory used (in MiB)."),
    ("DCGM_FI_DEV_NVLINK_BANDWIDTH_TOTAL", "counter", "Total number of NVLink bandwidth counters for all lanes."),
    ("DCGM_FI_PROF_GR_ENGINE_ACTIVE", "gauge", "Ratio of time the graphics engine is active."),
    ("DCGM_FI_PROF_PIPE_TENSOR_ACTIVE", "gauge", "Ratio of cycles the tensor (HMMA) pipe is active."),
    ("DCGM_FI_PROF_DRAM_ACTIVE", "gauge", "Ratio of cycles the device memory interface is active."),
)

Labels = tuple[tuple[str, str], ...]
Row = tuple[Labels, Mapping[str, float]]


@dataclass(slots=True)
class _Meter:
    """Counters of one device."""

    energy_mj: float = 0.0
    nvlink: float = 0.0


@dataclass(slots=True)
class Exporter:
    """All nodes' exporters. `nodes` and `pods_on` read the cluster as it is now."""

    clock: Clock
    nodes: Callable[[], Iterable[Json]]
    pods_on: Callable[[str], Iterable[Json]]
    _meters: dict[tuple[str, int], _Meter] = field(default_factory=dict)
    _collected: float | None = None

    async def run(self) -> None:
        """Collect until cancelled."""
        while True:
            self.collect()
            await self.clock.until(self.clock() + COLLECT_S)

    def collect(self) -> None:
        """Add up the counters since the last time."""
        now = self.clock()
        passed = 0.0 if self._collected is None else max(0.0, now - self._collected)
        self._collected = now
        for node in self.nodes():
            for index, load in enumerate(self._loads(node)):
                meter = self._meters.setdefault((node["metadata"]["name"], index), _Meter())
                meter.energy_mj += 1000 * passed * _power(_gpu(node), load)
                meter.nvlink += passed * load * 200_000

    def names(self) -> list[str]:
        """Nodes with GPUs that are up, whose exporters answer."""
        return sorted(node["metadata"]["name"] for node in self.nodes() if _gpus(node) and _up(node))

    def text(self, name: str) -> str | None:
        """A node's exposition; None if it has no GPUs or does not answer."""
        self.collect()
        for node in self.nodes():
            if node["metadata"]["name"] == name and _gpus(node) and _up(node):
                return _exposition(self._rows(node))
        return None

    def _loads(self, node: Json) -> list[float]:
        """Load per device of a node, 0 to 1."""
        loads = [0.0] * _gpus(node)
        for device, _, share, pod in self._holders(node):
            if device < len(loads):
                loads[device] = min(1.0, loads[device] + share * load_of(pod, self.clock()))
        return loads

    def _holders(self, node: Json) -> list[tuple[int, str, float, Json]]:
        """(device, MIG instance or empty, its part of the device, pod) of all that runs here on GPUs."""
        found = []
        free = _instances(node)
        for pod in sorted(
            self.pods_on(node["metadata"]["name"]), key=lambda pod: str(pod["metadata"]["creationTimestamp"])
        ):
            if look(pod, ".status.phase") != "Running":
                continue
            found += [(device, "", 1.0, pod) for device in devices_of(pod)]
            for resource, count in _requested(pod).items():
                for _ in range(count):
                    slot = next((slot for slot in free if slot[2].resource == resource), None)
                    if slot is not None:
                        free.remove(slot)
                        found.append((slot[0], f"{slot[2].name}/{slot[1]}", int(slot[2].name[0]) / 7, pod))
        return found

    def _rows(self, node: Json) -> list[Row]:
        now, gpu, name = self.clock(), _gpu(node), node["metadata"]["name"]
        holders = self._holders(node)
        slow = float(look(node, f'.metadata.annotations["{marks.SLOWDOWN}"]') or 1)
        error = xid_of(node)
        rows: list[Row] = []
        for index, load in enumerate(self._loads(node)):
            device: Labels = (
                ("gpu", str(index)),
                ("UUID", gpu_uuid(name, index)),
                ("pci_bus_id", f"0000{pci_bus_id(index)}".upper()),
                ("device", f"nvidia{index}"),
                ("modelName", gpu.name),
            )
            host: Labels = (("hostname", name), ("DCGM_FI_DRIVER_VERSION", presets().driver.version))
            whole = [pod for held, instance, _, pod in holders if held == index and not instance]
            busy = sum(load_of(pod, now) for pod in whole)
            meter = self._meters.setdefault((name, index), _Meter())
            values = {
                "DCGM_FI_DEV_SM_CLOCK": gpu.sm_mhz * (1.0 if load else 0.18) / slow,
                "DCGM_FI_DEV_MEM_CLOCK": gpu.mem_mhz,
                "DCGM_FI_DEV_GPU_TEMP": 29 + 38 * load + (14 if slow > 1 else 0),
                "DCGM_FI_DEV_MEMORY_TEMP": 33 + 42 * load + (10 if slow > 1 else 0),
                "DCGM_FI_DEV_POWER_USAGE": _power(gpu, load),
                "DCGM_FI_DEV_TOTAL_ENERGY_CONSUMPTION": meter.energy_mj,
                "DCGM_FI_DEV_XID_ERRORS": error[0] if error and index in error[1] else 0,
                "DCGM_FI_DEV_NVLINK_BANDWIDTH_TOTAL": meter.nvlink,
            }
            instances = [slot for slot in _instances(node) if slot[0] == index]
            if not instances:
                values |= _used(min(1.0, busy), gpu.memory_mib) | {"DCGM_FI_DEV_GPU_UTIL": 100 * min(1.0, busy)}
            said = _xid_labels(error[0]) if error and index in error[1] else ()
            rows.append((device + host + said + (_pod_labels(whole[-1]) if whole else ()), values))
            for number, (_, start, profile) in enumerate(instances):
                key = f"{profile.name}/{start}"
                mine = [pod for held, instance, _, pod in holders if held == index and instance == key]
                labels = (*device, ("GPU_I_PROFILE", profile.name), ("GPU_I_ID", str(number + 1)), *host)
                memory = profile.memory_mib or gpu.memory_mib * profile.size // 8
                used = _used(load_of(mine[0], now) if mine else 0.0, memory)
                rows.append(((*labels, *(_pod_labels(mine[0]) if mine else ())), used))
        return rows


def load_of(pod: Json, now: float) -> float:
    """How busy a running pod keeps its GPUs: what it says, else 0.55 to 0.95 by its uid, with a small slow wave."""
    if look(pod, ".status.conditions[type=Ready].status") != "True":
        return STARTING_LOAD
    number = zlib.crc32(str(pod["metadata"]["uid"]).encode())
    try:
        base = float(look(pod, f'.metadata.annotations["{marks.LOAD}"]') or 0.55 + 0.4 * (number % 1000) / 1000)
    except ValueError:
        base = 0.75
    if not base > 0:
        return 0.0
    return min(1.0, max(0.0, base * (1 + 0.04 * math.sin(now / 45 + number % 100))))


def _power(gpu: Gpu, load: float) -> float:
    return gpu.idle_w + (gpu.tdp_w - gpu.idle_w) * load


def _used(load: float, memory_mib: int) -> dict[str, float]:
    used = round(memory_mib * (0.35 + 0.55 * load)) if load else 0
    return {
        "DCGM_FI_DEV_MEM_COPY_UTIL": 55 * load,
        "DCGM_FI_DEV_FB_FREE": memory_mib - used,
        "DCGM_FI_DEV_FB_USED": used,
        "DCGM_FI_PROF_GR_ENGINE_ACTIVE": load,
        "DCGM_FI_PROF_PIPE_TENSOR_ACTIVE": 0.55 * load,
        "DCGM_FI_PROF_DRAM_ACTIVE": 0.6 * load,
    }


def _gpu(node: Json) -> Gpu:
    return presets().gpus[machine(look(node, '.metadata.labels["node.kubernetes.io/instance-type"]')).gpu]


def _gpus(node: Json) -> int:
    """Devices of a node of ours; 0 for others."""
    kind = presets().machines.get(look(node, '.metadata.labels["node.kubernetes.io/instance-type"]') or "")
    return kind.gpus if kind else 0


def _up(node: Json) -> bool:
    return look(node, ".status.conditions[type=Ready].status") == "True"


def _instances(node: Json) -> list[tuple[int, int, mig.Profile]]:
    """(device, start, profile) of all MIG instances of a node, as it is now."""
    config = look(node, f'.metadata.annotations["{marks.MIG_TRIED}"]')
    if not config or look(node, f'.metadata.labels["{marks.MIG_STATE}"]') != "success":
        return []
    layout = mig.layout(_gpu(node).mig, config)
    return [(device, start, profile) for device in range(_gpus(node)) for profile, start in layout]


def _requested(pod: Json) -> dict[str, int]:
    found: dict[str, int] = {}
    for container in pod["spec"].get("containers") or ():
        for name, amount in (look(container, ".resources.requests") or {}).items():
            if name.startswith("nvidia.com/mig-") and str(amount).isdecimal():
                found[name] = found.get(name, 0) + int(amount)
    return found


def _pod_labels(pod: Json) -> Labels:
    container = pod["spec"]["containers"][0]["name"]
    return (("container", container), ("namespace", pod["metadata"]["namespace"]), ("pod", pod["metadata"]["name"]))


def _xid_labels(code: int) -> Labels:
    return (("err_code", str(code)), ("err_msg", XIDS.get(code, ("unknown", True))[0]))


def _exposition(rows: list[Row]) -> str:
    lines = []
    for metric, kind, text in _METRICS:
        having = [(labels, values[metric]) for labels, values in rows if metric in values]
        if not having:
            continue
        lines += [f"# HELP {metric} {text}", f"# TYPE {metric} {kind}"]
        for labels, value in having:
            own = (
                labels
                if metric == "DCGM_FI_DEV_XID_ERRORS"
                else [pair for pair in labels if not pair[0].startswith("err_")]
            )
            shown = f"{value:.6f}" if "_PROF_" in metric or metric.endswith("POWER_USAGE") else f"{value:.0f}"
            lines.append(f"{metric}{{{','.join(f'{key}={_quoted(text)}' for key, text in own)}}} {shown}")
    return "\n".join(lines) + "\n"


def _quoted(text: str) -> str:
    escaped = text.replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n")
    return f'"{escaped}"'
