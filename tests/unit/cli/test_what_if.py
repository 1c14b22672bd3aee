"""``what-if`` from outside: the worked example word for word, the JSON schema, and one line for each mistake."""

import json
from pathlib import Path

import pytest

from quartermaster.cli.main import main

ROOT = Path(__file__).parents[3]
SNAPSHOT = str(ROOT / "examples" / "snapshot.yaml")
BATCH = str(ROOT / "examples" / "batch.yaml")
GOLDEN = ROOT / "tests" / "golden" / "what_if_submit.txt"


def test_the_worked_example(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["what-if", SNAPSHOT, "--submit", BATCH]) == 0
    out = capsys.readouterr().out
    assert out == GOLDEN.read_text(encoding="utf-8")
    assert f"```\n{out}```" in (ROOT / "docs" / "what-if.md").read_text(encoding="utf-8")


def test_json_is_the_documented_schema(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["what-if", SNAPSHOT, "--add-nodes", "2xb-1", "--quota", "research.gpu.limit=40", "-o", "json"]) == 0
    document = json.loads(capsys.readouterr().out)
    assert set(document) == {"changes", "groups", "waiting", "queues", "rested"}
    assert document["changes"] == ["add 2 nodes like b-1", "set research.gpu.limit to 40"]
    assert document["groups"] == [
        {
            "group": "train",
            "queue": "research",
            "becomes": "starts",
            "before": {"running": False, "pods": 0, "nodes": {}},
            "after": {"running": True, "pods": 2, "nodes": {"b-1-new-0": 1, "b-1-new-1": 1}},
            "reasons": [],
        }
    ]
    assert (document["waiting"], document["rested"]) == ([], True)
    (research,) = [row for row in document["queues"] if (row["queue"], row["resource"]) == ("research", "gpu")]
    assert research["before"] == {"deserved": 16, "limit": None, "fair_share": 24, "used": 20}
    assert research["after"] == {"deserved": 16, "limit": 40, "fair_share": 36, "used": 36}


def test_one_group_is_explained_alone(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["what-if", SNAPSHOT, "--explain", "train"]) == 0
    out = capsys.readouterr().out
    assert "the best of 2 domains, rack 'r1', takes 0 of 2 pods, 2 missing" in out
    assert "deserved" not in out
    assert main(["what-if", SNAPSHOT, "--explain", "service"]) == 0
    assert "nothing changes for service" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["--add-nodes", "2xb-9"], "--add-nodes: node 'b-9': does not exist; name one of: b-1, b-0"),
        (["--add-nodes", "nodes"], "--add-nodes: 'nodes': does not exist; name a file, or give COUNTxNODE, such as"),
        (["--add-nodes", "0xb-1"], "--add-nodes: 0xb-1: adds no node; give 1 or more"),
        (["--remove-node", "b"], "--remove-node: node 'b': does not exist; name one of:"),
        (
            ["--quota", "gpu=3"],
            "--quota: 'gpu=3': is no quota; give QUEUE.RESOURCE.WHAT=VALUE, such as a.gpu.deserved=8",
        ),
        (["--quota", "research.tpu.limit=3"], "--quota: 'research.tpu.limit=3': there is no resource 'tpu'; name gpu,"),
        (["--quota", "research.gpu.limit=-3"], "--quota: '-3': is no number; give 0 or more, or `none`"),
        (
            ["--quota", "research.gpu.limit=3"],
            "--quota: queue 'research': gpu: deserves 16 above its limit of 3; raise",
        ),
        (
            ["--quota", "research.memory.limit=lots"],
            "--quota: 'lots': 'lots' is no amount of memory: give bytes, or an",
        ),
        (["--quota", "nobody.gpu.limit=3"], "--quota: queue 'nobody': does not exist; name one of:"),
        (["--submit", "gone.yaml"], "--submit: 'gone.yaml': does not exist; name a file, or give a file of workloads"),
        (
            ["--submit", BATCH, "--submit", BATCH],
            "--submit: workload 'batch': is there already; give it a name of its own",
        ),
        (["--evict", "trane"], "--evict: workload 'trane': does not exist; name one of: train"),
        (["--evict", "train"], "--evict: workload 'train': has no pods on nodes; name one that runs"),
        (["--explain", "trane"], "--explain: there is no 'trane'; name one of: train"),
    ],
)
def test_bad_input_is_one_line_that_names_the_flag(
    arguments: list[str], said: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["what-if", SNAPSHOT, *arguments]) == 2
    streams = capsys.readouterr()
    assert streams.out == ""
    assert streams.err.startswith(f"error: {said}"), streams.err
    assert streams.err.count("\n") == 1
