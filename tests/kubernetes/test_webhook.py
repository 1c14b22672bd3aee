"""A real kube-apiserver asks our webhook, by the certificate that it made itself."""

import asyncio
import contextlib
import time
from pathlib import Path
from typing import Any

from quartermaster.api.admission import Known
from quartermaster.api.definitions import manifests
from quartermaster.controllers.admission import Admission
from quartermaster.kube.api import Refused
from quartermaster.kube.connecting import connect
from quartermaster.kube.http import HttpApi
from quartermaster.local.clock import WallClock
from tests.kubernetes.server import Server
from tests.unit.controllers.test_admission import HOOK, QUEUES, Local, configuration

CRDS = "/apis/apiextensions.k8s.io/v1/customresourcedefinitions"


async def until(attempt: Any, seconds: float = 30.0) -> Any:
    """What an attempt gives once it is not refused any more: definitions and webhooks need a moment."""
    deadline = time.monotonic() + seconds
    while True:
        try:
            return await attempt()
        except (Refused, AssertionError):
            assert time.monotonic() < deadline
            await asyncio.sleep(0.1)


async def test_a_circle_is_refused_and_without_us_it_passes(kubernetes: Server, tmp_path: Path) -> None:
    kubeconfig = tmp_path / "kubeconfig"
    kubeconfig.write_text(kubernetes.kubeconfig(), encoding="utf-8")
    connection = connect(kubeconfig=kubeconfig, environment={})
    async with HttpApi(connection, agent="test") as api, contextlib.AsyncExitStack() as stack:
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
