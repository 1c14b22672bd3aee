"""A node as the scheduler sees it: what it can give, and what its labels and taints say."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from quartermaster.model.errors import InvalidInput
from quartermaster.model.labels import Taint
from quartermaster.model.locality import Locality

MAX_DEVICES = 64
"""GPUs per node: the device mask of a placement is one 64-bit word."""

UNBOUNDED = 2**62
"""Allocatable amount of a resource which a node does not limit."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Node:
    """One node. Amounts are allocatable (capacity less what the system keeps), in the units of `model.units`.

    `extended` holds device-plugin resources other than GPUs (``rdma/hca`` and the like). `gpu_memory` is the memory of
    one device in bytes; 0 means unknown, and then a request for GPU memory cannot be met here. `locality` is what is
    known of NUMA zones and links inside.
    """

    name: str
    cpu: int
    memory: int
    ephemeral_storage: int = UNBOUNDED
    pods: int = UNBOUNDED
    extended: Mapping[str, int] = field(default_factory=dict)
    gpus: int = 0
    gpu_model: str = ""
    gpu_memory: int = 0
    labels: Mapping[str, str] = field(default_factory=dict)
    taints: tuple[Taint, ...] = ()
    schedulable: bool = True
    locality: Locality | None = None

    def __post_init__(self) -> None:
        where = f"node '{self.name}'"
        if not self.name:
            raise InvalidInput("node: name", "is empty", "give every node a name")
        amounts = {
            "cpu": self.cpu,
            "memory": self.memory,
            "ephemeral_storage": self.ephemeral_storage,
            "pods": self.pods,
            "gpu_memory": self.gpu_memory,
            **self.extended,
        }
        for what, amount in amounts.items():
            if amount < 0:
                raise InvalidInput(f"{where}: {what}", f"{amount} is negative", "allocatable amounts are 0 or more")
        if not 0 <= self.gpus <= MAX_DEVICES:
            raise InvalidInput(f"{where}: gpus", f"{self.gpus} devices", f"a node has 0 to {MAX_DEVICES} GPUs")
        if self.locality is not None:
            self.locality.check(gpus=self.gpus, where=where)
