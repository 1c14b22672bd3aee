"""A Kubernetes API in the test's own process, and a client that is short to write with.

``async with kubernetes() as api: await api.create("pods", {...})``. No sockets, no waiting: time stands where `Clock`
says.
"""

from __future__ import annotations

import asyncio
import contextlib
import random
import threading
from collections.abc import AsyncGenerator, AsyncIterator, Iterator
from pathlib import Path
from typing import Any

from quartermaster.local.apiserver.cluster import Cluster
from quartermaster.local.apiserver.codec import load
from quartermaster.local.apiserver.local import LocalApi
from quartermaster.local.apiserver.server import ApiServer, Settings
from quartermaster.local.apiserver.store import Store
from quartermaster.local.apiserver.transport import Handler, Request, Response

Json = dict[str, Any]


class Clock:
    """Time that moves when told to: seconds since 1970."""

    def __init__(self, now: float = 1_767_225_600.0) -> None:
        self.now = now

    def __call__(self) -> float:
        """The time."""
        return self.now


class Refused(AssertionError):
    """The API answered with an error; `status` is its Status object, `code` its HTTP status."""

    def __init__(self, response: Response) -> None:
        self.code = response.status
        self.status: Json = load(response.body)
        super().__init__(f"{self.code} {self.status.get('reason')}: {self.status.get('message')}")


class Client:
    """Requests by path. A path without a leading slash is below ``/api/v1/namespaces/default``."""

    def __init__(self, handler: Handler) -> None:
        self.handler = handler

    async def send(self, method: str, path: str, body: Any = None, **options: str) -> Response:
        """One request, whatever the answer. `options`: content_type, and headers such as accept."""
        target = path if path.startswith("/") else f"/api/v1/namespaces/default/{path}"
        return await self.handler(Request.of(method, target, body, **options))

    async def ask(self, method: str, path: str, body: Any = None, **options: str) -> Json:
        """One request that has to succeed; raises Refused."""
        response = await self.send(method, path, body, **options)
        if response.status >= 400:
            raise Refused(response)
        return load(response.body)

    async def get(self, path: str, **options: str) -> Json:
        """GET."""
        return await self.ask("GET", path, **options)

    async def create(self, path: str, body: Json, **options: str) -> Json:
        """POST."""
        return await self.ask("POST", path, body, **options)

    async def replace(self, path: str, body: Json) -> Json:
        """PUT."""
        return await self.ask("PUT", path, body)

    async def patch(self, path: str, body: Any, kind: str = "merge") -> Json:
        """PATCH; `kind` json, merge, strategic or apply."""
        media = {
            "json": "application/json-patch+json",
            "merge": "application/merge-patch+json",
            "strategic": "application/strategic-merge-patch+json",
            "apply": "application/apply-patch+yaml",
        }[kind]
        return await self.ask("PATCH", path, body, content_type=media)

    async def delete(self, path: str, body: Json | None = None) -> Json:
        """DELETE."""
        return await self.ask("DELETE", path, body)

    async def watch(self, path: str) -> AsyncGenerator[Json, None]:
        """Events of a watch, as they come; `path` has the query."""
        response = await self.send("GET", path)
        if response.stream is None:
            raise Refused(response)
        async with contextlib.aclosing(response.stream) as stream:  # type: ignore[type-var]  # an async generator
            rest = b""
            async for part in stream:
                *lines, rest = (rest + part).split(b"\n")
                for line in lines:
                    yield load(line)

    async def names(self, path: str) -> list[str]:
        """Names in a list."""
        return [item["metadata"]["name"] for item in (await self.get(path))["items"]]


class Kubernetes(Client):
    """A client with its server and its clock."""

    def __init__(self, server: ApiServer, clock: Clock) -> None:
        super().__init__(server.handle)
        self.server = server
        self.clock = clock

    async def settle(self) -> None:
        """Let the collector finish."""
        await self.server.garbage.collect()


@contextlib.asynccontextmanager
async def kubernetes(
    *, history: int = 16_384, settings: Settings | None = None, seed: int = 0
) -> AsyncIterator[Kubernetes]:
    """A cluster of its own with the standard namespaces; equal seeds give equal uids and names."""
    clock = Clock()
    cluster = Cluster(store=Store(history=history), clock=clock, rng=random.Random(seed))  # noqa: S311  # no secrets
    async with LocalApi(port=None, cluster=cluster, settings=settings) as api:
        yield Kubernetes(api.server, clock)


@contextlib.contextmanager
def served(
    *, controllers: bool = True, kubeconfig: Path | None = None, settings: Settings | None = None
) -> Iterator[LocalApi]:
    """A cluster on loopback, in an event loop on a thread of its own: for clients that block, such as kubectl."""
    ready = threading.Event()
    box: list[tuple[LocalApi, asyncio.AbstractEventLoop, asyncio.Event]] = []

    async def serve() -> None:
        stop = asyncio.Event()
        async with LocalApi(controllers=controllers, kubeconfig=kubeconfig, settings=settings) as api:
            box.append((api, asyncio.get_running_loop(), stop))
            ready.set()
            await stop.wait()

    thread = threading.Thread(target=lambda: asyncio.run(serve()), name="local api")
    thread.start()
    if not ready.wait(30):
        raise TimeoutError("the local API did not come up")
    api, loop, stop = box[0]
    try:
        yield api
    finally:
        loop.call_soon_threadsafe(stop.set)
        thread.join()


def pod(name: str = "p", **spec: Any) -> Json:
    """A pod of one container; more of its spec by name."""
    return {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {"name": name},
        "spec": {"containers": [{"name": "main", "image": "image"}], **spec},
    }
