"""`kube.api.Api` over the server's seam: the same calls whether the server is in this process or behind HTTP."""

from __future__ import annotations

import contextlib
from collections.abc import AsyncGenerator

from quartermaster.kube.api import JSON, Json, Refused
from quartermaster.local.apiserver.codec import load
from quartermaster.local.apiserver.transport import Handler, Request


class LocalClient:
    """Requests under the name `agent`, which becomes the field manager.

    In process it is the administrator's; over HTTP the transport's token says whose.
    """

    def __init__(self, handler: Handler, *, agent: str) -> None:
        self._handler = handler
        self._agent = agent

    async def send(self, method: str, path: str, body: Json | None = None, *, media: str = JSON) -> Json:
        """One request; raises Refused."""
        request = Request.of(method, path, body, content_type=media, user_agent=self._agent)
        response = await self._handler(request)
        if response.status >= 400:
            raise Refused(response.status, _message(response.body))
        return load(response.body)

    async def watch(self, path: str) -> AsyncGenerator[Json, None]:
        """The events of a watch until it ends; raises Refused."""
        request = Request.of("GET", path, user_agent=self._agent)
        response = await self._handler(request)
        if response.stream is None:
            raise Refused(response.status, _message(response.body))
        async with contextlib.aclosing(response.stream) as stream:  # type: ignore[type-var]  # an async generator
            rest = b""
            async for part in stream:
                *lines, rest = (rest + part).split(b"\n")
                for line in lines:
                    yield load(line)


def _message(body: bytes) -> str:
    try:
        return str(load(body).get("message", ""))
    except ValueError:
        return body.decode(errors="replace")
