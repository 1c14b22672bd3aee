"""``quartermaster snapshot`` and ``replay``: a cluster over HTTP into a file, and what is said of it."""

import io
import json
from pathlib import Path
from typing import Any

import msgspec
import pytest
import yaml

from quartermaster.cli.main import main
from quartermaster.controllers.scheduler.recording import Kind, Recording, packed, unpacked
from quartermaster.local.apiserver.identity import write_kubeconfig
from quartermaster.testing.kubernetes import served
from tests.unit.controllers.cluster import node, pod

ROOT = Path(__file__).parents[3]
GOLDEN = ROOT / "tests" / "golden" / "replay.txt"
Json = dict[str, Any]


def plain(value: Any) -> Json:
    found: Json = msgspec.to_builtins(value)
    return found


def gang(name: str, size: int, **more: Any) -> list[Json]:
    marks: Json = {
        "labels": {"kueue.x-k8s.io/pod-group-name": name, "quartermaster.dev/queue": more.pop("queue", "team")},
        "annotations": {"kueue.x-k8s.io/pod-group-total-count": str(more.pop("total", size))},
    }
    return [plain(pod(f"{name}-{index}", **marks, **more)) for index in range(size)]


@pytest.fixture
def file(tmp_path: Path) -> Path:
    """Two nodes; a gang that fits, one that does not, half of one, and one that another queue has to make room for."""
    quotas = {"team": 12, "rest": 4}
    queues = [
        {"metadata": {"name": name, "uid": name}, "spec": {"gpu": {"deserved": count}}}
        for name, count in quotas.items()
    ]
    pods = [
        *gang("fits", 2, gpus=1),
        *gang("huge", 3, gpus=8),
        *gang("half", 1, total=4),
        *(plain(pod(f"old-{i}", node="n-1", gpus=2, labels={"quartermaster.dev/queue": "rest"})) for i in range(4)),
        *(plain(pod(f"own-{i}", node="n-0", gpus=1, scheduler="other")) for i in range(6)),
        *gang("asks", 1, gpus=3),
    ]
    recording = Recording(
        quartermaster="1.0",
        taken=1_780_000_000.0,
        scheduler_names=["quartermaster"],
        default_queue="default",
        kinds=[
            Kind("/api/v1", "nodes", "Node", False, [plain(node(f"n-{i}")) for i in range(2)]),
            Kind("/api/v1", "pods", "Pod", True, pods),
            Kind("/apis/apiextensions.k8s.io/v1", "customresourcedefinitions", "CustomResourceDefinition", False, []),
            Kind("/apis/quartermaster.dev/v1alpha1", "queues", "Queue", False, queues),
        ],
        unread={"/apis/kai.scheduler/v1/topologies": "403: forbidden"},
    )
    path = tmp_path / "f.json.gz"
    path.write_bytes(packed(recording))
    return path


def test_what_is_said(file: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["replay", str(file)]) == 0
    out = capsys.readouterr().out
    assert out == GOLDEN.read_text(encoding="utf-8")
    assert f"```\n{out}```" in (ROOT / "docs" / "operating.md").read_text(encoding="utf-8")


def test_json_has_the_same(file: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["replay", str(file), "-o", "json"]) == 0
    found = json.loads(capsys.readouterr().out)
    text = GOLDEN.read_text(encoding="utf-8")
    assert found["cluster"] == {"nodes": 2, "gpus": 16, "pods": 17, "runningGroups": 4}
    for one in (*found["starts"], *found["waits"]):
        assert one["group"] in text
    assert [one["pod"] for one in found["starts"][0]["pods"]] == ["team/fits-0", "team/fits-1"]
    assert all(one["pod"] in text and one["reason"] in text for one in found["evictions"])


def test_what_if_goes_on_from_it(file: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    after = tmp_path / "f.yaml"
    assert main(["replay", str(file), "--to-snapshot", str(after)]) == 0
    assert capsys.readouterr().out == ""
    assert {one["name"] for one in yaml.safe_load(after.read_text())["cluster"]["nodes"]} == {"n-0", "n-1"}
    assert main(["what-if", str(after), "--add-nodes", "4xn-0"]) == 0
    said = capsys.readouterr().out
    assert "team/PodGroup/huge (queue team) starts: 3 pods on n-0-new-" in said
    assert "other schedulers  gpu       0" in said


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["no.json.gz"], "cannot be read (No such file"),
        ([__file__], "is no recording of a cluster"),
        (["{file}", "--to-snapshot", "x.txt"], "has no known ending"),
        (["{file}", "--to-snapshot", "/nowhere/x.yaml"], "cannot be written (No such file"),
    ],
)
def test_mistakes_are_one_line(file: Path, words: list[str], said: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["replay", *(word.format(file=file) for word in words)]) == 2
    captured = capsys.readouterr()
    assert said in captured.err
    assert (captured.out, captured.err.count("\n")) == ("", 1)


def test_a_cluster_over_http(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    kubeconfig, out = tmp_path / "kubeconfig", tmp_path / "now.json.gz"
    with served() as api:
        assert api.http is not None
        assert api.identity is not None
        write_kubeconfig(kubeconfig, api.http.url, api.identity)
        assert main(["snapshot", "--kubeconfig", str(kubeconfig), "-o", str(out)]) == 0
        assert "0 nodes, 0 pods" in capsys.readouterr().err
        found = unpacked(out.read_bytes(), file="f")
        assert found.scheduler_names == ["quartermaster"]
        assert ("/api/v1", "nodes") in {(kind.path, kind.plural) for kind in found.kinds}
        assert main(["replay", str(out)]) == 0
        assert "nothing waits, and nothing changes" in capsys.readouterr().out
        assert main(["migrate", "--from", "kai", "--kubeconfig", str(kubeconfig), "--context", "quartermaster"]) == 2
        assert "nothing of scheduling.run.ai and kai.scheduler was given" in capsys.readouterr().err
        assert main(["snapshot", "--kubeconfig", str(kubeconfig), "--context", "other", "-o", str(out)]) == 2
        assert "other" in capsys.readouterr().err
    for words in (["snapshot", "-o", str(out)], ["migrate", "--from", "kai"]):
        assert main([*words, "--kubeconfig", str(kubeconfig)]) == 2
        assert "error: cluster" in capsys.readouterr().err


def test_bytes_are_not_for_terminals(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    class Terminal(io.StringIO):
        def isatty(self) -> bool:
            return True

    monkeypatch.setattr("sys.stdout", Terminal())
    assert main(["snapshot"]) == 2
    assert "is a terminal" in capsys.readouterr().err
