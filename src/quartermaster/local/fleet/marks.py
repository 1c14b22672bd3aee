"""The annotations and labels by which fleet, stages and exporters agree with each other. All are ours but NVIDIA's."""

from __future__ import annotations

from typing import Final

OURS: Final = "quartermaster.dev/"

FAULT: Final = OURS + "fault"
"""On a node: what is wrong with it: not-ready, drain, spot, vanish."""
XID: Final = OURS + "xid"
"""On a node: ``CODE:GPU[,GPU]``, an Xid error on these devices."""
SLOWDOWN: Final = OURS + "slowdown"
"""On a node: how many times longer everything takes there."""
MIG_TRIED: Final = OURS + "mig-tried"
"""On a node: the MIG configuration that was last tried."""
MIG_PATH: Final = OURS + "mig-path"
"""On a node: ``mig-manager`` for its minutes instead of an agent's seconds."""
GPU: Final = OURS + "gpu"
"""On a node: the GPU's name in the tables of this package."""

RUN_SECONDS: Final = OURS + "run-seconds"
"""On a pod: how long it runs."""
OUTCOME: Final = OURS + "outcome"
"""On a pod: succeed (default), fail or oom."""
IMAGE_GIB: Final = OURS + "image-gib"
"""On a pod: what its images weigh, when they are none of the known ones."""
START_SECONDS: Final = OURS + "start-seconds"
"""On a pod: from the pulled image to the running process."""
READY_SECONDS: Final = OURS + "ready-seconds"
"""On a pod: from the running process to readiness (loading weights, NCCL)."""
LOAD: Final = OURS + "load"
"""On a pod: how busy it keeps its GPUs, 0 to 1."""
DEVICES: Final = OURS + "devices"
"""On a pod: indexes of its GPUs on its node, as the scheduler decided."""

MIG_CONFIG: Final = "nvidia.com/mig.config"
MIG_STATE: Final = "nvidia.com/mig.config.state"
GPU_COUNT: Final = "nvidia.com/gpu.count"
WHOLE_GPU: Final = "nvidia.com/gpu"
