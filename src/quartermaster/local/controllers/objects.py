"""What a controller sees: the objects of the cluster as they were last heard of, found by name, namespace or owner.

Objects in here are shared and never changed: who wants to change one copies it (`changed`). Refuses to talk to anyone;
manager.py fills it.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from copy import deepcopy
from dataclasses import dataclass
from typing import Any

Json = dict[str, Any]
Key = tuple[str, str]
"""(namespace, name); namespace is empty for cluster-scoped objects."""


@dataclass(frozen=True, slots=True)
class Resource:
    """A kind as controllers address it."""

    kind: str
    api_version: str
    plural: str
    namespaced: bool = True

    def path(self, namespace: str = "", name: str = "", subresource: str = "") -> str:
        """Where it is served: the collection without a `name`, all namespaces without a `namespace`."""
        parts = ["api" if self.api_version == "v1" else "apis", self.api_version]
        parts += ["namespaces", namespace] if self.namespaced and namespace else []
        return "/" + "/".join([*parts, self.plural, *filter(None, (name, subresource))])


PODS = Resource("Pod", "v1", "pods")
NODES = Resource("Node", "v1", "nodes", namespaced=False)
NAMESPACES = Resource("Namespace", "v1", "namespaces", namespaced=False)
SERVICES = Resource("Service", "v1", "services")
ACCOUNTS = Resource("ServiceAccount", "v1", "serviceaccounts")
CLAIMS = Resource("PersistentVolumeClaim", "v1", "persistentvolumeclaims")
VOLUMES = Resource("PersistentVolume", "v1", "persistentvolumes", namespaced=False)
STORAGE_CLASSES = Resource("StorageClass", "storage.k8s.io/v1", "storageclasses", namespaced=False)
CSI_DRIVERS = Resource("CSIDriver", "storage.k8s.io/v1", "csidrivers", namespaced=False)
DEPLOYMENTS = Resource("Deployment", "apps/v1", "deployments")
REPLICA_SETS = Resource("ReplicaSet", "apps/v1", "replicasets")
STATEFUL_SETS = Resource("StatefulSet", "apps/v1", "statefulsets")
DAEMON_SETS = Resource("DaemonSet", "apps/v1", "daemonsets")
REVISIONS = Resource("ControllerRevision", "apps/v1", "controllerrevisions")
JOBS = Resource("Job", "batch/v1", "jobs")
CRON_JOBS = Resource("CronJob", "batch/v1", "cronjobs")
BUDGETS = Resource("PodDisruptionBudget", "policy/v1", "poddisruptionbudgets")
LEASES = Resource("Lease", "coordination.k8s.io/v1", "leases")
SLICES = Resource("EndpointSlice", "discovery.k8s.io/v1", "endpointslices")
RESOURCE_SLICES = Resource("ResourceSlice", "resource.k8s.io/v1", "resourceslices", namespaced=False)
DEVICE_CLASSES = Resource("DeviceClass", "resource.k8s.io/v1", "deviceclasses", namespaced=False)
RESOURCE_CLAIMS = Resource("ResourceClaim", "resource.k8s.io/v1", "resourceclaims")
CLAIM_TEMPLATES = Resource("ResourceClaimTemplate", "resource.k8s.io/v1", "resourceclaimtemplates")


def key_of(value: Json) -> Key:
    """The key of an object."""
    return value["metadata"].get("namespace", ""), value["metadata"]["name"]


def controller_of(value: Json) -> Json | None:
    """The owner reference of the one owner that controls it."""
    owners: list[Json] = value["metadata"].get("ownerReferences") or []
    return next((owner for owner in owners if owner.get("controller")), None)


def changed(value: Json) -> Json:
    """A copy to change."""
    return deepcopy(value)


class Objects:
    """Objects by resource and key, and by the uid of their controller. Order is always that of keys."""

    def __init__(self, values: Iterable[tuple[Resource, Json]] = ()) -> None:
        self._namespaces: dict[Resource, dict[str, dict[str, Json]]] = {}
        self._children: dict[tuple[Resource, str, str], set[str]] = {}
        self._on_node: dict[str, set[Key]] = {}
        for resource, value in values:
            self.put(resource, value)

    def put(self, resource: Resource, value: Json) -> None:
        """Take in the newest form of an object. The caller gives it up."""
        namespace, name = key_of(value)
        self.drop(resource, (namespace, name))
        self._namespaces.setdefault(resource, {}).setdefault(namespace, {})[name] = value
        self._children.setdefault((resource, namespace, _parent(value)), set()).add(name)
        if resource is PODS and value["spec"].get("nodeName"):
            self._on_node.setdefault(value["spec"]["nodeName"], set()).add((namespace, name))

    def drop(self, resource: Resource, key: Key) -> None:
        """Forget an object, if it is known."""
        old = self._namespaces.get(resource, {}).get(key[0], {}).pop(key[1], None)
        if old is not None:
            self._children[resource, key[0], _parent(old)].discard(key[1])
            if resource is PODS:
                self._on_node.get(old["spec"].get("nodeName", ""), set()).discard(key)

    def get(self, resource: Resource, key: Key) -> Json | None:
        """The object."""
        return self._namespaces.get(resource, {}).get(key[0], {}).get(key[1])

    def within(self, resource: Resource, namespace: str) -> list[Json]:
        """All in a namespace."""
        shelf = self._namespaces.get(resource, {}).get(namespace, {})
        return [shelf[name] for name in sorted(shelf)]

    def every(self, resource: Resource) -> Iterator[Json]:
        """All of them."""
        for namespace in sorted(self._namespaces.get(resource, {})):
            yield from self.within(resource, namespace)

    def children(self, resource: Resource, namespace: str, uid: str) -> list[Json]:
        """All in a namespace that the object with `uid` controls; those that nothing controls if it is empty."""
        shelf = self._namespaces.get(resource, {}).get(namespace, {})
        return [shelf[name] for name in sorted(self._children.get((resource, namespace, uid), ()))]

    def on_node(self, name: str) -> list[Json]:
        """All pods that are bound to a node."""
        found = (self.get(PODS, key) for key in sorted(self._on_node.get(name, ())))
        return [pod for pod in found if pod is not None]


def _parent(value: Json) -> str:
    owner = controller_of(value)
    return owner["uid"] if owner is not None else ""
