"""Which group a pod belongs to: `workloads` reads its owners, and what these refer to, as the API has them now.

A pod whose owners are not known yet waits here and is then told of; so is every pod again whose owner, or whose group's
object, changed in what it asks for. Refuses to know what a group does.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Iterator
from random import Random
from typing import Final

import msgspec

from quartermaster.api.objects import PodObject
from quartermaster.controllers.scheduler.owners import Owners
from quartermaster.controllers.scheduler.sources import Sources
from quartermaster.kube.api import Api, Json, Refused
from quartermaster.kube.backoff import Backoff
from quartermaster.kube.clock import Clock
from quartermaster.workloads.catalogue import KINDS, Part
from quartermaster.workloads.group import Member
from quartermaster.workloads.members import Memberships, Target

_log = logging.getLogger(__name__)

_ASKING: Final = ("labels", "annotations", "ownerReferences", "uid")


class Membership:
    """Finds groups. `joined` is told of every pod whose group is known, or known anew."""

    def __init__(
        self, api: Api, sources: Sources, *, clock: Clock, rng: Random, joined: Callable[[str, Member], None]
    ) -> None:
        self._sources, self._clock, self._rng, self._joined = sources, clock, rng, joined
        self._owners = Owners(api, sources, changed=self._owner_changed)
        self._pods: dict[str, PodObject] = {}
        self._hangs_on: dict[str | Target, set[str]] = {}
        """Pods by the uid of an owner, or by an object that was looked up."""
        self._hooks: dict[str, set[str | Target]] = {}
        self._searching: dict[str, asyncio.Task[None]] = {}
        self._looked_up: set[str | Target] = set()
        """Takes what the group of the pod at hand hangs on."""
        self._memberships = Memberships(self._lookup)
        self._tasks: asyncio.TaskGroup | None = None

    async def start(self, group: asyncio.TaskGroup) -> None:
        """Watch what groups are looked up in, and return when it is known what there is."""
        self._tasks = group
        for key, kind in KINDS.items():
            if kind.part is not Part.WORKLOAD:
                await self._sources.want(key, kind.plural, kind.versions, self._reference_changed)

    def look(self, name: str, pod: PodObject) -> None:
        """Find the group of a pod that came or changed."""
        self._pods[name] = pod
        if name in self._searching:
            return
        chain = self._owners.chain(pod)
        if chain is not None:
            self._settle(name, pod, chain)
            return
        assert self._tasks is not None, "pods come when it has begun"
        self._searching[name] = self._tasks.create_task(self._search(name), name=f"owners of {name}")

    def gone(self, name: str) -> None:
        """A pod is no more."""
        self._pods.pop(name, None)
        self._unhook(name)

    async def found(self) -> None:
        """Return when it is known of every pod which group it belongs to."""
        while self._searching:
            await asyncio.wait(self._searching.values())

    def asked(self) -> Iterator[Json]:
        """Owners of kinds that are not watched."""
        return self._owners.asked()

    async def _search(self, name: str) -> None:
        backoff = Backoff(rng=self._rng)
        try:
            while (pod := self._pods.get(name)) is not None:
                try:
                    chain = await self._owners.complete(pod)
                except (Refused, OSError, TimeoutError) as wrong:
                    _log.warning("owners of %s: %s", name, wrong)
                    await self._clock.until(self._clock() + backoff.next())
                    continue
                if self._pods.get(name) is pod:
                    self._settle(name, pod, chain)
                    return
        finally:
            del self._searching[name]

    def _settle(self, name: str, pod: PodObject, chain: tuple[Json, ...]) -> None:
        self._unhook(name)
        hooks: set[str | Target] = {str(owner["metadata"]["uid"]) for owner in chain}

        self._looked_up = hooks
        value: Json = msgspec.to_builtins(pod)
        member = self._memberships.of(value, chain)
        for hook in hooks:
            self._hangs_on.setdefault(hook, set()).add(name)
        self._hooks[name] = hooks
        self._joined(name, member)

    def _lookup(self, group: str, kind: str, namespace: str, name: str) -> Json | None:
        self._looked_up.add((group, kind, namespace, name))
        return self._sources.find((group, kind), namespace, name)

    def owner(self, pod: str, uid: str) -> Json | None:
        """The owner of a pod that has this uid."""
        known = self._pods.get(pod)
        chain = () if known is None else self._owners.chain(known) or ()
        return next((owner for owner in chain if owner["metadata"]["uid"] == uid), None)

    def _unhook(self, name: str) -> None:
        for hook in self._hooks.pop(name, ()):
            pods = self._hangs_on[hook]
            pods.discard(name)
            if not pods:
                del self._hangs_on[hook]

    # ---- what groups hang on

    def _owner_changed(self, before: Json | None, after: Json | None) -> None:
        if after is not None and before is not None and not _asks_otherwise(before, after):
            return
        for value in (before, after):
            if value is not None:
                self._again(str(value["metadata"]["uid"]))

    def _reference_changed(self, before: Json | None, after: Json | None) -> None:
        if after is not None and before is not None and not _asks_otherwise(before, after):
            return
        value = after or before
        assert value is not None, "something changed"
        group = str(value.get("apiVersion", "")).rpartition("/")[0]
        metadata = value["metadata"]
        self._again((group, str(value.get("kind", "")), metadata.get("namespace", ""), metadata["name"]))

    def _again(self, hook: str | Target) -> None:
        for name in sorted(self._hangs_on.get(hook, ())):
            if name in self._pods:
                self.look(name, self._pods[name])


def _asks_otherwise(before: Json, after: Json) -> bool:
    """Whether an object asks for something else than before; what is only its status asks for nothing."""
    if any(before["metadata"].get(part) != after["metadata"].get(part) for part in _ASKING):
        return True
    mine = {name: part for name, part in before.items() if name not in {"metadata", "status"}}
    return mine != {name: part for name, part in after.items() if name not in {"metadata", "status"}}
