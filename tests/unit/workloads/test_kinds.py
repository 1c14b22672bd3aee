"""Every kind, field by field: absent, elastic, suspended, none. The cases are data, in cases.yaml."""

from dataclasses import asdict
from pathlib import Path
from typing import Any

import pytest
import yaml

from quartermaster.model.errors import InvalidInput
from quartermaster.workloads.catalogue import KINDS, Part
from quartermaster.workloads.group import Group
from quartermaster.workloads.grouping import READERS, groups_of
from tests.unit.workloads.samples import find, parsed, runtimes

CASES: list[dict[str, Any]] = yaml.safe_load((Path(__file__).parent / "cases.yaml").read_text(encoding="utf-8"))


def told(group: Group, keys: set[str]) -> dict[str, Any]:
    """As much of a group as a case speaks of."""
    said: dict[str, Any] = {}
    for key in keys - {"n", "why"}:
        value = getattr(group, "roles" if key == "parts" else key)
        if key == "roles":
            said[key] = {role.name: [role.min, role.desired, role.max] for role in value}
        elif key == "parts":
            said[key] = {role.name: [role.min_parts, len(role.parts)] for role in value if role.parts}
        else:
            said[key] = asdict(value) if key == "topology" and value is not None else value
    return said


@pytest.mark.parametrize("case", CASES, ids=[case["case"] for case in CASES])
def test_a_kind(case: dict[str, Any]) -> None:
    given = case["given"] if isinstance(case["given"], list) else [case["given"]]
    found = list(groups_of(given[0], lookup=find((*given, *runtimes())), parse=parsed))
    for expected in case["groups"]:
        keys = set(expected)
        copies = [found.pop(0) for _ in range(expected.get("n", 1)) if found]
        assert len(copies) == expected.get("n", 1), "fewer groups"
        want = {key: value for key, value in expected.items() if key not in ("n", "why")}
        if "parts" in want:
            want["parts"] = {**told(copies[0], {"parts"})["parts"], **want["parts"]}
        assert told(copies[0], keys) == want
        assert {copy.min for copy in copies} == {copies[0].min}
        assert expected.get("why", "") in "; ".join(copies[0].why)
    assert [group.name for group in found] == [], "more groups"


def test_every_kind_of_workload_is_read_and_has_a_case() -> None:
    known = {key for key, kind in KINDS.items() if kind.part is Part.WORKLOAD}
    assert set(READERS) == known
    tried = {
        (one["apiVersion"].rpartition("/")[0], one["kind"])
        for case in CASES
        for one in (case["given"] if isinstance(case["given"], list) else [case["given"]])
    }
    untried = {key for key in known if key not in tried}
    assert untried == ALIKE


ALIKE = {
    # read by the very function of another kind that has cases
    ("", "ReplicationController"),
    ("run.ai", "InteractiveWorkload"),
    ("run.ai", "DistributedWorkload"),
    ("run.ai", "InferenceWorkload"),
    ("run.ai", "DistributedInferenceWorkload"),
    ("grove.io", "PodCliqueScalingGroup"),
}


@pytest.mark.parametrize(
    ("kind", "spec", "said"),
    [
        ("apps/v1 Deployment", {"replicas": 10**9}, "replicas: 1000000000 groups"),
        ("apps/v1 Deployment", {"replicas": -1}, "spec.replicas: -1 is no count"),
        ("apps/v1 Deployment", {"replicas": True}, "spec.replicas: True is no count"),
        ("apps/v1 Deployment", {"template": []}, "spec.template: is []"),
        ("ray.io/v1 RayCluster", {"workerGroupSpecs": {}}, "spec.workerGroupSpecs: is {}; give a list"),
        (
            "ray.io/v1 RayCluster",
            {"workerGroupSpecs": [{"replicas": 10**9, "numOfHosts": 2}]},
            "spec.workerGroupSpecs[0].replicas: is 1000000000",
        ),
        (
            "jobset.x-k8s.io/v1alpha2 JobSet",
            {"replicatedJobs": [{"name": "x", "replicas": 10**9}]},
            "spec.replicatedJobs[0].replicas: is 1000000000",
        ),
        (
            "grove.io/v1alpha1 PodCliqueSet",
            {"template": {"podCliqueScalingGroups": [{"name": "x", "replicas": 10**9}]}},
            "podCliqueScalingGroups[0].replicas: is 1000000000",
        ),
        (
            "batch.volcano.sh/v1alpha1 Job",
            {"runningEstimate": "soon", "tasks": [{}]},
            "spec.runningEstimate: 'soon' is",
        ),
        ("batch/v1 Job", {"suspend": "yes"}, "spec.suspend: is 'yes'; give true or false"),
        (
            "batch/v1 Job",
            {"template": {"spec": {"subdomain": []}}, "completionMode": "Indexed"},
            "spec.subdomain: is []",
        ),
    ],
)
def test_what_cannot_be_read_is_told_by_its_field(kind: str, spec: dict[str, Any], said: str) -> None:
    version, _, name = kind.partition(" ")
    with pytest.raises(InvalidInput) as wrong:
        groups_of({"apiVersion": version, "kind": name, "metadata": {"name": "a"}, "spec": spec})
    assert said in str(wrong.value)


def test_what_is_referred_to_is_no_group() -> None:
    assert groups_of({"apiVersion": "scheduling.k8s.io/v1", "kind": "PriorityClass", "metadata": {"name": "a"}}) == ()
    assert groups_of({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "a"}}) == ()
