"""Foreign programs against one kubeconfig: run one, look at what it said, keep one running and read its lines."""

import asyncio
import contextlib
import json
import os
from collections.abc import AsyncIterator, Iterable
from pathlib import Path
from typing import Any

from tests.kubernetes.fixtures import program

PATIENCE_S = 60.0


class Program:
    """An executable of the lane with a home of its own. Calling it runs it to its end, which has to be `code`."""

    def __init__(self, name: str, kubeconfig: Path, **environment: str) -> None:
        self._path = str(program(name))
        home = {"KUBECONFIG": str(kubeconfig), "HOME": str(kubeconfig.parent)}
        self._environment = os.environ | home | environment

    async def __call__(self, *arguments: str, given: object = None, code: int = 0) -> str:
        """What it printed: all of it if it failed, else what it printed on standard output, or on standard error.

        `given` is its input, as text or as JSON.
        """
        process = await self._start(arguments)
        text = given if isinstance(given, str | None) else json.dumps(given)
        async with asyncio.timeout(PATIENCE_S):
            out, error = await process.communicate(None if text is None else text.encode())
        said = f"{arguments}\n{out.decode()}{error.decode()}"
        assert process.returncode == code, said
        return (out + error).decode() if code else out.decode() or error.decode()

    async def json(self, *arguments: str) -> Any:
        """What it printed with ``-o json``."""
        return json.loads(await self(*arguments, "-o", "json"))

    @contextlib.asynccontextmanager
    async def running(self, *arguments: str) -> AsyncIterator["Running"]:
        """Keep it running, and end it at the end."""
        process = await self._start(arguments)
        try:
            yield Running(process)
        finally:
            if process.returncode is None:
                process.kill()
            await process.communicate()

    async def _start(self, arguments: Iterable[str]) -> asyncio.subprocess.Process:
        pipe = asyncio.subprocess.PIPE
        return await asyncio.create_subprocess_exec(
            self._path, *arguments, stdin=pipe, stdout=pipe, stderr=pipe, env=self._environment, limit=1 << 24
        )


class Running:
    """A program that runs."""

    def __init__(self, process: asyncio.subprocess.Process) -> None:
        self.process = process

    async def line(self) -> str:
        """Its next line of output; fails if there is none within patience."""
        assert self.process.stdout is not None
        async with asyncio.timeout(PATIENCE_S):
            line = await self.process.stdout.readline()
        assert line, await self._failure()
        return line.decode().rstrip("\n")

    async def until(self, wanted: str) -> str:
        """The first line from here on that has `wanted` in it."""
        while wanted not in (line := await self.line()):
            pass
        return line

    async def say(self, text: str) -> None:
        """A line of input."""
        assert self.process.stdin is not None
        self.process.stdin.write(text.encode() + b"\n")
        await self.process.stdin.drain()

    async def finish(self) -> None:
        """No more input."""
        assert self.process.stdin is not None
        self.process.stdin.close()
        await self.process.stdin.wait_closed()

    async def _failure(self) -> str:
        _, error = await self.process.communicate()
        return f"it ended with {self.process.returncode}: {error.decode()}"
