"""How much CPU and memory simulated pods and nodes use now. Pure.

As for GPUs (`dcgm.load_of`), usage follows one number, the pod's load: a share of what its containers ask for, and a
fixed little where they ask for nothing. A node is its pods and its system. Good for trying dashboards and autoscalers;
not a measurement.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Final

from quartermaster.kube.api import Json
from quartermaster.local.apiserver.quantity import parse
from quartermaster.local.fleet.dcgm import load_of
from quartermaster.local.stages.paths import look

CPU_OF_THE_IDLE: Final = 0.001
"""Cores that a container uses which asks for none, at no load; ten times that at full load."""
MEMORY_OF_THE_IDLE: Final = 24 << 20
SYSTEM_CPU: Final = 0.02
SYSTEM_MEMORY: Final = 0.03
"""Shares of a node that its kubelet and system use."""


@dataclass(frozen=True, slots=True)
class Usage:
    """Nanocores and KiB, the units of metrics-server."""

    cpu: int
    memory: int

    def resources(self) -> dict[str, str]:
        """As in a metrics object."""
        return {"cpu": f"{self.cpu}n", "memory": f"{self.memory}Ki"}


def measured(pod: Json) -> bool:
    """Whether there is something to measure: it runs."""
    return look(pod, ".status.phase") == "Running"


def of_containers(pod: Json, now: float) -> dict[str, Usage]:
    """By container."""
    load = load_of(pod, now)
    return {item["name"]: _of(item, load) for item in pod["spec"]["containers"]}


def _of(container: Json, load: float) -> Usage:
    cpu, memory = (amount(look(container, f".resources.requests.{name}")) for name in ("cpu", "memory"))
    cores = cpu * load if cpu else CPU_OF_THE_IDLE * (1 + 9 * load)
    held = memory * (0.35 + 0.55 * load) if memory else MEMORY_OF_THE_IDLE
    return Usage(round(cores * 1e9), round(held / 1024))


def of_node(node: Json, pods: Iterable[Json], now: float) -> Usage:
    """A node with all that runs on it."""
    cpu = amount(look(node, ".status.capacity.cpu")) * SYSTEM_CPU * 1e9
    memory = amount(look(node, ".status.capacity.memory")) * SYSTEM_MEMORY / 1024
    each = [usage for pod in pods if measured(pod) for usage in of_containers(pod, now).values()]
    return Usage(round(cpu) + sum(usage.cpu for usage in each), round(memory) + sum(usage.memory for usage in each))


def amount(text: str | None) -> float:
    """A quantity as a number; 0 if there is none."""
    return 0.0 if text is None else float(parse(str(text)))
