"""Plays stages on a cluster: mirrors pods and nodes, renews leases, keeps what is due in a heap, acts through the API.

It can be stopped and started at any point: what is due is worked out from the objects, not remembered. An object has
at most one transition before it; a patch that changes nothing ends there, so a bad stage cannot spin.
"""

from __future__ import annotations

import asyncio
import random
from collections.abc import Sequence
from heapq import heappop, heappush
from typing import Any

from quartermaster.kube.api import STRATEGIC, Api, Json, Key, Refused, key_of
from quartermaster.kube.clock import Clock
from quartermaster.kube.reflector import Reflector
from quartermaster.local.stages.engine import Transition, change, choose, due, matching
from quartermaster.local.stages.facts import Facts, stamp
from quartermaster.local.stages.heartbeats import RENEWED_EVERY_S, Heartbeats
from quartermaster.local.stages.table import Event, Stage

BUDGET_RETRY_S = 5.0
"""Between attempts at an eviction that a disruption budget refuses (kubectl drain's)."""

Item = tuple[str, Key]


class Player:
    """Runs until cancelled. `pods` and `nodes` are its mirrors, for others to read."""

    def __init__(
        self, api: Api, stages: Sequence[Stage], *, clock: Clock, rng: random.Random, beat: float = RENEWED_EVERY_S
    ) -> None:
        self.nodes: Reflector[Json] = Reflector(api, "/api/v1/nodes", self._node_changed)
        self.pods: Reflector[Json] = Reflector(api, "/api/v1/pods", self._pod_changed)
        self._api, self._stages, self._clock, self._rng = api, stages, clock, rng
        self._heartbeats = Heartbeats(api, self.nodes, clock=clock, every=beat)
        self._next: dict[Item, tuple[Transition, float]] = {}
        self._heap: list[tuple[float, int, Item]] = []
        self._count = 0
        self._on_node: dict[str, set[Key]] = {}
        self._wake = asyncio.Event()

    async def run(self) -> None:
        """Mirror and play until cancelled."""
        async with asyncio.TaskGroup() as group:
            for mirror in (self.nodes, self.pods):  # in this order: a pod whose node is only not known yet is no orphan
                group.create_task(mirror.run())
                await mirror.synced.wait()
            group.create_task(self._heartbeats.run())
            await self._loop()

    async def _loop(self) -> None:
        while True:
            await self._play_due()
            await self._wait()

    def on(self, node: str) -> tuple[Json, ...]:
        """The pods bound to a node."""
        return tuple(self.pods.objects[key] for key in sorted(self._on_node.get(node, ())))

    # ---- what is due

    def _node_changed(self, before: Json | None, after: Json | None) -> None:
        value = after or before
        assert value is not None
        name = value["metadata"]["name"]
        self._consider(("nodes", key_of(value)))
        for key in self._on_node.get(name, ()):
            self._consider(("pods", key))

    def _pod_changed(self, before: Json | None, after: Json | None) -> None:
        value = after or before
        assert value is not None
        key = key_of(value)
        was, now = ((item or {}).get("spec", {}).get("nodeName", "") for item in (before, after))
        if was != now:
            self._on_node.get(was, set()).discard(key)
            if now:
                self._on_node.setdefault(now, set()).add(key)
        if before is not None and after is not None and before["metadata"]["uid"] != after["metadata"]["uid"]:
            self._next.pop(("pods", key), None)
        self._consider(("pods", key))

    def facts(self, item: Item) -> Facts | None:
        """All that is known of an object; None if it is gone."""
        resource, key = item
        if resource == "nodes":
            node = self.nodes.objects.get(key)
            return None if node is None else Facts("nodes", node, self._clock(), pods=self.on(key[1]))
        pod = self.pods.objects.get(key)
        if pod is None:
            return None
        return Facts("pods", pod, self._clock(), self.nodes.objects.get(("", pod["spec"].get("nodeName", ""))))

    def _consider(self, item: Item) -> None:
        facts = self.facts(item)
        before = self._next.pop(item, None)
        if facts is None:
            return
        found = choose(self._stages, facts, self._rng, before=before[0] if before else None)
        if found is not None:
            self._plan(item, found, due(found, facts))

    def _plan(self, item: Item, transition: Transition, when: float) -> None:
        self._next[item] = (transition, when)
        self._count += 1
        heappush(self._heap, (when, self._count, item))
        self._wake.set()

    def _first(self) -> float | None:
        while self._heap:
            when, _, item = self._heap[0]
            planned = self._next.get(item)
            if planned is not None and planned[1] == when:
                return when
            heappop(self._heap)
        return None

    async def _wait(self) -> None:
        when = self._first()
        waiters: list[asyncio.Task[Any]] = [asyncio.create_task(self._wake.wait())]
        if when is not None:
            waiters.append(asyncio.create_task(self._clock.until(when)))
        try:
            await asyncio.wait(waiters, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for waiter in waiters:
                waiter.cancel()
        self._wake.clear()

    async def _play_due(self) -> None:
        while (when := self._first()) is not None and when <= self._clock():
            item = heappop(self._heap)[2]
            transition, _ = self._next.pop(item)
            facts = self.facts(item)
            if facts is None:
                continue
            if transition.stage not in matching(self._stages, facts):
                self._consider(item)
                continue
            try:
                await self._act(item, transition.stage, facts)
            except Refused as wrong:
                if wrong.code == 429:
                    self._plan(item, transition, self._clock() + BUDGET_RETRY_S)
                elif wrong.code not in (404, 409):  # gone or changed meanwhile: its event is under way
                    raise

    # ---- acting

    async def _act(self, item: Item, stage: Stage, facts: Facts) -> None:
        resource, (namespace, name) = item
        path = f"/api/v1/namespaces/{namespace}/pods/{name}" if resource == "pods" else f"/api/v1/nodes/{name}"
        uid = facts.object["metadata"]["uid"]
        doing = change(stage, facts)
        for subresource, patch in doing.patches:
            metadata = {**patch.get("metadata", {}), "uid": uid}
            target = f"{path}/{subresource}" if subresource else path
            await self._api.send("PATCH", target, {**patch, "metadata": metadata}, media=STRATEGIC)
        if doing.event is not None:
            await self._tell(doing.event, facts, "Pod" if resource == "pods" else "Node")
        if doing.delete:
            await self._api.send("DELETE", path, {"gracePeriodSeconds": 0, "preconditions": {"uid": uid}})
        if doing.evict:
            body = {"apiVersion": "policy/v1", "kind": "Eviction", "metadata": {"name": name, "namespace": namespace}}
            await self._api.send("POST", f"{path}/eviction", body)

    async def _tell(self, event: Event, facts: Facts, kind: str) -> None:
        metadata = facts.object["metadata"]
        namespace = metadata.get("namespace", "default")
        now = stamp(self._clock())
        about = {"apiVersion": "v1", "kind": kind, "name": metadata["name"], "uid": metadata["uid"]}
        body: Json = {
            "metadata": {"generateName": f"{metadata['name']}.", "namespace": namespace},
            "involvedObject": about | ({"namespace": namespace} if kind == "Pod" else {}),
            "type": event.type,
            "reason": event.reason,
            "message": event.message,
            "source": {"component": "kubelet"},
            "firstTimestamp": now,
            "lastTimestamp": now,
            "count": 1,
        }
        await self._api.send("POST", f"/api/v1/namespaces/{namespace}/events", body)
