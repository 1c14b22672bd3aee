"""Exec plugins: a real program in between, a script that says what it was asked and answers what it is told to."""

import asyncio
import base64
import json
import os
from pathlib import Path
from typing import Any

import pytest

from quartermaster.kube.api import Unreachable
from quartermaster.kube.connecting import Connection, connect
from quartermaster.kube.credentials import bearer
from quartermaster.local.apiserver.identity import identity
from quartermaster.local.apiserver.transport import Request, Response, answer
from tests.unit.kube.serving import HastyClock, scripted, status
from tests.unit.kube.test_connecting import written

V1, V1BETA1 = "client.authentication.k8s.io/v1", "client.authentication.k8s.io/v1beta1"
NOON = 1_767_225_600.0  # 2026-01-01T00:00:00Z

SCRIPT = """#!/bin/sh
here=$(dirname "$0")
printf '%s\\n' "$KUBERNETES_EXEC_INFO" >> "$here/asked"
printf '%s|%s|%s\\n' "$*" "$EXTRA" "$PLAIN" >> "$here/how"
[ -e "$here/fail" ] && { echo "login expired" >&2; exit 3; }
cat "$here/answer"
"""


class Fake:
    """A plugin in a folder of its own."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.wall = NOON
        program = folder / "plugin"
        program.write_text(SCRIPT)
        program.chmod(0o755)

    def says(self, version: str = V1, **status_: Any) -> None:
        """What it prints from now on."""
        value = {"apiVersion": version, "kind": "ExecCredential", "status": status_}
        (self.folder / "answer").write_text(json.dumps(value))

    def connection(self, version: str = V1, cluster: Any = None, **exec_: Any) -> Connection:
        """A connection through it."""
        plugin = {"apiVersion": version, "command": "./plugin", "interactiveMode": "IfAvailable"} | exec_
        path = written(self.folder / "config", user={"exec": plugin}, cluster=cluster)
        environment = {"PATH": os.environ["PATH"], "PLAIN": "handed on"}
        return connect(kubeconfig=path, environment=environment, clock=HastyClock(), wall=lambda: self.wall)

    def asked(self) -> list[dict[str, Any]]:
        """The questions so far."""
        return [json.loads(line) for line in (self.folder / "asked").read_text().splitlines()]


@pytest.fixture
def fake(tmp_path: Path) -> Fake:
    return Fake(tmp_path)


@pytest.mark.parametrize("version", [V1, V1BETA1])
async def test_a_plugin_gives_a_token_and_is_asked_in_its_own_version(fake: Fake, version: str) -> None:
    fake.says(version, token="t1")
    credentials = fake.connection(version, args=["get", "token"], env=[{"name": "EXTRA", "value": "set"}]).credentials
    assert await credentials.current() == bearer("t1")
    assert fake.asked() == [{"apiVersion": version, "kind": "ExecCredential", "spec": {"interactive": False}}]
    assert (fake.folder / "how").read_text() == "get token|set|handed on\n"


async def test_a_plugin_is_told_of_the_cluster_if_it_wants_to_know(fake: Fake) -> None:
    fake.says(token="t1")
    authority = identity(None).authority
    (fake.folder / "ca.crt").write_bytes(authority)
    cluster = {
        "certificate-authority": "ca.crt",
        "tls-server-name": "inner",
        "extensions": [{"name": "client.authentication.k8s.io/exec", "extension": {"audience": "x"}}],
    }
    await fake.connection(cluster=cluster, provideClusterInfo=True).credentials.current()
    assert fake.asked()[0]["spec"]["cluster"] == {
        "server": "https://api.example:6443",
        "tls-server-name": "inner",
        "certificate-authority-data": base64.b64encode(authority).decode(),
        "config": {"audience": "x"},
    }


async def test_an_answer_is_kept_until_it_is_about_to_expire(fake: Fake) -> None:
    fake.says(token="t1", expirationTimestamp="2026-01-01T00:10:00Z")
    credentials = fake.connection().credentials
    assert await credentials.current() == bearer("t1")
    fake.says(token="t2")
    fake.wall = NOON + 589
    assert await credentials.current() == bearer("t1")
    fake.wall = NOON + 591
    assert await credentials.current() == bearer("t2")
    fake.wall = NOON + 1e9
    assert await credentials.current() == bearer("t2"), "no expiry, kept for ever"
    assert len(fake.asked()) == 2


async def test_however_many_wait_the_plugin_runs_once(fake: Fake) -> None:
    fake.says(token="t1")
    credentials = fake.connection().credentials
    assert set(await asyncio.gather(*(credentials.current() for _ in range(50)))) == {bearer("t1")}
    assert len(fake.asked()) == 1


async def test_a_thousand_refusals_are_one_question(fake: Fake) -> None:
    fake.says(token="t1")
    there = fake.connection()

    def only_t2(request: Request) -> Response:
        good = request.headers["authorization"] == "Bearer t2"
        return answer({"kind": "Fine"}) if good else status(401, "Unauthorized")

    async with scripted(only_t2, credentials=there.credentials) as (api, _):
        assert await there.credentials.current() == bearer("t1")
        fake.says(token="t2")
        assert await asyncio.gather(*(api.send("GET", "/x") for _ in range(100))) == [{"kind": "Fine"}] * 100
    assert len(fake.asked()) == 2


async def test_a_plugin_may_give_a_certificate(fake: Fake) -> None:
    who = identity(None)
    fake.says(clientCertificateData=who.certificate.decode(), clientKeyData=who.key.decode())
    there = fake.connection(cluster={"insecure-skip-tls-verify": True})
    given = await there.credentials.current()
    assert (given.authorization, given.pair is not None) == ("", True)
    assert there.trust is not None
    assert there.trust.context(given.pair) is not there.trust.context()


@pytest.mark.parametrize(
    ("answer_", "says"),
    [
        ("not json", "is no ExecCredential"),
        ('{"apiVersion": "v1", "kind": "Pod"}', f"prints v1 Pod, and the kubeconfig says {V1} ExecCredential"),
        (f'{{"apiVersion": "{V1BETA1}", "kind": "ExecCredential"}}', f"prints {V1BETA1} ExecCredential, and"),
        (f'{{"apiVersion": "{V1}", "kind": "ExecCredential"}}', "gives neither token nor certificate"),
        (
            f'{{"apiVersion": "{V1}", "kind": "ExecCredential", "status": {{"clientKeyData": "x"}}}}',
            "gives a certificate or a key without the other",
        ),
    ],
)
async def test_answers_that_cannot_be_used_are_said_so(fake: Fake, answer_: str, says: str) -> None:
    (fake.folder / "answer").write_text(answer_)
    with pytest.raises(Unreachable, match=says):
        await fake.connection().credentials.current()


async def test_a_plugin_that_fails_is_asked_again_the_next_time(fake: Fake) -> None:
    fake.says(token="t1")
    (fake.folder / "fail").touch()
    credentials = fake.connection().credentials
    with pytest.raises(Unreachable, match=r"user 'dev': exec .*plugin: exit status 3 login expired"):
        await credentials.current()
    (fake.folder / "fail").unlink()
    assert await credentials.current() == bearer("t1")


async def test_a_token_beside_a_plugin_wins(fake: Fake) -> None:
    exec_ = {"apiVersion": V1, "command": "./plugin", "interactiveMode": "Never"}
    path = written(fake.folder / "config", user={"token": "t0", "exec": exec_})
    assert await connect(kubeconfig=path, environment={}).credentials.current() == bearer("t0")
    assert not (fake.folder / "asked").exists()
