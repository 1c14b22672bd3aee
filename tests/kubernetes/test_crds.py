"""Our kinds in a real cluster: definitions are accepted, rules hold, and ``kubectl get`` tells the story."""

import json
from collections.abc import Iterator

import pytest
import yaml

from quartermaster.api.definitions import DEFINITIONS, manifests
from tests.kubernetes.clients import Clients, clients
from tests.unit.api.own_objects import CASES, Case, Json

__all__ = ["clients"]


@pytest.fixture(scope="module")
def defined(clients: Clients) -> Iterator[Clients]:
    """A cluster with our definitions, and without them afterwards."""
    everything = yaml.safe_dump_all(manifests())
    clients.run("kubectl", "apply", "--server-side", "-f", "-", given=everything)
    names = [f"crd/{one.name}" for one in DEFINITIONS]
    clients.until("kubectl", "wait", "--for=condition=Established", *names, "--timeout=30s")
    yield clients
    clients.run("kubectl", "delete", *names)


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_every_object_of_the_table_is_taken_or_refused_with_the_reason(defined: Clients, case: Case) -> None:
    body = json.dumps(case.body)
    said = defined.run("kubectl", "create", "-n", "default", "-f", "-", given=body, code=1 if case.refused else 0)
    assert case.refused in said if case.refused else said.endswith("created")


def lines(text: str) -> list[list[str]]:
    """The rows of a table, without the age."""
    return [row.split()[:-1] for row in text.splitlines()]


def tell(defined: Clients, kind: str, name: str, status: Json) -> None:
    words = ("patch", kind, name, "-n", "default", "--subresource=status", "--type=merge", "-p")
    defined.run("kubectl", *words, json.dumps({"status": status}))


def condition(kind: str, status: str, reason: str, message: str = "") -> Json:
    at = {"lastTransitionTime": "2026-11-28T06:00:00Z", "observedGeneration": 1}
    return {"type": kind, "status": status, "reason": reason, "message": message, **at}


def test_get_and_describe_tell_the_story(defined: Clients) -> None:
    queue = {"apiVersion": "quartermaster.dev/v1alpha1", "kind": "Queue", "metadata": {"name": "story"}, "spec": {}}
    defined.run("kubectl", "create", "-f", "-", given=json.dumps(queue | {"spec": {"parent": "org"}}))
    holding = {"allocated": "12", "deserved": "8", "fairShare": "10.5", "limit": "unlimited", "requested": "20"}
    status = {
        "gpu": holding,
        "runningGroups": 3,
        "pendingGroups": 0,
        "conditions": [condition("Ready", "True", "Used")],
    }
    tell(defined, "queue", "story", status)
    said = defined.run("kubectl", "get", "qmq", "story")
    assert lines(said) == [
        ["NAME", "PARENT", "GPUS", "DESERVED", "SHARE", "LIMIT", "RUNNING", "PENDING", "READY", "REASON"],
        ["story", "org", "12", "8", "10.5", "unlimited", "3", "0", "True", "Used"],
    ]
    why = "queue 'story': limit of 6 gpu: 0 in use, 7 more asked"
    group = {"apiVersion": "quartermaster.dev/v1alpha1", "kind": "PodGroup", "metadata": {"name": "story"}}
    spec = {"queue": "story", "min": 7}
    defined.run("kubectl", "create", "-n", "default", "-f", "-", given=json.dumps(group | {"spec": spec}))
    waits = [
        condition(kind, state, "OverLimit", why) for kind, state in (("Scheduled", "False"), ("Unschedulable", "True"))
    ]
    tell(defined, "qmpg", "story", {"phase": "Pending", "running": 0, "minimum": 7, "desired": 8, "conditions": waits})
    assert lines(defined.run("kubectl", "get", "qmpg", "-n", "default", "story")) == [
        ["NAME", "QUEUE", "PHASE", "RUNNING", "MIN", "PODS", "REASON"],
        ["story", "story", "Pending", "0", "7", "8", "OverLimit"],
    ]
    assert why in defined.run("kubectl", "describe", "qmpg", "-n", "default", "story")
    assert why in defined.run("kubectl", "get", "qmpg", "-n", "default", "story", "-o", "wide")
    wait = ("wait", "qmpg/story", "-n", "default", "--for=condition=Unschedulable", "--timeout=5s")
    assert "condition met" in defined.run("kubectl", *wait)
    selected = ("get", "qmpg", "-n", "default", "--field-selector", "spec.queue=story", "-o", "name")
    assert defined.run("kubectl", *selected) == "podgroup.quartermaster.dev/story"


def test_explain_knows_every_field(defined: Clients) -> None:
    version = "--api-version=quartermaster.dev/v1alpha1"
    said = defined.run("kubectl", "explain", "queues", "--recursive", version)
    for field in ("gpuModels", "deserved", "reclaimMinRuntime", "fairShare"):
        assert field in said
    assert "What the queue is promised" in defined.run("kubectl", "explain", "queues.spec.gpu.deserved", version)
