"""The real control plane starts, answers as whom it should, and leaves nothing behind."""

import os
import subprocess
from pathlib import Path

import pytest

from quartermaster.local.real.controlplane import NotReady, running
from tests.kubernetes.fixtures import program
from tests.kubernetes.server import Server, ask, from_kubeconfig
from tools.kubernetes.binaries import BINARIES, version


def test_the_server_is_the_pinned_release(kubernetes: Server) -> None:
    status, body = ask(kubernetes, "/version")
    assert status == 200
    assert body["gitVersion"] == version(BINARIES["kube-apiserver"])


def test_its_token_is_the_administrators(kubernetes: Server) -> None:
    assert ask(kubernetes, "/api/v1/secrets")[0] == 200
    assert ask(kubernetes, "/api/v1/secrets", token="other")[0] == 401


def test_nothing_runs_beside_it(kubernetes: Server) -> None:
    status, body = ask(kubernetes, "/apis/coordination.k8s.io/v1/namespaces/kube-system/leases")
    assert status == 200
    assert {lease["metadata"]["name"].split("-")[0] for lease in body["items"]} == {"apiserver"}


def test_a_component_that_dies_is_reported_with_its_log(kubernetes: Server, tmp_path: Path) -> None:
    programs = {name: program(name) for name in ("kube-apiserver", "etcd")}
    flags = ["--authorization-mode=Nonsense"]
    with pytest.raises(NotReady, match="Nonsense"), running(programs, folder=tmp_path, flags=flags):
        pytest.fail("it started")
    assert not (tmp_path / "etcd").exists(), "the data of the attempts is gone"


def test_kubectl_works_with_the_kubeconfig(kubernetes: Server, tmp_path: Path) -> None:
    path = tmp_path / "kubeconfig"
    path.write_text(kubernetes.kubeconfig(), encoding="utf-8")
    kubectl = [str(program("kubectl")), f"--kubeconfig={path}", f"--cache-dir={tmp_path / 'cache'}"]
    answer = subprocess.run(
        [*kubectl, "create", "namespace", "by-kubectl"], capture_output=True, text=True, check=False
    )
    assert (answer.returncode, answer.stdout, answer.stderr) == (0, "namespace/by-kubectl created\n", "")
    assert ask(kubernetes, "/api/v1/namespaces/by-kubectl")[0] == 200


def test_helm_works_with_the_kubeconfig(kubernetes: Server, tmp_path: Path) -> None:
    path = tmp_path / "kubeconfig"
    path.write_text(kubernetes.kubeconfig(), encoding="utf-8")
    chart = tmp_path / "chart"
    (chart / "templates").mkdir(parents=True)
    (chart / "Chart.yaml").write_text("{apiVersion: v2, name: small, version: 0.1.0}", encoding="utf-8")
    (chart / "templates" / "one.yaml").write_text(
        "{apiVersion: v1, kind: ConfigMap, metadata: {name: '{{ .Release.Name }}'},"
        " data: {kube: '{{ .Capabilities.KubeVersion }}'}}",
        encoding="utf-8",
    )
    helm = [
        str(program("helm")),
        "install",
        "a",
        str(chart),
        f"--kubeconfig={path}",
        "-n=by-helm",
        "--create-namespace",
    ]
    homes = {f"HELM_{kind}_HOME": str(tmp_path / kind) for kind in ("CACHE", "CONFIG", "DATA")}
    answer = subprocess.run(helm, capture_output=True, text=True, check=False, env={**os.environ, **homes})
    assert answer.returncode == 0, answer.stderr
    made = ask(kubernetes, "/api/v1/namespaces/by-helm/configmaps/a")[1]
    assert made["data"] == {"kube": version(BINARIES["kube-apiserver"])}


@pytest.mark.parametrize("ca", [None, "-----BEGIN CERTIFICATE-----\n"])
def test_a_kubeconfig_says_all_of_a_server(ca: str | None, tmp_path: Path) -> None:
    server = Server(url="https://127.0.0.1:1", token="t", ca=ca)
    path = tmp_path / "kubeconfig"
    path.write_text(server.kubeconfig(), encoding="utf-8")
    assert from_kubeconfig(path) == server
    path.write_text(path.read_text(encoding="utf-8").replace('"token"', '"password"'), encoding="utf-8")
    with pytest.raises(ValueError, match="no token"):
        from_kubeconfig(path)
