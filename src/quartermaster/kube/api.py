"""What a controller needs of a Kubernetes API, whoever serves it: one request, one watch, and a mirror of a list.

`Api` is a door: an embedded server in process, the same over HTTP, and a real cluster all fit in it. Paths are those
of Kubernetes, with the query. Refuses to know kinds.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncGenerator, Callable
from typing import Any, Final, Protocol

Json = dict[str, Any]
Key = tuple[str, str]
"""(namespace, name); namespace is empty for cluster-scoped objects."""

JSON: Final = "application/json"
MERGE: Final = "application/merge-patch+json"
STRATEGIC: Final = "application/strategic-merge-patch+json"

RETRY_AFTER: Final = 1.0
"""Seconds of the event loop between attempts to list when the API is away."""


class Refused(Exception):
    """The API said no; `code` is the HTTP status."""

    def __init__(self, code: int, message: str) -> None:
        super().__init__(f"{code}: {message}")
        self.code = code
        self.message = message


class Api(Protocol):
    """One Kubernetes API and who asks it."""

    async def send(self, method: str, path: str, body: Json | None = None, *, media: str = JSON) -> Json:
        """One request; raises Refused."""

    def watch(self, path: str) -> AsyncGenerator[Json, None]:
        """The events of a watch until it ends; raises Refused."""


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
