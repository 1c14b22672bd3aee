"""What a gang's claims need before its pods are bound: a volume each, taken or asked for, and the binder's last word.

First all claims of a gang are served: a claim gets a volume that there is (its `claimRef`), or its provisioner is told
the node (an annotation of the claim). Then all are waited for, and only then a pod is bound. One that fails, or is not
bound in `LIMIT_S`, fails the gang: annotations are taken off again, and the gang is decided on anew. A volume that was
promised stays so: its binder may be at it, and what a binder does cannot be taken back. So the next decision is made
with that volume.

Refuses to bind claims itself: that is what the cluster's persistent volume controller does.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Awaitable, Callable, Iterable
from dataclasses import dataclass, field
from random import Random
from typing import Final, Protocol

from quartermaster.api import volumes as api
from quartermaster.api.objects import PodObject
from quartermaster.api.volumes import ClaimObject
from quartermaster.controllers.scheduler.volumes import Volumes
from quartermaster.kube.api import MERGE, Json, Key, Refused
from quartermaster.kube.clock import Clock, within

LIMIT_S: Final = 600.0
"""As kube-scheduler: a disk takes minutes, and devices are held meanwhile."""

SHARE_S: Final = 60.0
"""For which the claims of a gang keep apart after they got in each other's way."""

WIDTH: Final = 16
"""Claims of one gang that are written at once."""

Refusals = dict[str, str]
"""Why, by pod."""


class Bound(Protocol):
    """A pod that is to be bound to a node."""

    name: str
    pod: PodObject
    node: str


class Send(Protocol):
    """One write, tried until it is answered; raises Refused."""

    def __call__(self, method: str, path: str, body: Json, *, media: str = ...) -> Awaitable[None]:
        """Send it."""


Work = Callable[[Send], Awaitable[Refusals]]


@dataclass(slots=True, eq=False)
class _Step:
    """A claim to be served on a node: by a volume, or without one, by its provisioner."""

    claim: ClaimObject
    node: str
    volume: str
    pods: list[Bound]
    written: bool = False
    seen: bool = False
    """Whether its annotation was heard of: from then on, that it is not there says that it was taken off."""
    changed: asyncio.Event = field(default_factory=asyncio.Event)


@dataclass(slots=True)
class _Served:
    """What is decided for a gang."""

    steps: list[_Step] = field(default_factory=list)
    refusals: Refusals = field(default_factory=dict)
    clashed: bool = False


class Provisioning:
    """Serves gangs."""

    def __init__(self, volumes: Volumes, *, clock: Clock, rng: Random) -> None:
        self._volumes, self._clock, self._rng = volumes, clock, rng
        self._waiting: dict[Key, set[_Step]] = {}
        self._tasks: asyncio.TaskGroup | None = None
        volumes.heard = self._heard

    def start(self, tasks: asyncio.TaskGroup) -> None:
        """What has to happen later happens in this group."""
        self._tasks = tasks

    def before(self, bindings: Iterable[Bound]) -> Work | None:
        """What has to be done before these are bound, together; None if there is nothing.

        What the gang takes is taken when this returns, so that the next decision knows.
        """
        using = [binding for binding in bindings if api.claims_of(binding.pod)]
        if not using:
            return None
        served = self._seat(using)
        if not served.steps and not served.refusals:
            return None
        if not served.refusals:
            for step in served.steps:
                if step.volume:
                    self._volumes.take(step.volume, step.claim.key)

        async def work(send: Send) -> Refusals:
            if served.clashed:
                self._keep_apart(using)
            return served.refusals or await self._serve(served.steps, using, send)

        return work

    def _seat(self, using: list[Bound]) -> _Served:
        """Which volume for which claim: of all claims that come to a node at once, each gets one of its own."""
        served, steps = _Served(), dict[Key, _Step]()
        holders: dict[Key, str] = {}
        by_node: dict[str, list[_Step]] = {}
        for binding in using:
            for claim in self._volumes.single(binding.pod):
                other = holders.setdefault(claim.key, self._volumes.holder(claim.key, binding.name) or binding.name)
                if other != binding.name:
                    served.refusals[binding.name] = f"volume claim '{claim.metadata.name}' is in use by pod {other}"
            for claim in self._volumes.unbound(binding.pod):
                if claim.key in steps:
                    steps[claim.key].pods.append(binding)
                else:
                    steps[claim.key] = step = _Step(claim, binding.node, "", [binding])
                    by_node.setdefault(binding.node, []).append(step)
        used: set[str] = set()
        for node, here in by_node.items():
            ways = [[o for o in self._volumes.options(step.claim) if o.volume not in used] for step in here]
            found = api.seated(ways, self._volumes.labels(node))
            if found is None:
                served.clashed = True
                why = f"no volumes are free on {node} for all claims that would come there"
                served.refusals |= {binding.name: why for step in here for binding in step.pods}
                continue
            for step, volume in zip(here, found, strict=True):
                step.volume = volume
                used |= {volume} - {""}
        served.steps = list(steps.values())
        return served

    def _keep_apart(self, using: list[Bound]) -> None:
        claims = {claim.key for binding in using for claim in self._volumes.unbound(binding.pod)}
        shared = self._volumes.share(sorted(claims), self._rng)
        assert self._tasks is not None, "gangs come when it has begun"
        self._tasks.create_task(self._unshare(shared), name="shares of volumes")

    async def _unshare(self, claims: frozenset[Key]) -> None:
        await self._clock.until(self._clock() + SHARE_S)
        self._volumes.unshare(claims)

    async def _serve(self, steps: list[_Step], using: list[Bound], send: Send) -> Refusals:
        refusals = await self._outcome(steps, send)
        for binding in using if not refusals else ():
            if volume := self._volumes.reached(binding.pod, binding.node):
                refusals[binding.name] = f"volume '{volume}' cannot be reached from {binding.node}"
        for step in steps if refusals else ():
            await self._take_back(step, send)
        return refusals

    async def _outcome(self, steps: list[_Step], send: Send) -> Refusals:
        try:
            await within(self._clock, LIMIT_S, self._all(steps, send))
        except _Failed as failed:
            return {binding.name: failed.why for binding in failed.step.pods}
        except TimeoutError:
            late = [step for step in steps if self._pending(step)]
            why = f"was not bound in {LIMIT_S:g} s"
            return {pod.name: f"volume claim '{step.claim.key[1]}' {why}" for step in late for pod in step.pods}
        return {}

    async def _take_back(self, step: _Step, send: Send) -> None:
        if step.volume:
            self._volumes.give_back(step.volume)
        elif step.written and self._pending(step):
            with contextlib.suppress(Refused):  # it is gone, or its provisioner was faster
                await send("PATCH", _claim_path(step.claim), api.selection(step.claim, None), media=MERGE)

    async def _all(self, steps: list[_Step], send: Send) -> None:
        """Write all claims, then wait for all; raises _Failed with the first that cannot be served."""
        width = asyncio.Semaphore(WIDTH)

        async def write(step: _Step) -> None:
            async with width:
                await self._write(step, send)

        for step in steps:
            self._waiting.setdefault(step.claim.key, set()).add(step)
        try:
            await _together(write(step) for step in steps)
            await _together(self._bound(step) for step in steps)
        finally:
            for step in steps:
                waiting = self._waiting[step.claim.key]
                waiting.discard(step)
                if not waiting:
                    del self._waiting[step.claim.key]

    async def _write(self, step: _Step, send: Send) -> None:
        claim, volume = step.claim, self._volumes.volumes.get(step.volume)
        try:
            if not step.volume:
                step.written = True
                await send("PATCH", _claim_path(claim), api.selection(claim, step.node), media=MERGE)
            elif volume is None:
                raise _Failed(step, f"volume '{step.volume}' is gone")
            else:
                await send("PATCH", f"/api/v1/persistentvolumes/{step.volume}", api.promise(volume, claim), media=MERGE)
        except Refused as wrong:
            raise _Failed(step, f"volume claim '{claim.metadata.name}': {wrong}") from None

    async def _bound(self, step: _Step) -> None:
        while self._pending(step):
            if why := self._hopeless(step):
                raise _Failed(step, f"volume claim '{step.claim.key[1]}' {why}")
            step.changed.clear()
            await step.changed.wait()

    def _pending(self, step: _Step) -> bool:
        claim = self._volumes.claims.get(step.claim.key)
        return claim is None or claim.metadata.uid != step.claim.metadata.uid or not claim.bound

    def _hopeless(self, step: _Step) -> str:
        """Why a claim will not be bound, as far as that can be known."""
        claim = self._volumes.claims.get(step.claim.key)
        if claim is None or claim.metadata.uid != step.claim.metadata.uid or claim.leaving:
            return "is gone"
        if not any(self._volumes.there(binding.name, binding.pod) for binding in step.pods):
            return "has no pod any more"
        if step.volume:
            return ""
        if step.seen and claim.annotations.get(api.SELECTED_NODE) != step.node:
            return f"cannot be served on {step.node}, says its provisioner"
        return ""

    def _heard(self, key: Key) -> None:
        claim = self._volumes.claims.get(key)
        for step in self._waiting.get(key, ()):
            # Taken note of here, because a provisioner without room may have taken it off before we wait.
            if claim is not None and claim.annotations.get(api.SELECTED_NODE) == step.node:
                step.seen = True
            step.changed.set()


class _Failed(Exception):
    """A claim cannot be served."""

    def __init__(self, step: _Step, why: str) -> None:
        super().__init__(why)
        self.step, self.why = step, why


async def _together(work: Iterable[Awaitable[None]]) -> None:
    """All of it, or the first failure, when the rest has been cancelled."""
    tasks = [asyncio.ensure_future(one) for one in work]
    try:
        await asyncio.gather(*tasks)
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


def _claim_path(claim: ClaimObject) -> str:
    namespace, name = claim.key
    return f"/api/v1/namespaces/{namespace}/persistentvolumeclaims/{name}"
