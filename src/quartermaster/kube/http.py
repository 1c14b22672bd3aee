"""`Api` over HTTP and TLS: any cluster behind the door that the embedded server stands behind.

A request is repeated only where that is safe: reads after any failure; writes when the connection never came about, or
when the server says with 429 or 503 and Retry-After that it did not take them up. An eviction's 429 is an answer, not
a busy server. A write whose fate is unknown is its caller's to look at. Watches have connections of their own, so that
thousands of writes in flight never hold one up.
"""

from __future__ import annotations

import asyncio
import io
import logging
import random
import ssl
import string
from collections.abc import AsyncGenerator
from dataclasses import dataclass
from types import TracebackType
from typing import Final, Self
from urllib.parse import quote, urlsplit

import aiohttp
import msgspec
from yarl import URL

from quartermaster.kube.api import JSON, Body, Decoded, Refused, Unreachable, lines_of
from quartermaster.kube.backoff import Backoff
from quartermaster.kube.clock import Clock, SteadyClock
from quartermaster.kube.connecting import Connection
from quartermaster.kube.credentials import Credential
from quartermaster.model.errors import InvalidInput

_log = logging.getLogger(__name__)
_encoder = msgspec.json.Encoder()

CONNECTIONS: Final = 128
"""For requests. HTTP/1.1 has one request at a time on each; the rest wait in order."""

TIMEOUT_S: Final = 60.0
IDLE_S: Final = 300.0
"""A watch that says nothing for so long is dead: a server sends a bookmark every minute."""

CONNECT_S: Final = 10.0
ATTEMPTS: Final = 5
LONGEST_PAUSE_S: Final = 30.0
"""Who is told to wait longer is told so, and waits himself."""

_LARGE: Final = 512 * 1024


class _NotSent(Unreachable):
    """No connection came about, so nothing can have happened."""


class _Distrusted(Unreachable):
    """The two sides do not accept each other's certificates; the next attempt will not either."""


@dataclass(frozen=True, slots=True)
class _Question:
    method: str
    path: str
    data: bytes | None = None
    media: str = JSON
    watch: bool = False


class HttpApi(Decoded):
    """An API server asked under the name `agent`, between ``async with``. Clock and chance are for pauses."""

    def __init__(
        self,
        connection: Connection,
        *,
        agent: str,
        connections: int = CONNECTIONS,
        timeout: float = TIMEOUT_S,
        idle: float = IDLE_S,
        clock: Clock | None = None,
        rng: random.Random | None = None,
    ) -> None:
        self.connection = connection
        self._agent = agent
        self._connections = connections
        self._free = asyncio.Semaphore(connections)
        self._timeout = aiohttp.ClientTimeout(total=timeout, sock_connect=CONNECT_S)
        self._idle = aiohttp.ClientTimeout(total=None, sock_connect=CONNECT_S, sock_read=idle)
        self._clock = clock or SteadyClock()
        self._rng = rng or random.Random()  # noqa: S311  # spreads retries, keeps no secret
        self._sessions: tuple[aiohttp.ClientSession, aiohttp.ClientSession] | None = None
        self._warned: set[str] = set()

    async def __aenter__(self) -> Self:
        self._sessions = (_session(self._connections), _session(0))
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for session in self._sessions or ():
            await session.close()
        self._sessions = None

    async def send_raw(self, method: str, path: str, body: Body | None = None, *, media: str = JSON) -> bytes:
        """One request, repeated where that is safe; raises Refused, or Unreachable if there was no answer."""
        question = _Question(method, path, None if body is None else _encoder.encode(body), media)
        backoff = Backoff(rng=self._rng, first=0.2, longest=10.0)
        renewed = False
        while True:
            try:
                credential = await self._credential()
                async with self._free:  # waiting for a connection is no part of what a request may take
                    code, answer, pause = await self._read(await self._open(question, credential), path)
            except Unreachable as wrong:
                harmless = (method == "GET" and not isinstance(wrong, _Distrusted)) or isinstance(wrong, _NotSent)
                if backoff.failures >= ATTEMPTS - 1 or not harmless:
                    raise
                await self._clock.until(self._clock() + backoff.next())
                continue
            if code < 400:
                return answer
            if code == 401 and not renewed and self.connection.credentials.refused(credential):
                renewed = True
                continue
            refused = Refused.of(code, answer, retry_after=pause)
            if backoff.failures >= ATTEMPTS - 1 or not _repeatable(method, path, code, pause):
                raise refused
            await self._clock.until(self._clock() + backoff.next(pause))

    async def watch_raw(self, path: str) -> AsyncGenerator[bytes, None]:
        """The lines of a watch until it ends; raises Refused, or Unreachable when the connection is lost or idle."""
        credential = await self._credential()
        question = _Question("GET", path, watch=True)
        response = await self._open(question, credential)
        if response.status == 401 and self.connection.credentials.refused(credential):
            response.close()
            response = await self._open(question, await self._credential())
        try:
            if response.status >= 400:
                code, answer, pause = await self._read(response, path)
                raise Refused.of(code, answer, retry_after=pause)
            rest = b""
            async for part in response.content.iter_any():
                lines, rest = lines_of(rest, part)
                for line in lines:
                    yield line
        except (aiohttp.ClientError, OSError) as wrong:
            raise Unreachable(self._why("GET", path, wrong)) from wrong
        finally:
            response.close()

    async def _credential(self) -> Credential:
        try:
            return await self.connection.credentials.current()
        except InvalidInput as wrong:
            # At the start this is for a person to mend; once requests run, it is one more thing that may pass.
            raise Unreachable(str(wrong)) from wrong

    async def _open(self, question: _Question, credential: Credential) -> aiohttp.ClientResponse:
        assert self._sessions is not None, "an HttpApi is used between async with"
        there = self.connection
        headers = [("User-Agent", self._agent), ("Accept", JSON), ("Accept-Encoding", "identity"), *there.impersonate]
        if question.data is not None:
            headers.append(("Content-Type", question.media))
        if credential.authorization:
            headers.append(("Authorization", credential.authorization))
        url = URL(there.server + quote(question.path, safe=string.punctuation), encoded=True)
        # A large body as bytes would be copied in one piece while the loop waits; aiohttp warns of that.
        large = question.data is not None and len(question.data) > _LARGE
        try:
            return await self._sessions[question.watch].request(
                question.method,
                url,
                headers=headers,
                data=io.BytesIO(question.data or b"") if large else question.data,
                ssl=self._tls(credential),
                server_hostname=there.server_name or None,
                proxy=there.proxy or None,
                timeout=self._idle if question.watch else self._timeout,
                allow_redirects=False,
            )
        except aiohttp.ClientSSLError as wrong:
            raise _Distrusted(self._why(question.method, question.path, wrong)) from wrong
        except (aiohttp.ClientConnectorError, aiohttp.ConnectionTimeoutError) as wrong:
            raise _NotSent(self._why(question.method, question.path, wrong)) from wrong
        except (aiohttp.ClientError, OSError) as wrong:
            raise Unreachable(self._why(question.method, question.path, wrong)) from wrong

    def _tls(self, credential: Credential) -> ssl.SSLContext | bool:
        if self.connection.trust is None:
            return True
        try:
            return self.connection.trust.context(credential.pair)
        except InvalidInput as wrong:
            raise Unreachable(str(wrong)) from wrong

    async def _read(self, response: aiohttp.ClientResponse, path: str) -> tuple[int, bytes, float | None]:
        try:
            async with response:
                answer = await response.read()
        except (aiohttp.ClientError, OSError) as wrong:
            raise Unreachable(self._why(response.method, path, wrong)) from wrong
        for warning in response.headers.getall("Warning", ()):
            if warning not in self._warned and len(self._warned) < 1_000:
                self._warned.add(warning)
                _log.warning("%s %s: %s", response.method, urlsplit(path).path, warning)
        if 300 <= response.status < 400:
            problem = f"{response.method} {self.connection.server}{path}: sent on to {response.headers.get('Location')}"
            raise Unreachable(f"{problem}; no API server does that")
        return response.status, answer, _seconds(response.headers.get("Retry-After"))

    def _why(self, method: str, path: str, wrong: Exception) -> str:
        return f"{method} {self.connection.server}{urlsplit(path).path}: {str(wrong) or type(wrong).__name__}"


def _session(limit: int) -> aiohttp.ClientSession:
    # Kubernetes keeps idle connections for longer than this, so it is never the server that closes one in our hands.
    connector = aiohttp.TCPConnector(limit=limit, keepalive_timeout=30.0)
    return aiohttp.ClientSession(connector=connector, cookie_jar=aiohttp.DummyCookieJar(), read_bufsize=256 * 1024)


def _repeatable(method: str, path: str, code: int, pause: float | None) -> bool:
    if pause is not None and pause > LONGEST_PAUSE_S:
        return False
    if method == "GET":
        return code in (429, 500, 502, 503, 504)
    return code in (429, 503) and pause is not None and not urlsplit(path).path.endswith("/eviction")


def _seconds(text: str | None) -> float | None:
    return float(text) if text is not None and text.isdigit() else None
