"""What a server asks of kubelets: logs, commands, anything below a node's proxy.

The API keeps objects; what a container wrote is known where it ran. So these subresources are a request to whoever
plays that node, in the paths of the kubelet's own API (``/containerLogs/NAMESPACE/POD/CONTAINER``, ``/exec/...``), and
its answer is passed on. `Kubelets` is the door; a node that nobody plays is a kubelet that does not listen, and the
client is told so in the words of a real server. Pods and services have no network here: their proxies always say that
nobody answered. Conversations are WebSockets; SPDY, which kubectl up to 1.30 spoke, is refused.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from datetime import datetime
from urllib.parse import quote_plus, urlencode

from quartermaster.local.apiserver.cluster import Cluster
from quartermaster.local.apiserver.codec import encode, load
from quartermaster.local.apiserver.errors import (
    ApiError,
    Cause,
    Json,
    bad_request,
    forbidden_value,
    invalid,
    invalid_value,
    not_found,
)
from quartermaster.local.apiserver.options import flag, number
from quartermaster.local.apiserver.routes import Route
from quartermaster.local.apiserver.transport import Channels, Handler, Request, Response

THEIRS = frozenset(("log", "exec", "attach", "portforward", "proxy"))
"""Subresources that kubelets answer."""

Kubelets = Callable[[str], Handler | None]
"""From the name of a node to its kubelet's API; None if nothing listens there."""

STDIN, STDOUT, STDERR, STATUS = range(4)
"""Channels of a conversation. The last thing said is a Status, on its channel."""

CHANNELS = ("v5.channel.k8s.io", "v4.channel.k8s.io")
PORT = 10250
_PREFERRED = ("Hostname", "InternalDNS", "InternalIP", "ExternalDNS", "ExternalIP")
_SLICES = "endpointslices.discovery.k8s.io"
_IN_ORDER = ("initContainers", "containers", "ephemeralContainers")
_MOST_SECONDS = 1 << 31
_STREAMS = {"stdin": "input", "stdout": "output", "stderr": "error", "tty": "tty"}
"""What the API calls a stream, and what the kubelet does."""


def nobody(node: str) -> Handler | None:  # noqa: ARG001  # whatever the node
    """No kubelet listens anywhere."""
    return None


async def logs(cluster: Cluster, kubelets: Kubelets, pod: Json, query: Mapping[str, str]) -> Response:
    """``GET pods/NAME/log``: 204 as long as the pod has no node. Raises ApiError."""
    asked = _log_options(pod["metadata"]["name"], query)
    container = _container(pod, query.get("container", ""))
    node = pod["spec"].get("nodeName", "")
    if not node:
        return Response(204, b"", "")
    address = _address(cluster, node, "pods")
    request = _to_kubelet("GET", _path("containerLogs", pod, container), asked)
    kubelet = kubelets(node)
    if kubelet is None:
        raise ApiError(500, "", f'Get "{_url(address, request)}": {_refused(address, PORT)}')
    reply = await kubelet(request)
    _check(reply)
    return Response(200, reply.body, "text/plain", stream=reply.stream)


async def converse(cluster: Cluster, kubelets: Kubelets, pod: Json, verb: str, request: Request) -> Response:
    """exec, attach, portforward: a conversation with the kubelet, or why there is none. Raises ApiError."""
    node, name = pod["spec"].get("nodeName", ""), pod["metadata"]["name"]
    container = _container(pod, request.query.get("container", "")) if verb != "portforward" else ""
    if not node:
        raise bad_request(f"pod {name} does not have a host assigned")
    address = _address(cluster, node, "pods")
    upgrade = request.headers.get("upgrade", "").lower()
    if not upgrade:
        raise bad_request("Upgrade request required")
    asked = [("command", value) for key, value in request.pairs if key == "command"]
    asked += [(short, "1") for name, short in sorted(_STREAMS.items()) if flag(request.query, name)]
    path = _path(verb.replace("portforward", "portForward"), pod, container)
    inner = _to_kubelet("POST", path, sorted(asked, key=lambda pair: pair[0]))
    kubelet = kubelets(node)
    reply = await kubelet(inner) if kubelet is not None else None
    offered = [item.strip() for item in request.headers.get("sec-websocket-protocol", "").split(",")]
    if reply is not None and reply.talk is not None:
        if upgrade != "websocket" or not set(offered) & set(CHANNELS):
            raise bad_request(f"conversations are WebSockets here, by {' or '.join(CHANNELS)}")
        return reply
    if verb != "portforward" and CHANNELS[0] in offered:
        # Of version 5 the API server itself is the other end, and says in the conversation what came of it.
        if reply is not None:
            return _told(_internal(f"unable to upgrade connection: {reply.body.decode()}"))
        why = f'error sending request: Post "{_url(address, inner)}": {_refused(address, PORT)}'
        return _told(_internal(why))
    if reply is not None:
        return reply
    raise ApiError(500, "", f"error dialing backend: {_refused(address, PORT)}")


def _told(failure: ApiError) -> Response:
    """A conversation in which nothing is said but that it failed."""

    async def say(channels: Channels) -> None:
        told = {"metadata": {}, "status": "Failure", "message": failure.message, "reason": failure.reason}
        await channels.send(STATUS, encode(told | {"details": failure.details, "code": failure.code}))

    return Response(101, talk=say)


async def proxy(cluster: Cluster, kubelets: Kubelets, route: Route, request: Request) -> Response:
    """``NAME/proxy/REST``: of a node its kubelet's own API; pods and services have no network. Raises ApiError."""
    name, port = _name_and_port(route.name)
    if route.kind.table != "nodes":
        raise _unreached(*_endpoint(cluster, route, name, port))
    address = _address(cluster, name, "nodes")
    kubelet = kubelets(name)
    if port not in ("", str(PORT)) or kubelet is None:
        raise _unreached(address, port or PORT)
    path = "/" + route.subresource.partition("/")[2]
    return await kubelet(
        Request(request.method, path, request.query, request.headers, request.body, pairs=request.pairs)
    )


def _name_and_port(said: str) -> tuple[str, str]:
    """From ``NAME``, ``NAME:PORT`` or ``SCHEME:NAME:PORT``."""
    parts = said.split(":")
    return (parts[1], parts[2]) if len(parts) == 3 else (parts[0], parts[1] if len(parts) == 2 else "")


def _endpoint(cluster: Cluster, route: Route, name: str, port: str) -> tuple[str, str]:
    """Where a pod or a service would be reached; raises ApiError 400 or 404 if it would not."""
    table = route.kind.table
    value = cluster.object(table, (route.namespace, name))
    if value is None:
        raise not_found(table, "", name)
    if table == "pods":
        address = (value.get("status") or {}).get("podIP")
        if not address:
            raise bad_request("address not allowed")
        ports = [item["containerPort"] for each in value["spec"]["containers"] for item in each.get("ports") or ()]
        return str(address), port or str(ports[0] if ports else 80)
    for record in cluster.store.table(_SLICES).records(route.namespace):
        if record.labels.get("kubernetes.io/service-name") != name:
            continue
        found = load(record.raw)
        ready = [item for item in found.get("endpoints") or () if (item.get("conditions") or {}).get("ready", True)]
        numbers = [str(item["port"]) for item in found.get("ports") or () if port in ("", item.get("name"))]
        if ready:
            return ready[0]["addresses"][0], (numbers or [port])[0]
    raise not_found(table, "", name)


def _path(what: str, pod: Json, container: str) -> str:
    about = pod["metadata"]
    return "/" + "/".join(filter(None, (what, about["namespace"], about["name"], container)))


def _to_kubelet(method: str, path: str, asked: list[tuple[str, str]]) -> Request:
    return Request(method, path, dict(asked), pairs=tuple(asked))


def _url(address: str, request: Request) -> str:
    query = urlencode(request.pairs, quote_via=quote_plus)
    return f"https://{address}:{PORT}{request.path}" + (f"?{query}" if query else "")


def _address(cluster: Cluster, node: str, resource: str) -> str:
    """Where a node's kubelet listens. Raises ApiError; one for a pod names the pod's resource, as the real one does."""
    value = cluster.object("nodes", ("", node))
    if value is None:
        raise not_found(resource, "", node)
    known = {item["type"]: item["address"] for item in (value.get("status") or {}).get("addresses") or ()}
    for kind in _PREFERRED:
        if kind in known:
            return str(known[kind])
    raise ApiError(500, "", "no preferred addresses found; known addresses: []")


def _refused(address: str, port: str | int) -> str:
    return f"dial tcp {address}:{port}: connect: connection refused"


def _unreached(address: str, port: str | int) -> ApiError:
    return ApiError(503, "ServiceUnavailable", f"error trying to reach service: {_refused(address, port)}")


def _internal(text: str) -> ApiError:
    message = f"Internal error occurred: {text}"
    return ApiError(500, "InternalError", message, details={"causes": [{"message": text}]})


def _check(reply: Response) -> None:
    """What the kubelet says to a request for logs that it does not serve, as the API's own failure."""
    if 200 <= reply.status <= 206:
        return
    text = reply.body.decode(errors="replace")
    if reply.status == 400:
        raise bad_request(text)
    if reply.status == 404:
        raise ApiError(404, "NotFound", "the server could not find the requested resource")
    raise _internal(text)


def _container(pod: Json, name: str) -> str:
    """The container that is meant. Raises ApiError 400 if that is not clear."""
    spec, pod_name = pod["spec"], pod["metadata"]["name"]
    names = [item["name"] for group in _IN_ORDER for item in spec.get(group) or ()]
    if name:
        if name not in names:
            raise bad_request(f"container {name} is not valid for pod {pod_name}")
        return name
    if len(spec["containers"]) == 1:
        return str(spec["containers"][0]["name"])
    raise bad_request(f"a container name must be specified for pod {pod_name}, choose one of: [{' '.join(names)}]")


def _log_options(pod: str, query: Mapping[str, str]) -> list[tuple[str, str]]:
    """What the kubelet is asked, by name. Raises ApiError 400, or 422 for values out of range."""
    tail, since, most = (number(query, key) for key in ("tailLines", "sinceSeconds", "limitBytes"))
    causes: list[Cause] = []
    if tail is not None and tail < 0:
        causes.append(invalid_value("tailLines", tail, "must be greater than or equal to 0"))
    if most is not None and most < 1:
        causes.append(invalid_value("limitBytes", most, "must be greater than 0"))
    if since is not None and query.get("sinceTime"):
        causes.append(forbidden_value("[]", "at most one of `sinceTime` or `sinceSeconds` may be specified"))
    elif since is not None and not 0 < since < _MOST_SECONDS:
        causes.append(invalid_value("sinceSeconds", since, "must be greater than 0"))
    if causes:
        raise invalid("PodLogOptions", "", pod, causes)
    asked = [(key, "true") for key in ("follow", "previous", "timestamps") if flag(query, key)]
    numbers = {"limitBytes": most, "sinceSeconds": since, "tailLines": tail}
    asked += [(key, str(value)) for key, value in numbers.items() if value is not None]
    since_time = query.get("sinceTime")
    if since_time:
        try:
            datetime.fromisoformat(since_time)
        except ValueError:
            form = '"2006-01-02T15:04:05Z07:00"'
            raise bad_request(f'parsing time "{since_time}" as {form}: cannot parse "{since_time}" as "2006"') from None
        asked.append(("sinceTime", since_time))
    return sorted(asked)
