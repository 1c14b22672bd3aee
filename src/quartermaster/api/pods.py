"""A Pod object as the scheduler's pod: what it asks for, where it is, which group it belongs to; and bindings to write.

Whole GPUs are ``nvidia.com/gpu``; a share is asked by KAI's annotations ``gpu-fraction`` and ``gpu-memory`` (MiB), MIG
instances are extended resources. Groups are Kueue's plain pod groups: a label that names the group and an annotation
that says how many pods it has.
"""

from __future__ import annotations

from collections.abc import Container, Mapping
from datetime import UTC, datetime
from typing import Any, Final

from quartermaster.api.nodes import GPU_RESOURCE, NATIVE
from quartermaster.api.objects import Container as ContainerObject
from quartermaster.api.objects import PodObject, PodSpecObject, Quantity, seconds
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
FRACTION_DEVICES: Final = "gpu-fraction-num-devices"


def spec_from(pod: PodObject, *, labels: Container[str] | None = None) -> PodSpec:
    """What a pod asks for; raises InvalidInput for annotations and quantities that cannot be read.

    `labels`: the keys that matter to anybody's affinity (None: all). Pods that differ in others are interchangeable.
    """
    spec = pod.spec
    namespace = pod.metadata.namespace
    amounts = requests(spec)
    affinity = spec.affinity or {}
    return PodSpec(
        cpu=amounts.pop("cpu", 0),
        memory=amounts.pop("memory", 0),
        ephemeral_storage=amounts.pop("ephemeral-storage", 0),
        gpu=_gpu(pod.annotations, amounts.pop(GPU_RESOURCE, 0)),
        extended=tuple(sorted((name, amount) for name, amount in amounts.items() if amount and name not in NATIVE)),
        node_selector=label_selector({"matchLabels": spec.node_selector or {}}),
        node_affinity=node_affinity(affinity),
        tolerations=tuple(map(toleration, spec.tolerations or ())),
        affinity=pod_terms(affinity, "podAffinity", namespace),
        anti_affinity=pod_terms(affinity, "podAntiAffinity", namespace),
        host_ports=tuple(
            (port.protocol, port.host_port)
            for container in spec.containers or ()
            for port in container.ports or ()
            if port.host_port
        ),
        namespace=namespace if labels is None or labels else "",
        labels=tuple(sorted((key, text) for key, text in pod.labels.items() if labels is None or key in labels)),
        guaranteed=guaranteed(spec),
    )


def affinity_labels(pod: PodObject) -> frozenset[str]:
    """The keys of labels of other pods that a pod's affinity and anti-affinity look at."""
    affinity = pod.spec.affinity or {}
    return frozenset(
        requirement.key
        for kind in ("podAffinity", "podAntiAffinity")
        for term in pod_terms(affinity, kind, "")
        for requirement in term.selector.requirements
    )


def requests(spec: PodSpecObject) -> dict[str, int]:
    """What a pod needs at once: its containers together, or its largest init container, plus overhead."""
    total: dict[str, int] = {}
    for container in spec.containers or ():
        for name, amount in _asked(container).items():
            total[name] = total.get(name, 0) + amount
    if not spec.init_containers and not spec.overhead:
        return total
    peak: dict[str, int] = {}
    for container in spec.init_containers or ():
        lasting = container.restart_policy == "Always"  # a sidecar stays, so it adds up
        for name, amount in _asked(container).items():
            if lasting:
                total[name] = total.get(name, 0) + amount
            else:
                peak[name] = max(peak.get(name, 0), amount)
    found = {name: max(total.get(name, 0), peak.get(name, 0)) for name in {*total, *peak}}
    for name, quantity in (spec.overhead or {}).items():
        found[name] = found.get(name, 0) + _amount(name, quantity)
    return found


def _asked(container: ContainerObject) -> dict[str, int]:
    resources = container.resources
    if resources is None:
        return {}
    # A limit stands in for a missing request, as admission would have it.
    asked = (resources.limits or {}) | (resources.requests or {})
    return {name: _amount(name, quantity) for name, quantity in asked.items()}


def _amount(name: str, quantity: Quantity) -> int:
    return milli(quantity) if name == "cpu" else whole(quantity)


def guaranteed(spec: PodSpecObject) -> bool:
    """Whether a pod's QoS class is Guaranteed: cpu and memory of every container have a limit, and ask for all of it.

    https://kubernetes.io/docs/concepts/workloads/pods/pod-qos/
    """
    containers = [*(spec.containers or ()), *(spec.init_containers or ())]
    for container in containers:
        resources = container.resources
        limits = (resources.limits or {}) if resources else {}
        asked = limits | ((resources.requests or {}) if resources else {})
        for name in ("cpu", "memory"):
            if not limits.get(name) or _amount(name, limits[name]) != _amount(name, asked[name]):
                return False
    return bool(containers)


def _gpu(annotations: Mapping[str, str], count: int) -> GpuRequest:
    if FRACTION in annotations:
        try:
            share = float(annotations[FRACTION])
        except ValueError:
            share = 0.0
        if not 0 < share <= 1:
            raise InvalidInput(f"annotation {FRACTION}", f"'{annotations[FRACTION]}' is no share", "give 0.01 to 1")
        return GpuRequest(count=_devices(annotations), share=max(1, round(share * DEVICE)))
    if GPU_MEMORY in annotations:
        if not str(annotations[GPU_MEMORY]).isdecimal():
            raise InvalidInput(f"annotation {GPU_MEMORY}", f"'{annotations[GPU_MEMORY]}' is no size", "give MiB")
        return GpuRequest(count=_devices(annotations), memory=int(annotations[GPU_MEMORY]) * MIB)
    return GpuRequest(count=count)


def _devices(annotations: Mapping[str, str]) -> int:
    count = annotations.get(FRACTION_DEVICES, "1")
    if not count.isdecimal() or not int(count):
        raise InvalidInput(f"annotation {FRACTION_DEVICES}", f"'{count}' is no count", "give 1 or more")
    return int(count)


# ---- where it is


def ended(pod: PodObject) -> bool:
    """Whether it will never run again, so that it holds nothing."""
    return pod.status.phase in {"Succeeded", "Failed"}


def gated(pod: PodObject) -> bool:
    """Whether somebody holds it back from scheduling."""
    return bool(pod.spec.scheduling_gates)


def devices_of(pod: PodObject) -> tuple[int, ...] | None:
    """The indexes of its GPUs as its binding said; None if it did not."""
    text = pod.annotations.get(DEVICES)
    if text is None or not all(part.isdecimal() for part in text.split(",")):
        return None
    return tuple(int(part) for part in text.split(","))


def bound_at(pod: PodObject) -> float | None:
    """When it got its node, in seconds since 1970; None if it has none, or nobody said when."""
    for condition in pod.status.conditions or ():
        if condition.type == "PodScheduled" and condition.status == "True" and condition.last_transition_time:
            return seconds(condition.last_transition_time)
    return None


def scheduler_of(pod: PodObject) -> str:
    """Whose pod it is."""
    return pod.spec.scheduler_name or "default-scheduler"


def may_preempt(pod: PodObject) -> bool:
    """False under ``preemptionPolicy: Never``."""
    return pod.spec.preemption_policy != "Never"


def group_of(pod: PodObject) -> tuple[str, int] | None:
    """The group that it says it belongs to, ``namespace/name``, and how many pods that has; None: it is its own."""
    name = pod.labels.get(GROUP)
    if not name:
        return None
    size = pod.annotations.get(GROUP_SIZE, "1")
    return f"{pod.metadata.namespace}/{name}", max(1, int(size)) if size.isdecimal() else 1


def unschedulable_reason(pod: PodObject) -> str:
    """The message under which it was last said to be unschedulable; empty if it was not."""
    for condition in pod.status.conditions or ():
        if condition.type == "PodScheduled" and condition.status == "False":
            return condition.message
    return ""


# ---- what is written


def stamp(now: float) -> str:
    """Seconds since 1970 as Kubernetes writes times."""
    return datetime.fromtimestamp(now, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def binding(pod: PodObject, node: str, devices: tuple[int, ...]) -> Json:
    """The body of ``POST .../pods/NAME/binding``; it puts the devices on the pod."""
    metadata = pod.metadata
    named: Json = {"name": metadata.name, "namespace": metadata.namespace, "uid": metadata.uid}
    if devices:
        named["annotations"] = {DEVICES: ",".join(map(str, devices))}
    target = {"apiVersion": "v1", "kind": "Node", "name": node}
    return {"apiVersion": "v1", "kind": "Binding", "metadata": named, "target": target}


def eviction(pod: PodObject) -> Json:
    """The body of ``POST .../pods/NAME/eviction``."""
    named = {"name": pod.metadata.name, "namespace": pod.metadata.namespace}
    options = {"preconditions": {"uid": pod.metadata.uid}}
    return {"apiVersion": "policy/v1", "kind": "Eviction", "metadata": named, "deleteOptions": options}


def disruption(pod: PodObject, message: str, stamp: str) -> Json:
    """A strategic merge patch of the status that says why a pod is about to go.

    Job controllers do not count a failure with this condition, if a podFailurePolicy says so.
    """
    condition = {"type": "DisruptionTarget", "status": "True", "reason": "PreemptionByScheduler", "message": message}
    return _status(pod, {"conditions": [condition | {"lastTransitionTime": stamp}]})


def unschedulable(pod: PodObject, message: str, stamp: str) -> Json:
    """A strategic merge patch of the status that says why a pod waits."""
    condition = {"type": "PodScheduled", "status": "False", "reason": "Unschedulable", "message": message}
    return _status(pod, {"conditions": [condition | {"lastTransitionTime": stamp}]})


def nomination(pod: PodObject, node: str) -> Json:
    """A strategic merge patch of the status that names the node which is being cleared for a pod; empty for none."""
    return _status(pod, {"nominatedNodeName": node or None})


def _status(pod: PodObject, status: Json) -> Json:
    return {"metadata": {"uid": pod.metadata.uid}, "status": status}
