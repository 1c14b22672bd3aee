"""The webhook from end to end: a Secret, trust, HTTPS, and an API server that asks."""

import asyncio
import base64
import contextlib
import ssl
import time
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import aiohttp
import pytest
import yaml

from quartermaster.api.admission import Known
from quartermaster.api.definitions import manifests
from quartermaster.controllers.admission import Admission
from quartermaster.kube.certificates import DAY
from quartermaster.local.client import LocalClient
from quartermaster.testing.kubernetes import Clock, Kubernetes, Refused, kubernetes
from tools.generated import ROOT

Json = dict[str, Any]
SECRET = "/api/v1/namespaces/default/secrets/qm-webhook-tls"
HOOK = "/apis/admissionregistration.k8s.io/v1/validatingwebhookconfigurations"
QUEUES = "/apis/quartermaster.dev/v1alpha1/queues"


class Steps(Clock):
    """A clock that stands until somebody moves it. It begins with this machine's, by which TLS judges certificates."""

    def __init__(self) -> None:
        super().__init__(time.time())
        self._moved = asyncio.Condition()

    async def until(self, when: float) -> None:
        async with self._moved:
            await self._moved.wait_for(lambda: self.now >= when)

    async def to(self, when: float) -> None:
        async with self._moved:
            self.now = when
            self._moved.notify_all()


def configuration(url: str) -> Json:
    """The chart's, but called by address: no Service leads anywhere here."""
    golden = yaml.safe_load_all((ROOT / "tests/golden/chart_default.yaml").read_text())
    (found,) = (item for item in golden if item["kind"] == "ValidatingWebhookConfiguration")
    (hook,) = found["webhooks"]
    made: Json = {**found, "metadata": {"name": "qm"}, "webhooks": [{**hook, "clientConfig": {"url": url}}]}
    return made


class Local(Admission):
    """Serves on loopback, with a certificate for it."""

    @property
    def names(self) -> list[str]:
        return [*super().names, "127.0.0.1"]


@contextlib.asynccontextmanager
async def running(api: Kubernetes, clock: Steps) -> AsyncIterator[Local]:
    def known() -> Known:
        return Known(queues=queues, topologies=[])

    queues: list[Json] = [{"metadata": {"name": "org"}, "spec": {}}]
    hook = Local(LocalClient(api.handler, agent="qm"), clock=clock, service="default/qm", known=known, port=0)
    task = asyncio.create_task(hook.run(host="127.0.0.1"))
    try:
        await asyncio.wait_for(hook.ready.wait(), 30)
        yield hook
    finally:
        task.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await task


async def secret(api: Kubernetes) -> dict[str, bytes]:
    return {name: base64.b64decode(text) for name, text in (await api.get(SECRET))["data"].items()}


async def ask(port: int, authorities: bytes, body: Json | bytes) -> tuple[int, Any]:
    tls = ssl.create_default_context(cadata=authorities.decode())
    async with aiohttp.ClientSession() as session:
        data = {"data": body} if isinstance(body, bytes) else {"json": body}
        async with session.post(f"https://127.0.0.1:{port}/validate", ssl=tls, **data) as answer:
            return answer.status, await answer.json() if answer.status == 200 else await answer.text()


def review(parent: str) -> Json:
    value = {"metadata": {"name": "org"}, "spec": {"parent": parent}}
    return {"request": {"uid": "u", "kind": {"kind": "Queue"}, "object": value}}


async def test_it_makes_its_certificate_and_answers_with_it() -> None:
    async with kubernetes() as api, running(api, Steps()) as hook:
        made = await secret(api)
        assert set(made) == {"ca.crt", "ca.key", "tls.crt", "tls.key"}
        status, said = await ask(hook.port, made["ca.crt"], review("org"))
        assert (status, said["response"]["allowed"]) == (200, False)
        assert (await ask(hook.port, made["ca.crt"], review("")))[1]["response"]["allowed"]
        assert (await ask(hook.port, made["ca.crt"], b"{"))[0] == 400
        assert (await ask(hook.port, made["ca.crt"], b'{"request": 1}'))[0] == 400


async def test_what_is_there_is_used_and_renewed_in_time_while_it_serves() -> None:
    async with kubernetes() as api:
        clock = Steps()
        async with running(api, clock):
            first = await secret(api)
        async with running(api, clock) as hook:
            assert await secret(api) == first
            await clock.to(clock.now + 65 * DAY)
            for _ in range(500):
                await asyncio.sleep(0)
            second = await secret(api)
            assert second["ca.crt"] == first["ca.crt"]
            assert second["tls.crt"] != first["tls.crt"]
            served = await asyncio.to_thread(ssl.get_server_certificate, ("127.0.0.1", hook.port))
            assert ssl.PEM_cert_to_DER_cert(served) == ssl.PEM_cert_to_DER_cert(second["tls.crt"].decode())


async def test_an_api_server_asks_it_and_trusts_it(tmp_path: Path) -> None:
    async with kubernetes() as api:
        for manifest in manifests():
            await api.create("/apis/apiextensions.k8s.io/v1/customresourcedefinitions", manifest)
        clock = Steps()
        async with running(api, clock) as hook:
            await api.create(HOOK, configuration(f"https://127.0.0.1:{hook.port}/validate"))
            await clock.to(clock.now + 700)
            for _ in range(500):
                await asyncio.sleep(0)
            (written,) = (await api.get(f"{HOOK}/qm"))["webhooks"]
            assert base64.b64decode(written["clientConfig"]["caBundle"]) == (await secret(api))["ca.crt"]
            assert written["failurePolicy"] == "Ignore", "nothing else of it was touched"
            body = {"apiVersion": "quartermaster.dev/v1alpha1", "kind": "Queue", "metadata": {"name": "a"}}
            with pytest.raises(Refused, match="is its own ancestor: a -> a"):
                await api.create(QUEUES, body | {"spec": {"parent": "a"}})
            await api.create(QUEUES, body | {"spec": {"parent": "org"}})
        await api.create(QUEUES, {**body, "metadata": {"name": "b"}, "spec": {"parent": "b"}})
