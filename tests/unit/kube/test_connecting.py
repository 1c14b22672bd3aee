"""Kubeconfigs: what is merged and chosen, which credentials follow, and what is refused with which words."""

import base64
from pathlib import Path
from typing import Any

import pytest
import yaml

from quartermaster.kube.connecting import Connection, connect
from quartermaster.kube.credentials import Credential, bearer
from quartermaster.local.apiserver.identity import identity
from quartermaster.model.errors import InvalidInput
from tests.unit.kube.serving import HastyClock

WHO = identity(None)


def written(path: Path, *, user: Any = None, cluster: Any = None, name: str = "dev", **more: Any) -> Path:
    """A kubeconfig of one context, as kubectl writes it."""
    config: dict[str, Any] = {
        "apiVersion": "v1",
        "kind": "Config",
        "preferences": {},
        "clusters": [{"name": name, "cluster": {"server": "https://api.example:6443"} | (cluster or {})}],
        "users": [{"name": name, "user": {"token": "t"} if user is None else user}],
        "contexts": [{"name": name, "context": {"cluster": name, "user": name, "namespace": "team"}}],
        "current-context": name,
    }
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(yaml.safe_dump(config | more))
    return path


def read(path: Path, **options: Any) -> Connection:
    """What `path` connects to."""
    return connect(kubeconfig=path, environment={"PATH": "/usr/bin:/bin"}, clock=HastyClock(), **options)


def refusal(path: Path, **options: Any) -> InvalidInput:
    """Why `path` is refused."""
    with pytest.raises(InvalidInput) as refused:
        read(path, **options)
    return refused.value


def test_files_are_merged_and_the_first_has_each_name(tmp_path: Path) -> None:
    one = written(tmp_path / "one", user={"token": "one"}, name="shared", **{"current-context": ""})
    two = written(tmp_path / "two", user={"token": "two", "username": "left out"}, name="shared")
    three = written(tmp_path / "three", user={"token": "three"}, name="own")
    environment = {"KUBECONFIG": f"{one}::{tmp_path / 'missing'}:{two}:{three}:{one}"}
    found = connect(environment=environment)
    assert found.credentials.credential == bearer("one")  # type: ignore[attr-defined]
    found = connect(environment=environment, context="own")
    assert found.credentials.credential == bearer("three")  # type: ignore[attr-defined]
    assert found.namespace == "team"


def test_the_file_of_the_home_folder_is_the_last_before_the_pod(tmp_path: Path) -> None:
    home = {"HOME": str(tmp_path)}
    with pytest.raises(InvalidInput, match=r"\.kube/config is not there, and this is no pod"):
        connect(environment=home)
    written(tmp_path / ".kube" / "config")
    assert connect(environment=home).server == "https://api.example:6443"
    assert connect(environment=home | {"KUBERNETES_SERVICE_HOST": "10.0.0.1"}).server == "https://api.example:6443"


def test_files_named_in_a_kubeconfig_lie_beside_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = tmp_path / "deep" / "down"
    folder.mkdir(parents=True)
    (folder / "ca.crt").write_bytes(WHO.authority)
    (folder / "token").write_text("from a file\n")
    written(folder / "config", cluster={"certificate-authority": "ca.crt"}, user={"tokenFile": "token"})
    monkeypatch.chdir(tmp_path)
    assert read(Path("deep/down/config")).trust is not None


async def test_a_token_file_is_read_again_and_wins_over_the_token(tmp_path: Path) -> None:
    token, clock = tmp_path / "token", HastyClock()
    path = written(tmp_path / "config", user={"token": "first", "tokenFile": str(token)})
    credentials = connect(kubeconfig=path, environment={}, clock=clock).credentials
    assert await credentials.current() == bearer("first")
    token.write_text("second")
    assert await credentials.current() == bearer("first"), "not read at every request"
    clock.now += 61
    assert await credentials.current() == bearer("second")
    token.write_text("third")
    assert credentials.refused(bearer("second"))
    assert await credentials.current() == bearer("third")
    token.unlink()
    clock.now += 61
    assert await credentials.current() == bearer("third"), "the last one that could be read"


async def test_a_token_file_that_is_not_there_is_said_so(tmp_path: Path) -> None:
    path = written(tmp_path / "config", user={"tokenFile": str(tmp_path / "token")})
    with pytest.raises(InvalidInput, match=r"config: user 'dev': tokenFile: .*token cannot be read \(No such file"):
        await read(path).credentials.current()


async def test_a_name_and_password_is_a_header(tmp_path: Path) -> None:
    path = written(tmp_path / "config", user={"username": "jane", "password": "s3cret"})
    said = base64.b64encode(b"jane:s3cret").decode()
    assert await read(path).credentials.current() == Credential(f"Basic {said}")


def test_certificates_are_data_or_files(tmp_path: Path) -> None:
    def data(text: bytes) -> str:
        return base64.b64encode(text).decode()

    for name, text in (("ca.crt", WHO.authority), ("c.crt", WHO.certificate), ("c.key", WHO.key)):
        (tmp_path / name).write_bytes(text)
    as_data = written(
        tmp_path / "data",
        cluster={"certificate-authority-data": data(WHO.authority), "certificate-authority": "/not/looked/at"},
        user={"client-certificate-data": data(WHO.certificate), "client-key-data": data(WHO.key)},
    )
    as_files = written(
        tmp_path / "files",
        cluster={"certificate-authority": "ca.crt"},
        user={"client-certificate": "c.crt", "client-key": "c.key"},
    )
    for path in (as_data, as_files):
        trust = read(path).trust
        assert trust is not None
        assert len(trust.context().get_ca_certs()) == 1


def test_certificates_are_read_again_when_they_change(tmp_path: Path) -> None:
    (tmp_path / "ca.crt").write_bytes(WHO.authority)
    clock = HastyClock()
    path = written(tmp_path / "config", cluster={"certificate-authority": "ca.crt"})
    trust = connect(kubeconfig=path, environment={}, clock=clock).trust
    assert trust is not None
    first = trust.context()
    clock.now += 61
    assert trust.context() is first, "the same certificates, the same context and its connections"
    (tmp_path / "ca.crt").write_bytes(identity(None).authority)
    assert trust.context() is first
    clock.now += 61
    assert trust.context() is not first


def test_impersonation_becomes_headers(tmp_path: Path) -> None:
    user = {
        "token": "t",
        "as": "jane",
        "as-uid": "7",
        "as-groups": ["a", "b"],
        "as-user-extra": {"example.com/reason": ["on call"]},
    }
    assert read(written(tmp_path / "config", user=user)).impersonate == (
        ("Impersonate-User", "jane"),
        ("Impersonate-Uid", "7"),
        ("Impersonate-Group", "a"),
        ("Impersonate-Group", "b"),
        ("Impersonate-Extra-example.com%2Freason", "on call"),
    )


def test_proxies_come_from_the_file_or_the_environment(tmp_path: Path) -> None:
    said = written(tmp_path / "said", cluster={"proxy-url": "http://proxy.example:3128"})
    plain = written(tmp_path / "plain")
    environment = {"HTTPS_PROXY": "env.example:8080"}
    assert connect(kubeconfig=said, environment=environment).proxy == "http://proxy.example:3128"
    assert connect(kubeconfig=plain, environment=environment).proxy == "http://env.example:8080"
    for rule in ("*", "api.example", ".example", "other, api.example:6443", "*.example"):
        assert connect(kubeconfig=plain, environment=environment | {"NO_PROXY": rule}).proxy == "", rule
    for rule in ("pi.example", "example.com", "10.0.0.0/8"):
        assert connect(kubeconfig=plain, environment=environment | {"NO_PROXY": rule}).proxy != "", rule
    address = written(tmp_path / "address", cluster={"server": "https://10.96.0.1"})
    assert connect(kubeconfig=address, environment=environment | {"no_proxy": "10.0.0.0/8"}).proxy == ""
    loopback = written(tmp_path / "loopback", cluster={"server": "https://127.0.0.1:6443"})
    assert connect(kubeconfig=loopback, environment=environment).proxy == ""


async def test_in_a_pod_the_service_account_is_used(tmp_path: Path) -> None:
    for name, text in (("token", "sa-1"), ("ca.crt", WHO.authority.decode()), ("namespace", "quarters")):
        (tmp_path / name).write_text(text)
    environment = {"KUBERNETES_SERVICE_HOST": "10.96.0.1", "KUBERNETES_SERVICE_PORT": "443", "HOME": "/nowhere"}
    clock = HastyClock()
    found = connect(environment=environment, clock=clock, service_account=tmp_path)
    assert (found.server, found.namespace) == ("https://10.96.0.1:443", "quarters")
    assert await found.credentials.current() == bearer("sa-1")
    (tmp_path / "token").write_text("sa-2")
    clock.now += 61
    assert await found.credentials.current() == bearer("sa-2")
    six = connect(environment=environment | {"KUBERNETES_SERVICE_HOST": "fd00::1"}, service_account=tmp_path)
    assert six.server == "https://[fd00::1]:443"
    (tmp_path / "empty").touch()
    found = connect(environment=environment | {"KUBECONFIG": str(tmp_path / "empty")}, service_account=tmp_path)
    assert found.namespace == "quarters", "an empty file names nothing"
    with pytest.raises(InvalidInput, match="automountServiceAccountToken"):
        connect(environment=environment, service_account=tmp_path / "none")


USERS: list[tuple[dict[str, Any], str]] = [
    ({"auth-provider": {"name": "gcp"}}, "user 'dev': auth-provider: 'gcp' is gone .*; install gke-gcloud-auth-plugin"),
    ({"auth-provider": {"name": "other"}}, "auth-provider: 'other' is gone .*; use an exec plugin"),
    ({"token": "t", "username": "jane"}, "user 'dev': username: stands beside a token; keep one"),
    ({"token": 12345}, r"users\[0\]\.user\.token: expected `str`, got `int`"),
    ({"client-certificate": "/no/such"}, "user 'dev': client-key: is missing beside client-certificate"),
    ({"client-key-data": "eA=="}, "user 'dev': client-certificate: is missing beside client-key"),
    ({"client-certificate-data": "!", "client-key-data": "eA=="}, "client-certificate-data: is not base64"),
    ({"client-certificate-data": "eA==", "client-key-data": "eA=="}, "client-certificate-data: cannot be used"),
    ({"client-certificate": "/no/such", "client-key": "/no/such"}, "client-certificate: /no/such cannot be read"),
    ({"as-groups": ["a"]}, "user 'dev': as: is missing beside as-groups"),
    ({"exec": {"command": "x"}}, "exec.apiVersion: is ''; set it to one of client.authentication.k8s.io/v1,"),
    (
        {"exec": {"command": "x", "apiVersion": "client.authentication.k8s.io/v1alpha1"}},
        "exec.apiVersion: is .*alpha1'",
    ),
    ({"exec": {"command": "x", "apiVersion": "client.authentication.k8s.io/v1"}}, "exec.interactiveMode: is ''"),
    (
        {"exec": {"command": "x", "apiVersion": "client.authentication.k8s.io/v1", "interactiveMode": "Sometimes"}},
        "exec.interactiveMode: is 'Sometimes'; set it to Never, IfAvailable or Always",
    ),
    (
        {"exec": {"command": "sh", "apiVersion": "client.authentication.k8s.io/v1", "interactiveMode": "Always"}},
        "exec.interactiveMode: is Always, and there is no terminal",
    ),
    (
        {"exec": {"command": "no-such-plugin", "apiVersion": "client.authentication.k8s.io/v1beta1"}},
        "exec.command: 'no-such-plugin' is no program here; install it",
    ),
    (
        {
            "exec": {
                "command": "no-such-plugin",
                "apiVersion": "client.authentication.k8s.io/v1beta1",
                "installHint": "run:\n  brew install it",
            }
        },
        "'no-such-plugin' is no program here; run: brew install it",
    ),
]


@pytest.mark.parametrize(("user", "says"), USERS)
def test_users_that_cannot_be_used_are_refused(tmp_path: Path, user: Any, says: str) -> None:
    error = refusal(written(tmp_path / "config", user=user))
    assert str(error).startswith(f"{tmp_path / 'config'}: ")
    with pytest.raises(InvalidInput, match=says):
        raise error


CLUSTERS: list[tuple[dict[str, Any], str]] = [
    ({"server": ""}, "cluster 'dev': server: is empty; give the address"),
    ({"server": "ftp://x"}, "cluster 'dev': server: is 'ftp://x'; give an address like"),
    ({"certificate-authority": "/no/such"}, "cluster 'dev': certificate-authority: /no/such cannot be read"),
    ({"certificate-authority-data": "eA=="}, "certificate-authority-data: is no PEM certificate"),
    ({"proxy-url": "socks5://x"}, "proxy-url: is 'socks5://x'; only http and https"),
    ({"insecure-skip-tls-verify": "yes"}, r"clusters\[0\]\.cluster\.insecure-skip-tls-verify: expected `bool`"),
    ({"insecure-skip-tls-verify": True, "certificate-authority": "/ca"}, "skip-tls-verify: stands beside"),
]


@pytest.mark.parametrize(("cluster", "says"), CLUSTERS)
def test_clusters_that_cannot_be_used_are_refused(tmp_path: Path, cluster: Any, says: str) -> None:
    with pytest.raises(InvalidInput, match=says):
        read(written(tmp_path / "config", cluster=cluster))


def test_contexts_that_are_not_there_are_refused_with_those_that_are(tmp_path: Path) -> None:
    path = written(tmp_path / "config")
    assert str(refusal(path, context="prod")).endswith("names context 'prod', which is not there; use one of: dev")
    path = written(tmp_path / "none", **{"current-context": ""})
    assert "current-context: is not set; name a context or run: kubectl config use-context" in str(refusal(path))
    path = written(tmp_path / "lost", contexts=[{"name": "dev", "context": {"cluster": "gone", "user": "dev"}}])
    assert "lost: context 'dev': names cluster 'gone', which is not there; use one of: dev" in str(refusal(path))
    path = written(tmp_path / "bare", contexts=[{"name": "dev", "context": {"cluster": "dev"}}])
    assert read(path).namespace == "default"


def test_files_that_are_no_kubeconfigs_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "config"
    assert str(refusal(path)).startswith(f"{path}: cannot be read (No such file or directory)")
    path.write_text("a: [")
    assert str(refusal(path)).startswith(f"{path}: is no YAML")
    path.write_bytes(b"\xff\xfe")
    assert str(refusal(path)).startswith(f"{path}: ")
    path.write_text("kind: Pod")
    assert str(refusal(path)) == f"{path}: kind: is 'Pod'; a kubeconfig has kind Config"
    path.write_text("[]")
    assert str(refusal(path)).startswith(f"{path}: content: expected `object`, got `array`")
    path.write_text("clusters: null\nusers:\n")
    assert "current-context: is not set" in str(refusal(path))


def test_a_secret_is_in_no_message(tmp_path: Path) -> None:
    path = written(tmp_path / "config", user={"token": "s3cret"}, cluster={"server": ""})
    assert "s3cret" not in str(refusal(path))
    key = base64.b64encode(WHO.key).decode()
    pair = {"client-certificate-data": base64.b64encode(WHO.certificate).decode(), "client-key-data": key}
    for user in (
        {"token": "s3cret"},
        {"token": "s3cret", "tokenFile": "x"},
        {"username": "j", "password": "s3cret"},
        pair,
    ):
        there = read(written(tmp_path / "config", user=user))
        assert there.trust is not None
        there.trust.context()
        told = repr(there)
        assert not any(secret in told for secret in ("s3cret", "ajpzM2NyZXQ", "PRIVATE KEY", key)), told
