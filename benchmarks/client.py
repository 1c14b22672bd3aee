"""The client: what 100,000 pods cost to read and to keep, by how they are read and what the collector does; rates.

CPU seconds of one process, because that does not change with what else a machine does. Every case runs in a process of
its own, so that memory is its own. Pods are 5.7 KB, as a GPU pod with managedFields and status is.
"""

from __future__ import annotations

import asyncio
import gc
import json
import random
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import AsyncGenerator, Iterator
from pathlib import Path
from typing import Any

import msgspec

from benchmarks.api import POD_PATH, gpu_pod
from benchmarks.figures import Figure
from quartermaster.cli.collector import tune_collector
from quartermaster.kube.api import JSON, Body, Decoded
from quartermaster.kube.connecting import connect
from quartermaster.kube.http import HttpApi
from quartermaster.kube.reflector import Reflector
from quartermaster.kube.views import OBJECTS, Meta, View, view_of

PODS = 100_000
DICTIONARIES = 20_000
"""So many as dictionaries: all 100,000 take more memory than many machines have."""

BINDS = 4_000
IN_FLIGHT = 1_000


class PodMeta(Meta, rename="camel", frozen=True, gc=False):
    """What a scheduler reads of a pod's metadata."""

    creation_timestamp: str = ""
    deletion_timestamp: str = ""
    labels: dict[str, str] = {}  # noqa: RUF012  # msgspec copies it
    annotations: dict[str, str] = {}  # noqa: RUF012  # msgspec copies it


class Resources(msgspec.Struct, gc=False, frozen=True):
    """Of a container."""

    requests: dict[str, str] = {}
    limits: dict[str, str] = {}


class Container(msgspec.Struct, gc=False, frozen=True):
    """Its name and what it asks for."""

    name: str = ""
    resources: Resources = Resources()


class PodSpec(msgspec.Struct, rename="camel", gc=False, frozen=True):
    """What decides where a pod may go."""

    node_name: str = ""
    scheduler_name: str = ""
    priority: int = 0
    containers: list[Container] = []
    node_selector: dict[str, str] = {}


class PodStatus(msgspec.Struct, gc=False, frozen=True):
    """How far it is."""

    phase: str = ""


class PodView(msgspec.Struct, gc=False, frozen=True):
    """The tenth of a pod that a scheduler reads."""

    metadata: PodMeta
    spec: PodSpec = PodSpec()
    status: PodStatus = PodStatus()


def pod_bytes(number: int) -> bytes:
    """A pod as the API has it."""
    value = gpu_pod(f"pod-{number}")
    value["metadata"] |= {
        "namespace": "default",
        "uid": f"00000000-0000-0000-0000-{number:012d}",
        "resourceVersion": str(1_000 + number),
        "creationTimestamp": "2026-01-01T00:00:00Z",
        "annotations": {"example.com/owner": f"team-{number % 40}"},
        "managedFields": [_managed(f"manager-{part}") for part in range(6)],
    }
    value["spec"] |= {"nodeName": f"node-{number % 5000}", "schedulerName": "quartermaster", "priority": 100}
    value["status"] = {
        "phase": "Running",
        "conditions": [
            {"type": kind, "status": "True", "lastTransitionTime": "2026-01-01T00:00:00Z", "lastProbeTime": None}
            for kind in ("Initialized", "Ready", "ContainersReady", "PodScheduled", "PodReadyToStartContainers")
        ],
        "containerStatuses": [
            {"name": "main", "ready": True, "restartCount": 0, "image": "i", "imageID": "i@" + "0" * 64}
        ],
    }
    return msgspec.json.encode(value)


def _managed(manager: str) -> dict[str, Any]:
    env: dict[str, Any] = {
        f'k:{{"name":"SETTING_{index}"}}': {".": {}, "f:name": {}, "f:value": {}} for index in range(8)
    }
    fields = {"f:spec": {"f:containers": {'k:{"name":"main"}': {".": {}, "f:env": env, "f:image": {}}}}}
    return {"manager": manager, "operation": "Update", "apiVersion": "v1", "fieldsV1": fields}


class Prepared(Decoded):
    """An API whose answers are ready: what is measured is the client."""

    def __init__(self, count: int, changes: int = 0) -> None:
        self._pods = [pod_bytes(number) for number in range(count)]
        self._changes = changes
        self.bytes = sum(map(len, self._pods))

    async def send_raw(self, method: str, path: str, body: Body | None = None, *, media: str = JSON) -> bytes:
        """A page."""
        assert (method, body, media) == ("GET", None, JSON), "only lists are ready"
        start = int(path.partition("continue=")[2] or 0)
        end = min(start + 500, len(self._pods))
        more = b'"%d"' % end if end < len(self._pods) else b'""'
        head = b'{"kind":"PodList","apiVersion":"v1","metadata":{"resourceVersion":"900000","continue":%s},"items":['
        return head % more + b",".join(self._pods[start:end]) + b"]}"

    async def watch_raw(self, path: str) -> AsyncGenerator[bytes, None]:
        """The initial events if asked for, the changes, and silence."""
        if "sendInitialEvents" in path:
            for raw in self._pods:
                yield b'{"type":"ADDED","object":' + raw + b"}"
            yield (
                b'{"type":"BOOKMARK","object":{"metadata":{"resourceVersion":"900000",'
                b'"annotations":{"k8s.io/initial-events-end":"true"}}}}'
            )
        for number in range(self._changes):
            old = b'"resourceVersion":"%d"' % (1_000 + number % len(self._pods))
            raw = self._pods[number % len(self._pods)].replace(old, b'"resourceVersion":"%d"' % (1_000_000 + number))
            yield b'{"type":"MODIFIED","object":' + raw + b"}"
        await asyncio.Event().wait()


async def _synced(api: Prepared, view: View[Any], *, streaming: bool, count: int, changes: int) -> float:
    """CPU seconds until a reflector has all, or, with `changes`, from there until it has these."""
    told, times, done = 0, [time.process_time()], asyncio.Event()

    def note(_before: object, _after: object) -> None:
        nonlocal told
        told += 1
        if told in (count, count + changes):
            times.append(time.process_time())
        if told == count + changes:
            done.set()

    reflector = Reflector(api, "/api/v1/pods", note, view=view, streaming=streaming, rng=random.Random(0))
    task = asyncio.ensure_future(reflector.run())
    await done.wait()
    await reflector.synced.wait()
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)
    return times[-1] - times[-2]


def case(what: str) -> None:
    """One measurement in this process: prints seconds and bytes of memory that stay."""
    how, collector, count = what.split("/")
    api = Prepared(int(count), changes=20_000 if how == "events" else 0)
    if collector == "tuned":
        tune_collector()
    if collector == "off":
        gc.disable()
    before = _resident()
    if how in ("dictionaries", "view"):
        view: View[Any] = OBJECTS if how == "dictionaries" else view_of(PodView)
        kept: list[Any] = []

        async def read() -> None:
            more = "0"
            while more:
                items, _, _, more = view.page(await api.send_raw("GET", f"/?continue={more}"))
                kept.extend(items)

        started = time.process_time()
        asyncio.run(read())
        seconds = time.process_time() - started
        assert len(kept) == int(count), "all were read"
    else:
        changes = 20_000 if how == "events" else 0
        streaming, size = how != "pages", int(count)
        seconds = asyncio.run(_synced(api, view_of(PodView), streaming=streaming, count=size, changes=changes))
    memory = _resident() - before
    started = time.process_time()
    gc.collect()
    print(json.dumps({"seconds": seconds, "memory": memory, "collection": time.process_time() - started}))


def _resident() -> float:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024.0


def _measured(what: str) -> dict[str, float]:
    code = f"from benchmarks.client import case; case({what!r})"
    done = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True)  # noqa: S603
    found: dict[str, float] = json.loads(done.stdout)
    return found


def figures() -> Iterator[Figure]:
    """Everything of this suite."""
    yield Figure(name="client/pod-bytes", value=len(pod_bytes(1)), unit="B")
    for collector in ("default", "tuned", "off"):
        found = _measured(f"dictionaries/{collector}/{DICTIONARIES}")
        yield Figure(
            name=f"client/dictionaries-{collector}-gc",
            value=DICTIONARIES / found["seconds"],
            unit="pods/s",
            better="higher",
        )
        if collector == "tuned":
            yield Figure(name="client/dictionaries-per-pod", value=found["memory"] / DICTIONARIES / 1e3, unit="KB")
            yield Figure(name="client/dictionaries-full-collection-20000", value=found["collection"], unit="s")
    for collector in ("default", "tuned", "off"):
        found = _measured(f"view/{collector}/{PODS}")
        yield Figure(
            name=f"client/view-{collector}-gc",
            value=PODS / found["seconds"],
            unit="pods/s",
            better="higher",
            target=60_000,
        )
        if collector == "tuned":
            yield Figure(name="client/view-per-pod", value=found["memory"] / PODS / 1e3, unit="KB", target=5.0)
            yield Figure(name="client/view-full-collection-100000", value=found["collection"], unit="s")
    for how in ("pages", "stream"):
        found = _measured(f"{how}/tuned/{PODS}")
        yield Figure(name=f"client/reflector-{how}-100000", value=found["seconds"], unit="s", target=5.0)
    found = _measured(f"events/tuned/{DICTIONARIES}")
    yield Figure(
        name="client/reflector-events", value=20_000 / found["seconds"], unit="1/s", better="higher", target=20_000
    )
    yield from asyncio.run(_over_http())


async def _over_http() -> list[Figure]:
    """Binds, a thousand in flight, against a server in a process of its own."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "kubeconfig")
        process = await asyncio.create_subprocess_exec(
            *(sys.executable, "-m", "quartermaster", "api", "--port", "0", "--kubeconfig", str(path)),
            stdout=subprocess.PIPE,
        )
        assert process.stdout is not None, "a pipe was asked for"
        await process.stdout.readline()
        try:
            async with HttpApi(connect(kubeconfig=path, environment={}), agent="benchmark") as api:
                gate = asyncio.Semaphore(IN_FLIGHT)

                async def send(path: str, body: dict[str, Any]) -> None:
                    async with gate:
                        await api.send("POST", path, body)

                await asyncio.gather(*(send(POD_PATH, gpu_pod(f"pod-{number}")) for number in range(BINDS)))
                body = {"apiVersion": "v1", "kind": "Binding", "target": {"kind": "Node", "name": "node-1"}}
                wall, cpu = time.perf_counter(), time.process_time()
                await asyncio.gather(*(send(f"{POD_PATH}/pod-{number}/binding", body) for number in range(BINDS)))
                wall, cpu = time.perf_counter() - wall, time.process_time() - cpu
        finally:
            process.terminate()
            await process.wait()
    return [
        Figure(name="client/binds-1000-in-flight", value=BINDS / wall, unit="1/s", better="higher"),
        Figure(name="client/cpu-per-bind", value=cpu / BINDS * 1e6, unit="µs", target=400),
    ]
