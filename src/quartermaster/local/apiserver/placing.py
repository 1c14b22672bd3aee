"""What the server gives an object beyond defaults: selectors, addresses, a first status. Nobody owns these fields.

Placing comes after defaults and after ownership, and before admission and validation.
"""

from __future__ import annotations

from collections.abc import Callable

from quartermaster.local.apiserver.cluster import Cluster
from quartermaster.local.apiserver.defaults_pods import qos_class
from quartermaster.local.apiserver.errors import Json
from quartermaster.local.apiserver.kinds import Kind
from quartermaster.local.apiserver.services import place_changed, place_new


def place(kind: Kind, value: Json, cluster: Cluster, *, dry_run: bool) -> None:
    """A new object, in place; raises ApiError 422 for what it may not have."""
    if kind.table == "services":
        place_new(value, cluster, dry_run=dry_run)
    step = _NEW.get(kind.table) if kind.custom is None else None
    if step is not None:
        step(value, cluster)


def place_again(kind: Kind, value: Json, old: Json, cluster: Cluster, *, dry_run: bool) -> None:
    """A changed object, in place; raises ApiError 422 for what it may not have."""
    if kind.table == "services":
        place_changed(value, old, cluster, dry_run=dry_run)
    elif kind.table == "namespaces":
        value["metadata"].setdefault("labels", {})["kubernetes.io/metadata.name"] = value["metadata"]["name"]


def _new_pod(value: Json, cluster: Cluster) -> None:
    status = value["status"]
    status |= {"phase": "Pending", "qosClass": qos_class(value["spec"])}
    if value["spec"].get("schedulingGates"):
        status["conditions"] = [
            {
                "type": "PodScheduled",
                "status": "False",
                "lastProbeTime": None,
                "lastTransitionTime": cluster.now(),
                "reason": "SchedulingGated",
                "message": "Scheduling is blocked due to non-empty scheduling gates",
            }
        ]


def _job_selector(value: Json, cluster: Cluster) -> None:
    del cluster
    spec, metadata = value["spec"], value["metadata"]
    labels = spec.setdefault("template", {}).setdefault("metadata", {}).setdefault("labels", {})
    if not spec.get("manualSelector"):
        uid, name = metadata["uid"], metadata.get("name", "")
        for prefix in ("batch.kubernetes.io/", ""):
            labels.setdefault(f"{prefix}controller-uid", uid)
            labels.setdefault(f"{prefix}job-name", name)
        chosen = spec.setdefault("selector", {}).setdefault("matchLabels", {})
        chosen["batch.kubernetes.io/controller-uid"] = uid
    # By default a job has the labels of its template (defaults.py): what that has been given here too.
    if not metadata.get("labels") or metadata["labels"] is labels:
        metadata["labels"] = dict(labels)


def _new_namespace(value: Json, cluster: Cluster) -> None:
    del cluster
    metadata = value["metadata"]
    metadata.setdefault("labels", {})["kubernetes.io/metadata.name"] = metadata.get("name", "")
    finalizers = value.setdefault("spec", {}).setdefault("finalizers", [])
    if "kubernetes" not in finalizers:
        finalizers.append("kubernetes")
    value["status"] |= {"phase": "Active"}


def _pending(value: Json, cluster: Cluster) -> None:
    del cluster
    value["status"] |= {"phase": "Pending"}


def _new_volume(value: Json, cluster: Cluster) -> None:
    value["status"] |= {"phase": "Pending", "lastPhaseTransitionTime": cluster.now()}


def _budget(value: Json, cluster: Cluster) -> None:
    del cluster
    names = ("disruptionsAllowed", "currentHealthy", "desiredHealthy", "expectedPods")
    value["status"] |= dict.fromkeys(names, 0)


_NEW: dict[str, Callable[[Json, Cluster], None]] = {
    "pods": _new_pod,
    "namespaces": _new_namespace,
    "jobs.batch": _job_selector,
    "persistentvolumeclaims": _pending,
    "persistentvolumes": _new_volume,
    "poddisruptionbudgets.policy": _budget,
}
