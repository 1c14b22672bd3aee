"""The HTTP adapter: aiohttp on one side, `ApiServer.handle` on the other; and the seam from the client's side."""

from __future__ import annotations

import asyncio
import contextlib
import io
import ssl
from collections.abc import AsyncIterator
from urllib.parse import parse_qsl

import aiohttp
from aiohttp import web
from yarl import URL

from quartermaster.local.apiserver.errors import ApiError
from quartermaster.local.apiserver.transport import Handler, Request, Response

_LARGE = 512 * 1024
MOST_BYTES = 3 * 1024 * 1024
"""Of a request body, as with the real server."""


class HttpServer:
    """Serves a handler on a socket. `port` 0 takes a free one; after `start`, `port` says which."""

    def __init__(
        self, handler: Handler, *, host: str = "127.0.0.1", port: int = 0, tls: ssl.SSLContext | None = None
    ) -> None:
        self._handler = handler
        self._host = host
        self.port = port
        self._tls = tls
        self._runner: web.ServerRunner | None = None

    @property
    def url(self) -> str:
        """Where it serves."""
        return f"{'https' if self._tls else 'http'}://{self._host}:{self.port}"

    async def start(self) -> None:
        """Listen; raises OSError if the port is taken."""
        server = web.Server(self._serve, access_log=None, handler_cancellation=True)
        self._runner = web.ServerRunner(server, access_log=None, shutdown_timeout=0.5)
        await self._runner.setup()
        site = web.TCPSite(
            self._runner,
            self._host,
            self.port,
            ssl_context=self._tls,
            reuse_address=True,
            backlog=2048,
        )
        await site.start()
        self.port = self._runner.addresses[0][1]

    async def stop(self) -> None:
        """Close all connections."""
        if self._runner is not None:
            await self._runner.cleanup()
            self._runner = None

    async def _serve(self, request: web.BaseRequest) -> web.StreamResponse:
        if request.content_length is not None and request.content_length > MOST_BYTES:
            return _sent(_too_large())
        body = await request.read() if request.can_read_body else b""
        if len(body) > MOST_BYTES:
            return _sent(_too_large())
        headers: dict[str, str] = {}
        for name, value in request.headers.items():
            lower = name.lower()
            headers[lower] = f"{headers[lower]},{value}" if lower in headers else value
        path, _, query = request.raw_path.partition("?")
        response = await self._handler(
            Request(
                method=request.method,
                path=path,
                query=dict(parse_qsl(query, keep_blank_values=True)) if query else {},
                headers=headers,
                body=body,
                remote=True,
            )
        )
        if response.stream is None:
            return _sent(response)
        return await self._stream(request, response, response.stream)

    async def _stream(
        self, request: web.BaseRequest, response: Response, stream: AsyncIterator[bytes]
    ) -> web.StreamResponse:
        sent = web.StreamResponse(
            status=response.status, headers={"Content-Type": response.content_type, **response.headers}
        )
        for warning in response.warnings:
            sent.headers.add("Warning", warning)
        sent.enable_chunked_encoding()
        async with contextlib.aclosing(stream):  # type: ignore[type-var]  # streams are async generators
            await sent.prepare(request)
            try:
                async for part in stream:
                    await sent.write(part)
                await sent.write_eof()
            except (ConnectionError, asyncio.CancelledError):
                if request.transport is not None and not request.transport.is_closing():
                    raise
        return sent


def _sent(response: Response) -> web.Response:
    sent = web.Response(
        status=response.status,
        body=response.body,
        headers={
            "Content-Type": response.content_type,
            "Audit-Id": "00000000-0000-0000-0000-000000000000",
            "Cache-Control": "no-cache, private",
            **response.headers,
        },
    )
    for warning in response.warnings:
        sent.headers.add("Warning", warning)
    if response.status == 204:
        del sent.headers["Content-Type"]
    return sent


def _too_large() -> Response:
    from quartermaster.local.apiserver.transport import answer  # noqa: PLC0415  # one use

    error = ApiError(413, "RequestEntityTooLarge", "Request entity too large: limit is 3145728")
    return answer(error.status(), 413)


class HttpTransport:
    """A `Handler` that asks a server over HTTP."""

    def __init__(self, url: str, *, token: str = "", tls: ssl.SSLContext | None = None, connections: int = 100) -> None:
        self._url = url
        self._headers = {"Authorization": f"Bearer {token}"} if token else {}
        connector = aiohttp.TCPConnector(ssl=tls or True, limit=connections)
        self._session = aiohttp.ClientSession(connector=connector, timeout=aiohttp.ClientTimeout(total=None))

    async def __call__(self, request: Request) -> Response:
        """Send a request; a watch comes back as a stream."""
        target = URL(self._url + request.path, encoded=True)
        if request.query:
            target = target.with_query(dict(request.query))
        headers = self._headers | dict(request.headers)
        # A large body as bytes would be copied in one piece while the loop waits; aiohttp warns of that.
        data = io.BytesIO(request.body) if len(request.body) > _LARGE else request.body or None
        reply = await self._session.request(request.method, target, headers=headers, data=data)
        content_type = reply.headers.get("Content-Type", "")
        if reply.headers.get("Transfer-Encoding") == "chunked":
            return Response(reply.status, content_type=content_type, headers=dict(reply.headers), stream=_parts(reply))
        return Response(reply.status, await reply.read(), content_type, dict(reply.headers))

    async def close(self) -> None:
        """Close all connections."""
        await self._session.close()


async def _parts(reply: aiohttp.ClientResponse) -> AsyncIterator[bytes]:
    try:
        async for part in reply.content.iter_any():
            yield part
    finally:
        reply.close()
