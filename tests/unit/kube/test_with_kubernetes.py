"""The client against a real kube-apiserver, and with configurations that the real kubectl has written."""

import asyncio
import contextlib
import json
import os
import random
import shutil
import subprocess
import time
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from quartermaster.kube.api import Json, Refused
from quartermaster.kube.apply import Conflict, apply
from quartermaster.kube.clock import SteadyClock
from quartermaster.kube.connecting import connect
from quartermaster.kube.credentials import Credential, bearer
from quartermaster.kube.events import Events
from quartermaster.kube.http import HttpApi
from quartermaster.kube.leases import LeaderElector, Times
from quartermaster.kube.reflector import Reflector
from quartermaster.local.apiserver.identity import identity
from tests.kubernetes.fixtures import program
from tests.kubernetes.server import Server
from tools.kubernetes.binaries import locate


@contextlib.asynccontextmanager
async def asking(server: Server, folder: Path, namespace: str) -> AsyncIterator[HttpApi]:
    """A client of the real server, and a namespace of its own."""
    path = folder / "kubeconfig"
    path.write_text(server.kubeconfig())
    async with HttpApi(connect(kubeconfig=path, environment={}), agent="quartermaster") as api:
        await api.send("POST", "/api/v1/namespaces", {"metadata": {"name": namespace}})
        yield api


def settings(name: str, **data: str) -> Json:
    return {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": name}, "data": data}


@pytest.mark.parametrize("streaming", [True, False])
async def test_a_reflector_mirrors_a_real_server(kubernetes: Server, tmp_path: Path, streaming: bool) -> None:
    namespace = f"reflector-{streaming}".lower()
    async with asking(kubernetes, tmp_path, namespace) as api, asyncio.timeout(60):
        path = f"/api/v1/namespaces/{namespace}/configmaps"
        for number in range(7):
            await api.send("POST", path, settings(f"c{number}"))
        gone = asyncio.Event()

        def note(_before: Json | None, after: Json | None) -> None:
            if after is None:
                gone.set()

        mirror: Reflector[Json] = Reflector(api, path, note, page=3, streaming=streaming)
        task = asyncio.ensure_future(mirror.run())
        await mirror.synced.wait()
        assert mirror._streaming is streaming, "the server has streams of initial events"
        assert {f"c{number}" for number in range(7)} <= {name for _, name in mirror.objects}
        await api.send("DELETE", f"{path}/c0")
        await gone.wait()
        held = {name: item["metadata"]["resourceVersion"] for (_, name), item in mirror.objects.items()}
        listed = (await api.send("GET", path))["items"]
        assert held == {item["metadata"]["name"]: item["metadata"]["resourceVersion"] for item in listed}
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)


async def test_a_place_that_the_server_has_forgotten_is_mended(kubernetes: Server, tmp_path: Path) -> None:
    async with asking(kubernetes, tmp_path, "forgotten") as api, asyncio.timeout(60):
        path = "/api/v1/namespaces/forgotten/configmaps"
        await api.send("POST", path, settings("a"))
        mirror: Reflector[Json] = Reflector(api, path, lambda _before, _after: None)
        mirror._since = "1"  # long compacted, or never in this server's cache
        task = asyncio.ensure_future(mirror.run())
        while ("forgotten", "a") not in mirror.objects:  # noqa: ASYNC110  # a real server
            await asyncio.sleep(0.02)
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)


async def test_refusals_and_conflicts_read_as_with_the_embedded_server(kubernetes: Server, tmp_path: Path) -> None:
    async with asking(kubernetes, tmp_path, "applied") as api:
        path = "/api/v1/namespaces/applied/configmaps/s"
        with pytest.raises(Refused) as refused:
            await api.send("GET", path)
        assert (refused.value.code, refused.value.reason) == (404, "NotFound")
        value = settings("s", a="1") | {"metadata": {"name": "s", "namespace": "applied"}}
        await apply(api, path, value, manager="first")
        with pytest.raises(Conflict, match=r"ConfigMap applied/s: \.data\.a is owned by first; leave"):
            await apply(api, path, value | {"data": {"a": "2"}}, manager="second")
        changed = await apply(api, path, value | {"data": {"a": "2"}}, manager="second", force=True)
        assert changed["data"] == {"a": "2"}


async def test_one_of_two_leads_and_hands_over(kubernetes: Server, tmp_path: Path) -> None:
    async with asking(kubernetes, tmp_path, "leases") as api, asyncio.timeout(60):
        terms: list[str] = []
        ends = {name: asyncio.Event() for name in "ab"}

        def contender(name: str) -> "asyncio.Task[None]":
            async def lead() -> None:
                terms.append(name)
                await ends[name].wait()

            elector = LeaderElector(
                api,
                namespace="leases",
                name="quartermaster",
                identity=name,
                clock=SteadyClock(),
                wall=time.time,
                rng=random.Random(0),
                times=Times(retry_period=0.1),
            )
            return asyncio.ensure_future(elector.run(lead))

        first = contender("a")
        while not terms:  # noqa: ASYNC110  # a real server
            await asyncio.sleep(0.02)
        second = contender("b")
        await asyncio.sleep(0.5)
        assert terms == ["a"]
        ends["a"].set()
        ends["b"].set()
        await asyncio.gather(first, second)
        assert terms == ["a", "b"]
        spec = (await api.send("GET", "/apis/coordination.k8s.io/v1/namespaces/leases/leases/quartermaster"))["spec"]
        assert (spec["holderIdentity"], spec["leaseTransitions"]) == ("", 1)


async def test_events_are_shown_by_kubectl_describe(kubernetes: Server, tmp_path: Path) -> None:
    kubectl = program("kubectl")
    async with asking(kubernetes, tmp_path, "events") as api, asyncio.timeout(60):
        about = await api.send("POST", "/api/v1/namespaces/events/configmaps", settings("a"))
        events = Events(api, component="quartermaster", instance="q-0", clock=SteadyClock(), wall=time.time)
        task = asyncio.ensure_future(events.run())
        for _ in range(3):
            events.record(about, "Warning", "Unschedulable", "2 of 4 nodes are full")
        await events.drain()
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
        assert events.dropped == 0
        process = await asyncio.create_subprocess_exec(
            *(str(kubectl), "--kubeconfig", str(tmp_path / "kubeconfig"), "describe", "configmap", "a", "-n", "events"),
            env={"HOME": str(tmp_path), "PATH": os.environ["PATH"]},
            stdout=subprocess.PIPE,
        )
        told = (await process.communicate())[0].decode()
    assert "Warning  Unschedulable" in told
    assert "(x3 over" in told
    assert "quartermaster  2 of 4 nodes are full" in told


async def test_impersonation_is_understood(kubernetes: Server, tmp_path: Path) -> None:
    config = json.loads(kubernetes.kubeconfig())
    config["users"][0]["user"] |= {"as": "jane", "as-groups": ["team-a", "system:masters"], "as-uid": "7"}
    path = tmp_path / "kubeconfig"
    path.write_text(json.dumps(config))
    async with HttpApi(connect(kubeconfig=path, environment={}), agent="quartermaster") as api:
        answer = await api.send(
            "POST", "/apis/authentication.k8s.io/v1/selfsubjectreviews", {"kind": "SelfSubjectReview"}
        )
    info = answer["status"]["userInfo"]
    assert (info["username"], info["uid"]) == ("jane", "7")
    assert {"team-a", "system:masters"} <= set(info["groups"])


@pytest.fixture
def kubectl(tmp_path: Path) -> Any:
    """A function that runs kubectl config on a file of the test."""
    found = locate("kubectl") or shutil.which("kubectl")
    if found is None:
        pytest.skip("no kubectl: nothing was checked with the real client")

    def config(*arguments: str) -> str:
        environment = {"KUBECONFIG": str(tmp_path / "config"), "HOME": str(tmp_path), "PATH": os.environ["PATH"]}
        command = [str(found), "config", *arguments]
        return subprocess.run(command, capture_output=True, text=True, env=environment, check=True).stdout

    return config


async def test_what_kubectl_config_writes_is_read(kubectl: Any, tmp_path: Path) -> None:
    who = identity(None)
    for name, text in (("ca.crt", who.authority), ("c.crt", who.certificate), ("c.key", who.key)):
        (tmp_path / name).write_bytes(text)
    kubectl("set-cluster", "files", "--server=https://a.example:6443", f"--certificate-authority={tmp_path / 'ca.crt'}")
    kubectl(
        "set-cluster",
        "inside",
        "--server=https://b.example",
        "--embed-certs",
        f"--certificate-authority={tmp_path / 'ca.crt'}",
    )
    kubectl("set-cluster", "open", "--server=https://c.example", "--insecure-skip-tls-verify=true")
    kubectl("set-cluster", "named", "--server=https://d.example", "--tls-server-name=other", "--proxy-url=http://p:1")
    pair = (f"--client-certificate={tmp_path / 'c.crt'}", f"--client-key={tmp_path / 'c.key'}")
    kubectl("set-credentials", "files", *pair)
    kubectl("set-credentials", "inside", *pair, "--embed-certs")
    kubectl("set-credentials", "token", "--token=t0k3n")
    kubectl("set-credentials", "basic", "--username=jane", "--password=s3cret")
    answer = {"apiVersion": "client.authentication.k8s.io/v1beta1", "kind": "ExecCredential", "status": {"token": "x"}}
    program_ = tmp_path / "bin" / "plugin"  # kubectl makes paths relative: beside the file it would lose its folder
    program_.parent.mkdir()
    program_.write_text(f"#!/bin/sh\n[ $A$1 = bget ] && echo '{json.dumps(answer)}'\n")
    program_.chmod(0o755)
    plugin = ("--exec-api-version=client.authentication.k8s.io/v1beta1", f"--exec-command={program_}")
    kubectl("set-credentials", "plugin", *plugin, "--exec-arg=get", "--exec-env=A=b")
    users = ("files", "inside", "token", "basic", "plugin")
    pairs = [("open", user) for user in users] + [(cluster, "token") for cluster in ("files", "inside", "named")]
    for cluster, user in pairs:
        kubectl("set-context", f"{cluster}-{user}", f"--cluster={cluster}", f"--user={user}", "--namespace=team")
    kubectl("use-context", "files-token")

    def read(context: str = "") -> Any:
        return connect(kubeconfig=tmp_path / "config", context=context, environment={"PATH": os.environ["PATH"]})

    assert read().server == "https://a.example:6443"
    assert read().namespace == "team"
    for cluster, server in (("inside", "https://b.example"), ("open", "https://c.example")):
        assert read(f"{cluster}-token").server == server
    assert (read("named-token").server_name, read("named-token").proxy) == ("other", "http://p:1")
    expected = {
        "files": Credential(),
        "inside": Credential(),
        "token": bearer("t0k3n"),
        "basic": Credential("Basic amFuZTpzM2NyZXQ="),
        "plugin": bearer("x"),
    }
    for user in users:
        assert await read(f"open-{user}").credentials.current() == expected[user]
    assert "t0k3n" not in repr(read("open-token").trust)
