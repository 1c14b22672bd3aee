"""The HTTP client: the door over a socket, what is repeated and what is not, how a watch ends."""

import asyncio
import contextlib
from collections.abc import AsyncIterator, Callable
from pathlib import Path

import pytest

from quartermaster.kube.api import MERGE, Json, Refused, Unreachable
from quartermaster.kube.connecting import Connection, connect
from quartermaster.kube.credentials import Credential, Fixed, bearer
from quartermaster.kube.http import HttpApi
from quartermaster.kube.tls import Pem, Trust
from quartermaster.local.apiserver.identity import identity
from quartermaster.local.apiserver.local import LocalApi
from quartermaster.local.apiserver.transport import Request, Response, answer
from quartermaster.local.client import LocalClient
from quartermaster.testing.kubernetes import pod
from tests.unit.kube.serving import HastyClock, scripted, status

PODS = "/api/v1/namespaces/default/pods"
OK = answer({"kind": "Fine"})


@contextlib.asynccontextmanager
async def local(folder: Path) -> AsyncIterator[tuple[LocalApi, HttpApi]]:
    """The embedded server on a socket with TLS, reached by the kubeconfig that it writes."""
    path = folder / "kubeconfig"
    async with (
        LocalApi(kubeconfig=path) as server,
        HttpApi(connect(kubeconfig=path, environment={}), agent="tester") as api,
    ):
        yield server, api


async def test_what_is_written_over_http_is_read_in_process_and_the_other_way_round(tmp_path: Path) -> None:
    async with local(tmp_path) as (server, api):
        inside = LocalClient(server.server.handle, agent="tester")
        made = await api.send("POST", PODS, pod("a"))
        assert made["metadata"]["managedFields"][0]["manager"] == "tester"
        assert await inside.send("GET", f"{PODS}/a") == made
        changed = await inside.send("PATCH", f"{PODS}/a", {"metadata": {"labels": {"x": "1"}}}, media=MERGE)
        assert await api.send("GET", f"{PODS}/a") == changed
        assert (await api.send_raw("GET", f"{PODS}/a")) == (await inside.send_raw("GET", f"{PODS}/a"))


async def test_a_refusal_says_the_same_whatever_lies_between(tmp_path: Path) -> None:
    async with local(tmp_path) as (server, api):
        said = []
        for door in (api, LocalClient(server.server.handle, agent="tester")):
            with pytest.raises(Refused) as refused:
                await door.send("GET", f"{PODS}/gone")
            said.append((refused.value.code, refused.value.reason, dict(refused.value.details), str(refused.value)))
        assert said[0] == said[1]
        assert said[0][:3] == (404, "NotFound", {"name": "gone", "kind": "pods"})


async def test_queries_need_no_escaping(tmp_path: Path) -> None:
    async with local(tmp_path) as (_, api):
        await api.send("POST", PODS, pod("a"))
        await api.send("POST", PODS, pod("b") | {"metadata": {"name": "b", "labels": {"team": "x"}}})
        found = await api.send("GET", f"{PODS}?labelSelector=team in (x, y)")
        assert [item["metadata"]["name"] for item in found["items"]] == ["b"]


async def test_a_watch_over_http_is_the_watch(tmp_path: Path) -> None:
    async with local(tmp_path) as (_, api):
        events: list[Json] = []
        since = (await api.send("GET", PODS))["metadata"]["resourceVersion"]
        path = f"{PODS}?watch=true&resourceVersion={since}"
        async with asyncio.timeout(20), contextlib.aclosing(api.watch(path)) as watch:
            await api.send("POST", PODS, pod("a"))
            await api.send("DELETE", f"{PODS}/a", {"gracePeriodSeconds": 0})
            async for event in watch:
                events.append(event)
                if event["type"] == "DELETED":
                    break
        assert [event["type"] for event in events][-1] == "DELETED"
        assert {event["object"]["metadata"]["name"] for event in events} == {"a"}


async def test_many_writes_in_flight_do_not_hold_up_a_watch(tmp_path: Path) -> None:
    path = tmp_path / "kubeconfig"
    async with (
        LocalApi(kubeconfig=path),
        HttpApi(connect(kubeconfig=path, environment={}), agent="tester", connections=2) as api,
    ):
        seen: set[str] = set()

        async def follow() -> None:
            async with contextlib.aclosing(api.watch(f"{PODS}?watch=true")) as watch:
                async for event in watch:
                    seen.add(event["object"]["metadata"]["name"])
                    if len(seen) == 200:
                        return

        async with asyncio.timeout(60):
            await asyncio.gather(
                *(follow() for _ in range(5)), *(api.send("POST", PODS, pod(f"p{i}")) for i in range(200))
            )
        assert len(seen) == 200


async def test_a_read_is_repeated_and_a_write_is_not() -> None:
    async with scripted(status(500), status(502), OK) as (api, script):
        assert await api.send("GET", "/x") == {"kind": "Fine"}
        assert len(script.requests) == 3
    async with scripted(status(500), OK) as (api, script):
        with pytest.raises(Refused) as refused:
            await api.send("POST", "/x", {})
        assert (refused.value.code, len(script.requests)) == (500, 1)


@pytest.mark.parametrize("code", [429, 503])
async def test_a_write_that_was_not_taken_up_is_repeated_after_the_pause_asked_for(code: int) -> None:
    clock = HastyClock()
    async with scripted(status(code, Retry_After="7"), OK, clock=clock) as (api, script):
        await api.send("POST", "/x", {"a": 1})
        assert [request.body for request in script.requests] == [b'{"a":1}', b'{"a":1}']
    assert 7 <= clock.pauses[0] <= 7 * 1.2


async def test_an_eviction_that_a_budget_forbids_is_an_answer() -> None:
    async with scripted(status(429, "TooManyRequests", Retry_After="10"), OK) as (api, script):
        with pytest.raises(Refused) as refused:
            await api.send("POST", f"{PODS}/a/eviction", {})
        assert (refused.value.reason, refused.value.retry_after, len(script.requests)) == ("TooManyRequests", 10, 1)


async def test_a_pause_that_is_too_long_is_left_to_the_caller() -> None:
    async with scripted(status(429, Retry_After="3600")) as (api, script):
        with pytest.raises(Refused) as refused:
            await api.send("GET", "/x")
        assert (refused.value.retry_after, len(script.requests)) == (3600, 1)


async def test_attempts_end_and_pauses_grow() -> None:
    clock = HastyClock()
    async with scripted(status(500), clock=clock) as (api, script):
        with pytest.raises(Refused):
            await api.send("GET", "/x")
        assert len(script.requests) == 5
    assert all(0.1 * 2**n <= pause <= 0.2 * 2**n for n, pause in enumerate(clock.pauses))
    assert len(clock.pauses) == 4


async def test_where_nobody_listens_every_request_is_repeated_and_then_unreachable() -> None:
    clock = HastyClock()
    async with (
        scripted(OK) as (gone, _),
        HttpApi(gone.connection, agent="tester", clock=clock) as api,
    ):
        await gone.__aexit__(None, None, None)
        there = Connection(server="http://127.0.0.1:1")
        api.connection = there
        with pytest.raises(Unreachable, match=r"POST http://127\.0\.0\.1:1/x: "):
            await api.send("POST", "/x", {})
    assert len(clock.pauses) == 4


async def test_a_write_whose_answer_is_lost_is_not_sent_again() -> None:
    sent = 0

    async def hang_up(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        nonlocal sent
        await reader.readuntil(b"\r\n\r\n")
        sent += 1
        writer.close()

    server = await asyncio.start_server(hang_up, "127.0.0.1", 0)
    async with server:
        url = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"
        async with HttpApi(Connection(server=url), agent="tester", clock=HastyClock()) as api:
            with pytest.raises(Unreachable):
                await api.send("POST", "/x", {})
            assert sent == 1
            with pytest.raises(Unreachable):
                await api.send("GET", "/x")
            assert sent > 4


async def test_what_is_no_answer_of_an_api_server_is_said_so() -> None:
    async with scripted(Response(200, b"<html>login</html>", "text/html")) as (api, _):
        with pytest.raises(Unreachable, match="no JSON"):
            await api.send("GET", "/x")
    async with scripted(Response(302, b"", headers={"Location": "https://login.example"})) as (api, _):
        with pytest.raises(Unreachable, match=r"login\.example"):
            await api.send("GET", "/x")
    async with scripted(Response(404, b"404 page not found\n", "text/plain")) as (api, _):
        with pytest.raises(Refused, match="404: 404 page not found"):
            await api.send("GET", "/x")


async def test_a_server_that_we_do_not_trust_is_asked_once() -> None:
    theirs, ours = identity(None), identity(None)
    clock = HastyClock()
    trust = Trust(clock, Pem("ca", ours.authority))
    async with scripted(OK, tls=theirs.server_tls(), clock=clock, trust=trust) as (api, script):
        with pytest.raises(Unreachable, match="certificate verify failed"):
            await api.send("GET", "/x")
        assert (script.requests, clock.pauses) == ([], [])
    trust = Trust(clock, Pem("ca", ours.authority), insecure=True)
    async with scripted(OK, tls=theirs.server_tls(), trust=trust) as (api, _):
        assert await api.send("GET", "/x") == {"kind": "Fine"}


async def test_the_name_on_the_certificate_may_be_another() -> None:
    theirs = identity(None)
    trust = Trust(HastyClock(), Pem("ca", theirs.authority))
    async with scripted(OK, tls=theirs.server_tls(), trust=trust, server_name="kubernetes.default.svc") as (api, _):
        assert await api.send("GET", "/x") == {"kind": "Fine"}
    async with scripted(OK, tls=theirs.server_tls(), trust=trust, server_name="elsewhere.example") as (api, _):
        with pytest.raises(Unreachable, match=r"elsewhere\.example"):
            await api.send("GET", "/x")


@contextlib.asynccontextmanager
async def proxying() -> AsyncIterator[tuple[str, list[str]]]:
    """A proxy that tunnels, and what it was asked."""
    asked: list[str] = []
    pumps: set[asyncio.Task[None]] = set()

    async def pump(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(ConnectionError):
            while part := await reader.read(65_536):
                writer.write(part)
        writer.close()

    async def tunnel(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        head = (await reader.readuntil(b"\r\n\r\n")).decode()
        asked.append(head.splitlines()[0])
        host, _, port = head.split()[1].partition(":")
        inner, outer = await asyncio.open_connection(host, int(port))
        writer.write(b"HTTP/1.1 200 Connected\r\n\r\n")
        pumps.update(asyncio.ensure_future(pump(*pair)) for pair in ((reader, outer), (inner, writer)))

    server = await asyncio.start_server(tunnel, "127.0.0.1", 0)
    async with server:
        yield f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}", asked
        server.close()
    for task in pumps:
        task.cancel()
    await asyncio.gather(*pumps, return_exceptions=True)


async def test_a_proxy_is_asked_for_a_tunnel() -> None:
    theirs = identity(None)
    trust = Trust(HastyClock(), Pem("ca", theirs.authority))
    async with (
        proxying() as (proxy, asked),
        scripted(OK, tls=theirs.server_tls(), trust=trust, proxy=proxy) as (api, _),
    ):
        assert await api.send("GET", "/x") == {"kind": "Fine"}
        host = api.connection.server.removeprefix("https://")
    assert asked == [f"CONNECT {host} HTTP/1.1"]


async def test_headers_say_who_we_are_and_as_whom_we_act() -> None:
    said = (("Impersonate-User", "jane"), ("Impersonate-Group", "a"), ("Impersonate-Group", "b"))
    async with scripted(OK, credentials=Fixed(bearer("t0")), impersonate=said) as (api, script):
        await api.send("GET", "/x")
    headers = script.requests[0].headers
    assert headers["authorization"] == "Bearer t0"
    assert (headers["impersonate-user"], headers["impersonate-group"]) == ("jane", "a,b")
    assert headers["user-agent"] == "tester"


class Renewed:
    """Credentials of which the first is no longer good."""

    def __init__(self) -> None:
        self.turn = 0

    async def current(self) -> Credential:
        return bearer(f"t{self.turn}")

    def refused(self, used: Credential) -> bool:
        self.turn += used == bearer(f"t{self.turn}")
        return True


def _only(token: str, response: Response) -> Callable[[Request], Response]:
    def say(request: Request) -> Response:
        return response if request.headers.get("authorization") == f"Bearer {token}" else status(401, "Unauthorized")

    return say


async def test_a_refused_credential_is_renewed_once() -> None:
    async with scripted(_only("t1", OK), credentials=Renewed()) as (api, script):
        assert await api.send("POST", "/x", {}) == {"kind": "Fine"}
        assert len(script.requests) == 2
    async with scripted(_only("never", OK), credentials=Renewed()) as (api, script):
        with pytest.raises(Refused) as refused:
            await api.send("GET", "/x")
        assert (refused.value.code, len(script.requests)) == (401, 2)


async def _lines(*parts: bytes, then: asyncio.Event | None = None) -> AsyncIterator[bytes]:
    for part in parts:
        yield part
    if then is not None:
        await then.wait()


async def test_waiting_for_a_connection_is_no_part_of_the_time_limit() -> None:
    async def slowly() -> AsyncIterator[bytes]:
        await asyncio.sleep(1.0)  # a real time limit has to pass, of a real socket
        yield b'{"kind":"Fine"}'

    async with (
        scripted(lambda _: Response(200, stream=slowly())) as (api, _),
        HttpApi(api.connection, agent="tester", connections=1, timeout=1.8) as narrow,
    ):
        answers = await asyncio.gather(*(narrow.send("POST", "/x") for _ in range(2)))
    assert answers == [{"kind": "Fine"}] * 2


async def test_lines_are_put_together_from_what_arrives() -> None:
    parts = (b'{"type":"ADD', b'ED"}\n\n{"type":"MODIFIED"}\n{"ty', b'pe":"DELETED"}\n')
    async with scripted(lambda _: Response(200, stream=_lines(*parts)), credentials=Renewed()) as (api, _):
        assert [event["type"] async for event in api.watch("/x?watch=true")] == ["ADDED", "MODIFIED", "DELETED"]


async def test_a_watch_that_is_refused_says_why_and_renews_its_credential() -> None:
    async with scripted(status(410, "Expired")) as (api, _):
        with pytest.raises(Refused) as refused:
            await anext(api.watch("/x"))
        assert refused.value.reason == "Expired"
    fine = Response(200, stream=_lines(b'{"type":"ADDED"}\n'))
    async with scripted(_only("t1", fine), credentials=Renewed()) as (api, _):
        assert [event["type"] async for event in api.watch("/x")] == ["ADDED"]


async def test_a_silent_watch_ends() -> None:
    silent = asyncio.Event()
    async with scripted(lambda _: Response(200, stream=_lines(b'{"type":"ADDED"}\n', then=silent))) as (api, _):
        async with HttpApi(api.connection, agent="tester", idle=0.05) as impatient:
            watch = impatient.watch("/x")
            assert (await anext(watch))["type"] == "ADDED"
            with pytest.raises(Unreachable):
                await anext(watch)
        silent.set()


async def test_a_watch_that_is_left_gives_its_connection_back() -> None:
    left = asyncio.Event()

    async def endless() -> AsyncIterator[bytes]:
        try:
            yield b'{"type":"ADDED"}\n'
            await asyncio.Event().wait()
        finally:
            left.set()

    async with scripted(lambda _: Response(200, stream=endless())) as (api, _):
        async with contextlib.aclosing(api.watch("/x")) as watch:
            await anext(watch)
        async with asyncio.timeout(20):
            await left.wait()


async def test_a_large_body_is_sent() -> None:
    async with scripted(OK) as (api, script):
        await api.send("POST", "/x", {"data": "x" * 900_000})
    assert len(script.requests[0].body) > 900_000


async def test_warnings_of_the_server_are_logged_once(caplog: pytest.LogCaptureFixture) -> None:
    warned = answer({"kind": "Fine"})
    warned.warnings.append('299 - "policy/v1beta1 is old"')
    async with scripted(warned) as (api, _):
        await api.send("GET", "/x")
        await api.send("GET", "/x")
    assert [record.message for record in caplog.records] == ['GET /x: 299 - "policy/v1beta1 is old"']
