"""The embedded Kubernetes API: rates over HTTP with TLS and in process, start, memory, watchers.

Server and client share this machine: the server runs in a process of its own, the client (32 connections) here.
"""

from __future__ import annotations

import asyncio
import gc
import json
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import aclosing, asynccontextmanager
from pathlib import Path
from typing import Any

from benchmarks.figures import Figure
from quartermaster.local.apiserver.http import HttpTransport
from quartermaster.local.apiserver.local import LocalApi
from quartermaster.local.apiserver.transport import Handler, Request

PODS = 5_000
CLIENTS = 32
WATCHERS = 1_000
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
    yield from asyncio.run(_over_http())
    yield from asyncio.run(_in_process())
    yield from _resident()


@asynccontextmanager
async def _server() -> AsyncIterator[tuple[HttpTransport, float]]:
    """A server process and a client of it; also the seconds from start to the first answer."""
    with tempfile.TemporaryDirectory() as folder:
        started = time.perf_counter()
        process = await asyncio.create_subprocess_exec(
            *(sys.executable, "-m", "quartermaster", "api", "--port", "0", "--kubeconfig", f"{folder}/kubeconfig"),
            stdout=subprocess.PIPE,
        )
        assert process.stdout is not None, "a pipe was asked for"
        await process.stdout.readline()
        config = json.loads(json.dumps(_yaml(Path(folder, "kubeconfig"))))
        import base64  # noqa: PLC0415
        import ssl  # noqa: PLC0415

        cluster = config["clusters"][0]["cluster"]
        tls = ssl.create_default_context(cadata=base64.b64decode(cluster["certificate-authority-data"]).decode())
        transport = HttpTransport(
            cluster["server"], token=config["users"][0]["user"]["token"], tls=tls, connections=CLIENTS
        )
        response = await transport(Request.of("GET", "/readyz"))
        assert response.status == 200, "the server is ready"
        boot = time.perf_counter() - started
        try:
            yield transport, boot
        finally:
            await transport.close()
            process.terminate()
            await process.wait()


def _yaml(path: Path) -> Any:
    import yaml  # noqa: PLC0415

    return yaml.safe_load(path.read_text())


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


def _creates(count: int) -> list[Request]:
    return [Request.of("POST", POD_PATH, gpu_pod(f"pod-{index}")) for index in range(count)]


def _binds(count: int) -> list[Request]:
    body = {"apiVersion": "v1", "kind": "Binding", "target": {"kind": "Node", "name": "node-1"}}
    names = [f"pod-{index}" for index in range(count)]
    return [Request.of("POST", f"{POD_PATH}/{name}/binding", body | {"metadata": {"name": name}}) for name in names]


async def _over_http() -> list[Figure]:
    async with _server() as (transport, boot):
        created = await _all(transport, _creates(PODS))
        bound = await _all(transport, _binds(PODS))
        started = time.perf_counter()
        response = await transport(Request.of("GET", POD_PATH))
        listed = time.perf_counter() - started
        assert response.body.count(b'"node-1"') >= PODS, "all pods are listed"
    return [
        Figure(name="api/boot", value=boot, unit="s", better="lower", target=2.0),
        Figure(name="api/creates", value=PODS / created, unit="pods/s", better="higher", target=1450),
        Figure(name="api/binds", value=PODS / bound, unit="pods/s", better="higher", target=1850),
        Figure(name="api/list-5000", value=listed, unit="s", better="lower", target=0.25),
    ]


async def _in_process() -> list[Figure]:
    async with LocalApi(port=None) as api:
        await _all(api.server.handle, _creates(PODS))
        bound = await _all(api.server.handle, _binds(PODS))
    async with LocalApi(port=None) as api:
        watchers = [
            await api.server.handle(Request.of("GET", f"{POD_PATH}?watch=true&resourceVersion=8"))
            for _ in range(WATCHERS)
        ]

        async def read(stream: Any) -> None:
            seen = 0
            async with aclosing(stream):
                async for part in stream:
                    seen += part.count(b'"type":"ADDED"')
                    if seen == 200:
                        return

        readers = [asyncio.create_task(read(response.stream)) for response in watchers]
        await asyncio.sleep(0)
        started = time.perf_counter()
        for request in _creates(200):
            await api.server.handle(request)
        await asyncio.gather(*readers)
        seconds = time.perf_counter() - started
    return [
        Figure(name="api/inprocess-binds", value=PODS / bound, unit="pods/s", better="higher", target=5000),
        Figure(name="api/watchers-1000", value=200 * WATCHERS / seconds, unit="events/s", better="higher", target=None),
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
