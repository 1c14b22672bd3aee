"""Binds and evictions on their way to the API: thousands at once, in the order of the plan, gang after gang.

A binding that was sent is true until the API has said otherwise *for certain*. After a timeout nobody knows, so the pod
is asked for until it is known: room is never given away that may be taken. A gang of which one binding is refused for
good is handed back, with what of it is bound, so that the caller takes all of it back. Sending the same binding twice
is harmless: the second is answered with a conflict, and the pod says where it is.

Refuses to decide what follows from a refusal, and to send anything once `leading` is no longer true.
"""

from __future__ import annotations

import asyncio
import logging
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field
from random import Random

from quartermaster.api import pods as api_pods
from quartermaster.api.objects import PodObject
from quartermaster.controllers.scheduler.provisioning import Work
from quartermaster.kube.api import STRATEGIC, Api, Json, Refused
from quartermaster.kube.clock import Clock

_log = logging.getLogger(__name__)

WIDTH = 64
"""Requests in flight. More does not make an API server faster, and a slow one is not buried."""

ANSWER_S = 4.0
"""A request that takes longer is of an unknown fate. Less than lies between the end of a leader and the next one, so
that no binding of the one can come after decisions of the other."""

FIRST_WAIT_S, LONGEST_WAIT_S = 0.1, 5.0
AWAY = frozenset((429, 500, 502, 503, 504))
"""Answers that say nothing about the request."""


@dataclass(slots=True)
class Binding:
    """One pod to one node."""

    name: str
    pod: PodObject
    node: str
    devices: tuple[int, ...]


@dataclass(slots=True)
class Gang:
    """Bindings that stand or fall together. `refused`: why, by pod."""

    group: str
    bindings: list[Binding]
    bound: list[str] = field(default_factory=list)
    refused: dict[str, str] = field(default_factory=dict)
    dropped: list[str] = field(default_factory=list)
    """Not sent any more, because another of the gang was refused, or leadership was lost."""
    left: int = 0
    asked: float = 0.0


class Executor:
    """Sends until cancelled. `done` is told of every gang when all its bindings are settled.

    `before` says what has to be done before a gang is sent; while that lasts, it takes nothing of the width.
    """

    def __init__(
        self,
        api: Api,
        *,
        clock: Clock,
        rng: Random,
        done: Callable[[Gang], None],
        leading: Callable[[], bool] = lambda: True,
        before: Callable[[list[Binding]], Work | None] = lambda _: None,
        width: int = WIDTH,
    ) -> None:
        self._api, self._clock, self._rng, self._done, self._leading = api, clock, rng, done, leading
        self._before = before
        self._width = width
        self._todo: deque[tuple[Gang, Binding]] = deque()
        self._ready = asyncio.Event()
        self._tasks: asyncio.TaskGroup | None = None
        self.writes = 0
        self.in_flight = 0

    async def run(self) -> None:
        """Send what is handed in, until cancelled."""
        async with asyncio.TaskGroup() as group:
            self._tasks = group
            for _ in range(self._width):
                group.create_task(self._work())

    def bind(self, gang: Gang) -> None:
        """Have a gang bound."""
        gang.left, gang.asked = len(gang.bindings), self._clock()
        self.in_flight += gang.left
        work = self._before(gang.bindings)
        if work is None:
            self._queue(gang)
        else:
            assert self._tasks is not None, "gangs are handed in while it runs"
            self._tasks.create_task(self._prepare(gang, work), name=f"volumes of {gang.group}")

    def _queue(self, gang: Gang) -> None:
        self._todo.extend((gang, binding) for binding in gang.bindings)
        self._ready.set()

    async def _prepare(self, gang: Gang, work: Work) -> None:
        """Do first what bindings depend on; a gang of which that fails is not sent."""
        gang.refused = await work(self._send)
        if not gang.refused:
            self._queue(gang)
            return
        gang.dropped = [binding.name for binding in gang.bindings if binding.name not in gang.refused]
        self.in_flight -= gang.left
        gang.left = 0
        self._done(gang)

    async def evict(self, pod: PodObject, reason: str) -> str:
        """Have a pod leave, for a reason that is not its own fault; why not, if it does not."""
        stamp = api_pods.stamp(self._clock())
        path = _path(pod)
        try:
            await self._send("PATCH", f"{path}/status", api_pods.disruption(pod, reason, stamp), media=STRATEGIC)
            await self._send("POST", f"{path}/eviction", api_pods.eviction(pod))
        except Refused as wrong:
            return "" if wrong.code == 404 else str(wrong)
        return ""

    async def _work(self) -> None:
        while True:
            while not self._todo:
                self._ready.clear()
                await self._ready.wait()
            gang, binding = self._todo.popleft()
            if gang.refused or not self._leading():
                gang.dropped.append(binding.name)
            elif why := await self._bind(binding):
                gang.refused[binding.name] = why
            else:
                gang.bound.append(binding.name)
            gang.left -= 1
            self.in_flight -= 1
            if not gang.left:
                self._done(gang)

    async def _bind(self, binding: Binding) -> str:
        """Bind one pod; why not, if it is not bound."""
        pod = binding.pod
        body = api_pods.binding(pod, binding.node, binding.devices)
        wait = FIRST_WAIT_S
        while True:
            try:
                self.writes += 1
                async with asyncio.timeout(ANSWER_S):
                    await self._api.send("POST", f"{_path(pod)}/binding", body)
            except Refused as wrong:
                if wrong.code == 404:
                    return "the pod is gone"
                if wrong.code != 409 and wrong.code not in AWAY:
                    return str(wrong)
                refusal = str(wrong) if wrong.code == 409 else ""
            except (OSError, TimeoutError):
                refusal = ""
            else:
                return ""
            found = await self._settled(pod)
            if found or refusal or not self._leading():
                return "" if found == binding.node else refusal or f"it is on {found or 'no node'}"
            wait = await self._pause(wait)

    async def _settled(self, pod: PodObject) -> str | None:
        """Where a pod is, once somebody answers."""
        wait = FIRST_WAIT_S
        while True:
            try:
                return await self._where(pod)
            except Refused as wrong:
                if wrong.code not in AWAY:
                    return None
            except (OSError, TimeoutError):
                pass
            wait = await self._pause(wait)

    async def _where(self, pod: PodObject) -> str | None:
        """The node that a pod is bound to; None if none. Raises Refused, with 404 too if it is another pod by now."""
        found = await self._api.send("GET", _path(pod))
        if found["metadata"]["uid"] != pod.metadata.uid:
            raise Refused(404, "it is another pod by now")
        return found["spec"].get("nodeName")

    async def _send(self, method: str, path: str, body: Json, *, media: str = "application/json") -> None:
        """One write, again while nobody is there to answer; raises Refused."""
        wait = FIRST_WAIT_S
        while True:
            if not self._leading():
                raise Refused(503, "another leads by now")
            try:
                self.writes += 1
                await self._api.send(method, path, body, media=media)
            except Refused as wrong:
                if wrong.code not in AWAY or (wrong.code == 429 and path.endswith("/eviction")):
                    raise  # a budget that is spent is an answer
            except (OSError, TimeoutError):
                pass
            else:
                return
            if wait >= LONGEST_WAIT_S:
                raise Refused(503, "the API does not answer")
            wait = await self._pause(wait)

    async def _pause(self, wait: float) -> float:
        """Wait about that long; the next wait."""
        await self._clock.until(self._clock() + wait * self._rng.uniform(0.75, 1.25))
        return min(LONGEST_WAIT_S, wait * 2)


def _path(pod: PodObject) -> str:
    return f"/api/v1/namespaces/{pod.metadata.namespace}/pods/{pod.metadata.name}"
