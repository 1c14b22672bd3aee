"""The embedded Kubernetes API: rates over HTTP with TLS and in process, start, memory, watchers.

Server and client share this machine: the server runs in a process of its own, the client (32 connections) here. A real
kube-apiserver with etcd gets the same requests from the same client in turns with ours, where its programs are found.
"""

from __future__ import annotations

import asyncio
import base64
import gc
import resource
import ssl
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import aclosing
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

import yaml

from benchmarks.figures import Figure
from quartermaster.local.apiserver.codec import load
from quartermaster.local.apiserver.http import HttpTransport
from quartermaster.local.apiserver.local import LocalApi
from quartermaster.local.apiserver.transport import Handler, Request, Response
from quartermaster.local.real.binaries import locate
from quartermaster.local.real.controlplane import running
from quartermaster.model.errors import InvalidInput

PODS = 5_000
CLIENTS = 32
WATCHERS, FEW, NEWS = 1_000, 100, 200
ROUNDS = 2
POD_PATH = "/api/v1/namespaces/default/pods"


def gpu_pod(name: str) -> dict[str, Any]:
    """A pod as a training job makes it: about 1.5 KB as sent, 3 KB as stored."""
    return {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {"name": name, "labels": {"app": "training", "job": f"job-{len(name)}", "team": "research"}},
        "spec": {
            "containers": [
                {
                    "name": "main",
                    "image": "registry.example/training:1.0",
                    "command": ["python", "-m", "train"],
                    "env": [{"name": f"SETTING_{index}", "value": f"value-{index}"} for index in range(8)],
                    "resources": {"limits": {"cpu": "8", "memory": "64Gi", "example.com/gpu": "1"}},
                    "volumeMounts": [{"name": "data", "mountPath": "/data"}],
                }
            ],
            "volumes": [{"name": "data", "emptyDir": {}}],
            "restartPolicy": "Never",
        },
    }


def figures() -> Iterator[Figure]:
    """Everything of this suite."""
    programs = _programs()
    ours, theirs = list[Measured](), list[Measured]()
    for _ in range(ROUNDS):  # in turns, so that a noisy minute befalls both
        ours.append(asyncio.run(_embedded()))
        if programs is not None:
            theirs.append(_real(programs))
    yield from _told(ours, "")
    yield from asyncio.run(_in_process())
    yield from _resident()
    if theirs:
        yield from _told(theirs, "-real")
        yield from _ratios(_best(ours), _best(theirs))


@dataclass(frozen=True, slots=True, kw_only=True)
class Measured:
    """One server over HTTP, one round. Rates are a second's, memory is resident, of all its processes."""

    boot: float
    creates: float
    binds: float
    listed: float
    events: float
    idle_gb: float
    full_gb: float


def _best(rounds: list[Measured]) -> Measured:
    """The best of each: on a shared machine the rest measures the neighbours."""
    found = {}
    for field in fields(Measured):
        values = [getattr(each, field.name) for each in rounds]
        found[field.name] = max(values) if field.name in ("creates", "binds", "events") else min(values)
    return Measured(**found)


def _told(rounds: list[Measured], whose: str) -> list[Figure]:
    best = _best(rounds)
    bounds = (2.0, 1450.0, 1850.0, 0.25) if not whose else (None,) * 4
    boot, creates, binds, listed = bounds
    return [
        Figure(name=f"api/boot{whose}", value=best.boot, unit="s", better="lower", target=boot),
        Figure(name=f"api/creates{whose}", value=best.creates, unit="pods/s", better="higher", target=creates),
        Figure(name=f"api/binds{whose}", value=best.binds, unit="pods/s", better="higher", target=binds),
        Figure(name=f"api/list-5000{whose}", value=best.listed, unit="s", better="lower", target=listed),
        Figure(name=f"api/http-watchers-{FEW}{whose}", value=best.events, unit="events/s", better="higher"),
        Figure(name=f"api/resident-idle{whose}", value=best.idle_gb, unit="GB", better="lower"),
        Figure(name=f"api/resident-5000-pods{whose}", value=best.full_gb, unit="GB", better="lower"),
    ]


def _ratios(ours: Measured, theirs: Measured) -> Iterator[Figure]:
    """How many times better ours is."""
    for name, ratio, target in (
        ("creates", ours.creates / theirs.creates, 1.0),
        ("binds", ours.binds / theirs.binds, 1.0),
        ("list-5000", theirs.listed / ours.listed, None),
        (f"http-watchers-{FEW}", ours.events / theirs.events, None),
        ("resident-5000-pods", theirs.full_gb / ours.full_gb, None),
    ):
        yield Figure(name=f"api/{name}-against-real", value=ratio, unit="times", better="higher", target=target)


def _programs() -> dict[str, Path] | None:
    try:
        return locate(("kube-apiserver", "etcd"))
    except InvalidInput as missing:
        sys.stderr.write(f"NOT COMPARED WITH A REAL KUBERNETES: {missing}\n")
        return None


async def _embedded() -> Measured:
    """Our server in a process of its own."""
    with tempfile.TemporaryDirectory() as folder:
        kubeconfig = Path(folder, "kubeconfig")
        started = time.perf_counter()
        process = await asyncio.create_subprocess_exec(
            *(sys.executable, "-m", "quartermaster", "api", "--port", "0", "--kubeconfig", str(kubeconfig)),
            stdout=subprocess.PIPE,
        )
        assert process.stdout is not None, "a pipe was asked for"
        try:
            await process.stdout.readline()
            config = yaml.safe_load(await asyncio.to_thread(kubeconfig.read_text))
            cluster = config["clusters"][0]["cluster"]
            authority = base64.b64decode(cluster["certificate-authority-data"]).decode()
            return await _measured(
                cluster["server"],
                token=config["users"][0]["user"]["token"],
                tls=ssl.create_default_context(cadata=authority),
                pids=[process.pid],
                started=started,
            )
        finally:
            process.terminate()
            await process.wait()


def _real(programs: dict[str, Path]) -> Measured:
    """A kube-apiserver with etcd, let loose: nobody waits for his turn."""
    loose = (
        "--max-requests-inflight=3000",
        "--max-mutating-requests-inflight=1000",
        "--enable-priority-and-fairness=false",
    )
    started = time.perf_counter()
    with tempfile.TemporaryDirectory() as folder, running(programs, folder=Path(folder), flags=loose) as plane:
        return asyncio.run(
            _measured(
                plane.url,
                token=plane.identity.token,
                tls=plane.identity.client_tls(),
                pids=[process.pid for process in plane.processes.values()],
                started=started,
            )
        )


async def _measured(url: str, *, token: str, tls: ssl.SSLContext, pids: list[int], started: float) -> Measured:
    transport = HttpTransport(url, token=token, tls=tls, connections=CLIENTS)
    watching = HttpTransport(url, token=token, tls=tls, connections=0)
    try:
        response = await transport(Request.of("GET", "/readyz"))
        assert response.status == 200, "the server is ready"
        boot = time.perf_counter() - started
        idle = sum(map(_resident_gb, pids))
        created = await _all(transport, _creates(PODS))
        bound = await _all(transport, _binds(PODS))
        began = time.perf_counter()
        response = await transport(Request.of("GET", POD_PATH))
        listed = time.perf_counter() - began
        assert response.body.count(b'"node-1"') >= PODS, "all pods are listed"
        full = sum(map(_resident_gb, pids))
        revision = load(response.body)["metadata"]["resourceVersion"]
        paths = [f"{POD_PATH}?watch=true&resourceVersion={revision}"] * FEW
        events = await _watched(transport, [await watching(Request.of("GET", path)) for path in paths], "late")
    finally:
        await watching.close()
        await transport.close()
    return Measured(
        boot=boot,
        creates=PODS / created,
        binds=PODS / bound,
        listed=listed,
        events=events,
        idle_gb=idle,
        full_gb=full,
    )


async def _watched(handler: Handler, watches: list[Response], names: str) -> float:
    """Events a second that reach all of `watches` while NEWS pods are made."""

    async def read(stream: Any) -> None:
        seen = 0
        async with aclosing(stream):
            async for part in stream:
                seen += part.count(b'"type":"ADDED"')
                if seen == NEWS:
                    return

    readers = [asyncio.create_task(read(response.stream)) for response in watches]
    await asyncio.sleep(0)
    started = time.perf_counter()
    for request in _creates(NEWS, names):
        await handler(request)
    await asyncio.gather(*readers)
    return NEWS * len(watches) / (time.perf_counter() - started)


def _resident_gb(pid: int) -> float:
    lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith("VmRSS")) / 1e6


async def _all(handler: Handler, requests: list[Request]) -> float:
    """Send all, CLIENTS at a time; seconds."""
    queue = iter(requests)

    async def work() -> None:
        for request in queue:
            response = await handler(request)
            assert response.status < 300, response.body

    gc.collect()
    gc.disable()
    started = time.perf_counter()
    await asyncio.gather(*(work() for _ in range(CLIENTS)))
    seconds = time.perf_counter() - started
    gc.enable()
    return seconds


def _creates(count: int, names: str = "pod") -> list[Request]:
    return [Request.of("POST", POD_PATH, gpu_pod(f"{names}-{index}")) for index in range(count)]


def _binds(count: int) -> list[Request]:
    body = {"apiVersion": "v1", "kind": "Binding", "target": {"kind": "Node", "name": "node-1"}}
    named = ((name, body | {"metadata": {"name": name}}) for name in (f"pod-{index}" for index in range(count)))
    return [Request.of("POST", f"{POD_PATH}/{name}/binding", binding) for name, binding in named]


async def _in_process() -> list[Figure]:
    async with LocalApi(port=None) as api:
        await _all(api.server.handle, _creates(PODS))
        bound = await _all(api.server.handle, _binds(PODS))
    async with LocalApi(port=None) as api:
        watchers = [
            await api.server.handle(Request.of("GET", f"{POD_PATH}?watch=true&resourceVersion=8"))
            for _ in range(WATCHERS)
        ]
        events = await _watched(api.server.handle, watchers, "pod")
    return [
        Figure(name="api/inprocess-binds", value=PODS / bound, unit="pods/s", better="higher", target=5000),
        Figure(name="api/watchers-1000", value=events, unit="events/s", better="higher", target=None),
    ]


def _resident() -> Iterator[Figure]:
    """2,000 nodes and 100,000 pods in a process of their own: its largest resident size."""
    code = "import asyncio; from benchmarks.api import fill; asyncio.run(fill())"
    done = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True)  # noqa: S603
    yield Figure(name="api/resident-100000-pods", value=float(done.stdout), unit="GB", better="lower", target=1.5)


async def fill() -> None:
    """Make a large cluster and print how much memory it takes."""
    async with LocalApi(port=None) as api:
        for index in range(2_000):
            await api.server.handle(Request.of("POST", "/api/v1/nodes", {"metadata": {"name": f"node-{index}"}}))
        for index in range(100_000):
            await api.server.handle(Request.of("POST", POD_PATH, gpu_pod(f"pod-{index}")))
        print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e6)
