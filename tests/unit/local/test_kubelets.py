"""What the API asks of kubelets, and what it says when there is none: the words are those of kube-apiserver 1.36.3."""

from collections.abc import AsyncIterator
from typing import Any

import pytest

from quartermaster.local.apiserver.codec import load
from quartermaster.local.apiserver.kubelets import STATUS, STDOUT
from quartermaster.local.apiserver.server import Settings
from quartermaster.local.apiserver.transport import Channels, Handler, Request, Response
from quartermaster.testing.kubernetes import Json, Kubernetes, Refused, kubernetes, pod

ADDRESS = "192.0.2.2"
REFUSED = f"dial tcp {ADDRESS}:10250: connect: connection refused"
WEBSOCKET = {"upgrade": "websocket", "sec_websocket_protocol": "v5.channel.k8s.io"}


class Said(Channels):
    """The server's side of a conversation with a client that says nothing."""

    def __init__(self) -> None:
        self.parts: list[tuple[int, bytes]] = []

    async def __aiter__(self) -> AsyncIterator[tuple[int, bytes]]:
        return
        yield

    async def send(self, channel: int, data: bytes) -> None:
        self.parts.append((channel, data))

    def text(self, channel: int) -> str:
        return b"".join(data for number, data in self.parts if number == channel).decode()


class Asked:
    """A kubelet that remembers what it was asked."""

    def __init__(self, reply: Response) -> None:
        self.reply, self.requests = reply, list[Request]()

    async def __call__(self, request: Request) -> Response:
        self.requests.append(request)
        return self.reply

    def of(self, node: str) -> Handler | None:
        return self if node == "n1" else None


async def machines(api: Kubernetes) -> None:
    for name, addresses in (("n1", [{"type": "InternalIP", "address": ADDRESS}]), ("n2", [])):
        await api.create("/api/v1/nodes", {"metadata": {"name": name}, "status": {"addresses": addresses}})
        await api.create("pods", pod(f"on-{name}", nodeName=name))
    await api.create("pods", pod("nowhere"))
    await api.create("pods", pod("orphan", nodeName="gone"))
    two = [{"name": name, "image": "i"} for name in ("a", "b")]
    await api.create("pods", pod("two", containers=two, initContainers=[{"name": "c", "image": "i"}]))


async def refusal(api: Kubernetes, path: str, **headers: str) -> tuple[int, str, str]:
    with pytest.raises(Refused) as caught:
        await api.get(path, **headers)
    return caught.value.code, caught.value.status.get("reason", ""), caught.value.status["message"]


@pytest.mark.parametrize(
    ("path", "code", "reason", "message"),
    [
        ("pods/on-n1/log", 500, "", f'Get "https://{ADDRESS}:10250/containerLogs/default/on-n1/main": {REFUSED}'),
        (
            "pods/on-n1/log?follow=true&timestamps=1&tailLines=5",
            500,
            "",
            f'Get "https://{ADDRESS}:10250/containerLogs/default/on-n1/main?follow=true&tailLines=5&timestamps=true": '
            f"{REFUSED}",
        ),
        ("pods/on-n2/log", 500, "", "no preferred addresses found; known addresses: []"),
        ("pods/orphan/log", 404, "NotFound", 'pods "gone" not found'),
        ("pods/on-n1/log?container=x", 400, "BadRequest", "container x is not valid for pod on-n1"),
        (
            "pods/two/log",
            400,
            "BadRequest",
            "a container name must be specified for pod two, choose one of: [c a b]",
        ),
        (
            "pods/on-n1/log?tailLines=-1",
            422,
            "Invalid",
            'PodLogOptions "on-n1" is invalid: tailLines: Invalid value: -1: must be greater than or equal to 0',
        ),
        (
            "pods/on-n1/log?sinceSeconds=1&sinceTime=2020-01-01T00:00:00Z",
            422,
            "Invalid",
            'PodLogOptions "on-n1" is invalid: []: Forbidden: at most one of `sinceTime` or `sinceSeconds` may be '
            "specified",
        ),
        (
            "pods/on-n1/log?sinceTime=yesterday",
            400,
            "BadRequest",
            'parsing time "yesterday" as "2006-01-02T15:04:05Z07:00": cannot parse "yesterday" as "2006"',
        ),
        ("pods/on-n1/exec?command=ls", 400, "BadRequest", "Upgrade request required"),
        ("pods/nowhere/exec?command=ls", 400, "BadRequest", "pod nowhere does not have a host assigned"),
        ("pods/nowhere/portforward", 400, "BadRequest", "pod nowhere does not have a host assigned"),
        ("pods/on-n1/proxy/x", 400, "BadRequest", "address not allowed"),
        ("/api/v1/nodes/n1/proxy/healthz", 503, "ServiceUnavailable", f"error trying to reach service: {REFUSED}"),
        ("services/kubernetes/proxy/x", 404, "NotFound", 'services "kubernetes" not found'),
    ],
)
async def test_a_kubelet_that_does_not_listen(path: str, code: int, reason: str, message: str) -> None:
    async with kubernetes() as api:
        await machines(api)
        assert await refusal(api, path) == (code, reason, message)


async def test_a_pod_without_a_node_has_no_log_yet() -> None:
    async with kubernetes() as api:
        await machines(api)
        assert (await api.send("GET", "pods/nowhere/log")).status == 204


async def test_a_conversation_says_itself_that_nobody_is_there() -> None:
    async with kubernetes() as api:
        await machines(api)
        answer = await api.send("GET", "pods/on-n1/exec?command=ls&command=-l&stdout=true&stderr=true", **WEBSOCKET)
        assert answer.talk is not None
        await answer.talk(said := Said())
        target = f"https://{ADDRESS}:10250/exec/default/on-n1/main?command=ls&command=-l&error=1&output=1"
        why = f'error sending request: Post "{target}": {REFUSED}'
        status = load(said.text(STATUS).encode())
        assert (status["reason"], status["message"]) == ("InternalError", f"Internal error occurred: {why}")
        assert status["details"] == {"causes": [{"message": why}]}
        old = WEBSOCKET | {"sec_websocket_protocol": "v4.channel.k8s.io"}
        assert await refusal(api, "pods/on-n1/exec?command=ls", **old) == (500, "", f"error dialing backend: {REFUSED}")
        forward = await refusal(api, "pods/on-n1/portforward?ports=80", **WEBSOCKET)
        assert forward == (500, "", f"error dialing backend: {REFUSED}")


async def test_what_is_asked_reaches_the_kubelet_of_the_node_in_its_own_words() -> None:
    async def talk(channels: Channels) -> None:
        await channels.send(STDOUT, b"hello")

    kubelet = Asked(Response(101, talk=talk))
    async with kubernetes(settings=Settings(kubelets=kubelet.of)) as api:
        await machines(api)
        answer = await api.send("GET", "pods/on-n1/exec?command=echo&command=a b&stdout=true&tty=true", **WEBSOCKET)
        assert answer.talk is not None
        await answer.talk(said := Said())
        assert said.parts == [(STDOUT, b"hello")]
        (request,) = kubelet.requests
        assert (request.method, request.path) == ("POST", "/exec/default/on-n1/main")
        assert request.pairs == (("command", "echo"), ("command", "a b"), ("output", "1"), ("tty", "1"))
        spdy = await refusal(api, "pods/on-n1/exec?command=a", upgrade="SPDY/3.1")
        assert spdy[2] == "conversations are WebSockets here, by v5.channel.k8s.io or v4.channel.k8s.io"


@pytest.mark.parametrize(
    ("reply", "refused"),
    [
        (Response(400, b"is waiting to start"), (400, "BadRequest", "is waiting to start")),
        (Response(500, b"broken"), (500, "InternalError", "Internal error occurred: broken")),
        (Response(404, b"?"), (404, "NotFound", "the server could not find the requested resource")),
    ],
)
async def test_a_kubelets_refusal_of_logs_becomes_the_apis(reply: Response, refused: Any) -> None:
    async with kubernetes(settings=Settings(kubelets=Asked(reply).of)) as api:
        await machines(api)
        assert await refusal(api, "pods/on-n1/log") == refused


async def test_a_nodes_proxy_is_its_kubelet() -> None:
    kubelet = Asked(Response(200, b"ok", "text/plain"))
    async with kubernetes(settings=Settings(kubelets=kubelet.of)) as api:
        await machines(api)
        assert (await api.send("GET", "/api/v1/nodes/n1/proxy/healthz?verbose=1")).body == b"ok"
        assert (kubelet.requests[0].path, kubelet.requests[0].query) == ("/healthz", {"verbose": "1"})
        assert (await refusal(api, "/api/v1/nodes/n1:99/proxy/x"))[2].endswith(
            f"{ADDRESS}:99: connect: connection refused"
        )


async def test_pods_and_services_have_no_network() -> None:
    async with kubernetes() as api:
        await machines(api)
        told: Json = {"status": {"podIP": ADDRESS, "podIPs": [{"ip": ADDRESS}]}}
        await api.patch("pods/on-n1/status", told)
        nobody = f"error trying to reach service: dial tcp {ADDRESS}"
        assert (await refusal(api, "pods/on-n1:90/proxy/"))[2] == f"{nobody}:90: connect: connection refused"
        assert (await refusal(api, "pods/on-n1/proxy/"))[2] == f"{nobody}:80: connect: connection refused"
        await api.create("services", {"metadata": {"name": "s"}, "spec": {"ports": [{"port": 80}]}})
        endpoints = {
            "metadata": {"name": "s-1", "labels": {"kubernetes.io/service-name": "s"}},
            "addressType": "IPv4",
            "endpoints": [{"addresses": [ADDRESS], "conditions": {"ready": True}}],
            "ports": [{"name": "", "port": 8080}],
        }
        await api.create("/apis/discovery.k8s.io/v1/namespaces/default/endpointslices", endpoints)
        assert (await refusal(api, "services/s/proxy/"))[2] == f"{nobody}:8080: connect: connection refused"
