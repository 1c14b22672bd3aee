"""``quartermaster up`` as a process, with the kubectl of this machine: it comes up, runs a pod, and goes on SIGINT."""

import json
import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tools.kubernetes.binaries import locate

KUBECTL = str(locate("kubectl") or "") or shutil.which("kubectl")

pytestmark = pytest.mark.skipif(
    KUBECTL is None, reason="no kubectl here; tests/unit/cli/test_up.py has the same in process"
)


@pytest.fixture
def cluster(tmp_path: Path) -> Iterator[tuple[dict[str, str], subprocess.Popen[str]]]:
    environment = os.environ | {
        "XDG_RUNTIME_DIR": str(tmp_path),
        "KUBECONFIG": str(tmp_path / "kc"),
        "HOME": str(tmp_path),
    }
    process = subprocess.Popen(
        [sys.executable, "-m", "quartermaster", "up", "--port", "0"],
        env=environment,
        text=True,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
    )
    assert process.stdout is not None
    told = []
    for line in process.stdout:
        told.append(line)
        if line.startswith("stop:"):
            break
    assert told[-1].startswith("stop:"), "".join(told)
    yield environment, process
    if process.poll() is None:
        process.kill()
    process.wait()
    process.stdout.close()


def run(environment: dict[str, str], *arguments: str) -> str:
    done = subprocess.run(arguments, env=environment, text=True, capture_output=True, timeout=60, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_kubectl_sees_machines_and_runs_a_pod(cluster: tuple[dict[str, str], subprocess.Popen[str]]) -> None:
    environment, process = cluster
    assert KUBECTL is not None
    run(environment, KUBECTL, "wait", "--for=condition=Ready", "nodes", "--all", "--timeout=20s")
    nodes: dict[str, Any] = json.loads(run(environment, KUBECTL, "get", "nodes", "-o", "json"))
    assert len(nodes["items"]) == 12
    run(environment, KUBECTL, "run", "hello", "--image=busybox", "--restart=Never")
    run(environment, KUBECTL, "wait", "--for=condition=Ready", "pod/hello", "--timeout=20s")
    assert "Started containers" in run(environment, KUBECTL, "describe", "pod", "hello")
    assert "hello starts on" in run(environment, KUBECTL, "logs", "hello")
    assert run(environment, KUBECTL, "exec", "hello", "--", "hostname") == "hello\n"
    assert len(run(environment, KUBECTL, "top", "nodes", "--no-headers").splitlines()) == 12
    status = json.loads(run(environment, sys.executable, "-m", "quartermaster", "status", "-o", "json"))
    assert (status["nodes"], status["pods"]) == ({"ready": 12, "total": 12}, {"Running": 1})
    listed = run(environment, sys.executable, "-m", "quartermaster", "fleet", "add", "hgx-h200")
    assert listed == "added hgx-h200-0\n"
    assert (
        run(environment, sys.executable, "-m", "quartermaster", "fleet", "remove", "hgx-h200-0")
        == "removed hgx-h200-0\n"
    )
    process.send_signal(signal.SIGINT)
    rest, _ = process.communicate(timeout=20)
    assert (process.returncode, "Traceback" in rest) == (0, False)
    assert run(environment, sys.executable, "-m", "quartermaster", "down") == "nothing is running\n"
