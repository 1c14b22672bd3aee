"""metrics.k8s.io/v1beta1 of the simulated machines: what ``kubectl top`` and a HorizontalPodAutoscaler ask.

In a cluster this is metrics-server behind an APIService; here it is a handler that the API's aggregation is told of.
It reads the mirrors that the player keeps, so asking costs the API nothing, and times are the cluster's. Like
metrics-server it leaves out pods that do not run and nodes that are down. Refused: watching, and history.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass

from quartermaster.kube.api import Api, Json, Key, Refused
from quartermaster.kube.clock import Clock
from quartermaster.local.apiserver.aggregation import Aggregation
from quartermaster.local.apiserver.errors import ApiError, bad_request, method_not_allowed, no_such_path, not_found
from quartermaster.local.apiserver.kinds import Kind
from quartermaster.local.apiserver.selectors import matches, parse_labels
from quartermaster.local.apiserver.transport import Request, Response, answer
from quartermaster.local.fleet.usage import measured, of_containers, of_node
from quartermaster.local.stages.facts import stamp
from quartermaster.local.stages.heartbeats import silent
from quartermaster.local.stages.paths import look

GROUP, VERSION = "metrics.k8s.io", "v1beta1"
SERVICE = ("kube-system", "metrics-server")
WINDOW = "15s"
_KINDS = tuple(
    Kind(
        group=GROUP,
        version=VERSION,
        kind=kind,
        plural=plural,
        singular="",
        namespaced=namespaced,
        verbs=("get", "list"),
    )
    for kind, plural, namespaced in (("NodeMetrics", "nodes", False), ("PodMetrics", "pods", True))
)


@dataclass(frozen=True, slots=True)
class MetricsApi:
    """A `Handler`. `nodes` and `pods` are the cluster as it is now."""

    nodes: Mapping[Key, Json]
    pods: Mapping[Key, Json]
    pods_on: Callable[[str], Iterable[Json]]
    clock: Clock

    async def register(self, api: Api, aggregation: Aggregation) -> None:
        """Answer as metrics-server, with an APIService that says so."""
        aggregation.offer(SERVICE, self.handle, _KINDS)
        namespace, name = SERVICE
        service = {
            "apiVersion": "apiregistration.k8s.io/v1",
            "kind": "APIService",
            "metadata": {"name": f"{VERSION}.{GROUP}", "labels": {"k8s-app": name}},
            "spec": {
                "group": GROUP,
                "version": VERSION,
                "service": {"namespace": namespace, "name": name},
                "groupPriorityMinimum": 100,
                "versionPriority": 100,
                "insecureSkipTLSVerify": True,
            },
        }
        try:
            await api.send("POST", "/apis/apiregistration.k8s.io/v1/apiservices", service)
        except Refused as wrong:
            if wrong.code != 409:
                raise

    async def handle(self, request: Request) -> Response:
        """Answer a GET."""
        try:
            return answer(self._answer(request))
        except ApiError as wrong:
            return answer(wrong.status(), wrong.code)

    def _answer(self, request: Request) -> Json:
        if request.method != "GET" or request.query.get("watch") in ("true", "1"):
            raise method_not_allowed()
        match request.segments()[3:]:
            case ["nodes"]:
                return self._list("NodeMetrics", self.nodes, request, self._of_node)
            case ["nodes", name]:
                return self._one("nodes", self.nodes, ("", name), self._of_node)
            case ["pods"]:
                return self._list("PodMetrics", self.pods, request, self._of_pod)
            case ["namespaces", namespace, "pods"]:
                found = {key: pod for key, pod in self.pods.items() if key[0] == namespace}
                return self._list("PodMetrics", found, request, self._of_pod)
            case ["namespaces", namespace, "pods", name]:
                return self._one("pods", self.pods, (namespace, name), self._of_pod)
        raise no_such_path()

    def _one(self, resource: str, objects: Mapping[Key, Json], key: Key, of: Callable[[Json], Json | None]) -> Json:
        value = objects.get(key)
        found = of(value) if value is not None else None
        if found is None:
            raise not_found(resource, GROUP, "/".join(filter(None, key)))
        return found

    def _list(
        self, kind: str, objects: Mapping[Key, Json], request: Request, of: Callable[[Json], Json | None]
    ) -> Json:
        selector = parse_labels(request.query.get("labelSelector", ""))
        name = _named(request.query.get("fieldSelector", ""))
        chosen = [
            objects[key]
            for key in sorted(objects)
            if name in ("", key[1]) and matches(selector, objects[key]["metadata"].get("labels") or {})
        ]
        items = [found for value in chosen if (found := of(value)) is not None]
        return {"kind": f"{kind}List", "apiVersion": f"{GROUP}/{VERSION}", "metadata": {}, "items": items}

    def _of_node(self, node: Json) -> Json | None:
        if silent(node) or look(node, ".status.conditions[type=Ready].status") != "True":
            return None
        usage = of_node(node, self.pods_on(node["metadata"]["name"]), self.clock())
        return self._metrics("NodeMetrics", node) | {"usage": usage.resources()}

    def _of_pod(self, pod: Json) -> Json | None:
        if not measured(pod):
            return None
        usage = of_containers(pod, self.clock())
        containers = [{"name": name, "usage": used.resources()} for name, used in usage.items()]
        return self._metrics("PodMetrics", pod) | {"containers": containers}

    def _metrics(self, kind: str, value: Json) -> Json:
        about, now = value["metadata"], stamp(self.clock())
        metadata = {key: about[key] for key in ("name", "namespace", "labels") if about.get(key)}
        metadata["creationTimestamp"] = now
        return {
            "kind": kind,
            "apiVersion": f"{GROUP}/{VERSION}",
            "metadata": metadata,
            "timestamp": now,
            "window": WINDOW,
        }


def _named(selector: str) -> str:
    """The name that a field selector asks for; raises ApiError 400 for any other."""
    key, equal, name = selector.replace("==", "=").partition("=")
    if selector and (key != "metadata.name" or not equal):
        raise bad_request(f'field label not supported: "{key}"')
    return name
