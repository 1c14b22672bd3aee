"""The one loop around all controllers: lists and watches, queues keys, calls the pure functions, makes their writes.

What the API answers to a write is taken into the view at once, so no controller sees a world without its own last
write. Keys are worked off one by one; a key that failed waits, longer each time. Time is a clock and a sleep that the
caller gives: nothing here knows whether they are real. `settle` is for callers that want all work done, such as tests.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, replace
from functools import partial
from types import TracebackType
from typing import Any, Self

from quartermaster.kube.api import JSON, MERGE, Api, Refused
from quartermaster.kube.clock import Clock
from quartermaster.kube.reflector import Reflector
from quartermaster.local.controllers.events import Note, Recorder
from quartermaster.local.controllers.objects import Json, Key, Objects, Resource, key_of
from quartermaster.local.controllers.writes import Create, Outcome, Update, Write, soonest

_log = logging.getLogger(__name__)
_FIRST_WAIT, _LONGEST_WAIT = 1.0, 300.0
AGENT = "kube-controller-manager"
"""As whom its client has to speak: this is the manager of the fields that it writes."""


@dataclass(frozen=True, slots=True)
class Watch:
    """Changes of `resource` that concern a controller: `keys` says which of its objects."""

    resource: Resource
    keys: Callable[[Objects, Json], list[Key]]
    part: Callable[[Json], Any] | None = None
    """If given, an update that leaves this part equal concerns nobody."""


@dataclass(frozen=True, slots=True)
class Controller:
    """A pure function and what it has to be called for."""

    name: str
    reconcile: Callable[[Objects, Key, float], Outcome]
    watches: tuple[Watch, ...]
    source: str = ""
    """Who tells its events, if not NAME-controller."""


Item = tuple[str, Key]


class Manager:
    """Runs controllers against an API between ``async with``. `clock` gives seconds since 1970.

    `steady` measures how long watches are silent and failures are waited out: never the time of a simulated cluster.
    """

    def __init__(
        self,
        api: Api,
        controllers: tuple[Controller, ...],
        *,
        clock: Callable[[], float],
        sleep: Callable[[float], Awaitable[object]] = asyncio.sleep,
        steady: Clock | None = None,
    ) -> None:
        self.objects = Objects()
        self._api = api
        self._controllers = {controller.name: controller for controller in controllers}
        self._clock = clock
        self._sleep = sleep
        self._steady = steady
        watched = {watch.resource for controller in controllers for watch in controller.watches}
        self._resources = sorted(watched, key=lambda resource: resource.path())
        self._queue: dict[Item, None] = {}
        self._timers: dict[Item, float] = {}
        self._failures: dict[Item, int] = {}
        self._gone: set[str] = set()
        self._recorder = Recorder()
        self._woken = asyncio.Event()
        self._tasks: list[asyncio.Task[None]] = []
        self.choose: Callable[[list[Item]], Item] | None = None
        """Which of the waiting keys is next, if not the one that has waited longest: for tests of order."""
        self.broken: dict[Item, Exception] = {}
        """Errors that are nobody's refusal but bugs, by what they befell."""

    async def __aenter__(self) -> Self:
        for resource in self._resources:
            told = partial(self._changed, resource)
            mirror: Reflector[Json] = Reflector(self._api, resource.path(), told, clock=self._steady)
            self._tasks.append(asyncio.create_task(mirror.run(), name=f"watch of {resource.plural}"))
            await mirror.synced.wait()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for task in self._tasks:
            task.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await task

    async def run(self) -> None:
        """Work as it comes, until cancelled."""
        while True:
            self._woken.clear()
            await self.step()
            due = soonest(*self._timers.values())
            waits = [asyncio.ensure_future(self._woken.wait())]
            if due is not None:
                waits.append(asyncio.ensure_future(self._sleep(max(0.0, due - self._clock()))))  # type: ignore[arg-type]
            try:
                await asyncio.wait(waits, return_when=asyncio.FIRST_COMPLETED)
            finally:
                for wait in waits:
                    wait.cancel()

    async def step(self) -> int:
        """Work off what is due; returns how many keys that were."""
        done = 0
        now = self._clock()
        for item in [item for item, due in self._timers.items() if due <= now]:
            del self._timers[item]
            self._queue[item] = None
        while self._queue:
            item = self.choose(list(self._queue)) if self.choose is not None else next(iter(self._queue))
            del self._queue[item]
            await self._work(item)
            done += 1
            await asyncio.sleep(0)  # watches get their turn
        return done

    async def settle(self) -> None:
        """Work until nothing is due and the view is what the API holds. Raises what broke, or RuntimeError."""
        for _ in range(10_000):
            if await self._behind():
                await asyncio.sleep(0)  # before anything is judged by the time, what was said by then is heard
                continue
            if not await self.step():
                return
            for error in self.broken.values():
                raise error
        raise RuntimeError("the controllers do not come to rest")

    def next_due(self) -> float | None:
        """When something is due though nothing changes."""
        return soonest(*self._timers.values())

    # What is heard

    def _changed(self, resource: Resource, before: Json | None, after: Json | None) -> None:
        if after is not None:
            after["kind"], after["apiVersion"] = resource.kind, resource.api_version
            self._heard(resource, after)
        elif before is not None:
            self._lost(resource, before)
            self._gone.discard(before["metadata"]["uid"])

    def _heard(self, resource: Resource, value: Json) -> None:
        if value["metadata"]["uid"] in self._gone:
            return
        old = self.objects.get(resource, key_of(value))
        if old is not None and _revision(old) >= _revision(value):
            return
        self.objects.put(resource, value)
        self._concern(resource, old, value)

    def _lost(self, resource: Resource, value: Json) -> None:
        old = self.objects.get(resource, key_of(value))
        if old is not None and old["metadata"]["uid"] == value["metadata"]["uid"]:
            self.objects.drop(resource, key_of(value))
            self._concern(resource, old, None)

    def _concern(self, resource: Resource, old: Json | None, new: Json | None) -> None:
        for controller in self._controllers.values():
            for watch in controller.watches:
                if watch.resource is not resource:
                    continue
                if watch.part is not None and old and new and watch.part(old) == watch.part(new):
                    continue
                for value in filter(None, (old, new)):
                    for key in watch.keys(self.objects, value):
                        self._queue[controller.name, key] = None
        if self._queue:
            self._woken.set()

    async def _behind(self) -> bool:
        """Whether the API holds something else than the view."""
        behind = False
        for resource in self._resources:
            body = (await self._ask("GET", resource.path()))[1]
            there = {key_of(value): value["metadata"]["resourceVersion"] for value in body["items"]}
            here = {key_of(value): value["metadata"]["resourceVersion"] for value in self.objects.every(resource)}
            behind |= there != here
        return behind

    # What is done

    async def _work(self, item: Item) -> None:
        controller, key = self._controllers[item[0]], item[1]
        self._timers.pop(item, None)
        now = self._clock()
        try:
            outcome = controller.reconcile(self.objects, key, now)
            refusal = await self._write_all(item, outcome)
        except Exception as error:  # noqa: BLE001  # one object that it cannot bear must not stop a controller
            _log.exception("%s: %s/%s", controller.name, *key)
            self.broken[item] = error
            self._retry(item, now)
            return
        if refusal:
            self._retry(item, now)
            return
        self._failures.pop(item, None)
        if outcome.again is not None:
            self._timers[item] = outcome.again
            self._woken.set()

    def _retry(self, item: Item, now: float) -> None:
        failures = self._failures[item] = self._failures.get(item, 0) + 1
        self._timers[item] = now + min(_LONGEST_WAIT, _FIRST_WAIT * 2 ** min(failures - 1, 16))

    async def _write_all(self, item: Item, outcome: Outcome) -> str:
        """Make the writes in order; returns why one could not be made, after which none is."""
        for write in outcome.writes:
            code, body = await self._write(write)
            if code < 400:
                for note in write.notes:
                    name = write.value["metadata"].get("name") or body["metadata"]["name"]
                    await self._tell(item[0], replace(note, message=note.message.replace("{name}", name)))
                continue
            if code == 409 and isinstance(write, Create):
                continue
            message = str(body.get("message", code))
            if code in (403, 422):
                if isinstance(write, Create) and write.complaint is not None:
                    said = write.complaint.message.replace("{error}", message)
                    await self._tell(item[0], replace(write.complaint, message=said))
                for other in outcome.refused(message) if outcome.refused is not None else ():
                    await self._write(other)
            return message
        for note in outcome.notes:
            await self._tell(item[0], note)
        return ""

    async def _write(self, write: Write) -> tuple[int, Json]:
        resource, value = write.resource, write.value
        namespace, name = value["metadata"].get("namespace", ""), value["metadata"].get("name", "")
        if isinstance(write, Create):
            code, body = await self._ask("POST", resource.path(namespace), value)
        elif isinstance(write, Update):
            code, body = await self._ask("PUT", resource.path(namespace, name, write.subresource), value)
        else:
            options: Json = {"preconditions": {"uid": value["metadata"]["uid"]}}
            options |= {} if write.grace is None else {"gracePeriodSeconds": write.grace}
            options |= {} if write.propagation is None else {"propagationPolicy": write.propagation}
            code, body = await self._ask("DELETE", resource.path(namespace, name), options)
            if code < 400 and _is_gone(body):
                self._gone.add(value["metadata"]["uid"])
                self._lost(resource, value)
                return code, body
        if code < 400 and body.get("kind") == resource.kind:
            self._heard(resource, body)
        return code, body

    async def _tell(self, controller: str, note: Note) -> None:
        """An event, where ``kubectl describe`` shows it. One that cannot be told is nobody's trouble."""
        source = self._controllers[controller].source or f"{controller}-controller"
        telling = self._recorder.tell(source, note, self._clock())
        if telling is None:
            return
        path = f"/api/v1/namespaces/{telling.namespace}/events"
        if not telling.name:
            await self._ask("POST", path, telling.body)
            return
        target = f"{path}/{telling.name}"
        code, _ = await self._ask("PATCH", target, telling.body, media=MERGE)
        if code == 404:
            self._recorder.lost(telling)
            await self._tell(controller, note)

    async def _ask(self, method: str, target: str, body: Any = None, *, media: str = JSON) -> tuple[int, Json]:
        """Status and body; of a refusal, its message."""
        try:
            return 200, await self._api.send(method, target, body, media=media)
        except Refused as refusal:
            return refusal.code, {"message": refusal.message}


def _revision(value: Json) -> int:
    return int(value["metadata"]["resourceVersion"])


def _is_gone(body: Json) -> bool:
    """Whether the answer to a deletion says that the object is no longer there."""
    about = body.get("metadata") or {}
    if body.get("kind") == "Status" or "uid" not in about:
        return True
    return not about.get("finalizers") and not about.get("deletionGracePeriodSeconds")
