"""What is there in every cluster before anyone asks: namespaces, priority classes, the kubernetes service, rights."""

from __future__ import annotations

from functools import cache

from quartermaster.local.apiserver import managers
from quartermaster.local.apiserver.cluster import Cluster
from quartermaster.local.apiserver.codec import encode, load
from quartermaster.local.apiserver.errors import Json
from quartermaster.local.apiserver.normal import normalize
from quartermaster.local.apiserver.schemas import Schemas
from quartermaster.local.apiserver.server import ApiServer
from quartermaster.local.apiserver.shipped import shipped
from quartermaster.local.apiserver.transport import Request


def _system_objects() -> list[tuple[str, Json]]:
    namespaces = ("default", "kube-system", "kube-public", "kube-node-lease")
    found: list[tuple[str, Json]] = [
        ("/api/v1/namespaces", {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": name}})
        for name in namespaces
    ]
    found += [
        (
            "/apis/scheduling.k8s.io/v1/priorityclasses",
            {
                "apiVersion": "scheduling.k8s.io/v1",
                "kind": "PriorityClass",
                "metadata": {"name": name},
                "value": value,
                "description": text,
            },
        )
        for name, value, text in (
            (
                "system-cluster-critical",
                2_000_000_000,
                "Used for system critical pods that must run in the cluster, but can be moved to another node if "
                "necessary.",
            ),
            (
                "system-node-critical",
                2_000_001_000,
                "Used for system critical pods that must not be moved from their current node.",
            ),
        )
    ]
    service: Json = {
        "apiVersion": "v1",
        "kind": "Service",
        "metadata": {"name": "kubernetes", "labels": {"component": "apiserver", "provider": "kubernetes"}},
        "spec": {
            "clusterIP": "10.96.0.1",
            "ports": [{"name": "https", "port": 443, "protocol": "TCP", "targetPort": 6443}],
            "sessionAffinity": "None",
            "type": "ClusterIP",
        },
    }
    found.append(("/api/v1/namespaces/default/services", service))
    return found


async def bootstrap(server: ApiServer) -> None:
    """Make what is not there yet."""
    for path, value in _system_objects():
        known = await server.handle(Request.of("GET", f"{path}/{value['metadata']['name']}"))
        if known.status == 200:
            continue
        request = Request.of("POST", f"{path}?fieldManager=kube-apiserver", value)
        response = await server.handle(request)
        assert response.status == 201, response.body
    _grant(server.cluster)


def _grant(cluster: Cluster) -> None:
    """The roles and bindings of the published policy, a hundred and more: committed as they are, not requested."""
    now = cluster.now()
    for gvk, raw in _rights():
        kind = cluster.registry.of_kind(*gvk)
        assert kind is not None, "roles and bindings are built in"
        value = load(raw)
        metadata = value["metadata"]
        if cluster.find(kind.table, (metadata.get("namespace", ""), metadata["name"])) is not None:
            continue
        metadata |= {"uid": cluster.new_uid(), "creationTimestamp": now}
        metadata["managedFields"][0]["time"] = now
        cluster.put(kind, value, None)


@cache
def _rights() -> tuple[tuple[tuple[str, str, str], bytes], ...]:
    """(group, version, kind) and the object, owned; made once for all clusters of a process."""
    schemas = Schemas()
    found = []
    for value in shipped("rights"):
        group, _, version = value["apiVersion"].rpartition("/")
        type_ = schemas.of(f"{value['apiVersion']}/{value['kind']}")
        assert type_ is not None, "roles and bindings have published types"
        normalize(value, type_)
        managers.record_update(
            value,
            None,
            type_=type_,
            manager="kube-apiserver",
            subresource="",
            now="",
            api_version=value["apiVersion"],
        )
        found.append(((group, version, value["kind"]), encode(value)))
    return tuple(found)
