"""End to end on a real kube-apiserver with etcd: from the first create to the last binding, everything on this machine.

The scheduler is a process of its own, `quartermaster controller` or the stock kube-scheduler, on the same server with
the same nodes and pods. Its CPU time is what the kernel says that its process used. Nodes are objects without
kubelets, and pods have no grace, so what is measured is deciding and the API.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import random
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import msgspec

from benchmarks.figures import Figure
from quartermaster.api.definitions import manifests
from quartermaster.kube.api import MERGE
from quartermaster.kube.connecting import connect
from quartermaster.kube.http import HttpApi
from quartermaster.kube.reflector import Reflector
from quartermaster.kube.views import Meta, view_of
from quartermaster.local.apiserver.identity import write_kubeconfig
from quartermaster.local.real.binaries import locate
from quartermaster.local.real.controlplane import running
from quartermaster.model.errors import InvalidInput

Json = dict[str, Any]
NODES, GPUS, PODS = 500, 8, 4000
FLAGS = (
    "--max-requests-inflight=3000",
    "--max-mutating-requests-inflight=1000",
    "--enable-priority-and-fairness=false",
)
TICKS = os.sysconf("SC_CLK_TCK")
PATIENCE_S = 300.0


class _Spec(msgspec.Struct, rename="camel", gc=False):
    node_name: str = ""


class _Pod(msgspec.Struct, rename="camel", gc=False):
    metadata: Meta
    spec: _Spec


@dataclass
class Bound:
    """Counts bound pods as the watch tells of them, and when."""

    seen: set[str] = field(default_factory=set)
    last: float = 0.0
    wanted: int = 0
    reached: asyncio.Event = field(default_factory=asyncio.Event)

    def changed(self, before: _Pod | None, after: _Pod | None) -> None:
        """Of a pod."""
        pod = after or before
        assert pod is not None, "something changed"
        name = f"{pod.metadata.namespace}/{pod.metadata.name}"
        if after is None or not after.spec.node_name:
            self.seen.discard(name)
        elif name not in self.seen:
            self.seen.add(name)
            self.last = time.perf_counter()
        if len(self.seen) >= self.wanted:
            self.reached.set()

    async def until(self, count: int) -> float:
        """When that many were bound; raises TimeoutError."""
        self.wanted = count
        self.reached.clear()
        if len(self.seen) < count:
            await asyncio.wait_for(self.reached.wait(), PATIENCE_S)
        return self.last


class Bench:
    """A server, a client, and a count of bound pods."""

    def __init__(self, api: HttpApi, kubeconfig: Path, programs: dict[str, Path]) -> None:
        self.api, self.kubeconfig, self.programs = api, kubeconfig, programs
        self.bound = Bound()

    async def each(self, count: int, make: Callable[[int], Awaitable[object]], width: int = 32) -> None:
        """`make(0)` to `make(count - 1)`, `width` at a time."""
        numbers = iter(range(count))

        async def work() -> None:
            for number in numbers:
                await make(number)

        async with asyncio.TaskGroup() as group:
            for _ in range(width):
                group.create_task(work())

    async def nodes(self, count: int, start: int = 0) -> None:
        """Nodes of eight GPUs, ten to a rack."""
        amounts = {"cpu": "128", "memory": "1Ti", "pods": "250", "nvidia.com/gpu": str(GPUS)}

        async def make(number: int) -> None:
            name = f"node-{start + number:05}"
            labels = {"kubernetes.io/hostname": name, "rack": f"r{(start + number) // 10}"}
            labels["nvidia.com/gpu.product"] = "NVIDIA-H100-80GB-HBM3"
            ready = {"type": "Ready", "status": "True", "reason": "KubeletReady"}
            status = {"capacity": amounts, "allocatable": amounts, "conditions": [ready]}
            await self.api.send(
                "POST", "/api/v1/nodes", {"metadata": {"name": name, "labels": labels}, "status": status}
            )
            await self.api.send("PATCH", f"/api/v1/nodes/{name}", {"spec": {"taints": None}}, media=MERGE)

        await self.each(count, make)

    async def pods(self, count: int, body: Callable[[int], Json]) -> None:
        """Pods `body(0)` and so on."""

        async def make(number: int) -> None:
            await self.api.send("POST", "/api/v1/namespaces/default/pods", body(number))

        await self.each(count, make)


def pod(name: str, scheduler: str, *, gpus: int = 1, node: str = "", labels: Json | None = None, **more: Any) -> Json:
    """A pod with GPUs, no grace and nothing else."""
    amounts = {"cpu": "1", "memory": "1Gi", "nvidia.com/gpu": str(gpus)}
    container = {"name": "main", "image": "busybox", "resources": {"requests": amounts, "limits": amounts}}
    spec: Json = {
        "schedulerName": scheduler,
        "terminationGracePeriodSeconds": 0,
        "restartPolicy": "Never",
        "containers": [container],
    }
    if node:
        spec["nodeName"] = node
    return {"metadata": {"name": name, "labels": labels or {}, **more}, "spec": spec}


@contextlib.asynccontextmanager
async def bench() -> AsyncIterator[Bench]:
    """A fresh control plane and what is needed to measure on it."""
    programs = locate(("kube-apiserver", "etcd", "kube-scheduler"))
    with (
        tempfile.TemporaryDirectory() as folder,
        running(
            {name: programs[name] for name in ("etcd", "kube-apiserver")}, folder=Path(folder), flags=FLAGS
        ) as plane,
    ):
        kubeconfig = Path(folder, "kubeconfig")
        write_kubeconfig(kubeconfig, plane.url, plane.identity)
        connection = connect(kubeconfig=kubeconfig, environment={})
        async with HttpApi(connection, agent="benchmark", connections=64) as api:
            it = Bench(api, kubeconfig, programs)
            for each in manifests():
                await api.send("POST", "/apis/apiextensions.k8s.io/v1/customresourcedefinitions", each)
            watch = Reflector(api, "/api/v1/pods", it.bound.changed, view=view_of(_Pod))
            task = asyncio.create_task(watch.run())
            await watch.synced.wait()
            try:
                yield it
            finally:
                task.cancel()
                with contextlib.suppress(asyncio.CancelledError):
                    await task


@dataclass
class Process:
    """A scheduler at work."""

    process: subprocess.Popen[bytes]
    log: Path

    def cpu(self) -> float:
        """CPU seconds so far."""
        parts = Path(f"/proc/{self.process.pid}/stat").read_text(encoding="utf-8").rpartition(")")[2].split()
        return (int(parts[11]) + int(parts[12])) / TICKS


@contextlib.contextmanager
def scheduler(command: Sequence[str], log: str) -> Iterator[Process]:
    """A scheduler's process."""
    with Path(log).open("wb") as output:
        process = subprocess.Popen(command, stdout=output, stderr=output)  # noqa: S603  # ours, or built by us
        try:
            yield Process(process, Path(log))
        finally:
            process.terminate()
            process.wait(20)


@contextlib.asynccontextmanager
async def ours(it: Bench) -> AsyncIterator[Process]:
    """`quartermaster controller`, ready."""
    port = random.randrange(20_000, 40_000)
    command = [sys.executable, "-m", "quartermaster", "controller", "--kubeconfig", str(it.kubeconfig)]
    command += ["--metrics-host", "127.0.0.1", "--metrics-port", str(port), "--log-level", "warning"]
    with scheduler(command, f"{it.kubeconfig.parent}/controller.log") as process:
        url = f"http://127.0.0.1:{port}/readyz"
        for _ in range(600):
            await asyncio.sleep(0.1)
            with contextlib.suppress(OSError):
                if await asyncio.to_thread(lambda: urllib.request.urlopen(url, timeout=1).status) == 200:
                    break
        else:
            raise TimeoutError(await asyncio.to_thread(process.log.read_text, encoding="utf-8"))
        yield process


@contextlib.asynccontextmanager
async def stock(it: Bench) -> AsyncIterator[Process]:
    """kube-scheduler, ready."""
    command = [str(it.programs["kube-scheduler"]), f"--kubeconfig={it.kubeconfig}", "--leader-elect=false"]
    command += ["--secure-port=0", "--kube-api-qps=5000", "--kube-api-burst=10000"]
    with scheduler(command, f"{it.kubeconfig.parent}/scheduler.log") as process:
        await it.api.send("POST", "/api/v1/namespaces/default/pods", pod("probe", "default-scheduler", gpus=0))
        await it.bound.until(1)
        await it.api.send("DELETE", "/api/v1/namespaces/default/pods/probe")
        yield process


async def _fill(it: Bench, process: Process, name: str) -> tuple[float, float, float]:
    before = process.cpu()
    began = time.perf_counter()
    await it.pods(PODS, lambda number: pod(f"fill-{number}", name))
    created = time.perf_counter()
    bound = await it.bound.until(PODS)
    return created - began, bound - began, process.cpu() - before


async def _fills() -> list[Figure]:
    found = []
    for name, start, which in (("quartermaster", ours, ""), ("default-scheduler", stock, "kube-scheduler-")):
        async with bench() as it:
            await it.nodes(NODES)
            async with start(it) as process:
                created, took, cpu = await _fill(it, process, name)
        found += [
            Figure(name=f"e2e/{which}fill-{PODS}", value=took, unit="s"),
            Figure(name=f"e2e/{which}fill-{PODS}-creating", value=created, unit="s"),
            Figure(name=f"e2e/{which}fill-{PODS}-cpu", value=cpu, unit="s"),
        ]
    return found


def figures() -> Iterator[Figure]:
    """Everything of this suite."""
    try:
        locate(("kube-apiserver", "etcd", "kube-scheduler"))
    except InvalidInput as wrong:
        print(f"e2e: NOT MEASURED: {wrong}", file=sys.stderr)
        return
    yield from asyncio.run(_fills())
