"""Two controllers as processes on a real control plane: the leader, or the server, is killed in the middle of work."""

import asyncio
import contextlib
import os
import random
import signal
import subprocess
import sys
import time
from collections import Counter, defaultdict
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

import pytest

from quartermaster.api import pods as api_pods
from quartermaster.api.objects import PodObject, read
from quartermaster.controllers.installing import install_definitions
from quartermaster.kube.api import MERGE, Refused
from quartermaster.kube.connecting import connect
from quartermaster.kube.http import HttpApi
from quartermaster.local.real.controlplane import ControlPlane, running
from tests.kubernetes.fixtures import program
from tests.kubernetes.server import of

pytestmark = pytest.mark.kubernetes

Json = dict[str, Any]
NODES, GANGS, SIZE = 80, 80, 8
LEASE = "/apis/coordination.k8s.io/v1/namespaces/kube-system/leases/quartermaster"
WITHIN_S = 120.0

TAKEOVER_S = 25.0
"""A lease of 15 s, a contender that looks every 2 to 4.4 s, a list of pods; the rest is for a slow machine."""


class Cluster:
    """A control plane with nodes that nothing runs on, and what controllers it has."""

    def __init__(self, plane: ControlPlane, api: HttpApi, kubeconfig: Path) -> None:
        self.plane, self.api, self.kubeconfig = plane, api, kubeconfig
        self.controllers: dict[int, subprocess.Popen[bytes]] = {}
        self.others: list[subprocess.Popen[bytes]] = []

    def start(self) -> None:
        """One more controller."""
        arguments = [
            "controller",
            f"--kubeconfig={self.kubeconfig}",
            "--leader-elect",
            "--lease=kube-system/quartermaster",
        ]
        log = self.kubeconfig.with_name(f"controller-{len(self.controllers)}.log")
        with log.open("wb") as output:
            process = subprocess.Popen(
                [sys.executable, "-m", "quartermaster", *arguments, "--metrics-port=0"], stdout=output, stderr=output
            )
        self.controllers[process.pid] = process

    async def leader(self) -> int:
        """The process that holds the lease; 0 for none."""
        try:
            holder = str((await self.api.send("GET", LEASE))["spec"].get("holderIdentity") or "")
        except Refused:
            return 0
        return int(holder.split("_")[-2]) if holder else 0

    async def pods(self) -> list[Json]:
        found: list[Json] = (await self.api.send("GET", "/api/v1/namespaces/default/pods"))["items"]
        return found

    async def bound(self) -> int:
        return sum(bool(pod["spec"].get("nodeName")) for pod in await self.pods())

    async def on_bound(self, count: int, deed: Callable[[], None], *, begin: Callable[[], None]) -> None:
        """Do it in the moment in which the watch says that so many are bound."""
        names: set[str] = set()
        async with contextlib.aclosing(self.api.watch("/api/v1/namespaces/default/pods?watch=true")) as events:
            begin()
            async for event in events:
                if event["object"]["spec"].get("nodeName"):
                    names.add(event["object"]["metadata"]["name"])
                if len(names) >= count:
                    deed()
                    return

    def restart_server(self) -> None:
        """kill -9 of kube-apiserver, and another in its place."""
        old = self.plane.processes["kube-apiserver"]
        old.kill()
        old.wait()
        with (self.plane.folder / "kube-apiserver-again.log").open("wb") as log:
            self.others.append(subprocess.Popen(old.args, stdout=log, stderr=log))


@contextlib.asynccontextmanager
async def cluster(folder: Path) -> AsyncIterator[Cluster]:
    programs = {name: program(name) for name in ("kube-apiserver", "etcd")}
    with running(programs, folder=folder / "plane") as plane:
        kubeconfig = folder / "kubeconfig"
        kubeconfig.write_text(of(plane).kubeconfig(), encoding="utf-8")
        connection = connect(kubeconfig=kubeconfig, context="", environment=os.environ, wall=time.time)
        async with HttpApi(connection, agent="test", rng=random.Random(1)) as api:
            await install_definitions(api)
            await asyncio.gather(*(_add_node(api, f"n-{number:02}") for number in range(NODES)))
            it = Cluster(plane, api, kubeconfig)
            try:
                yield it
            finally:
                for process in (*it.controllers.values(), *it.others):
                    process.kill()
                    process.wait()


async def _add_node(api: HttpApi, name: str) -> None:
    amounts = {"cpu": "64", "memory": "512Gi", "pods": "110", "nvidia.com/gpu": "8"}
    ready = {"type": "Ready", "status": "True", "reason": "Here", "message": ""}
    status = {"capacity": amounts, "allocatable": amounts, "conditions": [ready]}
    await api.send("POST", "/api/v1/nodes", {"metadata": {"name": name}})
    await api.send("PATCH", f"/api/v1/nodes/{name}/status", {"status": status}, media=MERGE)
    await api.send("PATCH", f"/api/v1/nodes/{name}", {"spec": {"taints": None}}, media=MERGE)


async def submit(it: Cluster) -> None:
    """Gangs that fill the cluster to the last GPU."""

    async def one(gang: int, number: int) -> None:
        notes = {"kueue.x-k8s.io/pod-group-total-count": str(SIZE)}
        labels = {"kueue.x-k8s.io/pod-group-name": f"gang-{gang}"}
        limits = {"nvidia.com/gpu": "1"}
        container = {"name": "c", "image": "i", "resources": {"requests": {"cpu": "1"} | limits, "limits": limits}}
        metadata = {"name": f"gang-{gang}-{number}", "labels": labels, "annotations": notes}
        spec = {"schedulerName": "quartermaster", "containers": [container]}
        await it.api.send("POST", "/api/v1/namespaces/default/pods", {"metadata": metadata, "spec": spec})

    for gang in range(GANGS):
        await asyncio.gather(*(one(gang, number) for number in range(SIZE)))


async def eventually(holds: Callable[[], Any], what: str) -> float:
    """Seconds until it does."""
    began = time.monotonic()
    while True:
        with contextlib.suppress(OSError, Refused):
            if await holds():
                return time.monotonic() - began
        assert time.monotonic() < began + WITHIN_S, what
        await asyncio.sleep(0.05)


async def check(it: Cluster) -> None:
    """No device twice, and every gang whole."""
    taken: dict[tuple[str, int], str] = {}
    gangs: dict[str, Counter[bool]] = defaultdict(Counter)
    for pod in await it.pods():
        node, name = pod["spec"].get("nodeName"), pod["metadata"]["name"]
        gangs[name.rpartition("-")[0]][bool(node)] += 1
        if node:
            devices = api_pods.devices_of(read(PodObject, pod))
            assert devices, f"{name} was not told its devices"
            for device in devices:
                other = taken.setdefault((node, device), name)
                assert other == name, f"device {device} of {node} was given to {other} and {name}"
    assert all(bound == Counter({True: SIZE}) for bound in gangs.values()), gangs


async def submitted_to_two(it: Cluster) -> int:
    """The leader of two controllers, frozen while all is submitted: it binds that in one go when it goes on."""
    for _ in range(2):
        it.start()
    await eventually(it.leader, "nobody leads")
    leader = await it.leader()
    os.kill(leader, signal.SIGSTOP)
    await submit(it)
    return leader


async def test_the_leader_is_killed_in_the_middle_of_binding(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    async with cluster(tmp_path) as it:
        leader = await submitted_to_two(it)
        await it.on_bound(100, lambda: os.kill(leader, signal.SIGKILL), begin=lambda: os.kill(leader, signal.SIGCONT))
        it.controllers[leader].wait()
        killed, there = time.monotonic(), await it.bound()
        assert there < GANGS * SIZE, "it was not in the middle"
        await eventually(lambda: _other(it, leader), "nobody took over")
        took = time.monotonic() - killed
        await eventually(lambda: _above(it, GANGS * SIZE - 1), "not all are bound")
        all_bound = time.monotonic() - killed
        await check(it)
        assert took < TAKEOVER_S
        with capsys.disabled():
            sys.stdout.write(
                f"\n{there} bound at the kill; lease taken after {took:.1f} s, all after {all_bound:.1f} s\n"
            )


async def test_a_leader_that_was_frozen_in_the_middle_wakes_up_and_ends(tmp_path: Path) -> None:
    async with cluster(tmp_path) as it:
        leader = await submitted_to_two(it)
        await it.on_bound(100, lambda: os.kill(leader, signal.SIGSTOP), begin=lambda: os.kill(leader, signal.SIGCONT))
        there = await it.bound()
        assert there < GANGS * SIZE, "it was not in the middle"
        await eventually(lambda: _other(it, leader), "nobody took over")
        os.kill(leader, signal.SIGCONT)
        await eventually(lambda: _above(it, GANGS * SIZE - 1), "not all are bound")
        assert await asyncio.to_thread(it.controllers[leader].wait, WITHIN_S) == 1
        await check(it)


async def test_the_server_is_killed_in_the_middle_of_binding(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    async with cluster(tmp_path) as it:
        leader = await submitted_to_two(it)
        await it.on_bound(100, it.restart_server, begin=lambda: os.kill(leader, signal.SIGCONT))
        restarted = time.monotonic()
        await eventually(lambda: _above(it, GANGS * SIZE - 1), "not all are bound")
        all_bound = time.monotonic() - restarted
        await check(it)
        with capsys.disabled():
            sys.stdout.write(f"\nall bound {all_bound:.1f} s after the server was killed\n")


async def _above(it: Cluster, count: int) -> bool:
    return await it.bound() > count


async def _other(it: Cluster, than: int) -> bool:
    return await it.leader() not in {0, than}
