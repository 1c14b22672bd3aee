"""A Pod object as the scheduler's pod: what it asks for, where it is, which group it belongs to; and bindings to write.

Whole GPUs are ``nvidia.com/gpu``; a share is asked by KAI's annotations ``gpu-fraction`` and ``gpu-memory`` (MiB), MIG
instances are extended resources. Groups are Kueue's plain pod groups: a label that names the group and an annotation
that says how many pods it has.
"""

from __future__ import annotations

from datetime import datetime
from typing import Any, Final

from quartermaster.api.nodes import GPU_RESOURCE, NATIVE
from quartermaster.api.quantities import milli, whole
from quartermaster.api.selecting import label_selector, node_affinity, pod_terms, toleration
from quartermaster.model.errors import InvalidInput
from quartermaster.model.pod import GpuRequest, PodSpec
from quartermaster.model.units import DEVICE, MIB

Json = dict[str, Any]

DEVICES: Final = "quartermaster.dev/devices"
"""On a bound pod: the indexes of its GPUs, as decided."""
GROUP: Final = "kueue.x-k8s.io/pod-group-name"
GROUP_SIZE: Final = "kueue.x-k8s.io/pod-group-total-count"
FRACTION: Final = "gpu-fraction"
GPU_MEMORY: Final = "gpu-memory"


def name_of(value: Json) -> str:
    """``namespace/name``: a pod's name in the model."""
    return f"{value['metadata'].get('namespace', '')}/{value['metadata']['name']}"


def spec_from(value: Json) -> PodSpec:
    """What a pod asks for; raises InvalidInput for annotations that cannot be read."""
    metadata, spec = value["metadata"], value["spec"]
    namespace = metadata.get("namespace", "")
    amounts = requests(spec)
    affinity = spec.get("affinity") or {}
    return PodSpec(
        cpu=amounts.pop("cpu", 0),
        memory=amounts.pop("memory", 0),
        ephemeral_storage=amounts.pop("ephemeral-storage", 0),
        gpu=_gpu(metadata.get("annotations") or {}, amounts.pop(GPU_RESOURCE, 0)),
        extended=tuple(sorted((name, amount) for name, amount in amounts.items() if amount and name not in NATIVE)),
        node_selector=label_selector({"matchLabels": spec.get("nodeSelector") or {}}),
        node_affinity=node_affinity(affinity),
        tolerations=tuple(map(toleration, spec.get("tolerations") or ())),
        affinity=pod_terms(affinity, "podAffinity", namespace),
        anti_affinity=pod_terms(affinity, "podAntiAffinity", namespace),
        host_ports=tuple(
            (port.get("protocol", "TCP"), port["hostPort"])
            for container in spec.get("containers") or ()
            for port in container.get("ports") or ()
            if port.get("hostPort")
        ),
        namespace=namespace,
        labels=tuple(sorted((metadata.get("labels") or {}).items())),
    )


def requests(spec: Json) -> dict[str, int]:
    """What a pod needs at once: its containers together, or its largest init container, plus overhead."""
    total: dict[str, int] = {}
    for container in spec.get("containers") or ():
        for name, amount in _asked(container).items():
            total[name] = total.get(name, 0) + amount
    peak: dict[str, int] = {}
    for container in spec.get("initContainers") or ():
        lasting = container.get("restartPolicy") == "Always"  # a sidecar stays, so it adds up
        for name, amount in _asked(container).items():
            if lasting:
                total[name] = total.get(name, 0) + amount
            else:
                peak[name] = max(peak.get(name, 0), amount)
    found = {name: max(total.get(name, 0), peak.get(name, 0)) for name in {*total, *peak}}
    for name, quantity in (spec.get("overhead") or {}).items():
        found[name] = found.get(name, 0) + _amount(name, quantity)
    return found


def _asked(container: Json) -> dict[str, int]:
    resources = container.get("resources") or {}
    asked = (resources.get("limits") or {}) | (resources.get("requests") or {})
    # A limit stands in for a missing request, as admission would have it.
    return {name: _amount(name, quantity) for name, quantity in asked.items()}


def _amount(name: str, quantity: Any) -> int:
    return milli(quantity) if name == "cpu" else whole(quantity)


def _gpu(annotations: Json, count: int) -> GpuRequest:
    if FRACTION in annotations:
        try:
            share = float(annotations[FRACTION])
        except ValueError:
            share = 0.0
        if not 0 < share <= 1:
            raise InvalidInput(f"annotation {FRACTION}", f"'{annotations[FRACTION]}' is no share", "give 0.01 to 1")
        return GpuRequest(count=1, share=max(1, round(share * DEVICE)))
    if GPU_MEMORY in annotations:
        if not str(annotations[GPU_MEMORY]).isdecimal():
            raise InvalidInput(f"annotation {GPU_MEMORY}", f"'{annotations[GPU_MEMORY]}' is no size", "give MiB")
        return GpuRequest(count=1, memory=int(annotations[GPU_MEMORY]) * MIB)
    return GpuRequest(count=count)


# ---- where it is


def node_of(value: Json) -> str:
    """The node that it is bound to; empty if none."""
    node: str = value["spec"].get("nodeName", "")
    return node


def ended(value: Json) -> bool:
    """Whether it will never run again, so that it holds nothing."""
    return (value.get("status") or {}).get("phase") in ("Succeeded", "Failed")


def leaving(value: Json) -> bool:
    """Whether it has been told to go."""
    return "deletionTimestamp" in value["metadata"]


def gated(value: Json) -> bool:
    """Whether somebody holds it back from scheduling."""
    return bool(value["spec"].get("schedulingGates"))


def devices_of(value: Json) -> tuple[int, ...] | None:
    """The indexes of its GPUs as its binding said; None if it did not."""
    text = (value["metadata"].get("annotations") or {}).get(DEVICES)
    if text is None or not all(part.isdecimal() for part in text.split(",")):
        return None
    return tuple(int(part) for part in text.split(","))


def scheduler_of(value: Json) -> str:
    """Whose pod it is."""
    name: str = value["spec"].get("schedulerName") or "default-scheduler"
    return name


def priority_of(value: Json) -> int:
    """What admission resolved its class to; 0 without one."""
    return value["spec"].get("priority") or 0


def may_preempt(value: Json) -> bool:
    """False under ``preemptionPolicy: Never``."""
    return value["spec"].get("preemptionPolicy") != "Never"


def created(value: Json) -> float:
    """Seconds since 1970."""
    return datetime.fromisoformat(value["metadata"]["creationTimestamp"]).timestamp()


def group_of(value: Json) -> tuple[str, int] | None:
    """The group that it says it belongs to, ``namespace/name``, and how many pods that has; None: it is its own."""
    metadata = value["metadata"]
    name = (metadata.get("labels") or {}).get(GROUP)
    if not name:
        return None
    size = str((metadata.get("annotations") or {}).get(GROUP_SIZE, "1"))
    return f"{metadata.get('namespace', '')}/{name}", max(1, int(size)) if size.isdecimal() else 1


# ---- what is written


def binding(value: Json, node: str, devices: tuple[int, ...]) -> Json:
    """The body of ``POST .../pods/NAME/binding``; it puts the devices on the pod."""
    metadata = value["metadata"]
    named: Json = {"name": metadata["name"], "namespace": metadata["namespace"], "uid": metadata["uid"]}
    if devices:
        named["annotations"] = {DEVICES: ",".join(map(str, devices))}
    target = {"apiVersion": "v1", "kind": "Node", "name": node}
    return {"apiVersion": "v1", "kind": "Binding", "metadata": named, "target": target}


def eviction(value: Json) -> Json:
    """The body of ``POST .../pods/NAME/eviction``."""
    metadata = value["metadata"]
    named = {"name": metadata["name"], "namespace": metadata["namespace"]}
    options = {"preconditions": {"uid": metadata["uid"]}}
    return {"apiVersion": "policy/v1", "kind": "Eviction", "metadata": named, "deleteOptions": options}


def unschedulable_reason(value: Json) -> str:
    """The message under which it was last said to be unschedulable; empty if it was not."""
    for condition in (value.get("status") or {}).get("conditions") or ():
        if condition["type"] == "PodScheduled" and condition["status"] == "False":
            return str(condition.get("message", ""))
    return ""


def unschedulable(message: str, stamp: str) -> Json:
    """A strategic merge patch of the status that says why a pod waits."""
    condition = {"type": "PodScheduled", "status": "False", "reason": "Unschedulable", "message": message}
    return {"status": {"conditions": [condition | {"lastTransitionTime": stamp}]}}
