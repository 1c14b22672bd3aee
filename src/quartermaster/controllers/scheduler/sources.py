"""Objects of kinds that a cluster may or may not serve: owners of pods, queues and groups of other schedulers.

A kind is watched from the moment somebody wants it and the cluster has it; a definition that is installed later is
noticed. What is not served, or may not be read, is empty, and `missing` says why. Refuses to know what kinds mean.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from random import Random
from typing import Final

import msgspec

from quartermaster.api.objects import Json, Object
from quartermaster.kube.api import Api, Key, Refused
from quartermaster.kube.backoff import Backoff
from quartermaster.kube.clock import Clock
from quartermaster.kube.reflector import Reflector
from quartermaster.kube.views import view_of

_log = logging.getLogger(__name__)

GroupKind = tuple[str, str]
OnChange = Callable[[Json | None, Json | None], None]
DEFINITIONS: Final = "/apis/apiextensions.k8s.io/v1/customresourcedefinitions"
AWAY: Final = (408, 429, 500, 502, 503, 504)


class Definition(Object, gc=False):
    """A CustomResourceDefinition, of which only the name matters."""


class _Resource(msgspec.Struct, gc=False):
    name: str
    kind: str
    namespaced: bool = True


class _Version(msgspec.Struct, gc=False):
    version: str


class _Group(msgspec.Struct, gc=False):
    versions: list[_Version] = []


class _Resources(msgspec.Struct, gc=False):
    resources: list[_Resource] = []


@dataclass(frozen=True, slots=True)
class Place:
    """Where a kind is served: the path of its group and version, and what the kind is called there."""

    path: str
    plural: str
    namespaced: bool

    @property
    def api_version(self) -> str:
        """Group and version as objects name them."""
        return self.path.removeprefix("/apis/").removeprefix("/api/")

    @property
    def all(self) -> str:
        """The path of all its objects."""
        return f"{self.path}/{self.plural}"

    def of(self, namespace: str, name: str) -> str:
        """The path of one object."""
        inside = f"namespaces/{namespace}/" if self.namespaced else ""
        return f"{self.path}/{inside}{self.plural}/{name}"


@dataclass(slots=True)
class Source:
    """One kind."""

    plural: str
    versions: tuple[str, ...]
    on_change: OnChange
    place: Place | None = None
    reflector: Reflector[Json] | None = None
    task: asyncio.Task[None] | None = None
    missing: str = ""
    looking: asyncio.Lock | None = None


class Sources:
    """All kinds that were wanted."""

    def __init__(self, api: Api, *, clock: Clock, rng: Random, steady: Clock | None = None) -> None:
        self._api, self._clock, self._rng, self._steady = api, clock, rng, steady
        self._sources: dict[GroupKind, Source] = {}
        self._definitions = Reflector(
            api, DEFINITIONS, self._definition_changed, view=view_of(Definition), clock=steady, rng=rng
        )
        self._group: asyncio.TaskGroup | None = None

    async def start(self, group: asyncio.TaskGroup) -> None:
        """Watch definitions, and return when it is known which there are, or that nobody may say."""
        self._group = group
        group.create_task(self._definitions.run(), name="watch of definitions")
        await self._definitions.answered.wait()
        for key in list(self._sources):
            await self._open(key)

    async def want(self, key: GroupKind, plural: str, versions: Sequence[str], on_change: OnChange) -> None:
        """Watch a kind from now on; returns when what there is has been told, or that there is none."""
        if key not in self._sources:
            self._sources[key] = Source(plural, tuple(versions), on_change, looking=asyncio.Lock())
        if self._group is not None:
            await self._open(key)

    def wanted(self, key: GroupKind) -> bool:
        """Whether somebody asked for a kind."""
        return key in self._sources

    def find(self, key: GroupKind, namespace: str, name: str) -> Json | None:
        """An object; None if it is not there as far as is known."""
        return self.objects(key).get((namespace, name))

    def objects(self, key: GroupKind) -> Mapping[Key, Json]:
        """All objects of a kind."""
        source = self._sources.get(key)
        return {} if source is None or source.reflector is None else source.reflector.objects

    def missing(self, key: GroupKind) -> str:
        """Why there are no objects of a kind; empty if it is served."""
        source = self._sources.get(key)
        if source is None or source.reflector is None:
            return "nobody asked" if source is None else source.missing
        return "" if source.reflector.failure is None else str(source.reflector.failure)

    def served(self) -> Iterator[tuple[GroupKind, Place, Mapping[Key, Json]]]:
        """The kinds that are watched, where they are, and their objects."""
        for key, source in self._sources.items():
            if source.place is not None and source.reflector is not None and source.reflector.failure is None:
                yield key, source.place, source.reflector.objects

    def unread(self) -> dict[str, str]:
        """The paths of kinds that are served and cannot be read, and why."""
        return {
            source.reflector.path: str(source.reflector.failure)
            for source in self._sources.values()
            if source.reflector is not None and source.reflector.failure is not None
        }

    async def _open(self, key: GroupKind) -> None:
        source = self._sources[key]
        assert source.looking is not None, "made with the source"
        assert self._group is not None, "opened only when started"
        async with source.looking:
            if source.reflector is None:
                place = await self._served(key, source)
                if place is None:
                    return
                source.place = place
                told = partial(_named, place.api_version, key[1], source.on_change)
                source.reflector = Reflector(self._api, place.all, told, clock=self._steady, rng=self._rng)
                source.task = self._group.create_task(source.reflector.run(), name=f"watch of {place.all}")
        await source.reflector.answered.wait()

    async def locate(self, key: GroupKind, version: str) -> Place | None:
        """Where a kind is served in a version that is known to exist; None if it is not."""
        found = await self._resources(key[0], version)
        if isinstance(found, str):
            return None
        return next(
            (_place(key[0], version, item) for item in found if item.kind == key[1] and "/" not in item.name), None
        )

    async def _served(self, key: GroupKind, source: Source) -> Place | None:
        """Where a kind is, in the first of its versions that the cluster has; if any will do, as the cluster likes."""
        versions = source.versions or await self._versions(key[0])
        source.missing = f"{key[0]} is not served"
        for version in versions:
            found = await self._resources(key[0], version)
            if isinstance(found, str):
                source.missing = found
                continue
            for item in found:
                if item.name == source.plural:
                    return _place(key[0], version, item)
            source.missing = f"{key[0]}/{version} has no {source.plural}"
        return None

    async def _versions(self, group: str) -> tuple[str, ...]:
        """The versions of a group, the preferred one first; none if it is not served."""
        found = await self._asked(f"/apis/{group}")
        return (
            ()
            if isinstance(found, str)
            else tuple(one.version for one in msgspec.json.decode(found, type=_Group).versions)
        )

    async def _resources(self, group: str, version: str) -> list[_Resource] | str:
        """What a version of a group has; or why it is not served."""
        found = await self._asked(_root(group, version))
        return found if isinstance(found, str) else msgspec.json.decode(found, type=_Resources).resources

    async def _asked(self, where: str) -> bytes | str:
        """The answer, asked for until somebody gives one; or why it is refused."""
        backoff = Backoff(rng=self._rng)
        while True:
            try:
                return await self._api.send_raw("GET", where)
            except Refused as refused:
                if refused.code not in AWAY:
                    return f"{where} is not served ({refused})"
                _log.warning("%s: %s", where, refused)
            except OSError as wrong:
                _log.warning("%s: %s", where, wrong)
            await self._clock.until(self._clock() + backoff.next())

    def _definition_changed(self, before: Definition | None, after: Definition | None) -> None:
        changed = after or before
        assert changed is not None, "something changed"
        plural, _, group = changed.metadata.name.partition(".")
        for key, source in self._sources.items():
            if (key[0], source.plural) != (group, plural):
                continue
            if after is None:
                self._close(source)
            elif source.reflector is None and self._group is not None:
                self._group.create_task(self._open(key), name=f"look for {plural}.{group}")

    def _close(self, source: Source) -> None:
        """A kind is no more: its objects are gone with it."""
        if source.task is not None:
            source.task.cancel()
        gone = [] if source.reflector is None else list(source.reflector.objects.values())
        if source.reflector is not None:
            source.reflector.answered.set()  # whoever still waits for its first answer has it now
        source.reflector = source.task = None
        source.missing = "its definition was deleted"
        for value in gone:
            source.on_change(value, None)


def _named(api_version: str, kind: str, on_change: OnChange, before: Json | None, after: Json | None) -> None:
    """Objects in lists do not say what they are; whoever reads them wants to know."""
    if after is not None:
        after["apiVersion"], after["kind"] = api_version, kind
    on_change(before, after)


def _root(group: str, version: str) -> str:
    return f"/apis/{group}/{version}" if group else f"/api/{version}"


def _place(group: str, version: str, item: _Resource) -> Place:
    return Place(_root(group, version), item.name, item.namespaced)
