"""A cluster with controllers in the test's own process: nothing sleeps, time moves when told to.

``async with controlled() as cluster: await cluster.create(...); await cluster.settle()``. Pods are run by `Kubelet`,
which is no simulation but the least that controllers can work with: what it is told happens at once.
"""

from __future__ import annotations

import contextlib
from collections.abc import AsyncIterator, Callable

from quartermaster.local.apiserver.codec import micro_timestamp, timestamp
from quartermaster.local.apiserver.server import ApiServer
from quartermaster.local.controllers.manager import Controller, Manager
from quartermaster.local.controllers.registry import CONTROLLERS
from quartermaster.testing.kubernetes import Clock, Json, Kubernetes, kubernetes

APPS, BATCH = "/apis/apps/v1/namespaces/default", "/apis/batch/v1/namespaces/default"
NODES = "/api/v1/nodes"
LEASES = "/apis/coordination.k8s.io/v1/namespaces/kube-node-lease/leases"


class Kubelet:
    """Binds pods to the nodes that are there in turn, has them ready, lets them go."""

    def __init__(self, api: Kubernetes) -> None:
        self._api = api
        self._turn = 0
        self.ready: Callable[[Json], bool] = bool
        """Whether a pod becomes ready."""
        self.binds: Callable[[str], bool] = bool
        """Whether new pods may go to a node."""
        self.runs = True
        """Whether it does anything."""

    async def step(self) -> None:
        """Bring every pod to where it should be."""
        nodes = [name for name in await self._api.names(NODES) if self.binds(name)]
        for pod in (await self._api.get("/api/v1/pods"))["items"]:
            if self.runs and nodes:
                await self._bring(pod, nodes)

    async def _bring(self, pod: Json, nodes: list[str]) -> None:
        about, told = pod["metadata"], pod.get("status") or {}
        path = f"/api/v1/namespaces/{about['namespace']}/pods/{about['name']}"
        if about.get("deletionTimestamp"):
            if about.get("deletionGracePeriodSeconds"):
                await self._api.delete(path, {"gracePeriodSeconds": 0})
            return
        if not pod["spec"].get("nodeName"):
            await self._bind(pod, path, nodes)
        if told.get("phase", "Pending") == "Pending":
            await self.say(pod, "Running")

    async def _bind(self, pod: Json, path: str, nodes: list[str]) -> None:
        affinity = ((pod["spec"].get("affinity") or {}).get("nodeAffinity") or {}).get(
            "requiredDuringSchedulingIgnoredDuringExecution"
        )
        wanted = affinity["nodeSelectorTerms"][0]["matchFields"][0]["values"] if affinity else nodes
        self._turn += 1
        bound = {"metadata": {"name": pod["metadata"]["name"]}, "target": {"name": wanted[self._turn % len(wanted)]}}
        await self._api.create(f"{path}/binding", bound)

    async def say(self, pod: Json, phase: str, **more: object) -> None:
        """Write a phase; running pods are ready if `ready` says so."""
        about = pod["metadata"]
        number = int(about["uid"].replace("-", "")[-4:], 16)
        ready = phase == "Running" and self.ready(pod)
        condition = {
            "type": "Ready",
            "status": "True" if ready else "False",
            "lastTransitionTime": timestamp(self._api.clock()),
        }
        told = {"phase": phase, "podIP": f"10.0.{number >> 8}.{number & 255}", "conditions": [condition], **more}
        path = f"/api/v1/namespaces/{about['namespace']}/pods/{about['name']}/status"
        await self._api.patch(path, {"status": told}, "strategic")


class Controlled(Kubernetes):
    """An API with its controllers and a kubelet."""

    def __init__(self, server: ApiServer, clock: Clock, manager: Manager) -> None:
        super().__init__(server, clock)
        self.manager = manager
        self.kubelet = Kubelet(self)
        self.alive: dict[str, None] = {}
        """Nodes that are heard of as time goes by."""

    async def settle(self) -> None:
        """Until nothing changes any more at this moment."""
        for _ in range(1000):
            before = self.server.cluster.store.revision
            await self.manager.settle()
            await super().settle()
            await self.kubelet.step()
            if self.server.cluster.store.revision == before:
                return
        raise AssertionError("the cluster does not come to rest")

    async def advance(self, seconds: float) -> None:
        """Let time pass, stopping wherever a controller wants to look again."""
        end = self.clock.now + seconds
        await self.settle()
        while (due := self.manager.next_due()) is not None and due <= end:
            await self._at(max(self.clock.now, due))
        await self._at(end)

    async def _at(self, now: float) -> None:
        self.clock.now = now
        await self.heartbeat(*self.alive)
        await self.settle()

    async def add_nodes(self, *names: str, **spec: object) -> None:
        """Nodes that are ready, and renew their leases for as long as they are in `alive`."""
        now = timestamp(self.clock())
        for name in names:
            await self.create(NODES, {"metadata": {"name": name}, "spec": spec})
            told = {"type": "Ready", "status": "True", "lastHeartbeatTime": now, "lastTransitionTime": now}
            await self.patch(f"{NODES}/{name}/status", {"status": {"conditions": [told]}}, "strategic")
        self.alive |= dict.fromkeys(names)

    async def heartbeat(self, *names: str) -> None:
        """Renew leases."""
        for name in names:
            renewed = {"holderIdentity": name, "leaseDurationSeconds": 40, "renewTime": micro_timestamp(self.clock())}
            body = {
                "apiVersion": "coordination.k8s.io/v1",
                "kind": "Lease",
                "metadata": {"name": name},
                "spec": renewed,
            }
            await self.patch(f"{LEASES}/{name}?fieldManager=kubelet", body, "apply")


@contextlib.asynccontextmanager
async def controlled(
    *nodes: str, seed: int = 0, controllers: tuple[Controller, ...] = CONTROLLERS
) -> AsyncIterator[Controlled]:
    """A cluster of its own with ready nodes; equal seeds give equal uids and names."""
    async with kubernetes(seed=seed) as api, Manager(api.server.handle, controllers, clock=api.clock) as manager:
        cluster = Controlled(api.server, api.clock, manager)
        await cluster.add_nodes(*nodes)
        yield cluster


def workload(kind: str, name: str = "web", **spec: object) -> Json:
    """A Deployment, ReplicaSet, StatefulSet or DaemonSet of one container, with more of its spec by name."""
    labels = {"app": name}
    template = {"metadata": {"labels": labels}, "spec": {"containers": [{"name": "main", "image": "image:1"}]}}
    return {
        "apiVersion": "apps/v1",
        "kind": kind,
        "metadata": {"name": name, "namespace": "default"},
        "spec": {"selector": {"matchLabels": labels}, "template": template, **spec},
    }
