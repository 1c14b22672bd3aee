"""Admission that is built in: what the real server does without being configured.

Namespaces must exist and live; pods get a service account, the tolerations and the priority that their class says;
deleting a finished namespace is refused with the real words. Quotas and limit ranges are quota.py's.
"""

from __future__ import annotations

from fractions import Fraction

from quartermaster.local.apiserver.admission import Admission, Operation
from quartermaster.local.apiserver.cluster import Cluster
from quartermaster.local.apiserver.codec import load
from quartermaster.local.apiserver.errors import Json, forbidden, not_found
from quartermaster.local.apiserver.pods import take_topology
from quartermaster.local.apiserver.quantity import parse

_EVICTED_AFTER = 300
_PRIORITIES = "priorityclasses.scheduling.k8s.io"
_SYSTEM_PRIORITIES = ("system-cluster-critical", "system-node-critical")

PROTECTION = {
    "persistentvolumeclaims": "kubernetes.io/pvc-protection",
    "persistentvolumes": "kubernetes.io/pv-protection",
}
"""By table, the finalizer that holds what is in use."""

_NOT_READY = "node.kubernetes.io/not-ready"
_UNREACHABLE = "node.kubernetes.io/unreachable"


def install(admission: Admission, cluster: Cluster) -> None:
    """Add the built-in plugins, in the real server's order."""
    plugins = _Plugins(cluster)
    admission.mutating += [plugins.namespace, plugins.pod, plugins.tolerations, protect_claim]
    admission.validating += [plugins.terminating, plugins.resized, system_priority]


class _Plugins:
    def __init__(self, cluster: Cluster) -> None:
        self._cluster = cluster
        self._priorities: tuple[int, dict[str, Json], Json | None] = (-1, {}, None)

    def namespace(self, operation: Operation) -> None:
        """Refuse objects in namespaces that are not there."""
        kind = operation.kind
        if not kind.namespaced or operation.verb != "CREATE" or kind.table == "localsubjectaccessreviews":
            return
        namespace = operation.key[0]
        if self._cluster.find("namespaces", ("", namespace)) is None:
            raise not_found("namespaces", "", namespace)

    def terminating(self, operation: Operation) -> None:
        """Refuse new objects in namespaces that are going."""
        if not operation.kind.namespaced or operation.verb != "CREATE":
            return
        namespace = operation.key[0]
        record = self._cluster.find("namespaces", ("", namespace))
        if record is not None and record.fields[0] == "Terminating":
            kind = operation.kind
            error = forbidden(
                kind.plural,
                kind.group,
                operation.key[1],
                f"unable to create new content in namespace {namespace} because it is being terminated",
            )
            error.details = (error.details or {}) | {
                "causes": [
                    {
                        "reason": "NamespaceTerminating",
                        "message": f"namespace {namespace} is being terminated",
                        "field": "metadata.namespace",
                    }
                ]
            }
            raise error

    def resized(self, operation: Operation) -> None:
        """Refuse to let a claim grow whose class does not say that its volumes can."""
        if operation.kind.table != "persistentvolumeclaims" or operation.verb != "UPDATE" or operation.subresource:
            return
        spec, before = operation.value.get("spec", {}), (operation.old or {}).get("spec", {})
        if _size(spec) <= _size(before):
            return
        name = spec.get("storageClassName") or ""
        record = self._cluster.find("storageclasses.storage.k8s.io", ("", name)) if name else None
        grows = record is not None and load(record.raw).get("allowVolumeExpansion")
        if not grows or name != before.get("storageClassName"):
            why = "only dynamically provisioned pvc can be resized and the storageclass that provisions the pvc"
            raise forbidden("persistentvolumeclaims", "", operation.key[1], f"{why} must support resize")

    def pod(self, operation: Operation) -> None:
        """Priority, service account and default tolerations of new pods."""
        if operation.kind.table != "pods" or operation.verb != "CREATE" or operation.subresource:
            return
        spec = operation.value["spec"]
        if spec.get("nodeName"):
            take_topology(self._cluster, operation.value["metadata"], spec["nodeName"])
        self._priority(operation, spec)
        if self._cluster.find("serviceaccounts", (operation.key[0], "default")) is not None:
            spec.setdefault("serviceAccountName", "default")
            spec.setdefault("serviceAccount", spec["serviceAccountName"])
        _tolerate(spec)

    def tolerations(self, operation: Operation) -> None:
        """A pod keeps bearing with nodes for a while, whatever becomes of its tolerations."""
        if operation.kind.table == "pods" and operation.verb == "UPDATE" and not operation.subresource:
            _tolerate(operation.value["spec"])

    def _priority(self, operation: Operation, spec: Json) -> None:
        classes, default = self._classes()
        name = spec.get("priorityClassName", "")
        if name:
            found = classes.get(name)
            if found is None:
                raise forbidden(
                    "pods",
                    "",
                    operation.key[1] or operation.value["metadata"].get("generateName", ""),
                    f"no PriorityClass with name {name} was found",
                )
        elif default is not None:
            found = default
            spec["priorityClassName"] = default["metadata"]["name"]
        else:
            spec.setdefault("priority", 0)
            spec.setdefault("preemptionPolicy", "PreemptLowerPriority")
            if spec["priority"] != 0:
                raise forbidden(
                    "pods",
                    "",
                    operation.key[1],
                    f"the integer value of priority ({spec['priority']}) must not be provided in pod spec; priority "
                    "admission controller computed 0 from the given PriorityClass name",
                )
            return
        amount = found.get("value", 0)
        if spec.get("priority", amount) != amount:
            raise forbidden(
                "pods",
                "",
                operation.key[1],
                f"the integer value of priority ({spec['priority']}) must not be provided in pod spec; priority "
                f"admission controller computed {amount} from the given PriorityClass name",
            )
        spec["priority"] = amount
        spec.setdefault("preemptionPolicy", found.get("preemptionPolicy", "PreemptLowerPriority"))

    def _classes(self) -> tuple[dict[str, Json], Json | None]:
        table = self._cluster.store.table(_PRIORITIES)
        version = table.base + len(table.log)
        if self._priorities[0] != version:
            classes = {record.key[1]: load(record.raw) for record in table.records()}
            defaults = [found for found in classes.values() if found.get("globalDefault")]
            self._priorities = (version, classes, min(defaults, key=lambda item: item.get("value", 0), default=None))
        return self._priorities[1], self._priorities[2]


def _size(claim: Json) -> Fraction:
    return parse(str(claim.get("resources", {}).get("requests", {}).get("storage", "0")))


def _tolerate(spec: Json) -> None:
    tolerations = spec.setdefault("tolerations", [])
    for key in (_NOT_READY, _UNREACHABLE):
        if not any(_covers(toleration, key) for toleration in tolerations):
            tolerations.append(
                {"key": key, "operator": "Exists", "effect": "NoExecute", "tolerationSeconds": _EVICTED_AFTER}
            )


def _covers(toleration: Json, key: str) -> bool:
    return toleration.get("key", "") in ("", key) and toleration.get("effect", "NoExecute") in ("", "NoExecute")


def system_priority(operation: Operation) -> None:
    """Refuse to delete the priorities that the cluster itself needs."""
    kind, name = operation.kind, operation.key[1]
    if kind.table == _PRIORITIES and operation.verb == "DELETE" and name in _SYSTEM_PRIORITIES:
        raise forbidden(kind.plural, kind.group, name, "this is a system priority class and cannot be deleted")


def protect_claim(operation: Operation) -> None:
    """Claims and volumes in use do not go: whoever knows that they are not lets them go (garbage.py)."""
    name = PROTECTION.get(operation.kind.table)
    if name is None or operation.verb != "CREATE" or operation.subresource:
        return
    finalizers = operation.value["metadata"].setdefault("finalizers", [])
    if name not in finalizers:
        finalizers.append(name)


def taint_new_node(operation: Operation) -> None:
    """New nodes are not ready until a node-lifecycle controller finds that they are: only where there is one."""
    if operation.kind.table != "nodes" or operation.verb != "CREATE":
        return
    taints = operation.value.setdefault("spec", {}).setdefault("taints", [])
    if not any(taint.get("key") == _NOT_READY and taint.get("effect") == "NoSchedule" for taint in taints):
        taints.append({"key": _NOT_READY, "effect": "NoSchedule"})


def tolerate_extended_resources(operation: Operation) -> None:
    """Pods that ask for a device tolerate the taint of that name: ExtendedResourceToleration, off unless asked for."""
    if operation.kind.table != "pods" or operation.verb != "CREATE" or operation.subresource:
        return
    spec = operation.value["spec"]
    asked = {
        name
        for container in [*(spec.get("initContainers") or ()), *(spec.get("containers") or ())]
        for name in (container.get("resources") or {}).get("requests") or ()
        if "/" in name and not name.partition("/")[0].endswith("kubernetes.io")
    }
    tolerations = spec.setdefault("tolerations", [])
    for name in sorted(asked):
        toleration = {"key": name, "operator": "Exists"}
        if toleration not in tolerations:
            tolerations.append(toleration)
