"""`kube.api.Api` over the server's seam: the same calls whether the server is in this process or behind HTTP."""

from __future__ import annotations

import contextlib
from collections.abc import AsyncGenerator

from quartermaster.kube.api import JSON, Body, Decoded, Refused, lines_of
from quartermaster.local.apiserver.transport import Handler, Request, Response


class LocalClient(Decoded):
    """Requests under the name `agent`, which becomes the field manager.

    In process it is the administrator's; over HTTP the transport's token says whose.
    """

    def __init__(self, handler: Handler, *, agent: str) -> None:
        self._handler = handler
        self._agent = agent

    async def send_raw(self, method: str, path: str, body: Body | None = None, *, media: str = JSON) -> bytes:
        """One request; raises Refused."""
        request = Request.of(method, path, body, content_type=media, user_agent=self._agent)
        response = await self._handler(request)
        if response.status >= 400:
            raise _refused(response)
        return response.body

    async def watch_raw(self, path: str) -> AsyncGenerator[bytes, None]:
        """The lines of a watch until it ends; raises Refused."""
        request = Request.of("GET", path, user_agent=self._agent)
        response = await self._handler(request)
        if response.stream is None:
            raise _refused(response)
        async with contextlib.aclosing(response.stream) as stream:  # type: ignore[type-var]  # an async generator
            rest = b""
            async for part in stream:
                lines, rest = lines_of(rest, part)
                for line in lines:
                    yield line


def _refused(response: Response) -> Refused:
    pause = response.headers.get("Retry-After")
    return Refused.of(response.status, response.body, retry_after=float(pause) if pause is not None else None)
