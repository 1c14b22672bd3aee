"""Our scheduler beside the real persistent volume controller: who writes what, and that both understand each other."""

import asyncio
import contextlib
import time
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

import pytest

from quartermaster.api.volumes import SELECTED_NODE
from quartermaster.controllers.scheduler.scheduler import Scheduler
from quartermaster.kube.api import MERGE
from quartermaster.kube.clock import WallClock
from quartermaster.kube.connecting import connect
from quartermaster.kube.http import HttpApi
from quartermaster.local.real.controlplane import MANAGER, running
from tests.kubernetes.fixtures import program
from tests.kubernetes.server import of
from tests.unit.controllers.storage import CLAIMS, CLASSES, HOST, LOCAL, VOLUMES, binding, claim, storage_class, volume

Json = dict[str, Any]
PODS = "/api/v1/namespaces/default/pods"
BINDER = "persistentvolume-binder-controller"


@contextlib.asynccontextmanager
async def scheduling(kubeconfig: Path) -> AsyncIterator[HttpApi]:
    connection = connect(kubeconfig=kubeconfig, environment={})
    async with HttpApi(connection, agent="test") as api:
        scheduler = asyncio.create_task(Scheduler(api, clock=WallClock()).run())
        try:
            async with binding(api, provisions_only=True):
                yield api
            assert not scheduler.done(), scheduler.exception()
        finally:
            scheduler.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await scheduler


async def until(api: HttpApi, path: str, holds: Callable[[Json], Any], seconds: float = 60.0) -> Json:
    deadline = time.monotonic() + seconds
    while not holds(found := await api.send("GET", path)):
        assert time.monotonic() < deadline, found
        await asyncio.sleep(0.1)
    return found


async def node(api: HttpApi, name: str) -> None:
    await api.send("POST", "/api/v1/nodes", {"metadata": {"name": name, "labels": {HOST: name}}})
    amounts = {"cpu": "8", "memory": "32Gi", "pods": "110"}
    conditions = [{"type": "Ready", "status": "True"}]
    status = {"status": {"capacity": amounts, "allocatable": amounts, "conditions": conditions}}
    await api.send("PATCH", f"/api/v1/nodes/{name}/status", status, media=MERGE)
    await api.send("PATCH", f"/api/v1/nodes/{name}", {"spec": {"taints": None}}, media=MERGE)


async def pod(api: HttpApi, name: str, *claims: str, gang: int = 0, cpu: str = "1") -> None:
    container = {"name": "main", "image": "busybox", "resources": {"requests": {"cpu": cpu}}}
    volumes = [{"name": each, "persistentVolumeClaim": {"claimName": each}} for each in claims]
    metadata: Json = {"name": name}
    if gang:
        metadata["labels"] = {"kueue.x-k8s.io/pod-group-name": name.rpartition("-")[0]}
        metadata["annotations"] = {"kueue.x-k8s.io/pod-group-total-count": str(gang)}
    await api.send("POST", PODS, {"metadata": metadata, "spec": {"containers": [container], "volumes": volumes}})


@pytest.mark.kubernetes
async def test_local_and_provisioned_volumes_are_bound_before_their_pods(tmp_path: Path) -> None:
    programs = {name: program(name) for name in ("kube-apiserver", "etcd", MANAGER)}
    with running(programs, folder=tmp_path / "plane", controllers=BINDER) as plane:
        kubeconfig = tmp_path / "kubeconfig"
        kubeconfig.write_text(of(plane).kubeconfig(), encoding="utf-8")
        async with scheduling(kubeconfig) as api:
            for name in ("a", "b", "c"):
                await node(api, name)
            for storage in (LOCAL, storage_class("disk"), storage_class("at-once", waits=False)):
                await api.send("POST", CLASSES, storage)
            for name, where in (("v1", "b"), ("v2", "c")):
                await api.send("POST", VOLUMES, volume(name, "local", where))
            await api.send("POST", CLAIMS, claim("first", "local"))
            await api.send("POST", CLAIMS, claim("second", "local"))
            await api.send("POST", CLAIMS, claim("made", "disk"))
            await api.send("POST", CLAIMS, claim("early", "at-once"))
            await until(api, f"{VOLUMES}/v2", lambda found: found["status"]["phase"] == "Available")
            # A gang of three that would fit on one node: two local volumes on different nodes, one disk to be made.
            await pod(api, "g-0", "first", gang=3)
            await pod(api, "g-1", "second", gang=3)
            await pod(api, "g-2", "made", gang=3)
            await pod(api, "single", "early")
            bound = {}
            for name in ("g-0", "g-1", "g-2", "single"):
                started = await until(api, f"{PODS}/{name}", lambda found: found["spec"].get("nodeName"))
                bound[name] = started["spec"]["nodeName"]
            assert {bound["g-0"], bound["g-1"]} == {"b", "c"}
            claims = {}
            for name in ("first", "second", "made", "early"):
                claims[name] = await until(api, f"{CLAIMS}/{name}", lambda found: found["status"]["phase"] == "Bound")
            place = {"v1": "b", "v2": "c"}
            assert place[claims["first"]["spec"]["volumeName"]] == bound["g-0"]
            assert place[claims["second"]["spec"]["volumeName"]] == bound["g-1"]
            assert claims["made"]["metadata"]["annotations"][SELECTED_NODE] == bound["g-2"]
            assert SELECTED_NODE not in claims["early"]["metadata"]["annotations"]
