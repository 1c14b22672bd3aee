"""A simulated kubelet's API: logs, commands and attachment, in the paths that API servers ask.

It reads pods through the API like any kubelet and keeps nothing, so one `Kubelet` serves every node. What it says
comes from `logs` and `commands`; here are waiting and the wire. Refused: port-forward, for want of a network.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncGenerator, Callable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from quartermaster.kube.api import Api, Json, Key, Refused
from quartermaster.kube.clock import Clock
from quartermaster.local.apiserver.codec import encode
from quartermaster.local.apiserver.kubelets import STATUS, STDERR, STDOUT, Kubelets
from quartermaster.local.apiserver.transport import Channels, Handler, Request, Response
from quartermaster.local.kubelet.commands import Result, run
from quartermaster.local.kubelet.logs import Line, Log, Run, runs, seconds
from quartermaster.local.stages.heartbeats import silent
from quartermaster.local.stages.paths import look

TEXT = "text/plain"


def kubelets_of(nodes: Mapping[Key, Json], kubelet: Kubelet) -> Kubelets:
    """`kubelet` for every node that is up, nobody for the others."""

    def of(name: str) -> Handler | None:
        node = nodes.get(("", name))
        up = not silent(node) and look(node, ".status.conditions[type=Ready].status") == "True"
        return kubelet.handle if up else None

    return of


@dataclass(frozen=True, slots=True)
class _Wanted:
    """Which lines, and how: the query of ``/containerLogs``."""

    follow: bool = False
    previous: bool = False
    timestamps: bool = False
    tail: int | None = None
    since: float | None = None
    limit: int | None = None

    @classmethod
    def of(cls, query: Mapping[str, str], now: float) -> _Wanted:
        def number(key: str) -> int | None:
            return int(query[key]) if key in query else None

        ago = number("sinceSeconds")
        since = seconds(query.get("sinceTime")) if ago is None else now - ago
        flags = {key: query.get(key) == "true" for key in ("follow", "previous", "timestamps")}
        return cls(**flags, tail=number("tailLines"), since=since, limit=number("limitBytes"))

    def shown(self, line: Line) -> bytes:
        """A line as sent."""
        whole, milliseconds = divmod(round(line.at * 1000), 1000)
        stamp = datetime.fromtimestamp(whole, UTC).strftime("%Y-%m-%dT%H:%M:%S")
        return (f"{stamp}.{milliseconds:03d}000000Z " if self.timestamps else "").encode() + line.text.encode() + b"\n"


class Kubelet:
    """Of every simulated node. `nodes` is read for what is in them."""

    def __init__(self, api: Api, nodes: Mapping[Key, Json], *, clock: Clock) -> None:
        self._api, self._nodes, self._clock = api, nodes, clock

    async def handle(self, request: Request) -> Response:
        """Answer an API server."""
        match request.segments():
            case ["healthz"]:
                return _said(200, "ok")
            case ["containerLogs", namespace, name, container]:
                return await self._about((namespace, name), lambda pod: self._logs(pod, container, request.query))
            case ["exec", namespace, name, container]:
                command = [value for key, value in request.pairs if key == "command"]
                return await self._about((namespace, name), lambda pod: self._exec(pod, container, command))
            case ["attach", namespace, name, container]:
                return await self._about((namespace, name), lambda pod: self._attach(pod, container))
            case ["portForward", *_]:
                return _said(500, "a simulated container has no network")
        return _said(404, "404 page not found")

    async def _about(self, key: Key, answer: Callable[[Json], Response]) -> Response:
        try:
            pod = await self._api.send("GET", f"/api/v1/namespaces/{key[0]}/pods/{key[1]}")
        except Refused as wrong:
            return _said(wrong.code, f'pod "{key[1]}" not found' if wrong.code == 404 else str(wrong))
        return answer(pod)

    def _logs(self, pod: Json, container: str, query: Mapping[str, str]) -> Response:
        now = self._clock()
        wanted = _Wanted.of(query, now)
        name = pod["metadata"]["name"]
        current, before = runs(pod, container)
        chosen = before if wanted.previous else current
        if chosen is None:
            if wanted.previous:
                return _said(400, f'previous terminated container "{container}" in pod "{name}" not found')
            why = _waits(pod, container)
            return _said(400, f'container "{container}" in pod "{name}" is waiting to start: {why}')
        log = Log(pod, container, chosen, now=now)
        first = log.since(wanted.since) if wanted.since is not None else 0
        if wanted.tail is not None:
            first = max(first, len(log) - wanted.tail)
        if wanted.follow and chosen.ended is None:
            return Response(200, content_type=TEXT, stream=self._follow(pod, container, chosen, first, wanted))
        return Response(200, b"".join(map(wanted.shown, log[first:]))[: wanted.limit], TEXT)

    def _follow(
        self, pod: Json, container: str, chosen: Run, first: int, wanted: _Wanted
    ) -> AsyncGenerator[bytes, None]:
        async def parts() -> AsyncGenerator[bytes, None]:
            at = first
            async with contextlib.aclosing(self._states(pod, container, chosen)) as states:
                async for log in states:
                    if at < len(log):
                        yield b"".join(map(wanted.shown, log[at:]))
                        at = len(log)

        return _limited(parts(), wanted.limit)

    async def _states(self, pod: Json, container: str, chosen: Run) -> AsyncGenerator[Log, None]:
        """The log of a run whenever there may be more of it, until the run has ended."""
        about = pod["metadata"]
        query = f"watch=true&fieldSelector=metadata.name={about['name']}&resourceVersion={about['resourceVersion']}"
        events = self._api.watch(f"/api/v1/namespaces/{about['namespace']}/pods?{query}")
        async with contextlib.aclosing(events):
            change: asyncio.Task[Any] = asyncio.ensure_future(anext(events, None))
            try:
                while True:
                    log = Log(pod, container, chosen, now=self._clock())
                    yield log
                    if chosen.ended is not None:
                        return
                    await self._until(log.due, change)
                    if not change.done():
                        continue
                    event = change.result()
                    if event is None or event["type"] not in ("ADDED", "MODIFIED"):
                        return
                    pod = event["object"]
                    found = next((run for run in runs(pod, container) if run and run.began == chosen.began), None)
                    if found is None:
                        return
                    chosen = found
                    change = asyncio.ensure_future(anext(events, None))
            finally:
                change.cancel()
                with contextlib.suppress(asyncio.CancelledError, Refused):
                    await change

    async def _until(self, when: float, change: asyncio.Task[Any]) -> None:
        """Until a time, or until something has changed."""
        waiter = asyncio.ensure_future(self._clock.until(when))
        try:
            await asyncio.wait((waiter, change), return_when=asyncio.FIRST_COMPLETED)
        finally:
            waiter.cancel()

    def _exec(self, pod: Json, container: str, command: list[str]) -> Response:
        current, _ = runs(pod, container)
        if current is None or current.ended is not None:
            return _said(500, f'container not found ("{container}")')

        async def talk(channels: Channels) -> None:
            node = self._nodes.get(("", pod["spec"].get("nodeName", "")))
            done = run(pod, node, container, command, now=self._clock())
            for channel, text in ((STDOUT, done.out), (STDERR, done.error)):
                if text:
                    await channels.send(channel, text.encode())
            await channels.send(STATUS, encode(_outcome(done)))

        return Response(101, talk=talk)

    def _attach(self, pod: Json, container: str) -> Response:
        current, _ = runs(pod, container)
        if current is None or current.ended is not None:
            return _said(500, f"container {container} not found in pod {pod['metadata']['name']}")
        first = len(Log(pod, container, current, now=self._clock()))

        async def talk(channels: Channels) -> None:
            async with contextlib.aclosing(self._follow(pod, container, current, first, _Wanted())) as parts:
                async for part in parts:
                    await channels.send(STDOUT, part)
            await channels.send(STATUS, encode(_outcome(Result())))

        return Response(101, talk=talk)


def _said(status: int, text: str) -> Response:
    return Response(status, text.encode(), TEXT)


def _waits(pod: Json, container: str) -> str:
    for status in look(pod, ".status.containerStatuses") or ():
        if status["name"] == container:
            return look(status, ".state.waiting.reason") or "ContainerCreating"
    return "ContainerCreating"


def _outcome(result: Result) -> Json:
    """How a command ended, as a Status."""
    if not result.code:
        return {"metadata": {}, "status": "Success"}
    return {
        "metadata": {},
        "status": "Failure",
        "message": f"command terminated with non-zero exit code: exit status {result.code}",
        "reason": "NonZeroExitCode",
        "details": {"causes": [{"reason": "ExitCode", "message": str(result.code)}]},
    }


async def _limited(parts: AsyncGenerator[bytes, None], limit: int | None) -> AsyncGenerator[bytes, None]:
    """No more than `limit` bytes of it."""
    left = limit
    async with contextlib.aclosing(parts):
        async for part in parts:
            yield part if left is None else part[:left]
            if left is not None:
                left -= len(part)
                if left <= 0:
                    return
