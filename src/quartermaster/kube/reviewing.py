"""HTTPS for admission reviews: one path, one function from review to answer, a certificate that can be exchanged."""

from __future__ import annotations

import asyncio
import contextlib
import ssl
import tempfile
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any, Final

import msgspec
from aiohttp import web

Json = dict[str, Any]
Handle = Callable[[Json], Json]
"""Raises ValueError for a body that it cannot use."""

MAX_BODY: Final = 8 * 1024 * 1024
"""The API server's own limit for an object is 3 MiB, and a review has it twice."""


class Tls:
    """A server's side of TLS, whose certificate can be exchanged while connections are open."""

    def __init__(self) -> None:
        self.context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        self.context.minimum_version = ssl.TLSVersion.TLSv1_2

    def load(self, certificate: bytes, key: bytes) -> None:
        """For connections from now on."""
        with tempfile.TemporaryDirectory() as folder:
            # The ssl module reads certificates from files only.
            chain, private = Path(folder, "tls.crt"), Path(folder, "tls.key")
            chain.write_bytes(certificate)
            private.touch(mode=0o600)
            private.write_bytes(key)
            self.context.load_cert_chain(chain, private)


@contextlib.asynccontextmanager
async def serving(handle: Handle, tls: Tls, *, path: str, port: int, host: str | None = None) -> AsyncIterator[int]:
    """Answer reviews at `path` while the context is open; gives the port, which matters if 0 was asked for."""

    async def answer(request: web.Request) -> web.Response:
        try:
            body = msgspec.json.decode(await request.read(), type=dict[str, Any])
            found = handle(body)
        except ValueError as wrong:  # of msgspec, too
            return web.Response(status=400, text=f"{wrong}\n")
        return web.Response(body=msgspec.json.encode(found), content_type="application/json")

    application = web.Application(client_max_size=MAX_BODY)
    application.router.add_post(path, answer)
    runner = web.AppRunner(application, access_log=None)
    await runner.setup()
    try:
        site = web.TCPSite(runner, host, port, ssl_context=tls.context)
        await site.start()
        listening = runner.addresses[0][1]
        yield int(listening)
    finally:
        await asyncio.shield(runner.cleanup())
