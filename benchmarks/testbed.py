"""A real kube-apiserver with etcd, and a scheduler that is a process of its own: where end-to-end figures come from.

The scheduler is `quartermaster controller` or the stock kube-scheduler. Its CPU time and memory are what the kernel
says of its process, its decisions what it counts itself, its writes what the API server counted. Nodes are objects
without kubelets, and pods have no grace, so what is measured is deciding and the API.
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
from collections import defaultdict
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

import msgspec
from prometheus_client.parser import text_string_to_metric_families
from prometheus_client.samples import Sample

from quartermaster.api.definitions import manifests
from quartermaster.kube.api import MERGE
from quartermaster.kube.connecting import connect
from quartermaster.kube.http import HttpApi
from quartermaster.kube.reflector import Reflector
from quartermaster.kube.views import Meta, view_of
from quartermaster.local.apiserver.identity import write_kubeconfig
from quartermaster.local.real.controlplane import running

Json = dict[str, Any]
GPUS: Final = 8
RACK: Final = "rack"
CHANGING: Final = frozenset(("POST", "PUT", "PATCH", "APPLY", "DELETE", "DELETECOLLECTION"))
FLAGS = (
    "--max-requests-inflight=3000",
    "--max-mutating-requests-inflight=1000",
    "--enable-priority-and-fairness=false",
)
TICKS = os.sysconf("SC_CLK_TCK")
PATIENCE_S = 600.0
QUIET_S = 0.1
"""CPU of two seconds in which nothing happens: less than 5 % of a core."""


class _Spec(msgspec.Struct, rename="camel", gc=False):
    node_name: str = ""


class _Pod(msgspec.Struct, rename="camel", gc=False):
    metadata: Meta
    spec: _Spec


@dataclass
class Bound:
    """When pods were bound, as the watch tells of them."""

    nodes: dict[str, str] = field(default_factory=dict)
    at: dict[str, float] = field(default_factory=dict)
    _wanted: set[str] = field(default_factory=set)
    _reached: asyncio.Event = field(default_factory=asyncio.Event)

    def changed(self, before: _Pod | None, after: _Pod | None) -> None:
        """Of a pod."""
        pod = after or before
        assert pod is not None, "something changed"
        name = pod.metadata.name
        if after is None or not after.spec.node_name:
            self.nodes.pop(name, None)
            self.at.pop(name, None)
        elif name not in self.nodes:
            self.nodes[name], self.at[name] = after.spec.node_name, time.perf_counter()
            self._wanted.discard(name)
            if not self._wanted:
                self._reached.set()

    async def until(self, names: Iterable[str]) -> float:
        """When the last of these was bound; raises TimeoutError."""
        names = list(names)
        self._wanted = {name for name in names if name not in self.nodes}
        self._reached.clear()
        if self._wanted:
            await asyncio.wait_for(self._reached.wait(), PATIENCE_S)
        return max(self.at[name] for name in names)


class Bench:
    """A server, a client, and a count of bound pods."""

    def __init__(self, api: HttpApi, kubeconfig: Path, programs: Mapping[str, Path]) -> None:
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

    async def nodes(self, count: int, *, rack: int) -> None:
        """Nodes of eight GPUs, `rack` of them in each rack."""
        amounts = {"cpu": "128", "memory": "1Ti", "pods": "250", "nvidia.com/gpu": str(GPUS)}

        async def make(number: int) -> None:
            name = node_name(number)
            labels = {"kubernetes.io/hostname": name, RACK: f"r{number // rack}"}
            labels["nvidia.com/gpu.product"] = "NVIDIA-H100-80GB-HBM3"
            ready = {"type": "Ready", "status": "True", "reason": "KubeletReady"}
            status = {"capacity": amounts, "allocatable": amounts, "conditions": [ready]}
            await self.api.send(
                "POST", "/api/v1/nodes", {"metadata": {"name": name, "labels": labels}, "status": status}
            )
            await self.api.send("PATCH", f"/api/v1/nodes/{name}", {"spec": {"taints": None}}, media=MERGE)

        await self.each(count, make)

    async def writes(self) -> int:
        """Requests that changed something, as the server counted them: all but its own, and the creation of pods."""
        lines = (await self.api.send_raw("GET", "/metrics")).decode().splitlines()
        text = "\n".join(line for line in lines if line.startswith("apiserver_request_total{"))
        total = 0.0
        for sample in parsed(text):
            labels = sample.labels
            created = (labels["verb"], labels["resource"], labels["subresource"]) == ("POST", "pods", "")
            if labels["verb"] in CHANGING and not created and labels["group"] != "coordination.k8s.io":
                total += sample.value
        return round(total)

    async def pods(self, count: int, body: Callable[[int], Json]) -> None:
        """Pods `body(0)` and so on."""

        async def make(number: int) -> None:
            await self.api.send("POST", "/api/v1/namespaces/default/pods", body(number))

        await self.each(count, make)


def node_name(number: int) -> str:
    """Of a node."""
    return f"node-{number:05}"


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
    if not gpus:
        del amounts["nvidia.com/gpu"]
    if node:
        spec["nodeName"] = node
    return {"metadata": {"name": name, "labels": labels or {}, **more}, "spec": spec}


@contextlib.asynccontextmanager
async def bench(programs: Mapping[str, Path]) -> AsyncIterator[Bench]:
    """A fresh control plane and what is needed to measure on it."""
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
    """A scheduler at work. `metrics`: where it tells what it counted, empty if it does not."""

    process: subprocess.Popen[bytes]
    log: Path
    metrics: str = ""

    def cpu(self) -> float:
        """CPU seconds so far."""
        parts = self._proc("stat").rpartition(")")[2].split()
        return (int(parts[11]) + int(parts[12])) / TICKS

    def memory(self) -> float:
        """Resident now, in MB."""
        line = next(line for line in self._proc("status").splitlines() if line.startswith("VmRSS:"))
        return int(line.split()[1]) / 1000

    def _proc(self, name: str) -> str:
        return Path(f"/proc/{self.process.pid}/{name}").read_text(encoding="utf-8")

    async def counted(self) -> dict[str, float]:
        """Its sums and counts, those of all labels together; nothing if it does not tell."""
        if not self.metrics:
            return {}
        text = (await asyncio.to_thread(_fetched, self.metrics)).decode()
        found: dict[str, float] = defaultdict(float)
        for sample in parsed(text):
            found[sample.name] += sample.value
        return found

    async def quiet(self) -> None:
        """Return when it has nothing more to do; raises TimeoutError."""
        async with asyncio.timeout(PATIENCE_S):
            while True:
                before = self.cpu()
                await asyncio.sleep(2)
                if self.cpu() - before <= QUIET_S:
                    return


def _fetched(url: str) -> bytes:
    """Raises OSError, also if the answer is not 200."""
    with urllib.request.urlopen(url, timeout=60) as answer:  # noqa: S310  # a port of a process of ours
        found: bytes = answer.read()
        return found


def parsed(text: str) -> Iterator[Sample]:
    """Samples of metrics."""
    for family in text_string_to_metric_families(text + "\n"):
        yield from family.samples


@contextlib.contextmanager
def scheduler(command: Sequence[str], log: str, metrics: str = "") -> Iterator[Process]:
    """A scheduler's process."""
    with Path(log).open("wb") as output:
        process = subprocess.Popen(command, stdout=output, stderr=output)  # noqa: S603  # ours, or built by us
        try:
            yield Process(process, Path(log), metrics)
        finally:
            process.terminate()
            process.wait(20)


@contextlib.asynccontextmanager
async def ours(it: Bench) -> AsyncIterator[Process]:
    """`quartermaster controller`, ready."""
    port = random.randrange(20_000, 40_000)
    command = [sys.executable, "-m", "quartermaster", "controller", "--kubeconfig", str(it.kubeconfig)]
    command += ["--metrics-host", "127.0.0.1", "--metrics-port", str(port), "--log-level", "warning"]
    url = f"http://127.0.0.1:{port}"
    with scheduler(command, f"{it.kubeconfig.parent}/controller.log", f"{url}/metrics") as process:
        for _ in range(600):
            await asyncio.sleep(0.1)
            with contextlib.suppress(OSError):
                await asyncio.to_thread(_fetched, f"{url}/readyz")
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
        await it.bound.until(["probe"])
        await it.api.send("DELETE", "/api/v1/namespaces/default/pods/probe")
        yield process
