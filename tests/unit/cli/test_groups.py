"""``groups`` from outside: files, folders, lists and standard input; the JSON schema; one line for each mistake."""

import io
import json
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml

from quartermaster.cli.main import main
from tests.unit.workloads.samples import samples

ROOT = Path(__file__).parents[3]

JOB = {"apiVersion": "batch/v1", "kind": "Job", "metadata": {"name": "j"}, "spec": {"parallelism": 2}}


def written(path: Path, *values: Any) -> str:
    path.write_text(yaml.safe_dump_all(values), encoding="utf-8")
    return str(path)


def groups(capsys: pytest.CaptureFixture[str], *arguments: str) -> list[dict[str, Any]]:
    assert main(["groups", *arguments, "-o", "json"]) == 0
    found: list[dict[str, Any]] = json.loads(capsys.readouterr().out)["groups"]
    return found


def test_the_worked_example(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(ROOT)
    assert main(["groups", "-f", "examples/phases.yaml"]) == 0
    out = capsys.readouterr().out
    assert f"```\n{out}```" in (ROOT / "docs" / "workloads.md").read_text(encoding="utf-8")


def test_json_is_the_documented_schema(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    (first, *_) = groups(capsys, "-f", written(tmp_path / "j.yaml", *samples()["jobset-exclusive-placement.yaml"]))
    part = {"min": 3, "desired": 3, "max": 3}
    near = {"topology": "", "required": "cloud.google.com/gke-nodepool", "preferred": ""}
    parts = [{"name": str(number), **part, "topology": near} for number in range(3)]
    assert first == {
        "name": "exclusive-placement",
        "namespace": "default",
        "kind": "JobSet",
        "phase": 1,
        "after": "",
        "min": 9,
        "desired": 9,
        "max": 9,
        "roles": [{"name": "workers", "min": 9, "desired": 9, "max": 9, "min_parts": 3, "parts": parts}],
        "any_role": False,
        "open": False,
        "per": "",
        "at_once": 1,
        "suspended": False,
        "queue": "default",
        "priority": "train",
        "priority_value": 50,
        "preemptible": True,
        "topology": None,
        "runtime": None,
        "min_runtime": None,
        "max_runtime": None,
        "why": first["why"],
    }
    assert "all replicated jobs start together" in first["why"]


def test_files_folders_and_lists(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    inner = tmp_path / "inner"
    inner.mkdir()
    listed = {"apiVersion": "v1", "kind": "List", "items": [JOB, {**JOB, "metadata": {"name": "k"}}]}
    (inner / "list.json").write_text(json.dumps(listed), encoding="utf-8")
    one = written(tmp_path / "one.yaml", JOB, None, JOB)
    assert [one["name"] for one in groups(capsys, "-f", str(inner))] == ["j-0", "j-1", "k-0", "k-1"]
    assert len(groups(capsys, "-f", one, str(inner))) == 8
    assert len(groups(capsys, "-f", one, "-f", str(inner))) == 8


def test_standard_input(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(yaml.safe_dump(JOB).encode())))
    assert [one["namespace"] for one in groups(capsys, "-f", "-", "-n", "ml")] == ["ml", "ml"]


def test_manifests_refer_to_each_other_across_files(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    group, job = samples()["external-podgroup-kai.yaml"]
    found = groups(capsys, "-f", written(tmp_path / "b.yaml", job), written(tmp_path / "a.yaml", group))
    assert [(one["name"], one["min"], one["desired"], one["queue"]) for one in found] == [
        ("external-batch-job", 2, 2, "default-queue")
    ]


def test_what_a_cluster_prints_is_told_once(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    def made(api: str, kind: str, name: str, by: dict[str, Any] | None, spec: Any = None) -> dict[str, Any]:
        owners = [] if by is None else [{"kind": by["kind"], "uid": by["metadata"]["uid"], "controller": True}]
        meta = {"name": name, "uid": name, "ownerReferences": owners}
        return {"apiVersion": api, "kind": kind, "metadata": meta, "spec": spec or {}}

    deployment = made("apps/v1", "Deployment", "d", None, {"replicas": 1})
    rs = made("apps/v1", "ReplicaSet", "d-1", deployment, {"replicas": 1})
    pod = made("v1", "Pod", "d-1-x", rs)
    notebook = made("kubeflow.org/v1", "Notebook", "n", None)
    owned = made("batch/v1", "Job", "own", notebook)
    found = groups(capsys, "-f", written(tmp_path / "all.yaml", deployment, rs, pod, notebook, owned))
    assert [one["name"] for one in found] == ["d-0", "n", "own-0"]


def test_a_compiled_pipeline(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    (one,) = groups(capsys, "-f", written(tmp_path / "p.yaml", *samples()["kfp-v2-gpu-train.yaml"]))
    assert (one["name"], one["queue"], one["priority"], one["per"]) == ("gpu-train-train", "team-a", "train", "run")


def test_what_has_no_groups_is_told_too(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    none = {**JOB, "spec": {"parallelism": 0}}
    file = written(tmp_path / "a.yaml", {"apiVersion": "v1", "kind": "ConfigMap"}, none)
    assert main(["groups", "-f", file]) == 0
    out = capsys.readouterr().out
    assert out.startswith("no pod groups\n")
    assert "Job: has no pods as it is" in out
    assert "ConfigMap: not a kind that makes pods, as far as is known" in out


def test_equal_groups_are_one_line_of_the_table(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    assert main(["groups", "-f", written(tmp_path / "a.yaml", JOB)]) == 0
    assert "j-0 to j-1 (2)  Job   1      1    1     main 1  default  train" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("kind: [", "a.yaml:1: "),
        ("kind: Pod\nkind: Job", "key 'kind' is given twice"),
        ("", "a.yaml: is empty; give Kubernetes objects"),
        ("- 1", "a.yaml: is no object; give a mapping with apiVersion and kind"),
        ("kind: Pod", "a.yaml: apiVersion: is missing; give that of"),
        ("apiVersion: v1\nkind: 7", "a.yaml: kind: is 7; give that of"),
        ("apiVersion: v1\nkind: Pod\n---\n{}", "a.yaml: document 2: apiVersion: is missing"),
        ("apiVersion: v1\nkind: Pod\nmetadata: 1", "a.yaml: metadata: is no mapping"),
        ("apiVersion: v1\nkind: Pod\nmetadata: {name: 7}", "a.yaml: metadata.name: is 7; give a text"),
        ("apiVersion: v1\nkind: List\nitems: [1]", "a.yaml: items[0]: is no object"),
        (
            "apiVersion: batch/v1\nkind: Job\nmetadata: {name: j}\nspec: {parallelism: many}",
            "a.yaml (Job j): spec.parallelism: 'many' is no count; give a whole number of 0 or more",
        ),
        (
            "apiVersion: v1\nkind: Pod\nmetadata: {name: p, annotations: {quartermaster.dev/max-runtime: soon}}",
            "a.yaml (Pod p): annotation quartermaster.dev/max-runtime: 'soon' is no duration",
        ),
    ],
)
def test_mistakes_are_one_line(capsys: pytest.CaptureFixture[str], tmp_path: Path, text: str, said: str) -> None:
    (tmp_path / "a.yaml").write_text(text, encoding="utf-8")
    assert main(["groups", "-f", str(tmp_path / "a.yaml")]) == 2
    out, err = capsys.readouterr()
    assert out == ""
    assert said in err
    assert err.count("\n") == 1


def test_files_that_are_not_there(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    assert main(["groups", "-f", str(tmp_path / "no")]) == 2
    assert main(["groups", "-f", str(tmp_path)]) == 2
    assert main(["groups"]) == 2
    err = capsys.readouterr().err
    assert "does not exist; name a file, a folder, or - for standard input" in err
    assert "has no manifests; their names end in .yaml, .yml, .json" in err
    assert "the following arguments are required: -f/--filename" in err
