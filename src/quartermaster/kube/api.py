"""What a controller needs of a Kubernetes API, whoever serves it: one request, one watch, decoded or as bytes.

`Api` is a door: an embedded server in process, the same over HTTP, and a real cluster all fit in it. Paths are those
of Kubernetes, with the query. Bytes are the door proper, because who reads 100,000 pods decodes only what it needs;
`Decoded` makes dictionaries of them in one place. Refuses to know kinds.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncGenerator, Callable, Mapping
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

RETRY_AFTER: Final = 1.0
"""Seconds of the event loop between attempts to list when the API is away."""

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


OnChange = Callable[[Json | None, Json | None], None]
"""Told (before, after): None before is new, None after is gone."""


class Mirror:
    """All objects behind a list path, kept by list and watch; a relist tells what was missed as if it had been seen.

    `objects` is read-only for others. `synced` is set once the first list is in.
    """

    def __init__(self, api: Api, path: str, on_change: OnChange) -> None:
        self.path = path
        self.objects: dict[Key, Json] = {}
        self.synced = asyncio.Event()
        self._api = api
        self._on_change = on_change

    async def run(self) -> None:
        """List and watch until cancelled."""
        while True:
            try:
                await self._watch(since=await self._list())
            except Refused as wrong:
                if wrong.code != 410:  # 410: the watch fell behind, which a list mends at once
                    await asyncio.sleep(RETRY_AFTER)
            except OSError:
                await asyncio.sleep(RETRY_AFTER)

    async def _list(self) -> str:
        answer = await self._api.send("GET", self.path)
        found = {key_of(item): item for item in answer["items"]}
        for key in [key for key in self.objects if key not in found]:
            self._tell(key, None)
        for key, item in found.items():
            if self.objects.get(key) != item:
                self._tell(key, item)
        self.synced.set()
        return str(answer["metadata"]["resourceVersion"])

    async def _watch(self, *, since: str) -> None:
        glue = "&" if "?" in self.path else "?"
        path = f"{self.path}{glue}watch=true&allowWatchBookmarks=true&resourceVersion={since}"
        async with contextlib.aclosing(self._api.watch(path)) as events:
            async for event in events:
                if event["type"] == "ERROR":
                    raise Refused(int(event["object"].get("code", 500)), str(event["object"].get("message", "")))
                if event["type"] != "BOOKMARK":
                    item = event["object"]
                    self._tell(key_of(item), None if event["type"] == "DELETED" else item)

    def _tell(self, key: Key, after: Json | None) -> None:
        before = self.objects.pop(key, None)
        if after is not None:
            self.objects[key] = after
        self._on_change(before, after)
