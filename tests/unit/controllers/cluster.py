"""Pods, nodes and an API that answers as it is told, for tests of the scheduler's parts."""

import asyncio
from collections import deque
from collections.abc import AsyncGenerator, Callable
from typing import Any

from quartermaster.api.objects import NodeObject, PodObject, read
from quartermaster.kube.api import JSON, Refused
from quartermaster.local.clock import VirtualClock

Json = dict[str, Any]


def pod(name: str = "p", *, node: str = "", gpus: int = 1, uid: str = "", **more: Any) -> PodObject:
    limits = {"nvidia.com/gpu": str(gpus)} if gpus else {}
    spec: Json = {
        "schedulerName": more.pop("scheduler", "quartermaster"),
        "containers": [{"name": "c", "resources": {"requests": {"cpu": "1"} | limits, "limits": limits}}],
        **more.pop("spec", {}),
    }
    if node:
        spec["nodeName"] = node
    status = {"phase": more.pop("phase", "Pending")}
    metadata = {"name": name, "namespace": "team", "uid": uid or f"uid-{name}", **more}
    return read(PodObject, {"metadata": metadata, "spec": spec, "status": status})


def node(name: str = "n", *, gpus: int = 8, offered: int | None = None, ready: bool = True, **more: Any) -> NodeObject:
    def amounts(count: int) -> Json:
        return {"cpu": "64", "memory": "512Gi", "pods": "110", "nvidia.com/gpu": str(count)}

    status = {
        "capacity": amounts(gpus),
        "allocatable": amounts(gpus if offered is None else offered),
        "conditions": [{"type": "Ready", "status": str(ready)}],
    }
    return read(NodeObject, {"metadata": {"name": name, **more}, "status": status})


Answer = Json | Exception


class FakeApi:
    """Answers from a list per (method, path), the last one for ever; keeps what was sent."""

    def __init__(self, clock: VirtualClock) -> None:
        self.clock = clock
        self.sent: list[tuple[str, str, Json | None]] = []
        self.answers: dict[tuple[str, str], deque[Answer]] = {}
        self.default: Callable[[str, str], Answer] = lambda _method, _path: {}

    def answer(self, method: str, path: str, *answers: Answer) -> None:
        self.answers[method, path] = deque(answers)

    async def send(self, method: str, path: str, body: Any = None, *, media: str = JSON) -> Json:  # noqa: ARG002
        self.sent.append((method, path, body))
        await asyncio.sleep(0)
        known = self.answers.get((method, path))
        found = self.default(method, path) if known is None else known.popleft() if len(known) > 1 else known[0]
        if isinstance(found, Exception):
            raise found
        return found

    async def watch(self, path: str) -> AsyncGenerator[Json, None]:
        yield {}
        raise Refused(404, path)

    async def send_raw(self, method: str, path: str, body: Any = None, *, media: str = JSON) -> bytes:
        raise NotImplementedError

    async def watch_raw(self, path: str) -> AsyncGenerator[bytes, None]:  # noqa: ARG002
        yield b""
        raise NotImplementedError

    def paths(self, method: str) -> list[str]:
        return [path for how, path, _ in self.sent if how == method]


async def settle(clock: VirtualClock, seconds: float = 0.0) -> None:
    """Let tasks run until nothing moves, and virtual time pass."""
    end = clock() + seconds
    for _ in range(50):
        await asyncio.sleep(0)
    while (moment := clock.next()) is not None and moment <= end:
        clock.jump()
        for _ in range(50):
            await asyncio.sleep(0)
    clock.jump(end)
    for _ in range(50):
        await asyncio.sleep(0)
