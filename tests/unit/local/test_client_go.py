"""client-go itself: informers of a real Go program against the embedded API, and what they hold against the truth.

The program (tools/kubernetes/informers) mirrors pods and nodes by a shared informer factory, a custom resource by a
dynamic one, and stands for election. Its own words are compared with the API's, after changes, a dropped connection, a
410, and a server that was stopped and started again on its data.
"""

import asyncio
import contextlib
import json
import os
import random
import signal
import sys
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path
from typing import Any

import pytest

from quartermaster.local.apiserver.http import HttpTransport
from quartermaster.local.apiserver.identity import identity
from quartermaster.local.apiserver.local import LocalApi
from quartermaster.local.apiserver.transport import Request
from quartermaster.testing.kubernetes import Client, Json, pod
from tests.kubernetes.programs import PATIENCE_S, Program, Running
from tests.kubernetes.wire import Wire
from tests.unit.local.test_kubectl_verbs import GANG, gang

pytestmark = pytest.mark.kubernetes

PATHS = {
    "pods": "/api/v1/pods",
    "nodes": "/api/v1/nodes",
    "gangs": "/apis/example.com/v1/gangs",
}
GANGS = "/apis/example.com/v1/namespaces/default/gangs"


class Informers:
    """The program, what it has said so far, and what it says it holds."""

    def __init__(self, running: Running) -> None:
        self._running = running
        self.said: list[Json] = []

    async def next(self) -> Json:
        """Its next line."""
        found: Json = json.loads(await self._running.line())
        self.said.append(found)
        return found

    async def until(self, wanted: Callable[[Json], object]) -> Json:
        """The next line that is `wanted`."""
        while not wanted(line := await self.next()):
            pass
        return line

    async def had(self, wanted: Callable[[Json], object]) -> None:
        """It has said so, or will."""
        if not any(wanted(line) for line in self.said):
            await self.until(wanted)

    async def leave(self) -> None:
        """Tell it to end."""
        await self._running.finish()

    async def holdings(self) -> Any:
        """Versions of all it holds, by resource and key."""
        await self._running.say("what is there?")
        return (await self.until(lambda line: "asked" in line))["holds"]

    async def agrees_with(self, api: Client) -> None:
        """Come to hold what the API holds; fails if that takes too long."""
        async with asyncio.timeout(PATIENCE_S):
            while (held := await self.holdings()) != await truth(api):  # noqa: ASYNC110  # another process
                await asyncio.sleep(0.05)
        # Every event was of a state that it holds now or that was overtaken: per object, versions only rise.
        seen: dict[tuple[str, str], int] = {}
        for line in self.said:
            if line.get("event") in ("added", "updated"):
                key, version = (line["resource"], line["key"]), int(line["version"])
                assert version >= seen.get(key, 0), line
                seen[key] = version
        for resource, objects in held.items():
            for key, version in objects.items():
                assert seen[resource, key] == int(version)

    def events(self, resource: str) -> list[tuple[str, str]]:
        """(event, key) in order."""
        return [
            (line["event"], line["key"]) for line in self.said if line.get("resource") == resource and "event" in line
        ]


async def truth(api: Client) -> Json:
    found: Json = {}
    for resource, path in PATHS.items():
        found[resource] = {}
        for item in (await api.get(path))["items"]:
            about = item["metadata"]
            key = "/".join(filter(None, (about.get("namespace"), about["name"])))
            found[resource][key] = about["resourceVersion"]
    return found


@contextlib.asynccontextmanager
async def informers(kubeconfig: Path, name: str = "a", *, streamed: bool = True) -> AsyncIterator[Informers]:
    program = Program("informers", kubeconfig, KUBE_FEATURE_WatchListClient=str(streamed).lower())
    arguments = ("-kubeconfig", str(kubeconfig), "-custom", "example.com/v1/gangs", "-identity", name)
    async with program.running(*arguments) as running:
        found = Informers(running)
        await found.until(lambda line: line.get("synced"))
        yield found


async def some_objects(api: Client) -> None:
    await api.create("/apis/apiextensions.k8s.io/v1/customresourcedefinitions", GANG)
    for number in range(3):
        await api.create("/api/v1/nodes", {"metadata": {"name": f"n{number}"}})
        await api.create("pods", pod(f"p{number}"))
        await api.create(GANGS, gang(number + 1) | {"metadata": {"name": f"g{number}"}})


async def change(api: Client, rng: random.Random, count: int) -> None:
    """Random creates, patches and deletes of all three kinds."""
    for _ in range(count):
        resource, base = rng.choice((("pods", "pods"), ("nodes", "/api/v1/nodes"), ("gangs", GANGS)))
        name = f"{resource[0]}{rng.randrange(6)}"
        made = {
            "pods": pod(name),
            "nodes": {"metadata": {"name": name}},
            "gangs": gang() | {"metadata": {"name": name}},
        }
        match rng.choice(("create", "patch", "patch", "delete")):
            case "create":
                await api.send("POST", base, made[resource])
            case "patch":
                body = {"metadata": {"labels": {"turn": str(rng.randrange(1 << 30))}}}
                await api.send("PATCH", f"{base}/{name}", body, content_type="application/merge-patch+json")
            case "delete":
                await api.send("DELETE", f"{base}/{name}", {"gracePeriodSeconds": 0})


class Asked:
    """What the program asked of the server, by its user agent."""

    def __init__(self) -> None:
        self.requests: list[Request] = []

    def __call__(self, request: Request, *_: object) -> None:
        if request.headers.get("user-agent", "").startswith("informers/"):
            self.requests.append(request)

    def lists(self) -> int:
        """How often it began anew: lists, and watches that begin with everything."""
        return sum(
            request.path in PATHS.values() and ("watch" not in request.query or "sendInitialEvents" in request.query)
            for request in self.requests
        )


@pytest.mark.parametrize("streamed", [True, False])
async def test_informers_hold_the_truth_whatever_happens_to_the_connection(tmp_path: Path, streamed: bool) -> None:
    rng, asked = random.Random(7), Asked()
    async with LocalApi(kubeconfig=tmp_path / "kubeconfig") as served:
        served.server.audit = asked
        api = Client(served.server.handle)
        await some_objects(api)
        assert served.http is not None
        async with (
            Wire(served.http.port) as wire,
            informers(wire.kubeconfig(tmp_path / "kubeconfig"), streamed=streamed) as program,
        ):
            assert sorted(program.events("pods")) == [("added", f"default/p{number}") for number in range(3)]
            assert any("sendInitialEvents" in request.query for request in asked.requests) is streamed
            await change(api, rng, 60)
            await program.agrees_with(api)
            assert asked.lists() == 3

            wire.drop()
            await change(api, rng, 60)
            await program.agrees_with(api)
            assert asked.lists() == 3, "a dropped watch goes on from where it was"

            await api.create(GANGS, gang() | {"metadata": {"name": "fleeting"}})
            await program.agrees_with(api)
            await wire.cut()
            await api.create("/api/v1/nodes", {"metadata": {"name": "while-away"}})
            await api.delete(f"{GANGS}/fleeting")
            await change(api, rng, 60)
            for table in list(served.server.cluster.store.tables.values()):
                table.compact(served.server.cluster.store.revision)
            await wire.mend()
            await program.agrees_with(api)
            assert asked.lists() == 6, "410: each begins anew, once"
            assert ("added", "while-away") in program.events("nodes")
            assert ("missed", "default/fleeting") in program.events("gangs")

            await change(api, rng, 20)
            await program.agrees_with(api)


async def test_a_lease_has_one_holder_and_passes_on(tmp_path: Path) -> None:
    kubeconfig = tmp_path / "kubeconfig"
    async with LocalApi(kubeconfig=kubeconfig) as served:
        api = Client(served.server.handle)
        await some_objects(api)

        async def holder() -> str:
            lease = await api.get("/apis/coordination.k8s.io/v1/namespaces/default/leases/leader")
            return str(lease["spec"].get("holderIdentity", ""))

        async with informers(kubeconfig, "b") as second:
            await second.had(lambda line: line.get("leading") is True)
            async with informers(kubeconfig, "a") as first:
                await first.had(lambda line: line.get("leader") == "b")
                assert await holder() == "b"
                await second.leave()
                await second.had(lambda line: line.get("leading") is False)
                await first.had(lambda line: line.get("leading") is True)
                assert await holder() == "a"


class Server:
    """``quartermaster api`` as a process with a data directory, on one port for all its lives."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.kubeconfig = folder / "kubeconfig"
        self.port = 0

    @contextlib.asynccontextmanager
    async def life(self) -> AsyncIterator[tuple[Client, Callable[[int], Awaitable[object]]]]:
        """It answers: a client, and a way to end it by a signal."""
        command = (
            sys.executable,
            "-m",
            "quartermaster",
            "api",
            "--port",
            str(self.port),
            "--data-dir",
            str(self.folder),
        )
        process = await asyncio.create_subprocess_exec(
            *command, "--kubeconfig", str(self.kubeconfig), stdout=asyncio.subprocess.PIPE, env=os.environ
        )
        try:
            assert process.stdout is not None
            said = (await asyncio.wait_for(process.stdout.readline(), PATIENCE_S)).decode()
            url = said.split("; ", 1)[0].removeprefix("Kubernetes API at ")
            self.port = int(url.rsplit(":", 1)[1])
            who = identity(self.folder)
            transport = HttpTransport(url, token=who.token, tls=who.client_tls())

            async def end(number: int) -> object:
                process.send_signal(number)
                return await asyncio.wait_for(process.wait(), PATIENCE_S)

            try:
                yield Client(transport), end
            finally:
                await transport.close()
        finally:
            if process.returncode is None:
                process.kill()
                await process.wait()


@pytest.mark.parametrize("by", [signal.SIGTERM, signal.SIGKILL], ids=["stopped", "killed"])
async def test_a_restarted_server_is_the_same_cluster(tmp_path: Path, by: int) -> None:
    rng, server = random.Random(11), Server(tmp_path)
    async with contextlib.AsyncExitStack() as outlives:
        async with server.life() as (api, end):
            await some_objects(api)
            program = await outlives.enter_async_context(informers(server.kubeconfig))
            await change(api, rng, 40)
            await program.agrees_with(api)
            before = await truth(api)
            await end(by)
        async with server.life() as (api, _):
            assert await truth(api) == before
            await change(api, rng, 40)
            await program.agrees_with(api)
