"""Prometheus' own code scrapes a running controller: its manager, parser and storage, and the rules of promtool.

The program (tools/kubernetes/scraping) prints what it has stored, and on standard error what promtool would say.
"""

import json
import subprocess
from pathlib import Path

import pytest

from quartermaster.controllers.scheduler.metrics import Metrics
from quartermaster.testing.kubernetes import served
from tests.kubernetes.fixtures import program
from tests.unit.cli.test_controller import DEADLINE_S, PODS, Running, send, workload

pytestmark = pytest.mark.kubernetes


def test_prometheus_scrapes_every_metric_and_finds_no_fault(tmp_path: Path) -> None:
    scraping, kubeconfig = program("scraping"), tmp_path / "kubeconfig"
    with served(controllers=False, kubeconfig=kubeconfig) as api:
        running = Running(
            tmp_path, "--kubeconfig", str(kubeconfig), "--metrics-port", "0", "--metrics-host", "127.0.0.1",
            "--log-format", "json", "--scheduler-name", "default-scheduler",
        )  # fmt: skip
        try:
            send(api, "POST", PODS, workload("waits", gpus=1))
            running.until("quartermaster_queue_gpus|default|allocated", 0)
            done = subprocess.run(
                [scraping, f"127.0.0.1:{running.port}"], capture_output=True, text=True, timeout=DEADLINE_S, check=False
            )
        finally:
            running.process.kill()
            running.process.wait()
            assert running.process.stdout is not None
            running.process.stdout.close()
    assert (done.returncode, done.stderr) == (0, "")
    series = [json.loads(line) for line in done.stdout.splitlines()]
    values = {one["labels"]["__name__"]: float(one["value"]) for one in series}
    assert values["up"] == values["quartermaster_leading"] == 1
    once_something_happens = {"quartermaster_bindings_total", "quartermaster_evictions_total"}
    names = {f"{one.name}_bucket" if one.type == "histogram" else one.name for one in Metrics().described}
    assert names - once_something_happens <= values.keys()
