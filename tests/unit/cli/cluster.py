"""A whole local cluster in the test's own process, on a clock that jumps: nothing sleeps, and a day takes seconds."""

import asyncio
import contextlib
import random
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

from quartermaster.api import pods as api_pods
from quartermaster.api.objects import PodObject, read
from quartermaster.cli.running import Parts, Settings
from quartermaster.local.apiserver.admission_builtin import tolerate_extended_resources
from quartermaster.local.apiserver.cluster import Cluster
from quartermaster.local.apiserver.local import LocalApi
from quartermaster.local.client import LocalClient
from quartermaster.local.clock import VirtualClock
from quartermaster.local.fleet.chaos import ChaosSet
from quartermaster.local.fleet.presets import Fleet, parse
from quartermaster.local.stages.table import everything

Json = dict[str, Any]
SMALL = parse(
    "pools: [{preset: dgx-h100, name: h, count: 2}, {preset: a100-mig, name: m}, {preset: cpu, name: c}]", "small"
)


def devices_of(pod: Json) -> tuple[int, ...] | None:
    return api_pods.devices_of(read(PodObject, pod))


class Local:
    """The cluster, its clock, and short ways to look at it."""

    def __init__(self, api: LocalApi, parts: Parts, clock: VirtualClock, task: asyncio.Task[None]) -> None:
        self.server, self.parts, self.clock, self.task = api.server, parts, clock, task
        self.client = LocalClient(api.server.handle, agent="test")

    async def settle(self) -> None:
        """Until nothing is written for a good while of turns."""
        quiet, seen = 0, -1
        while quiet < 40:
            await asyncio.sleep(0)
            if self.task.done():
                self.task.result()
            now = self.server.cluster.store.revision
            quiet, seen = (quiet + 1, seen) if now == seen else (0, now)

    async def after(self, seconds: float) -> None:
        """Let that much time pass, moment by moment."""
        end = self.clock() + seconds
        await self.settle()
        while (moment := self.clock.next()) is not None and moment <= end:
            self.clock.jump()
            await self.settle()
        self.clock.jump(end)
        await self.settle()

    async def pods(self, namespace: str = "default") -> dict[str, Json]:
        found = await self.client.send("GET", f"/api/v1/namespaces/{namespace}/pods")
        return {item["metadata"]["name"]: item for item in found["items"]}

    async def phases(self) -> dict[str, str]:
        return {name: pod["status"]["phase"] for name, pod in (await self.pods()).items()}

    async def node(self, name: str) -> Json:
        return await self.client.send("GET", f"/api/v1/nodes/{name}")

    async def submit(self, name: str, *, run: int | None = 100, gpus: int = 0, **more: Any) -> None:
        await self.client.send("POST", "/api/v1/namespaces/default/pods", workload(name, run=run, gpus=gpus, **more))


def workload(
    name: str, *, run: int | None, gpus: int = 0, gang: int = 0, requests: Json | None = None, **notes: str
) -> Json:
    asked = {"cpu": "1", "memory": "1Gi"} | ({"nvidia.com/gpu": str(gpus)} if gpus else {}) | (requests or {})
    annotations = {f"quartermaster.dev/{key.replace('_', '-')}": value for key, value in notes.items()}
    if run is not None:
        annotations["quartermaster.dev/run-seconds"] = str(run)
    metadata: Json = {"name": name, "annotations": annotations}
    if gang:
        metadata["labels"] = {"kueue.x-k8s.io/pod-group-name": name.rpartition("-")[0]}
        annotations["kueue.x-k8s.io/pod-group-total-count"] = str(gang)
    limits = {key: value for key, value in asked.items() if "/" in key}
    container = {"name": "main", "image": "busybox", "resources": {"requests": asked, "limits": limits}}
    return {"metadata": metadata, "spec": {"restartPolicy": "Never", "containers": [container]}}


@contextlib.asynccontextmanager
async def local(fleet: Fleet = SMALL, *, demo: bool = False, chaos: ChaosSet | None = None) -> AsyncIterator[Local]:
    clock = VirtualClock()
    cluster = Cluster(clock=clock, rng=random.Random(1))
    settings = Settings(
        port=0, folder=None, kubeconfig=Path(), fleet=fleet, stages=everything(), demo=demo, chaos=chaos
    )
    async with LocalApi(port=None, cluster=cluster) as api:
        api.server.admission.mutating.append(tolerate_extended_resources)
        parts = Parts(lambda agent: LocalClient(api.server.handle, agent=agent), settings, clock, seed=1)
        task = asyncio.create_task(parts.run())
        try:
            yield Local(api, parts, clock, task)
        finally:
            task.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await task


def condition(value: Json, kind: str) -> Json:
    return next((item for item in value["status"].get("conditions", ()) if item["type"] == kind), {})
