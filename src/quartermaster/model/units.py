"""Units and resource names used everywhere inside: integers only, so that sums are exact and order never matters.

| quantity | unit | why |
|---|---|---|
| cpu | millicore | Kubernetes' own resolution |
| memory, ephemeral storage | byte | Kubernetes' own resolution |
| share of a GPU | micro-GPU, 10^6 to a device | a memory request on an 80 GB part needs a finer step than a milli-GPU |
| time | second, float, virtual | the simulator and the cluster share it |
"""

from __future__ import annotations

from typing import Final

CPU: Final = "cpu"
MEMORY: Final = "memory"
EPHEMERAL_STORAGE: Final = "ephemeral-storage"
PODS: Final = "pods"
GPU: Final = "gpu"

BASE_RESOURCES: Final = (CPU, MEMORY, EPHEMERAL_STORAGE, PODS)
"""Resources that every node has, in the column order of all resource vectors; extended ones follow."""

DEVICE: Final = 1_000_000
"""One whole GPU in micro-GPU."""

KIB: Final = 1024
MIB: Final = 1024**2
GIB: Final = 1024**3


def gpu_model_resource(model: str) -> str:
    """The quota name of one GPU model (``gpu/H100``), beside ``gpu`` for all models together."""
    return f"{GPU}/{model}"
