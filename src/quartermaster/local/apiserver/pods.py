"""Subresources of pods: binding, eviction, logs.

A binding writes the node's name once and says so in a condition; like the real server it leaves managedFields alone.
An eviction is a delete that a PodDisruptionBudget may refuse (429). Logs are whatever the one who runs the pods
provides: `LogSource` is the door, and without one a pod has none.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass, replace

from quartermaster.local.apiserver import managers
from quartermaster.local.apiserver.admission import Admission, Operation
from quartermaster.local.apiserver.cluster import Cluster
from quartermaster.local.apiserver.codec import load
from quartermaster.local.apiserver.deleting import DeleteOptions, Deleter
from quartermaster.local.apiserver.errors import ApiError, Json, bad_request, conflict, not_found
from quartermaster.local.apiserver.selectors import from_object, matches
from quartermaster.local.apiserver.storage_keys import uid_mismatch
from quartermaster.local.apiserver.store import Record
from quartermaster.local.apiserver.writing import Target

BUDGETS = "poddisruptionbudgets.policy"


@dataclass(frozen=True, slots=True)
class LogRequest:
    """Which log of which pod: as the query of ``GET .../log`` says."""

    pod: Json
    container: str
    follow: bool
    previous: bool
    tail: int | None
    since_seconds: int | None
    timestamps: bool
    limit_bytes: int | None


LogSource = Callable[[LogRequest], AsyncIterator[bytes]]


def bind(cluster: Cluster, admission: Admission, target: Target, body: Json) -> None:
    """Give a pod its node; raises ApiError 404, 409 or 422."""
    del admission
    name = target.key[1]
    reference = body.get("target") or {}
    node = reference.get("name") if isinstance(reference, dict) else ""
    if (body.get("metadata") or {}).get("name", "") != name:
        raise bad_request("name in URL does not match name in Binding object")
    kind = reference.get("kind", "") if isinstance(reference, dict) else ""
    if kind not in ("", "Node"):
        raise ApiError(500, "", f'target.kind: Unsupported value: "{kind}": supported values: "Node", "<empty>"')
    if not node or not isinstance(node, str):
        raise ApiError(500, "", "target.name: Required value")
    record = cluster.find("pods", target.key)
    if record is None:
        raise not_found("pods", "", name)
    pod = load(record.raw)
    metadata, spec = pod["metadata"], pod["spec"]
    said = (body.get("metadata") or {}).get("uid")
    if said and said != record.uid:
        raise conflict("pods", "", name, uid_mismatch(target.kind, target.key, str(said), record.uid))
    if metadata.get("deletionTimestamp"):
        raise conflict("pods/binding", "", name, f"pod {name} is being deleted, cannot be assigned to a host")
    if spec.get("nodeName"):
        raise conflict("pods/binding", "", name, f'pod {name} is already assigned to node "{spec["nodeName"]}"')
    if spec.get("schedulingGates"):
        raise conflict("pods/binding", "", name, f"pod {name} has non-empty .spec.schedulingGates")
    spec["nodeName"] = node
    take_topology(cluster, metadata, node)
    annotations = (body.get("metadata") or {}).get("annotations")
    if annotations:
        metadata.setdefault("annotations", {}).update(annotations)
    labels = (body.get("metadata") or {}).get("labels")
    if labels:
        metadata.setdefault("labels", {}).update(labels)
    conditions = pod["status"].setdefault("conditions", [])
    scheduled = {"type": "PodScheduled", "status": "True", "lastProbeTime": None, "lastTransitionTime": cluster.now()}
    pod["status"]["conditions"] = [item for item in conditions if item.get("type") != "PodScheduled"] + [scheduled]
    pod["status"].pop("nominatedNodeName", None)
    if not target.options.dry_run:
        kind = cluster.registry.stored("pods")
        assert kind is not None, "pods are built in"
        cluster.put(kind, pod, record)


def take_topology(cluster: Cluster, metadata: Json, node: str) -> None:
    """A pod is labelled with the zone and region of its node."""
    record = cluster.find("nodes", ("", node))
    labels = record.labels if record is not None else {}
    for name in ("topology.kubernetes.io/zone", "topology.kubernetes.io/region"):
        if name in labels:
            metadata.setdefault("labels", {})[name] = labels[name]


async def evict(cluster: Cluster, admission: Admission, deleter: Deleter, target: Target, body: Json) -> None:
    """Delete a pod unless a budget forbids it; raises ApiError 404, 409, 429 or 500."""
    if (body.get("metadata") or {}).get("name", target.key[1]) != target.key[1]:
        raise bad_request("name in URL does not match name in Eviction object")
    record = cluster.find("pods", target.key)
    if record is None:
        raise not_found("pods", "", target.key[1])
    pod = load(record.raw)
    options = DeleteOptions.of(body.get("deleteOptions") or {})
    options = replace(options, dry_run=options.dry_run or target.options.dry_run)
    operation = Operation("CREATE", target.kind, "eviction", target.key, body, None, target.user, target.options)
    await admission.validate(operation)
    if _budgeted(pod):
        _take(cluster, target, pod, record, dry_run=options.dry_run)
    if not options.dry_run:
        options = _say_why(cluster, deleter, target, options)
    await deleter.delete(target, options)


def _say_why(cluster: Cluster, deleter: Deleter, target: Target, options: DeleteOptions) -> DeleteOptions:
    """Tell those who look after the pod; what is asked of its revision is asked now, because this changes it."""
    record = cluster.find("pods", target.key)
    if record is None:
        raise not_found("pods", "", target.key[1])
    deleter.check(target, record, options)
    pod = load(record.raw)
    reason = {
        "type": "DisruptionTarget",
        "status": "True",
        "lastProbeTime": None,
        "lastTransitionTime": cluster.now(),
        "reason": "EvictionByEvictionAPI",
        "message": "Eviction API: evicting",
    }
    conditions = pod["status"].get("conditions") or []
    pod["status"]["conditions"] = [item for item in conditions if item["type"] != reason["type"]] + [reason]
    cluster.put(target.kind, pod, record)
    return replace(options, revision="")


def _budgeted(pod: Json) -> bool:
    phase = pod.get("status", {}).get("phase")
    return phase not in ("Succeeded", "Failed", "Pending") and not pod["metadata"].get("deletionTimestamp")


def _take(cluster: Cluster, target: Target, pod: Json, record: Record, *, dry_run: bool) -> None:
    kind = cluster.registry.stored(BUDGETS)
    assert kind is not None, "budgets are built in"
    found = []
    for candidate in cluster.store.table(BUDGETS).records(target.key[0]):
        budget = load(candidate.raw)
        selector = from_object(budget.get("spec", {}).get("selector"))
        if selector is not None and matches(selector, record.labels):
            found.append((candidate, budget))
    if not found:
        return
    if len(found) > 1:
        raise ApiError(
            500,
            "",
            "This pod has more than one PodDisruptionBudget, which the eviction subresource does not support.",
        )
    candidate, budget = found[0]
    status = budget.setdefault("status", {})
    if not _ready(pod) and budget["spec"].get("unhealthyPodEvictionPolicy") == "AlwaysAllow":
        return
    if not _ready(pod) and status.get("currentHealthy", 0) >= status.get("desiredHealthy", 0) > 0:
        return
    name = candidate.key[1]
    if status.get("observedGeneration", 0) < budget["metadata"].get("generation", 0):
        raise _too_many(f"The disruption budget {name} is still being processed by the server.", retry=10)
    if status.get("disruptionsAllowed", 0) <= 0:
        wanted, healthy = status.get("desiredHealthy", 0), status.get("currentHealthy", 0)
        needs = f"The disruption budget {name} needs {wanted} healthy pods and has {healthy} currently"
        raise _too_many(needs, retry=0)
    if dry_run:
        return
    status["disruptionsAllowed"] -= 1
    if not status["disruptionsAllowed"]:
        _say_none_left(budget, cluster.now())
    status.setdefault("disruptedPods", {})[target.key[1]] = cluster.now()
    type_ = cluster.schemas.of(kind.gvk)
    assert type_ is not None, "budgets are built in"
    managers.record_own_status(budget, load(candidate.raw), type_=type_, now=cluster.now())
    cluster.put(kind, budget, candidate)


def _say_none_left(budget: Json, now: str) -> None:
    told = {
        "type": "DisruptionAllowed",
        "status": "False",
        "observedGeneration": budget["status"].get("observedGeneration", 0),
        "lastTransitionTime": now,
        "reason": "InsufficientPods",
        "message": "",
    }
    conditions = budget["status"].get("conditions") or []
    known = next((item for item in conditions if item["type"] == told["type"]), None)
    if known is not None and known["status"] == "False":
        told["lastTransitionTime"] = known["lastTransitionTime"]
    budget["status"]["conditions"] = [item for item in conditions if item is not known] + [told]


def _ready(pod: Json) -> bool:
    conditions = pod.get("status", {}).get("conditions") or ()
    return any(item.get("type") == "Ready" and item.get("status") == "True" for item in conditions)


def _too_many(message: str, *, retry: int) -> ApiError:
    return ApiError(
        429,
        "TooManyRequests",
        "Cannot evict pod as it would violate the pod's disruption budget.",
        details={"causes": [{"reason": "DisruptionBudget", "message": message}]},
        retry_after=retry or None,
    )


def log_request(pod: Json, query: dict[str, str]) -> LogRequest:
    """Which log is asked for; raises ApiError 400 if the container is not clear."""
    spec = pod.get("spec", {})
    names = [
        item["name"]
        for group in ("containers", "initContainers", "ephemeralContainers")
        for item in spec.get(group) or ()
    ]
    name = query.get("container", "")
    pod_name = pod["metadata"]["name"]
    if not name:
        containers = [item["name"] for item in spec.get("containers") or ()]
        if len(containers) != 1:
            raise bad_request(
                f"a container name must be specified for pod {pod_name}, choose one of: [{' '.join(containers)}]"
            )
        name = containers[0]
    elif name not in names:
        raise bad_request(f"container {name} is not valid for pod {pod_name}")

    def number(key: str) -> int | None:
        try:
            return int(query[key]) if key in query else None
        except ValueError:
            raise bad_request(f"{key}: Invalid value: {query[key]!r}") from None

    return LogRequest(
        pod=pod,
        container=name,
        follow=query.get("follow") == "true",
        previous=query.get("previous") == "true",
        tail=number("tailLines"),
        since_seconds=number("sinceSeconds"),
        timestamps=query.get("timestamps") == "true",
        limit_bytes=number("limitBytes"),
    )
