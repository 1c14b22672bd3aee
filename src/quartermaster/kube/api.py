"""What a controller needs of a Kubernetes API, whoever serves it: one request, one watch, decoded or as bytes.

`Api` is a door: an embedded server in process, the same over HTTP, and a real cluster all fit in it. Paths are those
of Kubernetes, with the query. Bytes are the door proper, because who reads 100,000 pods decodes only what it needs;
`Decoded` makes dictionaries of them in one place. Refuses to know kinds.
"""

from __future__ import annotations

import contextlib
from collections.abc import AsyncGenerator, Mapping
from typing import Any, Final, Protocol, Self

import msgspec

Json = dict[str, Any]
Body = Json | list[Json]
"""An object, or a JSON patch, which is a list."""

Key = tuple[str, str]
"""(namespace, name); namespace is empty for cluster-scoped objects."""

JSON: Final = "application/json"
MERGE: Final = "application/merge-patch+json"
STRATEGIC: Final = "application/strategic-merge-patch+json"
JSON_PATCH: Final = "application/json-patch+json"
APPLY: Final = "application/apply-patch+yaml"

_decoder = msgspec.json.Decoder()


class Refused(Exception):
    """The API said no; `code` is the HTTP status, the rest is what its Status object says.

    `retry_after` is in seconds, None if the API does not ask for a pause.
    """

    def __init__(
        self,
        code: int,
        message: str,
        *,
        reason: str = "",
        details: Mapping[str, Any] | None = None,
        retry_after: float | None = None,
    ) -> None:
        super().__init__(f"{code}: {message}")
        self.code = code
        self.message = message
        self.reason = reason
        self.details: Mapping[str, Any] = details or {}
        self.retry_after = retry_after

    @classmethod
    def of(cls, code: int, body: bytes | Json, *, retry_after: float | None = None) -> Self:
        """From what came with the code: a Status object if all is well, anything at all from what lies between."""
        try:
            status = body if isinstance(body, dict) else _decoder.decode(body)
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
            status = None
        if not isinstance(status, dict):
            text = body.decode(errors="replace").strip() if isinstance(body, bytes) else ""
            return cls(code, text[:500] or "no reason given", retry_after=retry_after)
        details = status.get("details") or {}
        if retry_after is None and details.get("retryAfterSeconds"):
            retry_after = float(details["retryAfterSeconds"])
        message, reason = str(status.get("message", "")), str(status.get("reason", ""))
        return cls(code, message, reason=reason, details=details, retry_after=retry_after)


class Unreachable(OSError):
    """No answer, or none that can be read: the network, TLS, a proxy, a time limit, a credential that cannot be had."""


class Api(Protocol):
    """One Kubernetes API and who asks it."""

    async def send(self, method: str, path: str, body: Body | None = None, *, media: str = JSON) -> Json:
        """One request; raises Refused, or OSError if there was no answer."""

    def watch(self, path: str) -> AsyncGenerator[Json, None]:
        """The events of a watch until it ends; raises Refused, or OSError when the connection is lost."""

    async def send_raw(self, method: str, path: str, body: Body | None = None, *, media: str = JSON) -> bytes:
        """`send`, with the answer as it came."""

    def watch_raw(self, path: str) -> AsyncGenerator[bytes, None]:
        """`watch`, one line of JSON per event."""


class Decoded:
    """An `Api` from its two raw halves."""

    async def send_raw(self, method: str, path: str, body: Body | None = None, *, media: str = JSON) -> bytes:
        """One request; the answer as it came."""
        raise NotImplementedError

    def watch_raw(self, path: str) -> AsyncGenerator[bytes, None]:
        """The lines of a watch."""
        raise NotImplementedError

    async def send(self, method: str, path: str, body: Body | None = None, *, media: str = JSON) -> Json:
        """One request; raises Refused, or OSError if there was no answer."""
        return decoded(await self.send_raw(method, path, body, media=media))

    async def watch(self, path: str) -> AsyncGenerator[Json, None]:
        """The events of a watch until it ends; raises Refused, or OSError when the connection is lost."""
        async with contextlib.aclosing(self.watch_raw(path)) as lines:
            async for line in lines:
                yield decoded(line)


def decoded(raw: bytes) -> Json:
    """An object; raises Unreachable, because what is no JSON came from something that is no API server."""
    try:
        value: Json = _decoder.decode(raw)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as wrong:
        raise Unreachable(f"the answer is no JSON ({wrong}): {raw[:80]!r}") from None
    return value


def lines_of(rest: bytes, part: bytes) -> tuple[list[bytes], bytes]:
    """The whole lines of what came, and what is left of the last one."""
    *lines, rest = (rest + part).split(b"\n")
    return [line for line in lines if line], rest


def key_of(value: Json) -> Key:
    """Namespace and name of an object."""
    metadata = value["metadata"]
    return metadata.get("namespace", ""), metadata["name"]
