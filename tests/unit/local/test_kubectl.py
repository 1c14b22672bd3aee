"""kubectl itself against the embedded API: what a person types, and what he reads.

Takes the kubectl of the Kubernetes lane if it was built, else the one on PATH. Where there is none, the run ends with
one red line that says so.
"""

import json
import re
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from quartermaster.testing.kubernetes import served
from tools.kubernetes.binaries import locate

DEPLOYMENT = """
apiVersion: apps/v1
kind: Deployment
metadata: {name: web}
spec:
  replicas: 2
  selector: {matchLabels: {app: web}}
  template:
    metadata: {labels: {app: web}}
    spec: {containers: [{name: c, image: nginx, ports: [{containerPort: 80}]}]}
"""


@pytest.fixture(scope="module")
def kubectl(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Any]:
    """A function that runs kubectl against a server of its own."""
    found = locate("kubectl") or shutil.which("kubectl")
    if found is None:
        pytest.skip("no kubectl: nothing was checked with the real client")
    folder = tmp_path_factory.mktemp("kubectl")

    def ask(*arguments: str, given: str | None = None, code: int = 0) -> str:
        environment = {"KUBECONFIG": str(folder / "config"), "HOME": str(folder), "PATH": "/usr/bin:/bin"}
        done = subprocess.run(
            [str(Path(found)), *arguments],
            input=given,
            capture_output=True,
            text=True,
            timeout=60,
            env=environment,
            check=False,
        )
        assert done.returncode == code, done.stdout + done.stderr
        return done.stdout + done.stderr

    with served(kubeconfig=folder / "config"):
        yield ask


def test_apply_get_scale_and_delete(kubectl: Any) -> None:
    assert kubectl("apply", "-f", "-", given=DEPLOYMENT) == "deployment.apps/web created\n"
    assert kubectl("apply", "-f", "-", given=DEPLOYMENT) == "deployment.apps/web unchanged\n"
    assert kubectl("apply", "-f", "-", given=DEPLOYMENT.replace("replicas: 2", "replicas: 3")) == (
        "deployment.apps/web configured\n"
    )
    wide = kubectl("get", "deployments", "-o", "wide")
    assert re.sub(r"\d+s|\d+m\d*s?", "AGE", re.sub(" +", " ", wide)) == (
        "NAME READY UP-TO-DATE AVAILABLE AGE CONTAINERS IMAGES SELECTOR\nweb 0/3 0 0 AGE c nginx app=web\n"
    )
    assert kubectl("scale", "deployment/web", "--replicas=5") == "deployment.apps/web scaled\n"
    assert kubectl("get", "deploy", "web", "-o", "jsonpath={.spec.replicas}") == "5"
    assert 'deployment.apps "web" deleted' in kubectl("delete", "deploy", "web")
    assert "NotFound" in kubectl("get", "deploy", "web", code=1)


def test_server_side_apply_and_its_conflicts(kubectl: Any) -> None:
    config = "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: shared}\ndata: {a: '%s'}\n"
    assert "serverside-applied" in kubectl("apply", "--server-side", "-f", "-", given=config % 1)
    said = kubectl("apply", "--server-side", "--field-manager=other", "-f", "-", given=config % 2, code=1)
    assert 'conflict with "kubectl"' in said
    assert "serverside-applied" in kubectl(
        "apply", "--server-side", "--field-manager=other", "--force-conflicts", "-f", "-", given=config % 2
    )


def test_creating_by_protobuf(kubectl: Any) -> None:
    assert kubectl("create", "configmap", "c", "--from-literal=k=v") == "configmap/c created\n"
    assert kubectl("create", "secret", "generic", "s", "--from-literal=k=v") == "secret/s created\n"
    assert kubectl("create", "serviceaccount", "robot") == "serviceaccount/robot created\n"
    assert json.loads(kubectl("get", "secret", "s", "-o", "json"))["data"] == {"k": "dg=="}


def test_explain_describe_and_events(kubectl: Any) -> None:
    assert "containers" in kubectl("explain", "pod.spec")
    kubectl("run", "p", "--image=nginx")
    described = kubectl("describe", "pod", "p")
    assert re.search(r"Status:\s+Pending", described)
    assert re.search(r"QoS Class:\s+BestEffort", described)
    assert kubectl("auth", "can-i", "create", "pods") == "yes\n"
    assert "system:masters" in kubectl("auth", "whoami")


def test_waiting_for_what_changes(kubectl: Any) -> None:
    kubectl("run", "w", "--image=nginx")
    status = json.dumps({"status": {"conditions": [{"type": "Ready", "status": "True"}]}})
    kubectl("patch", "pod", "w", "--subresource=status", "--type=merge", "-p", status)
    assert kubectl("wait", "pod/w", "--for=condition=Ready", "--timeout=20s") == "pod/w condition met\n"
    assert "deleted" in kubectl("delete", "pod", "w", "--timeout=20s")


def test_a_namespace_goes_away(kubectl: Any) -> None:
    kubectl("create", "namespace", "team")
    kubectl("-n", "team", "create", "configmap", "c")
    assert 'namespace "team" deleted' in kubectl("delete", "namespace", "team", "--timeout=30s")
    assert "NotFound" in kubectl("get", "namespace", "team", code=1)


def test_labels_patches_and_dry_runs(kubectl: Any) -> None:
    kubectl("create", "configmap", "l")
    assert kubectl("label", "configmap", "l", "a=b") == "configmap/l labeled\n"
    assert kubectl("annotate", "configmap", "l", "a=b") == "configmap/l annotated\n"
    assert "created (server dry run)" in kubectl("create", "configmap", "dry", "--dry-run=server")
    assert "NotFound" in kubectl("get", "configmap", "dry", code=1)
    assert "unknown field" in kubectl(
        "apply",
        "-f",
        "-",
        given="apiVersion: v1\nkind: Pod\nmetadata: {name: x}\nspec: {oops: 1, containers: [{name: a, image: i}]}\n",
        code=1,
    )
