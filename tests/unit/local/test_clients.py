"""helm and kube-scheduler, built from their own source, against the embedded API. In the lane `kubernetes`."""

import json
import os
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from quartermaster.testing.kubernetes import served
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


def test_helm_installs_upgrades_and_uninstalls(kubeconfig: Path) -> None:
    helm, kubectl, chart = program("helm"), program("kubectl"), kubeconfig.parent / "demo"
    asked(kubeconfig, helm, "create", str(chart))
    assert "STATUS: deployed" in asked(kubeconfig, helm, "install", "release", str(chart))
    assert "release-demo" in asked(kubeconfig, kubectl, "get", "deployments")
    asked(kubeconfig, helm, "upgrade", "release", str(chart), "--set", "replicaCount=3")
    found = json.loads(asked(kubeconfig, kubectl, "get", "deployment", "release-demo", "-o", "json"))
    assert found["spec"]["replicas"] == 3
    assert json.loads(asked(kubeconfig, helm, "list", "-o", "json"))[0]["revision"] == "2"
    asked(kubeconfig, helm, "uninstall", "release")
    assert json.loads(asked(kubeconfig, kubectl, "get", "deployments", "-o", "json"))["items"] == []


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
