"""The two clusters that stories are played on: a real one in real time, ours in virtual time, behind one interface."""

import asyncio
import contextlib
import json
import ssl
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path
from typing import Any, Protocol

import aiohttp

from quartermaster.local.apiserver.codec import micro_timestamp, timestamp
from quartermaster.local.real.controlplane import running
from quartermaster.testing.controllers import LEASES, NODES, Controlled, controlled
from tests.kubernetes.server import Server, of

Json = dict[str, Any]
MEDIA = {
    "json": "application/json",
    "merge": "application/merge-patch+json",
    "strategic": "application/strategic-merge-patch+json",
    "apply": "application/apply-patch+yaml",
}
QUIET_S = 5.0
"""Seconds without a change after which a real cluster counts as being at rest: controllers batch for one."""
BRIEF_S = 1.5
"""The same between the steps of a kubelet, after which somebody waits once more."""
PATIENCE_S = 90.0
HEARTBEAT_S = 10.0
ALL = "*,-persistentvolume-binder-controller,-ttl-controller"
"""Controllers, at their defaults, but those that need a cloud or volumes."""


class Refused(AssertionError):
    """A cluster said no."""


class Side(Protocol):
    """A cluster with controllers and without a kubelet."""

    alive: dict[str, None]
    """Nodes whose leases are renewed."""

    def now(self) -> float: ...

    async def ask(self, method: str, path: str, body: Any = None, *, media: str = "json") -> Json: ...

    async def rest(self, look: Callable[[], Awaitable[Any]], *, wanted: Any = None, quiet: float = QUIET_S) -> Any:
        """What `look` sees when nothing has changed for `quiet`; `wanted` is what somebody hopes for."""

    async def wait(self, seconds: float) -> None: ...


class Ours(Side):
    """The embedded API and the controllers of this project."""

    def __init__(self, cluster: Controlled) -> None:
        self._cluster = cluster
        self.alive = cluster.alive
        cluster.kubelet.runs = False

    def now(self) -> float:
        return self._cluster.clock()

    async def ask(self, method: str, path: str, body: Any = None, *, media: str = "json") -> Json:
        response = await self._cluster.send(method, path, body, content_type=MEDIA[media])
        if response.status >= 400:
            raise Refused(f"{method} {path}: {response.status} {response.body.decode()}")
        return dict(json.loads(response.body))

    async def rest(self, look: Callable[[], Awaitable[Any]], *, wanted: Any = None, quiet: float = 0.0) -> Any:
        del wanted, quiet
        await self._cluster.settle()
        return await look()

    async def wait(self, seconds: float) -> None:
        await self._cluster.advance(seconds)


class Real(Side):
    """A kube-apiserver with a kube-controller-manager."""

    def __init__(self, server: Server, session: aiohttp.ClientSession) -> None:
        self._url, self._session = server.url, session
        self._headers = {"Authorization": f"Bearer {server.token}", "User-Agent": "stories/1"}
        self._trust = ssl.create_default_context(cadata=server.ca)
        self.alive: dict[str, None] = {}

    def now(self) -> float:
        return time.time()

    async def ask(self, method: str, path: str, body: Any = None, *, media: str = "json") -> Json:
        headers = self._headers | {"Content-Type": MEDIA[media]}
        data = None if body is None else json.dumps(body)
        async with self._session.request(
            method, self._url + path, data=data, headers=headers, ssl=self._trust
        ) as answer:
            text = await answer.text()
        if answer.status >= 400:
            raise Refused(f"{method} {path}: {answer.status} {text}")
        return dict(json.loads(text))

    async def rest(self, look: Callable[[], Awaitable[Any]], *, wanted: Any = None, quiet: float = QUIET_S) -> Any:
        begun = since = time.monotonic()
        before = await look()
        while True:
            await asyncio.sleep(0.5)  # a real process is waited for
            seen = await look()
            if seen != before:
                before, since = seen, time.monotonic()
                continue
            rested = time.monotonic() - since
            if seen == wanted or rested >= quiet or time.monotonic() - begun > PATIENCE_S:
                return seen

    async def wait(self, seconds: float) -> None:
        await asyncio.sleep(seconds)

    async def beat(self) -> None:
        """Renew the leases of the living until cancelled."""
        while True:
            for name in list(self.alive):
                await heartbeat(self, name)
            await asyncio.sleep(HEARTBEAT_S)


async def heartbeat(side: Side, name: str) -> None:
    """Renew one lease."""
    renewed = {"holderIdentity": name, "leaseDurationSeconds": 40, "renewTime": micro_timestamp(side.now())}
    body = {
        "apiVersion": "coordination.k8s.io/v1",
        "kind": "Lease",
        "metadata": {"name": name, "namespace": "kube-node-lease"},
        "spec": renewed,
    }
    await side.ask("PATCH", f"{LEASES}/{name}?fieldManager=kubelet&force=true", body, media="apply")


async def add_node(side: Side, name: str, *, labels: Json | None = None, taints: list[Json] | None = None) -> None:
    """A node that is Ready and renews its lease."""
    about = {"name": name, "labels": {"kubernetes.io/hostname": name, **(labels or {})}}
    await side.ask("POST", NODES, {"metadata": about, "spec": {"taints": taints} if taints else {}})
    await heartbeat(side, name)
    now = timestamp(side.now())
    told = {"lastHeartbeatTime": now, "lastTransitionTime": now, "reason": "KubeletReady", "message": "ready"}
    conditions = [{"type": "Ready", "status": "True", **told}]
    conditions += [
        {"type": kind, "status": "False", **told} for kind in ("MemoryPressure", "DiskPressure", "PIDPressure")
    ]
    has = {"cpu": "8", "memory": "32Gi", "pods": "110"}
    status = {"conditions": conditions, "capacity": has, "allocatable": has}
    await side.ask("PATCH", f"{NODES}/{name}/status", {"status": status}, media="strategic")
    side.alive[name] = None


@contextlib.asynccontextmanager
async def ours() -> AsyncIterator[Side]:
    """A fresh cluster of this project with one node."""
    async with controlled() as cluster:
        side = Ours(cluster)
        await add_node(side, "worker")
        yield side


@contextlib.asynccontextmanager
async def real(*, programs: dict[str, Path], folder: Path) -> AsyncIterator[Side]:
    """A fresh real cluster with one node. `programs` are kube-apiserver, etcd and kube-controller-manager."""
    with running(programs, folder=folder, controllers=ALL) as plane:
        async with aiohttp.ClientSession() as session:
            side = Real(of(plane), session)
            await add_node(side, "worker")
            beating = asyncio.create_task(side.beat())
            try:
                yield side
            finally:
                beating.cancel()
