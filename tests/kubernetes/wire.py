"""A wire between a client and a server that a test can cut: bytes go both ways, TLS and all, until it says so."""

import asyncio
import contextlib
import re
from pathlib import Path
from typing import Self


class Wire:
    """A relay on a port of its own to `target` on loopback, up between ``async with``."""

    def __init__(self, target: int) -> None:
        self._target = target
        self._open: set[asyncio.StreamWriter] = set()
        self._server: asyncio.Server | None = None
        self.port = 0

    async def __aenter__(self) -> Self:
        await self.mend()
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.cut()

    async def mend(self) -> None:
        """Let clients connect (again, on the same port)."""
        self._server = await asyncio.start_server(self._relay, "127.0.0.1", self.port)
        self.port = self._server.sockets[0].getsockname()[1]

    async def cut(self) -> None:
        """Break all connections and accept no more."""
        assert self._server is not None, "it was up"
        self._server.close()
        self.drop()
        await asyncio.sleep(0)

    def drop(self) -> None:
        """Break all connections; clients may connect again at once."""
        for writer in list(self._open):
            writer.transport.abort()

    def kubeconfig(self, of: Path) -> Path:
        """A kubeconfig beside `of` that leads through the wire."""
        path = of.with_name(f"{of.name}-wire")
        path.write_text(re.sub(r"127\.0\.0\.1:\d+", f"127.0.0.1:{self.port}", of.read_text()), encoding="utf-8")
        return path

    async def _relay(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(OSError):
            there, back = await asyncio.open_connection("127.0.0.1", self._target)
            self._open |= {writer, back}
            try:
                async with asyncio.TaskGroup() as both:
                    both.create_task(_pump(reader, back))
                    both.create_task(_pump(there, writer))
            finally:
                for each in (writer, back):
                    self._open.discard(each)
                    each.transport.abort()


async def _pump(source: asyncio.StreamReader, sink: asyncio.StreamWriter) -> None:
    with contextlib.suppress(OSError):
        while data := await source.read(1 << 16):
            sink.write(data)
            await sink.drain()
        sink.write_eof() if sink.can_write_eof() else sink.close()
