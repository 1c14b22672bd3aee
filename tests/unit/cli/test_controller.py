"""``quartermaster controller`` as a process on an API over HTTP: it decides, is scraped, logs, and ends when told."""

import json
import os
import re
import select
import signal
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from prometheus_client.parser import text_string_to_metric_families

from quartermaster.controllers.scheduler.metrics import Metrics
from quartermaster.local.apiserver.local import LocalApi
from quartermaster.testing.kubernetes import served

DEADLINE_S = 60.0
Json = dict[str, Any]

NODE: Json = {
    "metadata": {"name": "n-0"},
    "status": {
        "capacity": {"cpu": "8", "memory": "32Gi", "pods": "10", "nvidia.com/gpu": "4"},
        "allocatable": {"cpu": "8", "memory": "32Gi", "pods": "10", "nvidia.com/gpu": "4"},
        "conditions": [{"type": "Ready", "status": "True"}],
    },
}


class Running:
    """The process, what it has said, and what it serves."""

    def __init__(self, folder: Path, *arguments: str) -> None:
        self.log = folder / "log"
        with self.log.open("w") as log:
            self.process = subprocess.Popen(
                [sys.executable, "-m", "quartermaster", "controller", *arguments],
                env=os.environ | {"HOME": str(folder)},
                text=True,
                stdout=subprocess.PIPE,
                stderr=log,
            )
        assert self.process.stdout is not None
        assert select.select([self.process.stdout], [], [], DEADLINE_S)[0], self.log.read_text()
        said = re.search(r"on port (\d+)", self.process.stdout.readline())
        assert said is not None, self.log.read_text()
        self.port = int(said[1])

    def get(self, path: str) -> tuple[str, str]:
        """Content type and text."""
        with urllib.request.urlopen(f"http://127.0.0.1:{self.port}{path}", timeout=10) as answer:
            return answer.headers["Content-Type"], answer.read().decode()

    def samples(self) -> dict[str, float]:
        """By name and labels, as they are written."""
        families = text_string_to_metric_families(self.get("/metrics")[1])
        return {
            one.name + "".join(f"|{value}" for value in one.labels.values()): one.value
            for family in families
            for one in family.samples
        }

    def until(self, name: str, value: float) -> dict[str, float]:
        """The samples once that one is so much."""
        end = time.monotonic() + DEADLINE_S
        while (found := self.samples()).get(name) != value:
            assert time.monotonic() < end, (name, found.get(name), self.log.read_text())
            time.sleep(0.05)
        return found

    def lines(self) -> list[Json]:
        return [json.loads(line) for line in self.log.read_text().splitlines()]


@pytest.fixture(scope="module")
def scene(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Running, LocalApi]]:
    """A controller that leads on an API with one node."""
    folder = tmp_path_factory.mktemp("controller")
    kubeconfig = folder / "kubeconfig"
    with served(controllers=False, kubeconfig=kubeconfig) as api:
        running = Running(
            folder, "--kubeconfig", str(kubeconfig), "--metrics-port", "0", "--metrics-host", "127.0.0.1",
            "--log-format", "json", "--leader-elect", "--scheduler-name", "default-scheduler",
        )  # fmt: skip
        try:
            yield running, api
        finally:
            running.process.kill()
            running.process.wait()
            assert running.process.stdout is not None
            running.process.stdout.close()


def send(api: LocalApi, method: str, path: str, body: Json) -> None:
    """One request, as the cluster's master."""
    assert api.http is not None
    assert api.identity is not None
    media = "application/merge-patch+json" if method == "PATCH" else "application/json"
    headers = {"Authorization": f"Bearer {api.identity.token}", "Content-Type": media}
    request = urllib.request.Request(f"{api.http.url}{path}", json.dumps(body).encode(), headers, method=method)
    urllib.request.urlopen(request, timeout=10, context=api.identity.client_tls()).close()


def workload(name: str, *, gpus: int, gang: str = "") -> Json:
    resources = {"limits": {"nvidia.com/gpu": str(gpus)}}
    metadata: Json = {"name": name}
    if gang:
        metadata["labels"] = {"kueue.x-k8s.io/pod-group-name": gang}
        metadata["annotations"] = {"kueue.x-k8s.io/pod-group-total-count": "2"}
    return {"metadata": metadata, "spec": {"containers": [{"name": "c", "image": "i", "resources": resources}]}}


PODS = "/api/v1/namespaces/default/pods"


def test_it_decides_and_its_numbers_say_so(scene: tuple[Running, LocalApi]) -> None:
    running, api = scene
    running.until("quartermaster_leading", 1)
    send(api, "POST", "/api/v1/nodes", {"metadata": {"name": "n-0"}})
    send(api, "PATCH", "/api/v1/nodes/n-0/status", {"status": NODE["status"]})
    send(api, "PATCH", "/api/v1/nodes/n-0", {"spec": {"taints": None}})
    for index in range(2):
        send(api, "POST", PODS, workload(f"gang-{index}", gpus=2, gang="gang"))
    send(api, "POST", PODS, workload("large", gpus=8))
    send(api, "POST", PODS, workload("short", gpus=1, gang="short"))
    running.until("quartermaster_groups_undecidable", 1)
    running.until("quartermaster_queue_gpus|default|allocated", 4)
    found = running.until("quartermaster_bindings_total|bound", 2)
    expected = {
        "quartermaster_nodes": 1,
        "quartermaster_pods": 4,
        "quartermaster_groups_waiting": 1,
        "quartermaster_groups_running": 1,
        "quartermaster_bindings_in_flight": 0,
        "quartermaster_api_writes_total|binding": 2,
        "quartermaster_api_writes_total|eviction": 0,
        "quartermaster_group_wait_seconds_count": 1,
        "quartermaster_queue_groups|default|waiting": 1,
        "quartermaster_queue_groups|default|running": 1,
    }
    for name, value in expected.items():  # some are read at once, others are reported a second later
        found = running.until(name, value)
    assert found["quartermaster_cycle_duration_seconds_count"] >= 1
    assert found["quartermaster_groups_tried_total"] >= 2
    assert found["process_resident_memory_bytes"] > 2**20
    assert running.get("/healthz")[1] == running.get("/readyz")[1] == "ok"


def test_what_is_scraped_follows_prometheus_rules(scene: tuple[Running, LocalApi]) -> None:
    kind, text = scene[0].get("/metrics")
    assert kind.startswith("text/plain")
    described = {one.name: one for one in Metrics().described}
    families = {family.name: family for family in text_string_to_metric_families(text)}
    for name, family in families.items():
        assert re.fullmatch(r"[a-z][a-z0-9]*(_[a-z0-9]+)+", name), name
        assert family.documentation.strip(), f"{name}: no HELP"
        assert family.type in {"gauge", "counter", "histogram"}, name
        assert not name.endswith(("_ms", "_milliseconds", "_minutes", "_kb", "_percent", "_total")), name
        full = f"{name}_total" if family.type == "counter" else name
        if name.startswith("quartermaster_") and not name.endswith("_created"):
            labels = {label for sample in family.samples for label in sample.labels} - {"le"}
            assert labels <= set(described[full].labels), name
            assert described[full].type == family.type, name
    counters = {f"{name}_total" for name, family in families.items() if family.type == "counter"}
    assert set(described) <= families.keys() | counters
    lines = text.splitlines()
    assert len({line for line in lines if line.startswith("# TYPE")}) == len(families), "one TYPE for each"


def test_its_log_says_what_happened_with_fields(scene: tuple[Running, LocalApi]) -> None:
    running, _ = scene
    said = running.lines()
    assert all({"time", "level", "logger", "message"} <= line.keys() for line in said)
    (leads,) = [line for line in said if " leads " in line["message"]]
    assert leads["lease"] == "default/quartermaster"
    (bound,) = [line for line in said if line["message"].startswith("bound ")]
    assert (bound["level"], bound["pods"], bound["nodes"], bound["queue"]) == ("info", 2, ["n-0"], "default")
    assert any(line.get("pods_started") == 2 for line in said)
    assert not [line for line in said if line["level"] in {"error", "critical"}]


def test_it_ends_when_told_to_and_gives_its_lease_back(scene: tuple[Running, LocalApi]) -> None:
    running, _ = scene
    running.process.send_signal(signal.SIGTERM)
    assert running.process.wait(DEADLINE_S) == 0
    assert "Traceback" not in running.log.read_text()
