"""The HTTP adapter: aiohttp on one side, `ApiServer.handle` on the other; and the seam from the client's side."""

from __future__ import annotations

import asyncio
import contextlib
import io
import ssl
from collections.abc import AsyncIterator, Iterator
from urllib.parse import parse_qsl

import aiohttp
from aiohttp import web
from yarl import URL

from quartermaster.local.apiserver.errors import ApiError
from quartermaster.local.apiserver.kubelets import CHANNELS
from quartermaster.local.apiserver.transport import Handler, Request, Response, Talk

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
        self._server: web.Server | None = None
        self._runner: web.ServerRunner | None = None

    @property
    def url(self) -> str:
        """Where it serves."""
        return f"{'https' if self._tls else 'http'}://{self._host}:{self.port}"

    async def start(self) -> None:
        """Listen; raises OSError if the port is taken."""
        self._server = web.Server(self._serve, access_log=None, handler_cancellation=True)
        self._runner = web.ServerRunner(self._server, access_log=None, shutdown_timeout=0.5)
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
        if self._runner is None:
            return
        assert self._server is not None, "a runner runs it"
        transports = [connection.transport for connection in self._server.connections]
        await self._runner.cleanup()
        self._runner = None
        # TLS waits for the client's goodbye before it lets a socket go; nobody is left here to wait with it.
        for transport in transports:
            if isinstance(transport, asyncio.Transport):
                transport.abort()
        await asyncio.sleep(0)

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
        pairs = tuple(parse_qsl(query, keep_blank_values=True)) if query else ()
        response = await self._handler(
            Request(
                method=request.method,
                path=path,
                query=dict(pairs),
                headers=headers,
                body=body,
                remote=True,
                pairs=pairs,
            )
        )
        if response.talk is not None:
            return await _converse(request, response.talk)
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


async def _converse(request: web.BaseRequest, talk: Talk) -> web.StreamResponse:
    """A WebSocket on which the first byte of each message is its channel."""
    socket = web.WebSocketResponse(protocols=CHANNELS)
    await socket.prepare(request)
    try:
        await talk(_SocketChannels(socket))
    except ConnectionError:
        pass  # the client has gone, and with it the conversation
    finally:
        await socket.close()
    return socket


class _SocketChannels:
    def __init__(self, socket: web.WebSocketResponse) -> None:
        self._socket = socket

    async def __aiter__(self) -> AsyncIterator[tuple[int, bytes]]:
        async for message in self._socket:
            if isinstance(message.data, bytes) and message.data:
                yield message.data[0], message.data[1:]

    async def send(self, channel: int, data: bytes) -> None:
        await self._socket.send_bytes(bytes((channel,)) + data)


def _sent(response: Response) -> web.Response:
    sent = web.Response(
        status=response.status,
        body=response.body,
        headers={
            **({"Content-Type": response.content_type} if response.content_type else {}),
            "Audit-Id": "00000000-0000-0000-0000-000000000000",
            "Cache-Control": "no-cache, private",
            **response.headers,
        },
    )
    for warning in response.warnings:
        sent.headers.add("Warning", warning)
    return sent


def _too_large() -> Response:
    from quartermaster.local.apiserver.transport import answer  # noqa: PLC0415  # one use

    error = ApiError(413, "RequestEntityTooLarge", "Request entity too large: limit is 3145728")
    return answer(error.status(), 413)


class HttpTransport:
    """A `Handler` that asks a server over HTTP. Raises OSError where the server is not, or no more."""

    def __init__(self, url: str, *, token: str = "", tls: ssl.SSLContext | None = None, connections: int = 100) -> None:
        self._url = url
        self._headers = {"Accept-Encoding": "identity"}  # on loopback, packing costs more than it saves
        self._headers |= {"Authorization": f"Bearer {token}"} if token else {}
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
        with _lost():
            reply = await self._session.request(request.method, target, headers=headers, data=data)
        content_type = reply.headers.get("Content-Type", "")
        if reply.ok and any(request.query.get(name) in ("true", "1") for name in ("watch", "follow")):
            return Response(reply.status, content_type=content_type, headers=dict(reply.headers), stream=_parts(reply))
        with _lost():
            return Response(reply.status, await reply.read(), content_type, dict(reply.headers))

    async def close(self) -> None:
        """Close all connections."""
        await self._session.close()


async def _parts(reply: aiohttp.ClientResponse) -> AsyncIterator[bytes]:
    try:
        with _lost():
            async for part in reply.content.iter_any():
                yield part
    finally:
        reply.close()


@contextlib.contextmanager
def _lost() -> Iterator[None]:
    """Whatever the client library calls it: a server that is away is an OSError."""
    try:
        yield
    except aiohttp.ClientError as wrong:
        raise wrong if isinstance(wrong, OSError) else ConnectionError(str(wrong)) from wrong
