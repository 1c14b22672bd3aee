"""kubectl on simulated machines, over a socket: what it asks kubelets and metrics for, and what it does to nodes."""

import asyncio
import contextlib
import re
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from quartermaster.local.apiserver.transport import Request
from quartermaster.local.clock import WallClock
from quartermaster.local.fleet.presets import parse
from quartermaster.testing.kubernetes import Json
from quartermaster.testing.machines import Machines, machines
from tests.kubernetes.programs import PATIENCE_S, Program

pytestmark = pytest.mark.kubernetes

FLEET = parse("pools: [{preset: dgx-h100, name: h, count: 1}, {preset: cpu, name: c, count: 2}]", "test")


@contextlib.asynccontextmanager
async def fleet(folder: Path) -> AsyncIterator[tuple[Machines, Program]]:
    kubeconfig = folder / "kubeconfig"
    async with machines(FLEET, clock=WallClock(), port=0, kubeconfig=kubeconfig) as cluster:
        kubectl = Program("kubectl", kubeconfig)
        await kubectl("wait", "--for=condition=Ready", "nodes", "--all", "--timeout=30s")
        yield cluster, kubectl


def asked(cluster: Machines, path: str) -> asyncio.Event:
    """Set once a request whose path ends so has been answered: the client is there."""
    seen = asyncio.Event()

    def look(request: Request, *_: object) -> None:
        if request.path.endswith(path):
            seen.set()

    cluster.server.audit = look
    return seen


async def started(cluster: Machines, name: str) -> None:
    """Until its container runs, or has run."""
    async with asyncio.timeout(PATIENCE_S):
        while (await cluster.get(f"pods/{name}"))["status"]["phase"] == "Pending":  # noqa: ASYNC110  # real time
            await asyncio.sleep(0.01)


def one() -> Json:
    """A Job's pod in the small, with labels, two containers and little to pull."""
    containers = [{"name": name, "image": "busybox"} for name in ("main", "side")]
    return {
        "metadata": {"labels": {"app": "one"}},
        "spec": {"restartPolicy": "Never", "containers": containers},
    }


async def test_logs(tmp_path: Path) -> None:
    async with fleet(tmp_path) as (cluster, kubectl):
        await cluster.run("p", on="h-0", gpus="0", run_seconds="3", image_gib="0")
        await started(cluster, "p")
        followed = (await kubectl("logs", "p", "--follow")).splitlines()
        assert followed[0] == "INFO image image pulled in 0.0 s; main starts on h-0, GPU 0"
        assert followed[-1].startswith("INFO done after")
        await kubectl("wait", "pod/p", "--for=jsonpath={.status.phase}=Succeeded", "--timeout=30s")
        assert (await kubectl("logs", "p")).splitlines() == followed
        assert (await kubectl("logs", "p", "--tail=1")).splitlines() == followed[-1:]
        stamped = await kubectl("logs", "p", "--timestamps", "--tail=1")
        assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{9}Z INFO done after \d+ s\n", stamped)
        assert (await kubectl("logs", "p", "--since=1h")).splitlines() == followed
        refused = await kubectl("logs", "p", "--previous", code=1)
        assert refused == (
            'Error from server (BadRequest): previous terminated container "main" in pod "p" not found\n'
        )


async def test_logs_of_some_of_many(tmp_path: Path) -> None:
    async with fleet(tmp_path) as (cluster, kubectl):
        for name in ("p", "q"):
            await cluster.run(name, on="c-0", value=one(), run_seconds="1000", image_gib="0")
        await kubectl("wait", "pod", "--all", "--for=condition=Ready", "--timeout=30s")
        assert "side starts on c-0" in await kubectl("logs", "p", "-c", "side")
        assert 'Defaulted container "main" out of: main, side' in await kubectl("logs", "p", "--tail=0")
        found = await kubectl("logs", "-l", "app=one", "--all-containers", "--prefix")
        starts = {line.split(" ", 1)[0] for line in found.splitlines()}
        assert starts == {f"[pod/{pod}/{name}]" for pod in ("p", "q") for name in ("main", "side")}


async def test_the_log_before_a_crash(tmp_path: Path) -> None:
    async with fleet(tmp_path) as (cluster, kubectl):
        value: Json = {"metadata": {}, "spec": {"containers": [{"name": "main", "image": "busybox"}]}}
        await cluster.run("p", on="c-0", value=value, run_seconds="1", outcome="oom", image_gib="0")
        crashed = "jsonpath={.status.containerStatuses[0].lastState.terminated.reason}=OOMKilled"
        await kubectl("wait", "pod/p", f"--for={crashed}", "--timeout=30s")
        assert (await kubectl("logs", "p", "--previous")).splitlines()[-1] == "Killed"


async def test_exec_and_attach_are_conversations(tmp_path: Path) -> None:
    async with fleet(tmp_path) as (cluster, kubectl):
        await cluster.run("p", on="h-0", gpus="0,7", run_seconds="1000", image_gib="0")
        await kubectl("wait", "pod/p", "--for=condition=Ready", "--timeout=30s")
        assert await kubectl("exec", "p", "--", "hostname") == "p\n"
        assert await kubectl("exec", "p", "-i", "-t", "--", "hostname", given="unheard") == "p\n"
        devices = await kubectl("exec", "p", "--", "nvidia-smi", "-L")
        assert [line.split(":")[0] for line in devices.splitlines()] == ["GPU 0", "GPU 1"]
        assert "not found" in await kubectl("exec", "p", "--", "ls", code=127)
        attached = asked(cluster, "/attach")
        async with kubectl.running("attach", "p") as attachment:
            async with asyncio.timeout(PATIENCE_S):
                await attached.wait()
            await kubectl("annotate", "pod", "p", "quartermaster.dev/run-seconds=1", "--overwrite")
            assert (await attachment.until("INFO done")).startswith("INFO done after")
        gone = await kubectl("exec", "p", "--", "true", code=1)
        assert "cannot exec into a container in a completed pod; current phase is Succeeded" in gone


async def test_port_forward_says_why_not(tmp_path: Path) -> None:
    async with fleet(tmp_path) as (cluster, kubectl):
        await cluster.run("p", on="c-0", image_gib="0")
        await kubectl("wait", "pod/p", "--for=condition=Ready", "--timeout=30s")
        refused = await kubectl("port-forward", "p", ":80", code=1)
        assert "a simulated container has no network" in refused


async def test_top(tmp_path: Path) -> None:
    async with fleet(tmp_path) as (cluster, kubectl):
        requests = {"requests": {"cpu": "4", "memory": "8Gi"}}
        value = one()
        value["spec"]["containers"][0]["resources"] = requests
        await cluster.run("p", on="c-0", value=value, load="0.5", run_seconds="1000", image_gib="0")
        await kubectl("wait", "pod/p", "--for=condition=Ready", "--timeout=30s")
        heading, row = (await kubectl("top", "pods")).splitlines()
        assert heading.split() == ["NAME", "CPU(cores)", "MEMORY(bytes)"]
        name, cpu, memory = row.split()
        assert name == "p"
        assert 1900 < int(cpu.removesuffix("m")) < 2120
        assert 4900 < int(memory.removesuffix("Mi")) < 5500
        by_container = await kubectl("top", "pods", "--containers", "-l", "app=one", "--no-headers")
        assert [line.split()[:2] for line in by_container.splitlines()] == [["p", "main"], ["p", "side"]]
        nodes = await kubectl("top", "nodes", "--sort-by=cpu")
        assert [line.split()[0] for line in nodes.splitlines()] == ["NAME", "h-0", "c-0", "c-1"]
        assert all(re.fullmatch(r"\d+%", line.split()[2]) for line in nodes.splitlines()[1:])
        assert "podmetrics" in (await kubectl("api-resources", "--api-group=metrics.k8s.io", "-o", "wide")).lower()
        assert await kubectl("get", "--raw", "/api/v1/nodes/c-0/proxy/healthz") == "ok"


async def test_taints_cordon_and_drain(tmp_path: Path) -> None:
    async with fleet(tmp_path) as (cluster, kubectl):
        for name, node in (("p", "c-0"), ("q", "c-1")):
            await cluster.run(name, on=node, value=one(), image_gib="0")
        await kubectl("wait", "pod", "--all", "--for=condition=Ready", "--timeout=30s")
        assert await kubectl("taint", "node", "c-1", "team=vision:NoSchedule") == "node/c-1 tainted\n"
        described = await kubectl("describe", "node", "c-1")
        assert re.search(r"Taints:\s+team=vision:NoSchedule", described)
        assert re.search(r"Non-terminated Pods:\s+\(1 in total\)", described)
        assert await kubectl("taint", "node", "c-1", "team-") == "node/c-1 untainted\n"
        assert await kubectl("cordon", "c-0") == "node/c-0 cordoned\n"
        assert "SchedulingDisabled" in await kubectl("get", "node", "c-0")
        refused = await kubectl("drain", "c-0", "--timeout=30s", code=1)
        assert "cannot delete Pods that declare no controller" in refused
        drained = await kubectl("drain", "c-0", "--force", "--timeout=30s")
        assert "pod/p evicted" in drained
        assert drained.endswith("node/c-0 drained\n")
        assert await kubectl("get", "pods", "-o", "name") == "pod/q\n"
        assert await kubectl("uncordon", "c-0") == "node/c-0 uncordoned\n"


async def test_a_pod_is_watched_through_its_life(tmp_path: Path) -> None:
    async with fleet(tmp_path) as (cluster, kubectl):
        watched = asked(cluster, "/namespaces/default/pods")
        async with kubectl.running("get", "pods", "--watch", "--no-headers", "-o", "wide") as watching:
            async with asyncio.timeout(PATIENCE_S):
                await watched.wait()
            await cluster.run("p", on="c-0", run_seconds="1", image_gib="0")
            seen = [await watching.line()]
            while "Completed" not in seen[-1]:
                seen.append(await watching.line())
        states = list(dict.fromkeys(line.split()[2] for line in seen))
        assert states[0] == "Pending"
        assert [state for state in states if state in ("ContainerCreating", "Running", "Completed")] == [
            "ContainerCreating",
            "Running",
            "Completed",
        ]
        assert seen[-1].split()[6] == "c-0"
        events = await kubectl("events", "--for", "pod/p", "--no-headers")
        assert {line.split()[2] for line in events.splitlines()} == {"Pulling", "Pulled", "Started"}
        assert "Successfully pulled images" in await kubectl("describe", "pod", "p")
        deleting = asyncio.create_task(kubectl("wait", "pod/p", "--for=delete", "--timeout=30s"))
        await kubectl("delete", "pod", "p")
        await deleting
