"""What a scheduler sees of a cluster, as one file: kind by kind, the objects that it watches or asked for.

A scheduler that only follows is started on the API, and what it holds when it has found the group of every pod is
written down, less what no decision reads (`pruning`). So a recording has what decisions are made on by construction,
and `RecordedApi` gives it to the same code again. Equal clusters give equal bytes.

Not in it: what a scheduler remembers of its own decisions, such as how long a gang is broken or a refusal backs off.
"""

from __future__ import annotations

import asyncio
import contextlib
import gzip
import zlib
from collections.abc import AsyncGenerator, AsyncIterator, Iterable, Mapping
from typing import Any, Final
from urllib.parse import urlsplit

import msgspec

from quartermaster.api.objects import NodeObject, PodObject
from quartermaster.api.peers import mixed as peers
from quartermaster.controllers.scheduler.pruning import pruned, whole
from quartermaster.controllers.scheduler.scheduler import Options, Scheduler
from quartermaster.controllers.scheduler.site import BUDGETS, QUEUES, TOPOLOGIES
from quartermaster.controllers.scheduler.sources import DEFINITIONS, GroupKind, Place
from quartermaster.kube.api import JSON, Api, Body, Decoded, Json, Refused, key_of
from quartermaster.kube.clock import Clock, within
from quartermaster.model.errors import InvalidInput

VERSION: Final = 1
PATIENCE_S: Final = 120.0
"""Until a cluster of which nothing is heard is given up."""

_LARGEST: Final = 2 * 2**30
"""Bytes that a file may unpack to: a hundred thousand pods are a tenth of it."""


class Kind(msgspec.Struct, frozen=True, rename="camel", forbid_unknown_fields=True):
    """A kind that the cluster serves, at a path such as ``/apis/apps/v1``, and all that was seen of it."""

    path: str
    plural: str
    kind: str
    namespaced: bool
    objects: list[Json]


class Recording(msgspec.Struct, frozen=True, rename="camel", forbid_unknown_fields=True, kw_only=True):
    """The document. `taken` is in seconds since 1970; `unread` says which kinds were refused, and why."""

    quartermaster: str
    """The release that wrote it."""
    version: int = VERSION
    taken: float
    scheduler_names: list[str]
    default_queue: str
    kinds: list[Kind]
    unread: dict[str, str] = {}

    def options(self) -> Options:
        """How a scheduler was to decide."""
        return Options(names=frozenset(self.scheduler_names), default_queue=self.default_queue)


# ---- from a cluster


async def record(api: Api, *, clock: Clock, options: Options, release: str) -> Recording:
    """What a scheduler would see now. Only reads; raises InvalidInput if nodes or pods cannot be read."""
    for path in (NodeObject.RESOURCE, PodObject.RESOURCE):
        try:
            await api.send_raw("GET", f"{path}?limit=1")
        except (Refused, OSError) as wrong:
            fix = "see whether address and rights of the kubeconfig are right"
            raise InvalidInput(f"cluster: {path}", f"cannot be read ({wrong})", fix) from None
    async with following(Reading(api), clock=clock, options=options) as scheduler:
        return _written(scheduler, taken=clock(), options=options, release=release)


@contextlib.asynccontextmanager
async def following(api: Api, *, clock: Clock, options: Options) -> AsyncIterator[Scheduler]:
    """A scheduler that has seen everything and does nothing; raises InvalidInput if there is no end of looking."""
    scheduler, known = Scheduler(api, clock=clock, options=options, leading=lambda: False), asyncio.Event()
    task = asyncio.create_task(_follow(scheduler, known))
    try:
        await within(clock, PATIENCE_S, _first(task, known))
        yield scheduler
    except TimeoutError:
        why = scheduler.unready() or "owners of pods are still being asked for"
        raise InvalidInput("cluster", why, "try again when it answers in time") from None
    finally:
        task.cancel()
        await asyncio.wait((task,))


async def _follow(scheduler: Scheduler, known: asyncio.Event) -> None:
    async with asyncio.TaskGroup() as group:
        await scheduler.follow(group)
        await scheduler.membership.found()
        known.set()


async def _first(task: asyncio.Task[None], known: asyncio.Event) -> None:
    """Until it is set, or the task that would set it has failed."""
    waits = asyncio.ensure_future(known.wait())
    try:
        await asyncio.wait((task, waits), return_when=asyncio.FIRST_COMPLETED)
        if task.done():
            task.result()
    finally:
        waits.cancel()


def _written(scheduler: Scheduler, *, taken: float, options: Options, release: str) -> Recording:
    found: dict[tuple[str, str], Kind] = {}

    def add(place: Place, kind: str, objects: Iterable[Json]) -> None:
        if (place.path, place.plural) not in found:
            group = place.api_version.rpartition("/")[0]
            keep = whole if (group, kind) in _WHOLE else pruned
            kept = sorted((_bare(keep(value)) for value in objects), key=key_of)
            found[place.path, place.plural] = Kind(place.path, place.plural, kind, place.namespaced, kept)

    nodes, pods = scheduler.occupancy.nodes(), scheduler.occupancy.records.values()
    add(Place("/api/v1", "nodes", namespaced=False), "Node", map(msgspec.to_builtins, nodes))
    add(Place("/api/v1", "pods", namespaced=True), "Pod", (msgspec.to_builtins(record.pod) for record in pods))
    path, _, plural = DEFINITIONS.rpartition("/")
    add(Place(path, plural, namespaced=False), "CustomResourceDefinition", ())
    for (_, kind), place, objects in scheduler.sources.served():
        add(place, kind, objects.values())
    for value in scheduler.membership.asked():
        _add_asked(found, value)
    return Recording(
        quartermaster=release,
        taken=taken,
        scheduler_names=sorted(options.names),
        default_queue=options.default_queue,
        kinds=sorted(found.values(), key=lambda kind: (kind.path, kind.plural)),
        unread=scheduler.sources.unread(),
    )


def _add_asked(found: dict[tuple[str, str], Kind], value: Json) -> None:
    """An owner of a kind that is not watched; nothing of it is read but what it is and whose."""
    version, kind = value["apiVersion"], value["kind"]
    path, plural = f"/apis/{version}" if "/" in version else f"/api/{version}", f"{kind.lower()}s"
    known = found.setdefault((path, plural), Kind(path, plural, kind, "namespace" in value["metadata"], []))
    kept = _bare(pruned({key: value[key] for key in ("apiVersion", "kind", "metadata")}))
    if kept not in known.objects:
        known.objects.append(kept)
        known.objects.sort(key=key_of)


def _bare(value: Json) -> Json:
    """Without the version, which changes with things that nobody reads."""
    return {**value, "metadata": {key: part for key, part in value["metadata"].items() if key != "resourceVersion"}}


_WHOLE: Final[frozenset[GroupKind]] = frozenset(
    (("", "Node"), ("", "Pod"), QUEUES, TOPOLOGIES, BUDGETS, *((group, kind) for group, kind, _ in peers.KINDS))
)
"""Kinds that have nothing else: projections of nodes and pods, and what operators lay down for schedulers."""


class _Lists(Decoded):
    """An API that has lists, and in which nothing happens after them."""

    async def watch_raw(self, path: str) -> AsyncGenerator[bytes, None]:
        """Nothing, for ever; what there is has to be listed."""
        if "sendInitialEvents" in path:
            raise Refused(400, "ask for a list")
        await asyncio.Event().wait()
        yield b""


class Reading(_Lists):
    """Another API as it is now, of which nothing but reading is asked, whatever its user is allowed."""

    def __init__(self, api: Api) -> None:
        self._api = api

    async def send_raw(self, method: str, path: str, body: Body | None = None, *, media: str = JSON) -> bytes:
        """Reads."""
        if method != "GET":
            raise Refused(405, f"{method} {path}: this is for reading only")
        return await self._api.send_raw(method, path, body, media=media)


# ---- the file


def packed(recording: Recording) -> bytes:
    """The bytes of a file."""
    return gzip.compress(msgspec.json.encode(recording, order="sorted"), compresslevel=6, mtime=0)


class _Head(msgspec.Struct):
    version: int


def unpacked(data: bytes, *, file: str) -> Recording:
    """What a file holds; raises InvalidInput."""
    other = InvalidInput(file, "is no recording of a cluster", "make one with: quartermaster snapshot -o FILE")
    try:
        reader = zlib.decompressobj(wbits=31)  # gzip, with its checksum
        text = reader.decompress(data, _LARGEST)
    except zlib.error as wrong:
        if data[:2] == b"\x1f\x8b":
            raise InvalidInput(file, f"is damaged ({wrong})", "copy it again, as binary") from None
        raise other from None
    if reader.unconsumed_tail:
        raise InvalidInput(file, f"unpacks to more than {_LARGEST >> 30} GiB", "this is no recording of ours")
    if not data:
        raise other
    if not reader.eof:
        raise InvalidInput(file, "ends too early", "copy it again: part of it is missing")
    try:
        version = msgspec.json.decode(text, type=_Head).version
    except (msgspec.DecodeError, UnicodeDecodeError):
        raise other from None
    if version != VERSION:
        raise InvalidInput(file, f"is of version {version}", f"take it anew: this release reads version {VERSION}")
    try:
        return msgspec.json.decode(text, type=Recording)
    except msgspec.DecodeError as wrong:
        raise InvalidInput(file, str(wrong), "make it anew with: quartermaster snapshot -o FILE") from None


# ---- from the file


class RecordedApi(_Lists):
    """An API that has what a recording has."""

    def __init__(self, kinds: Iterable[Kind]) -> None:
        self._lists: dict[str, Kind] = {}
        self._objects: dict[str, Json] = {}
        self._served: dict[str, list[Kind]] = {}
        for kind in kinds:
            place = Place(kind.path, kind.plural, kind.namespaced)
            self._lists[place.all] = kind
            self._served.setdefault(kind.path, []).append(kind)
            self._objects |= {place.of(*key_of(value)): _titled(value, place, kind) for value in kind.objects}

    async def send_raw(self, method: str, path: str, body: Body | None = None, *, media: str = JSON) -> bytes:
        """Lists, objects, and what is served where; raises Refused for all else."""
        del body, media
        if method != "GET":
            raise Refused(405, f"{method} {path}: nothing can be changed in a recording")
        found = self._found(urlsplit(path).path)
        if found is None:
            raise Refused(404, f"{path}: not in the recording")
        return msgspec.json.encode(found)

    def _found(self, path: str) -> Mapping[str, Any] | None:
        if path in self._lists:
            return {"metadata": {"resourceVersion": "1"}, "items": self._lists[path].objects}
        if path in self._objects:
            return self._objects[path]
        if path in self._served:
            kinds = self._served[path]
            return {
                "resources": [{"name": kind.plural, "kind": kind.kind, "namespaced": kind.namespaced} for kind in kinds]
            }
        versions = [served.rpartition("/")[2] for served in self._served if served.rpartition("/")[0] == path]
        return {"versions": [{"version": version} for version in versions]} if versions else None


def _titled(value: Json, place: Place, kind: Kind) -> Json:
    return {**value, "apiVersion": place.api_version, "kind": kind.kind}
