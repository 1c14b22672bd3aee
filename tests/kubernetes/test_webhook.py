"""A real kube-apiserver asks our webhook, by the certificate that it made itself."""

import asyncio
import contextlib
import json
import ssl
import time
from collections.abc import AsyncGenerator
from typing import Any

import aiohttp

from quartermaster.api.admission import Known
from quartermaster.api.definitions import manifests
from quartermaster.controllers.admission import Admission
from quartermaster.kube.api import JSON, Json, Refused
from quartermaster.local.clock import WallClock
from tests.kubernetes.server import Server
from tests.unit.controllers.test_admission import HOOK, QUEUES, Local, configuration

CRDS = "/apis/apiextensions.k8s.io/v1/customresourcedefinitions"


class Door:
    """As much of `Api` as the webhook needs, at a real server."""

    def __init__(self, server: Server, session: aiohttp.ClientSession) -> None:
        self._server, self._session = server, session
        self._tls = ssl.create_default_context(cadata=server.ca)

    async def send(self, method: str, path: str, body: Json | None = None, *, media: str = JSON) -> Json:
        headers = {"Authorization": f"Bearer {self._server.token}", "Content-Type": media}
        data = None if body is None else json.dumps(body)
        url = f"{self._server.url}{path}"
        async with self._session.request(method, url, data=data, headers=headers, ssl=self._tls) as answer:
            found: Json = await answer.json()
        if answer.status >= 400:
            raise Refused(answer.status, str(found.get("message")))
        return found

    def watch(self, path: str) -> AsyncGenerator[Json, None]:
        raise NotImplementedError(path)


async def until(attempt: Any, seconds: float = 30.0) -> Any:
    """What an attempt gives once it is not refused any more: definitions and webhooks need a moment."""
    deadline = time.monotonic() + seconds
    while True:
        try:
            return await attempt()
        except (Refused, AssertionError):
            assert time.monotonic() < deadline
            await asyncio.sleep(0.1)


async def test_a_circle_is_refused_and_without_us_it_passes(kubernetes: Server) -> None:
    async with aiohttp.ClientSession() as session, contextlib.AsyncExitStack() as stack:
        api = Door(kubernetes, session)
        for manifest in manifests():
            await api.send("POST", CRDS, manifest)
            stack.push_async_callback(api.send, "DELETE", f"{CRDS}/{manifest['metadata']['name']}")
        await until(lambda: api.send("GET", QUEUES))
        hook: Admission = Local(
            api, clock=WallClock(), service="default/qm", known=lambda: Known(queues=[], topologies=[]), port=0
        )
        # The port is known once it serves; the configuration is found at the next look.
        task = asyncio.create_task(hook.run(host="127.0.0.1"))
        await asyncio.wait_for(hook.ready.wait(), 30)
        await api.send("POST", HOOK, configuration(f"https://127.0.0.1:{hook.port}/validate"))
        stack.push_async_callback(api.send, "DELETE", f"{HOOK}/qm")
        await hook.refresh()
        body = {"apiVersion": "quartermaster.dev/v1alpha1", "kind": "Queue", "metadata": {"name": "a"}}

        async def refused() -> str:
            try:
                await api.send("POST", f"{QUEUES}?dryRun=All", body | {"spec": {"parent": "a"}})
            except Refused as no:
                return str(no)
            raise AssertionError("it was taken")

        try:
            said = await until(refused)
            assert 'admission webhook "objects.quartermaster.dev" denied the request' in said
            assert "is its own ancestor: a -> a" in said
            made = await api.send("POST", QUEUES, body | {"spec": {"parent": "org"}})
            assert made["spec"]["parent"] == "org"
        finally:
            task.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await task
        await api.send("POST", QUEUES, {**body, "metadata": {"name": "b"}, "spec": {"parent": "b"}})
