"""helm and kube-scheduler, built from their own source, against the embedded API. In the lane `kubernetes`."""

import asyncio
import json
import os
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from quartermaster.controllers.scheduler.scheduler import Scheduler
from quartermaster.local.client import LocalClient
from quartermaster.local.clock import WallClock
from quartermaster.local.controllers.manager import AGENT, Manager
from quartermaster.local.controllers.registry import CONTROLLERS
from quartermaster.local.fleet.presets import parse
from quartermaster.testing.kubernetes import served
from quartermaster.testing.machines import machines
from tests.kubernetes.programs import Program
from tools.kubernetes.binaries import locate

pytestmark = pytest.mark.kubernetes


@pytest.fixture(scope="module")
def kubeconfig(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    path = tmp_path_factory.mktemp("clients") / "config"
    with served(kubeconfig=path):
        yield path


def program(name: str) -> str:
    found = locate(name)
    if found is None:
        pytest.skip(f"no {name}")
    return str(found)


def asked(kubeconfig: Path, *arguments: str) -> str:
    environment = os.environ | {"KUBECONFIG": str(kubeconfig), "HOME": str(kubeconfig.parent)}
    done = subprocess.run(arguments, capture_output=True, text=True, timeout=60, env=environment, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def test_helm_installs_upgrades_rolls_back_and_uninstalls(kubeconfig: Path) -> None:
    helm, kubectl, chart = program("helm"), program("kubectl"), kubeconfig.parent / "demo"

    def replicas() -> int:
        found: Any = json.loads(asked(kubeconfig, kubectl, "get", "deployment", "release-demo", "-o", "json"))
        return int(found["spec"]["replicas"])

    def revisions() -> list[tuple[int, str]]:
        found = json.loads(asked(kubeconfig, helm, "history", "release", "-o", "json"))
        return [(item["revision"], item["status"]) for item in found]

    asked(kubeconfig, helm, "create", str(chart))
    rehearsed = asked(kubeconfig, helm, "install", "release", str(chart), "--dry-run=server")
    assert "STATUS: pending-install" in rehearsed
    assert "release-demo" not in asked(kubeconfig, kubectl, "get", "deployments", "-o", "name")
    assert "STATUS: deployed" in asked(kubeconfig, helm, "install", "release", str(chart))
    assert replicas() == 1
    asked(kubeconfig, helm, "upgrade", "release", str(chart), "--set", "replicaCount=3")
    assert replicas() == 3
    assert json.loads(asked(kubeconfig, helm, "list", "-o", "json"))[0]["revision"] == "2"
    asked(kubeconfig, helm, "rollback", "release", "1")
    assert replicas() == 1
    assert revisions() == [(1, "superseded"), (2, "superseded"), (3, "deployed")]
    assert "kind: Deployment" in asked(kubeconfig, helm, "get", "manifest", "release")
    asked(kubeconfig, helm, "uninstall", "release")
    assert json.loads(asked(kubeconfig, kubectl, "get", "deployments", "-o", "json"))["items"] == []
    assert asked(kubeconfig, kubectl, "get", "secrets", "-l", "owner=helm", "-o", "name") == ""


async def test_helm_waits_until_what_it_installs_is_ready(tmp_path: Path) -> None:
    clock, kubeconfig, chart = WallClock(), tmp_path / "config", str(tmp_path / "demo")
    fleet = parse("pools: [{preset: cpu, name: c, count: 1}]", "test")
    controllers = tuple(each for each in CONTROLLERS if each.name != "node-lifecycle")
    async with (
        machines(fleet, clock=clock, port=0, kubeconfig=kubeconfig) as cluster,
        Manager(LocalClient(cluster.server.handle, agent=AGENT), controllers, clock=clock) as manager,
    ):
        scheduler = Scheduler(LocalClient(cluster.server.handle, agent="scheduler"), clock=clock)
        working = [asyncio.create_task(work) for work in (manager.run(), scheduler.run())]
        try:
            helm = Program("helm", kubeconfig)
            await helm("create", chart)
            await helm("install", "release", chart, "--wait", "--timeout=40s", "--set", "replicaCount=2")
            found = await cluster.get("/apis/apps/v1/namespaces/default/deployments/release-demo")
            assert found["status"]["readyReplicas"] == 2
            await helm("uninstall", "release", "--wait", "--timeout=40s")
            assert await cluster.names("/apis/apps/v1/namespaces/default/deployments") == []
        finally:
            for task in working:
                task.cancel()
            await asyncio.gather(*working, return_exceptions=True)


def test_the_stock_scheduler_binds_a_pod(kubeconfig: Path) -> None:
    scheduler, kubectl = program("kube-scheduler"), program("kubectl")
    amounts = {"cpu": "8", "memory": "32Gi", "pods": "110"}
    node = kubeconfig.parent / "node.json"
    node.write_text(json.dumps({"apiVersion": "v1", "kind": "Node", "metadata": {"name": "n1"}}))
    asked(kubeconfig, kubectl, "create", "-f", str(node))
    status = {"capacity": amounts, "allocatable": amounts, "conditions": [{"type": "Ready", "status": "True"}]}
    patch = json.dumps({"status": status})
    asked(kubeconfig, kubectl, "patch", "node", "n1", "--subresource=status", "--type=merge", "-p", patch)
    asked(kubeconfig, kubectl, "run", "p", "--image=image")
    running = subprocess.Popen(
        [scheduler, "--kubeconfig", str(kubeconfig), "--leader-elect=false", "--secure-port=0"],
        stderr=subprocess.DEVNULL,
    )
    try:
        asked(kubeconfig, kubectl, "wait", "pod/p", "--for=condition=PodScheduled", "--timeout=50s")
    finally:
        running.terminate()
        running.wait()
    assert json.loads(asked(kubeconfig, kubectl, "get", "pod", "p", "-o", "json"))["spec"]["nodeName"] == "n1"
