"""Logs, commands and metrics of simulated machines, asked of the API, in virtual time."""

import asyncio

import pytest

from quartermaster.local.apiserver.codec import load
from quartermaster.local.apiserver.kubelets import STATUS, STDERR, STDOUT
from quartermaster.local.fleet.presets import parse
from quartermaster.testing.kubernetes import Json, Refused
from quartermaster.testing.machines import Machines, machines
from tests.unit.local.test_kubelets import WEBSOCKET, Said

FLEET = parse("pools: [{preset: dgx-h100, name: h, count: 1}, {preset: cpu, name: c, count: 1}]", "test")
METRICS = "/apis/metrics.k8s.io/v1beta1"


async def log(cluster: Machines, query: str = "") -> list[str]:
    answer = await cluster.send("GET", f"pods/p/log?{query}")
    assert answer.status == 200, answer.body
    assert answer.content_type == "text/plain"
    return answer.body.decode().splitlines()


async def executed(cluster: Machines, *command: str) -> tuple[str, str, Json]:
    query = "&".join(f"command={word}" for word in command)
    answer = await cluster.send("GET", f"pods/p/exec?{query}&stdout=true&stderr=true", **WEBSOCKET)
    assert answer.talk is not None
    await answer.talk(said := Said())
    return said.text(STDOUT), said.text(STDERR), load(said.text(STATUS).encode())


async def test_the_log_of_a_pod_from_start_to_end() -> None:
    async with machines(FLEET) as cluster:
        await cluster.run("p", on="h-0", gpus="0,1", run_seconds="60")
        answer = await cluster.send("GET", "pods/p/log")
        assert (answer.status, "is waiting to start: ContainerCreating" in answer.json()["message"]) == (400, True)
        await cluster.after(40)
        half = await log(cluster)
        assert half[0].startswith("INFO image image pulled in 0.2 s; main starts on h-0, GPU 0, 1")
        assert "INFO step 10 loss" in half[2]
        await cluster.after(60)
        whole = await log(cluster)
        assert whole[: len(half)] == half
        assert whole[-1].startswith("INFO done after 6")
        assert await log(cluster, "tailLines=2") == whole[-2:]
        assert await log(cluster, "tailLines=0") == []
        assert (await log(cluster, "limitBytes=9")) == [whole[0][:9]]
        stamped = await log(cluster, "timestamps=true&tailLines=1")
        ended = (await cluster.get("pods/p"))["status"]["containerStatuses"][0]["state"]["terminated"]["finishedAt"]
        assert stamped == [f"{ended[:-1]}.000000000Z {whole[-1]}"]
        assert await log(cluster, f"sinceTime={ended}") == whole[-1:]
        assert await log(cluster, "sinceSeconds=1000") == whole
        assert await log(cluster, "sinceSeconds=1") == []


async def test_following_ends_with_the_container() -> None:
    async with machines(FLEET) as cluster:
        await cluster.run("p", on="c-0", run_seconds="25")
        await cluster.after(12)
        answer = await cluster.send("GET", "pods/p/log?follow=true&tailLines=1")
        assert answer.stream is not None
        seen: list[str] = []

        async def read() -> None:
            assert answer.stream is not None
            async for part in answer.stream:
                seen.extend(part.decode().splitlines())

        reading = asyncio.create_task(read())
        await cluster.after(1)
        assert len(seen) == 1
        assert not reading.done()
        await cluster.after(100)
        await reading
        whole = await log(cluster)
        assert seen == whole[-len(seen) :]
        assert len(seen) > 1


async def test_following_a_pod_that_is_deleted_ends() -> None:
    async with machines(FLEET) as cluster:
        await cluster.run("p", on="c-0")
        await cluster.after(12)
        answer = await cluster.send("GET", "pods/p/log?follow=true")
        assert answer.stream is not None

        async def read() -> bytes:
            assert answer.stream is not None
            return b"".join([part async for part in answer.stream])

        reading = asyncio.create_task(read())
        await cluster.settle()
        await cluster.delete("pods/p")
        await cluster.after(60)
        assert b"INFO ready" in await reading


async def test_the_log_before_a_restart() -> None:
    async with machines(FLEET) as cluster:
        value: Json = {"metadata": {}, "spec": {"containers": [{"name": "main", "image": "i"}]}}
        await cluster.run("p", on="c-0", value=value, run_seconds="20", outcome="oom")
        await cluster.after(10)
        with pytest.raises(Refused, match='previous terminated container "main" in pod "p" not found'):
            await cluster.get("pods/p/log?previous=true")
        await cluster.after(13)
        status = (await cluster.get("pods/p"))["status"]["containerStatuses"][0]
        assert status["state"]["waiting"]["reason"] == "CrashLoopBackOff"
        crashed = await log(cluster)
        assert crashed[-1] == "Killed"
        await cluster.after(15)
        assert await log(cluster, "previous=true") == crashed
        now = await log(cluster, "timestamps=true")
        assert now[-1].split(" ", 1)[1] != "Killed"


async def test_a_machine_that_is_down_does_not_answer() -> None:
    async with machines(FLEET) as cluster:
        await cluster.run("p", on="c-0")
        await cluster.after(12)
        mark = {"metadata": {"annotations": {"quartermaster.dev/fault": "not-ready"}}}
        await cluster.patch("/api/v1/nodes/c-0", mark)
        await cluster.after(120)
        with pytest.raises(Refused, match="connect: connection refused"):
            await cluster.get("pods/p/log")
        assert [item["metadata"]["name"] for item in (await cluster.get(f"{METRICS}/nodes"))["items"]] == ["h-0"]


async def test_a_few_commands() -> None:
    async with machines(FLEET) as cluster:
        own = [
            {"name": "MODE", "value": "train"},
            {"name": "NODE", "valueFrom": {"fieldRef": {"fieldPath": "spec.nodeName"}}},
        ]
        value: Json = {"metadata": {}, "spec": {"containers": [{"name": "main", "image": "i", "env": own}]}}
        await cluster.run("p", on="h-0", value=value, gpus="3")
        await cluster.after(12)
        assert await executed(cluster, "cat", "/etc/hostname") == ("p\n", "", {"metadata": {}, "status": "Success"})
        out, _, _ = await executed(cluster, "nvidia-smi", "-L")
        devices = (await cluster.get("/apis/resource.k8s.io/v1/resourceslices"))["items"][0]["spec"]["devices"]
        assert out == f"GPU 0: NVIDIA H100 80GB HBM3 (UUID: {devices[3]['attributes']['uuid']['string']})\n"
        out, _, _ = await executed(cluster, "env")
        found = dict(line.split("=", 1) for line in out.splitlines())
        assert found["NVIDIA_VISIBLE_DEVICES"] == devices[3]["attributes"]["uuid"]["string"]
        assert (found["MODE"], found["NODE"], found["HOSTNAME"]) == ("train", "h-0", "p")
        assert (await executed(cluster, "sh", "-c", "printenv MODE"))[0] == "train\n"
        _, error, status = await executed(cluster, "rm", "-rf", "/")
        assert error.startswith("sh: rm -rf /: not found")
        assert status["details"]["causes"] == [{"reason": "ExitCode", "message": "127"}]
        assert (await executed(cluster, "printenv", "NOPE"))[2]["reason"] == "NonZeroExitCode"


async def test_a_command_in_a_container_that_does_not_run() -> None:
    async with machines(FLEET) as cluster:
        await cluster.run("p", on="c-0", run_seconds="5")
        await cluster.after(60)
        _, _, status = await executed(cluster, "true")
        assert status["message"] == (
            'Internal error occurred: unable to upgrade connection: container not found ("main")'
        )


async def test_metrics_follow_the_load() -> None:
    async with machines(FLEET) as cluster:
        requests = {"resources": {"requests": {"cpu": "8", "memory": "64Gi"}}}
        for name, load in (("busy", "0.9"), ("idle", "0.1")):
            container = {"name": "main", "image": "i"} | requests
            value: Json = {"metadata": {"labels": {"load": load}}, "spec": {"containers": [container]}}
            await cluster.run(name, on="h-0", value=value, load=load)
        before = await cluster.get(f"{METRICS}/nodes/h-0")
        assert (await cluster.get(f"{METRICS}/pods"))["items"] == []
        await cluster.after(30)
        found = {item["metadata"]["name"]: item for item in (await cluster.get(f"{METRICS}/pods"))["items"]}
        cores = {name: int(item["containers"][0]["usage"]["cpu"][:-1]) / 1e9 for name, item in found.items()}
        assert 0.85 * 8 < cores["busy"] < 0.95 * 8
        assert 0.09 * 8 < cores["idle"] < 0.11 * 8
        node = await cluster.get(f"{METRICS}/nodes/h-0")
        more = (int(node["usage"]["cpu"][:-1]) - int(before["usage"]["cpu"][:-1])) / 1e9
        assert more == pytest.approx(sum(cores.values()), abs=1e-6)
        selected = await cluster.get(f"{METRICS}/namespaces/default/pods?labelSelector=load%3D0.9")
        assert [item["metadata"]["name"] for item in selected["items"]] == ["busy"]
        with pytest.raises(Refused, match=r'pods\.metrics\.k8s\.io "default/none" not found'):
            await cluster.get(f"{METRICS}/namespaces/default/pods/none")
