"""``quartermaster up --api real`` as a process: the demonstration on a kube-apiserver, and what it leaves behind."""

import contextlib
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.kubernetes.fixtures import program
from tests.kubernetes.server import Server, ask, from_kubeconfig

pytestmark = pytest.mark.kubernetes

Json = dict[str, Any]
WITHIN_S = 240.0


@contextlib.contextmanager
def up(folder: Path, *arguments: str) -> Iterator[tuple[subprocess.Popen[str], Server]]:
    """A running cluster, from when it says how to stop it; everything that it writes is in `folder`."""
    (assets,) = {program(name).parent for name in ("kube-apiserver", "etcd", "kube-controller-manager")}
    environment = os.environ | {
        "KUBEBUILDER_ASSETS": str(assets),
        "HOME": str(folder),
        "XDG_RUNTIME_DIR": str(folder),
        "TMPDIR": str(folder),
        "KUBECONFIG": str(folder / "kubeconfig"),
    }
    with (folder / "output").open("w") as output:
        process = subprocess.Popen(
            [sys.executable, "-m", "quartermaster", "up", "--api", "real", "--port", "0", *arguments],
            env=environment,
            stdout=output,
            stderr=output,
            text=True,
            start_new_session=True,
        )
    try:
        eventually(lambda: "\nstop: " in said(folder) or process.poll() is not None, folder)
        assert process.poll() is None, said(folder)
        yield process, from_kubeconfig(folder / "kubeconfig")
    finally:
        process.kill()
        process.wait()


def said(folder: Path) -> str:
    return (folder / "output").read_text()


def eventually(holds: Callable[[], object], folder: Path) -> None:
    deadline = time.monotonic() + WITHIN_S
    while not holds():
        assert time.monotonic() < deadline, said(folder)
        time.sleep(0.1)


def processes_of(folder: Path) -> list[str]:
    """Command lines of living processes that name the folder."""
    found = []
    for path in Path("/proc").glob("[0-9]*/cmdline"):
        with contextlib.suppress(OSError):
            found.append(path.read_bytes().replace(b"\0", b" ").decode(errors="replace"))
    return [line for line in found if str(folder) in line]


def status(value: Json, kind: str) -> str:
    return next((item["status"] for item in value["status"].get("conditions", ()) if item["type"] == kind), "")


def test_the_demonstration_runs_on_a_real_server_and_ctrl_c_leaves_no_process(tmp_path: Path) -> None:
    with up(tmp_path, "--demo", "--speed", "240") as (process, server):

        def items(path: str) -> list[Json]:
            code, body = ask(server, path)
            assert code == 200, body
            found: list[Json] = body["items"]
            return found

        eventually(lambda: [status(node, "Ready") for node in items("/api/v1/nodes")] == ["True"] * 12, tmp_path)
        eventually(lambda: "node.kubernetes.io/not-ready" not in str(items("/api/v1/nodes")), tmp_path)
        pods = "/api/v1/namespaces/demo/pods"
        gang = f"{pods}?labelSelector=job-name%3Dpretrain"
        eventually(lambda: [pod["status"]["phase"] for pod in items(gang)] == ["Running"] * 3, tmp_path)
        assert {pod["spec"]["nodeName"][:5] for pod in items(gang)} == {"h100-"}
        waiting = f"{pods}?labelSelector=job-name%3Dalign"
        eventually(lambda: [status(pod, "PodScheduled") for pod in items(waiting)] == ["False"] * 2, tmp_path)
        jobs = "/apis/batch/v1/namespaces/demo/jobs"
        eventually(
            lambda: {"quantize"} <= {job["metadata"]["name"] for job in items(jobs) if status(job, "Complete")},
            tmp_path,
        )
        (chat,) = items("/apis/apps/v1/namespaces/demo/deployments")
        assert chat["status"]["readyReplicas"] >= 6
        assert [job for job in items(jobs) if job["metadata"]["name"].startswith("drift-check-")]
        assert len(processes_of(tmp_path)) == 3, "etcd, kube-apiserver, kube-controller-manager"
        process.send_signal(signal.SIGINT)
        assert process.wait(60) == 0, said(tmp_path)
    assert processes_of(tmp_path) == []
    assert "Traceback" not in said(tmp_path)


def test_killed_hard_it_takes_its_servers_along(tmp_path: Path) -> None:
    with up(tmp_path) as (process, _):
        assert processes_of(tmp_path)
        process.kill()
        eventually(lambda: processes_of(tmp_path) == [], tmp_path)


def test_a_data_directory_keeps_what_there_was_and_reset_empties_it(tmp_path: Path) -> None:
    data = ("--data-dir", str(tmp_path / "data"))
    with up(tmp_path, *data) as (process, server):
        eventually(lambda: len(ask(server, "/api/v1/nodes")[1]["items"]) == 12, tmp_path)
        before = ask(server, "/api/v1/nodes/cpu-0")[1]["metadata"]["uid"]
        process.terminate()
        assert process.wait(60) == 0, said(tmp_path)
    with up(tmp_path, *data) as (process, server):
        assert ask(server, "/api/v1/nodes/cpu-0")[1]["metadata"]["uid"] == before
        process.send_signal(signal.SIGHUP)
        eventually(lambda: said(tmp_path).count("\nstop: ") == 2, tmp_path)
        again = from_kubeconfig(tmp_path / "kubeconfig")
        assert ask(again, "/api/v1/nodes/cpu-0")[1]["metadata"]["uid"] != before


def test_a_server_that_dies_is_told_with_its_last_words(tmp_path: Path) -> None:
    with up(tmp_path) as (process, _):
        (etcd,) = [path for path in Path("/proc").glob("[0-9]*/cmdline") if _is_etcd_of(path, tmp_path)]
        os.kill(int(etcd.parent.name), signal.SIGKILL)
        assert process.wait(60) == 2
    assert "etcd ended with -9" in said(tmp_path)
    assert said(tmp_path).splitlines()[-1].startswith("error: --api real: does not run")
    assert "Traceback" not in said(tmp_path)


def _is_etcd_of(path: Path, folder: Path) -> bool:
    try:
        command = path.read_bytes().decode(errors="replace").split("\0")
    except OSError:
        return False
    return command[0].endswith("/etcd") and any(str(folder) in part for part in command)
