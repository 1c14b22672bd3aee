"""What these tests share: a clock on which pauses pass at once, and a server that answers what it is told to."""

import asyncio
import contextlib
import ssl
from collections.abc import AsyncIterator, Callable, Sequence
from typing import Any

from quartermaster.kube.connecting import Connection
from quartermaster.kube.http import HttpApi
from quartermaster.local.apiserver.http import HttpServer
from quartermaster.local.apiserver.transport import Request, Response, answer

Answer = Response | Callable[[Request], Response]


class HastyClock:
    """Whoever waits has waited; `pauses` says how long."""

    def __init__(self) -> None:
        self.now = 1_000.0
        self.pauses: list[float] = []

    def __call__(self) -> float:
        return self.now

    async def until(self, when: float) -> None:
        self.pauses.append(when - self.now)
        self.now = max(self.now, when)
        await asyncio.sleep(0)


class Scripted:
    """Gives the answers in order, the last one for ever, and keeps the requests."""

    def __init__(self, answers: Sequence[Answer]) -> None:
        self._answers = list(answers)
        self.requests: list[Request] = []

    async def __call__(self, request: Request) -> Response:
        self.requests.append(request)
        said = self._answers.pop(0) if len(self._answers) > 1 else self._answers[0]
        return said(request) if callable(said) else said


@contextlib.asynccontextmanager
async def scripted(
    *answers: Answer, tls: ssl.SSLContext | None = None, clock: HastyClock | None = None, **connection: Any
) -> AsyncIterator[tuple[HttpApi, Scripted]]:
    """An HttpApi before a server that says `answers`."""
    script = Scripted(answers)
    server = HttpServer(script, tls=tls)
    await server.start()
    try:
        there = Connection(server=server.url, **connection)
        async with HttpApi(there, agent="tester", clock=clock or HastyClock(), timeout=30) as api:
            yield api, script
    finally:
        await server.stop()


def status(code: int, reason: str = "", message: str = "no", **headers: str) -> Response:
    """A Status object as an answer."""
    response = answer({"kind": "Status", "status": "Failure", "reason": reason, "message": message}, code)
    response.headers.update({name.replace("_", "-"): value for name, value in headers.items()})
    return response
