"""The seam: a request goes in, a response or a stream comes out.

`ApiServer.handle` is one `Handler`; the HTTP adapter carries it over a socket (http.py) and `HttpTransport` is the
same interface from the other side, so a caller cannot tell, and need not care, whether the API is in its own process.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Protocol
from urllib.parse import parse_qsl, unquote, urlsplit

from quartermaster.local.apiserver.codec import encode, load
from quartermaster.local.apiserver.errors import Json

JSON = "application/json"


@dataclass(frozen=True, slots=True)
class User:
    """Who asks."""

    name: str
    groups: tuple[str, ...] = ()
    uid: str = ""
    extra: Mapping[str, tuple[str, ...]] = field(default_factory=dict)


@dataclass(slots=True)
class Request:
    """One request. Header names are in lower case; `path` is not yet unquoted, `query` is."""

    method: str
    path: str
    query: Mapping[str, str] = field(default_factory=dict)
    headers: Mapping[str, str] = field(default_factory=dict)
    body: bytes = b""
    user: User | None = None
    """In process, whom the caller says it is; nobody said means the administrator."""
    remote: bool = False
    """Came over a socket, and has to show a token."""
    pairs: tuple[tuple[str, str], ...] = ()
    """The query with names that are there more than once, such as ``command``."""

    @classmethod
    def of(cls, method: str, target: str, body: Any = None, *, content_type: str = JSON, **headers: str) -> Request:
        """From a target with a query, and a body that is bytes or will be JSON. ``accept=`` and such are headers."""
        parts = urlsplit(target)
        raw = body if isinstance(body, bytes) else b"" if body is None else encode(body)
        named = {name.replace("_", "-"): value for name, value in headers.items()}
        pairs = tuple(parse_qsl(parts.query, keep_blank_values=True))
        return cls(
            method=method,
            path=parts.path,
            query=dict(pairs),
            headers=({"content-type": content_type} if raw else {}) | named,
            body=raw,
            pairs=pairs,
        )

    def segments(self) -> list[str]:
        """The path, unquoted part by part."""
        return [unquote(part) for part in self.path.strip("/").split("/")] if self.path.strip("/") else []


class Channels(Protocol):
    """A conversation in numbered channels, both ways, until one side ends it."""

    def __aiter__(self) -> AsyncIterator[tuple[int, bytes]]:
        """What the client says: (channel, bytes)."""

    async def send(self, channel: int, data: bytes) -> None:
        """Say something to the client."""


Talk = Callable[[Channels], Awaitable[None]]


@dataclass(slots=True)
class Response:
    """One answer: `body`, or `stream` if it goes on, or `talk` if it is a conversation."""

    status: int
    body: bytes = b""
    content_type: str = JSON
    headers: dict[str, str] = field(default_factory=dict)
    stream: AsyncIterator[bytes] | None = None
    talk: Talk | None = None
    warnings: list[str] = field(default_factory=list)
    """One ``Warning`` header each."""

    def json(self) -> Json:
        """The body, decoded."""
        return load(self.body)


Handler = Callable[[Request], Awaitable[Response]]


def answer(value: Json | bytes, status: int = 200) -> Response:
    """A JSON response."""
    return Response(status=status, body=value if isinstance(value, bytes) else encode(value))
