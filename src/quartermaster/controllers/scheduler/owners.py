"""The owners of a pod, nearest first, as they are in the API.

Owners of known kinds are watched, kind by kind, from the first pod that has one, so that a group follows its object.
Between the watch of pods and that of owners there is no order: an owner that is not seen yet is asked for once.
Objects of unknown kinds are only asked for, since one of them may be made by a known one. A chain ends at what is gone
or may not be read. Refuses to say what owners mean.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Iterator
from typing import Final, NamedTuple

from quartermaster.api.objects import PodObject
from quartermaster.controllers.scheduler.sources import GroupKind, OnChange, Sources
from quartermaster.kube.api import Api, Json, Refused
from quartermaster.workloads.catalogue import workload

DEEPEST: Final = 16
"""Owners of owners; more are a mistake, or an attack."""

REMEMBERED: Final = 20_000
"""Objects that were asked for and are kept."""


class Link(NamedTuple):
    """The controller that an object names."""

    key: GroupKind
    version: str
    name: str
    uid: str


class Owners:
    """Chains of owners. `changed` is told of every watched owner that changed."""

    def __init__(self, api: Api, sources: Sources, *, changed: OnChange) -> None:
        self._api, self._sources, self._changed = api, sources, changed
        self._asked: OrderedDict[str, Json | None] = OrderedDict()

    def chain(self, pod: PodObject) -> tuple[Json, ...] | None:
        """As far as it goes; None while something of it is to be asked for."""
        found: list[Json] = []
        for link in _links(pod, found):
            value = self._here(link, pod.metadata.namespace)
            if value is None:
                if link.uid not in self._asked:
                    return None
                value = self._asked[link.uid]
            if value is None:
                break
            found.append(value)
        return tuple(found)

    def asked(self) -> Iterator[Json]:
        """Owners of kinds that are not watched."""
        return (value for value in self._asked.values() if value is not None)

    async def complete(self, pod: PodObject) -> tuple[Json, ...]:
        """The same, with all that has to be asked for. Raises OSError if nobody answers, Refused if later may help."""
        while (chain := self.chain(pod)) is None:
            found: list[Json] = []
            for link in _links(pod, found):
                value = self._here(link, pod.metadata.namespace) or self._asked.get(link.uid)
                if value is None:
                    await self._ask(link, pod.metadata.namespace)
                    break
                found.append(value)
        return chain

    def _here(self, link: Link, namespace: str) -> Json | None:
        for place in (namespace, ""):
            value = self._sources.find(link.key, place, link.name)
            if value is not None and value["metadata"]["uid"] == link.uid:
                return value
        return None

    async def _ask(self, link: Link, namespace: str) -> None:
        kind = workload(link.key)
        if kind is not None:
            await self._sources.want(link.key, kind.plural, kind.versions, self._changed)
            if self._here(link, namespace) is not None:
                return
        value = await self._object(link, namespace)
        self._asked[link.uid] = value if value is not None and value["metadata"]["uid"] == link.uid else None
        if len(self._asked) > REMEMBERED:
            self._asked.popitem(last=False)

    async def _object(self, link: Link, namespace: str) -> Json | None:
        place = await self._sources.locate(link.key, link.version)
        if place is None:
            return None
        try:
            return await self._api.send("GET", place.of(namespace, link.name))
        except Refused as refused:
            if refused.code in {401, 403, 404, 405}:
                return None
            raise


def _links(pod: PodObject, found: list[Json]) -> Iterator[Link]:
    """The controller of the pod, then that of whatever was last found, until nothing more is."""
    owner = pod.controller
    if owner is None:
        return
    yield Link((owner.group, owner.kind), owner.api_version.rpartition("/")[2], owner.name, owner.uid)
    seen = 0
    while seen < len(found) < DEEPEST:
        seen = len(found)
        link = _controller(found[-1])
        if link is None or any(link.uid == value["metadata"]["uid"] for value in found):
            return
        yield link


def _controller(value: Json) -> Link | None:
    for one in value["metadata"].get("ownerReferences") or ():
        if one.get("controller"):
            group, _, version = one["apiVersion"].rpartition("/")
            return Link((group, one["kind"]), version, one["name"], one["uid"])
    return None
