"""A kopf operator against the embedded API over TLS: finalizers, handlers, timers, adoption, restart.

kopf keeps what it has done in annotations and finalizers of the objects, so it is hard on patches and watches.
"""

import asyncio
import contextlib
import gc
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any

import aiohttp
import kopf

from quartermaster.local.apiserver.local import LocalApi
from quartermaster.testing.kubernetes import Client, Json, Refused
from tests.unit.local.test_kubectl_verbs import GANG, gang

PATIENCE_S = 30.0
GANGS = "/apis/example.com/v1/namespaces/default/gangs"


class Operator:
    """For each gang a ConfigMap that says its size; `did` is what was done, in order."""

    def __init__(self, api: LocalApi) -> None:
        self._api = api
        self.client = Client(api.server.handle)
        self.did: list[tuple[str, str]] = []
        self.ticks = 0
        self.registry = kopf.OperatorRegistry()
        on: Any = kopf.on  # its protocols want every argument named that a handler could take
        on.login(registry=self.registry)(self._login)
        on.create("gangs", registry=self.registry, id="create")(self._create)
        on.update("gangs", field="spec.size", registry=self.registry)(self._resize)
        on.delete("gangs", registry=self.registry)(self._delete)
        on.resume("gangs", registry=self.registry)(self._resume)
        on.timer("gangs", interval=0.1, registry=self.registry)(self._tick)

    def _login(self, **_: object) -> kopf.ConnectionInfo:
        assert self._api.http is not None
        assert self._api.identity is not None
        return kopf.ConnectionInfo(
            server=self._api.http.url, ca_data=self._api.identity.authority, token=self._api.identity.token
        )

    async def _create(self, name: str, spec: Json, body: kopf.Body, **_: object) -> Json:
        made: Json = {"apiVersion": "v1", "kind": "ConfigMap", "data": {"size": str(spec["size"])}}
        made["metadata"] = {"name": name}
        kopf.adopt(made, owner=body)
        await self.client.create("configmaps", made)
        kopf.info(body, reason="Made", message="there is a ConfigMap now")
        self.did.append(("create", name))
        return {"members": spec["size"]}

    async def _resize(self, name: str, old: int, new: int, patch: kopf.Patch, **_: object) -> None:
        await self.client.patch(f"configmaps/{name}", {"data": {"size": str(new)}})
        patch.status["was"] = old
        self.did.append(("resize", name))

    async def _delete(self, name: str, retry: int, **_: object) -> None:
        if retry == 0:
            raise kopf.TemporaryError("not yet", delay=0.1)
        self.did.append(("delete", name))

    async def _resume(self, name: str, **_: object) -> None:
        self.did.append(("resume", name))

    async def _tick(self, patch: kopf.Patch, **_: object) -> None:
        self.ticks += 1
        patch.status["ticks"] = self.ticks

    @contextlib.asynccontextmanager
    async def running(self) -> AsyncIterator[None]:
        """It works on the namespace `default`, alone."""
        stop, ready = asyncio.Event(), asyncio.Event()
        settings = kopf.OperatorSettings()
        settings.posting.enabled = True
        task = asyncio.create_task(
            kopf.operator(
                registry=self.registry,
                settings=settings,
                standalone=True,
                namespaces=["default"],
                stop_flag=stop,
                ready_flag=ready,
            )
        )
        try:
            await asyncio.wait_for(ready.wait(), PATIENCE_S)
            yield
        finally:
            stop.set()
            await asyncio.wait_for(task, PATIENCE_S)
            await close_sessions()


async def close_sessions() -> None:
    """What kopf leaves open would be a warning in whichever test runs when it is collected."""
    for found in gc.get_objects():
        if type(found) is aiohttp.ClientSession and found.headers.get("User-Agent", "").startswith("kopf/"):
            await found.close()


@contextlib.asynccontextmanager
async def operated() -> AsyncIterator[Operator]:
    async with LocalApi() as api:
        operator = Operator(api)
        await operator.client.create("/apis/apiextensions.k8s.io/v1/customresourcedefinitions", GANG)
        yield operator


async def reached(wanted: Callable[[], Awaitable[object]]) -> None:
    deadline = time.monotonic() + PATIENCE_S
    while not await wanted():
        assert time.monotonic() < deadline
        await asyncio.sleep(0.02)


async def status(client: Client) -> Any:
    return (await client.get(f"{GANGS}/g")).get("status") or {}


async def gone(client: Client, path: str) -> bool:
    try:
        await client.get(path)
    except Refused as wrong:
        return wrong.code == 404
    return False


async def test_the_life_of_an_object() -> None:
    async with operated() as operator, operator.running():
        client = operator.client

        async def has_status() -> bool:
            return "create" in await status(client)

        async def has_events() -> bool:
            found = [
                (event["reason"], event["involvedObject"]["kind"]) for event in (await client.get("events"))["items"]
            ]
            return found == [("Made", "Gang")]

        async def was_told(old: int) -> bool:
            return (await status(client)).get("was") == old

        await client.create(GANGS, gang(2))
        await reached(has_status)
        about = (await client.get(f"{GANGS}/g"))["metadata"]
        assert about["finalizers"] == ["kopf.zalando.org/KopfFinalizerMarker"]
        assert "kopf.zalando.org/last-handled-configuration" in about["annotations"]
        assert (await status(client))["create"] == {"members": 2}
        made = await client.get("configmaps/g")
        assert (made["data"], made["metadata"]["ownerReferences"][0]["kind"]) == ({"size": "2"}, "Gang")

        await client.patch(f"{GANGS}/g", {"spec": {"size": 5}})
        await reached(lambda: was_told(2))
        assert (await client.get("configmaps/g"))["data"] == {"size": "5"}
        await client.patch(f"{GANGS}/g", {"metadata": {"labels": {"a": "b"}}})

        before = operator.ticks

        async def ticked() -> bool:
            return (await status(client)).get("ticks", 0) > before + 2

        await reached(ticked)
        deleted = await client.delete(f"{GANGS}/g")
        assert deleted["metadata"]["deletionTimestamp"]
        await reached(lambda: gone(client, f"{GANGS}/g"))
        await reached(lambda: gone(client, "configmaps/g"))
        assert operator.did == [("create", "g"), ("resize", "g"), ("delete", "g")]
        await reached(has_events)


async def test_an_operator_that_was_away_takes_up_what_happened() -> None:
    async with operated() as operator:
        client = operator.client

        async def handled() -> bool:
            found = await client.get(f"{GANGS}/g")
            return '"size":7' in found["metadata"].get("annotations", {}).get(
                "kopf.zalando.org/last-handled-configuration", ""
            )

        async def created() -> bool:
            return "create" in await status(client)

        await client.create(GANGS, gang(2))
        async with operator.running():
            await reached(created)
        await client.patch(f"{GANGS}/g", {"spec": {"size": 7}})
        async with operator.running():
            await reached(handled)
        assert (await client.get("configmaps/g"))["data"] == {"size": "7"}
        assert operator.did[0] == ("create", "g")
        assert sorted(operator.did[1:]) == [("resize", "g"), ("resume", "g")]
        await client.delete(f"{GANGS}/g")
        assert not await gone(client, f"{GANGS}/g")
        async with operator.running():
            await reached(lambda: gone(client, f"{GANGS}/g"))
        assert operator.did[-1] == ("delete", "g")
