"""What is there in every cluster before anyone asks: namespaces, priority classes, the kubernetes service."""

from __future__ import annotations

from quartermaster.local.apiserver.errors import Json
from quartermaster.local.apiserver.server import ApiServer
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
    meta = {
        "name": "cluster-admin",
        "labels": {"kubernetes.io/bootstrapping": "rbac-defaults"},
        "annotations": {"rbac.authorization.kubernetes.io/autoupdate": "true"},
    }
    everything = [
        {"apiGroups": ["*"], "resources": ["*"], "verbs": ["*"]},
        {"nonResourceURLs": ["*"], "verbs": ["*"]},
    ]
    group = "rbac.authorization.k8s.io"
    base = f"/apis/{group}/v1"
    role = {"apiVersion": f"{group}/v1", "kind": "ClusterRole", "metadata": meta, "rules": everything}
    binding = {
        "apiVersion": f"{group}/v1",
        "kind": "ClusterRoleBinding",
        "metadata": meta,
        "roleRef": {"apiGroup": group, "kind": "ClusterRole", "name": "cluster-admin"},
        "subjects": [{"apiGroup": group, "kind": "Group", "name": "system:masters"}],
    }
    found += [(f"{base}/clusterroles", role), (f"{base}/clusterrolebindings", binding)]
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
