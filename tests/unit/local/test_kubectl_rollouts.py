"""The real kubectl against the API with its controllers, over a socket: rollout, scale, wait, drain."""

import asyncio
import contextlib
import json
import time
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from quartermaster.local.apiserver.local import LocalApi
from quartermaster.local.client import LocalClient
from quartermaster.local.controllers.manager import AGENT, Manager
from quartermaster.local.controllers.registry import CONTROLLERS
from quartermaster.testing.controllers import Controlled, workload
from quartermaster.testing.kubernetes import Clock, Json
from tests.kubernetes.fixtures import program

pytestmark = pytest.mark.kubernetes


class Now(Clock):
    """kubectl brings its own time, so this cluster has the same."""

    def __call__(self) -> float:
        return time.time()


class Kubectl:
    """kubectl with one cluster; each call has to succeed."""

    def __init__(self, cluster: Controlled, kubeconfig: Path) -> None:
        self.cluster = cluster
        self._command = [str(program("kubectl")), f"--kubeconfig={kubeconfig}", f"--cache-dir={kubeconfig.parent}"]

    async def __call__(self, arguments: str, body: Json | None = None) -> str:
        made = await asyncio.create_subprocess_exec(
            *self._command,
            *arguments.split(),
            stdin=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.PIPE,
        )
        out, err = await made.communicate(json.dumps(body).encode() if body else None)
        assert made.returncode == 0, err.decode() + out.decode()
        return out.decode()


@contextlib.asynccontextmanager
async def cluster_with_kubectl(folder: Path) -> AsyncIterator[Kubectl]:
    """A live cluster of two nodes: controllers and kubelet act on each change."""
    kubeconfig, clock, changed = folder / "kubeconfig", Now(), asyncio.Event()
    async with (
        LocalApi(kubeconfig=kubeconfig) as api,
        Manager(LocalClient(api.server.handle, agent=AGENT), CONTROLLERS, clock=clock) as manager,
        asyncio.TaskGroup() as tasks,
    ):
        cluster = Controlled(api.server, clock, manager)
        await cluster.add_nodes("n1", "n2")
        api.server.cluster.store.listeners.append(lambda _table, _change: changed.set())

        async def kubelet() -> None:
            while True:
                changed.clear()
                await cluster.kubelet.step()
                await changed.wait()

        running = [tasks.create_task(manager.run()), tasks.create_task(kubelet())]
        try:
            yield Kubectl(cluster, kubeconfig)
        finally:
            for task in running:
                task.cancel()
            assert manager.broken == {}


async def test_a_deployment_is_rolled_out_and_back(tmp_path: Path) -> None:
    async with cluster_with_kubectl(tmp_path) as kubectl:
        await kubectl("apply -f -", workload("Deployment", replicas=3))
        said = await kubectl("rollout status deployment/web --timeout=60s")
        assert 'deployment "web" successfully rolled out' in said
        await kubectl("set image deployment/web main=image:2")
        await kubectl("rollout status deployment/web --timeout=60s")
        history = await kubectl("rollout history deployment/web")
        assert [line.split()[0] for line in history.splitlines() if line[:1].isdigit()] == ["1", "2"]
        await kubectl("rollout undo deployment/web")
        await kubectl("rollout status deployment/web --timeout=60s")
        images = "get pods -o jsonpath={.items[*].spec.containers[0].image}"
        assert set((await kubectl(images)).split()) == {"image:1"}
        await kubectl("rollout restart deployment/web")
        await kubectl("rollout status deployment/web --timeout=60s")
        await kubectl("scale deployment/web --replicas=5")
        await kubectl("wait --for=jsonpath={.status.availableReplicas}=5 deployment/web --timeout=60s")
        await kubectl("wait --for=condition=Available deployment/web --timeout=60s")
        assert "5/5" in await kubectl("get deployment web")
        described = await kubectl("describe deployment web")
        assert "NewReplicaSetAvailable" in described
        await kubectl("delete deployment web --cascade=foreground --timeout=60s")
        assert await kubectl("get pods,replicasets -o name") == ""


async def test_pausing_holds_a_rollout(tmp_path: Path) -> None:
    async with cluster_with_kubectl(tmp_path) as kubectl:
        await kubectl("apply -f -", workload("Deployment", replicas=2))
        await kubectl("rollout status deployment/web --timeout=60s")
        await kubectl("rollout pause deployment/web")
        await kubectl("set image deployment/web main=image:2")
        await kubectl("wait --for=condition=Progressing=Unknown deployment/web --timeout=60s")
        await kubectl("rollout resume deployment/web")
        await kubectl("rollout status deployment/web --timeout=60s")
        images = await kubectl("get pods -o jsonpath={.items[*].spec.containers[0].image}")
        assert set(images.split()) == {"image:2"}


@pytest.mark.parametrize(("kind", "more"), [("StatefulSet", {"replicas": 3, "serviceName": "web"}), ("DaemonSet", {})])
async def test_sets_are_rolled_out_and_back(kind: str, more: Json, tmp_path: Path) -> None:
    async with cluster_with_kubectl(tmp_path) as kubectl:
        path = f"{kind.lower()}/web"
        await kubectl("apply -f -", workload(kind, **more))
        await kubectl(f"rollout status {path} --timeout=60s")
        await kubectl(f"set image {path} main=image:2")
        await kubectl(f"rollout status {path} --timeout=60s")
        history = await kubectl(f"rollout history {path}")
        assert [line.split()[0] for line in history.splitlines() if line[:1].isdigit()] == ["1", "2"]
        await kubectl(f"rollout undo {path}")
        await kubectl(f"rollout status {path} --timeout=60s")
        images = await kubectl("get pods -o jsonpath={.items[*].spec.containers[0].image}")
        assert set(images.split()) == {"image:1"}
        await kubectl(f"rollout restart {path}")
        await kubectl(f"rollout status {path} --timeout=60s")


async def test_a_node_is_drained_within_the_budget(tmp_path: Path) -> None:
    async with cluster_with_kubectl(tmp_path) as kubectl:
        await kubectl("apply -f -", workload("Deployment", replicas=4))
        await kubectl("apply -f -", workload("DaemonSet", "agent"))
        await kubectl("create poddisruptionbudget b --selector=app=web --min-available=3")
        await kubectl("rollout status deployment/web --timeout=60s")
        kubectl.cluster.kubelet.binds = lambda node: node != "n1"
        await kubectl("drain n1 --ignore-daemonsets --timeout=60s")
        await kubectl("rollout status deployment/web --timeout=60s")
        nodes = await kubectl("get pods -l app=web -o jsonpath={.items[*].spec.nodeName}")
        assert nodes.split() == ["n2"] * 4
        assert "SchedulingDisabled" in await kubectl("get node n1")
        await kubectl("uncordon n1")


async def test_a_job_is_waited_for(tmp_path: Path) -> None:
    async with cluster_with_kubectl(tmp_path) as kubectl:
        await kubectl("create job j --image=image -- true")
        await kubectl("wait --for=jsonpath={.status.ready}=1 job/j --timeout=60s")
        (pod,) = (await kubectl.cluster.get("pods"))["items"]
        await kubectl.cluster.kubelet.say(pod, "Succeeded")
        await kubectl("wait --for=condition=complete job/j --timeout=60s")
        assert "1/1" in await kubectl("get job j")
        await kubectl("create cronjob c --image=image --schedule=@yearly")
        await kubectl("create job by-hand --from=cronjob/c")
        await kubectl("wait --for=jsonpath={.status.active}=1 job/by-hand --timeout=60s")
