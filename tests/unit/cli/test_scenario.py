"""``quartermaster scenario run`` from outside: exit codes, the stable JSON, and what people read."""

import gzip
import json
import shutil
from pathlib import Path

import pytest

from quartermaster.cli.main import main
from quartermaster.cli.scenario import summary
from quartermaster.testing.scenarios.results import CaseResult, Outcome, Report

SCENARIOS = Path(__file__).parents[3] / "scenarios"
GOOD = """\
name: Two of four
cluster: {nodes: [{name: node, gpus: 4}]}
workloads: [{name: job, count: 2, pod: {gpus: 1}}]
until: 1m
expect: [{group: job, running: 2}]
"""


@pytest.fixture
def files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "good.yaml").write_text(GOOD)
    (tmp_path / "bad.yaml").write_text(GOOD.replace("running: 2", "running: 3"))
    return tmp_path


def test_json_is_the_documented_schema(files: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["scenario", "run", "good.yaml", "bad.yaml", "-o", "json"]) == 1
    document = json.loads(capsys.readouterr().out)
    assert set(document) == {"cases", "counts"}
    assert document["counts"] == {"same": 1, "equally-valid": 0, "different": 1, "error": 0}
    good, bad = document["cases"]
    seconds = good.pop("seconds")
    assert 0 <= seconds < 60
    assert good == {
        "id": "good", "name": "Two of four", "file": "good.yaml", "outcome": "same", "differences": [],
    }  # fmt: skip
    assert bad["outcome"] == "different"
    assert bad["differences"] == ["at 1m: group job has 2 pods running, expected 3 (expect[0])"]


def test_the_table_tells_each_case_with_its_difference(files: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["scenario", "run", "."]) == 1
    assert capsys.readouterr().out.splitlines() == [
        "bad.yaml",
        "  FAIL  different      bad         Two of four",
        "          at 1m: group job has 2 pods running, expected 3 (expect[0])",
        "good.yaml",
        "  pass  same           good        Two of four",
        "",
        "file        cases           same  equally-valid      different          error",
        "bad.yaml        1              0              0              1              0",
        "good.yaml       1              1              0              0              0",
        "total           2              1              0              1              0",
        "of 2 cases: 50.0 % same, 50.0 % same or equally valid",
    ]


def test_recorded_cases_are_read_packed_or_not(files: Path, capsys: pytest.CaptureFixture[str]) -> None:
    packed = SCENARIOS / "kai" / "actions-allocate-interpod_affinity_test.json.gz"
    (files / "open.json").write_bytes(gzip.decompress(packed.read_bytes()))
    shutil.copy(packed, files / "packed.json.gz")
    assert main(["scenario", "run", "open.json", "packed.json.gz", "-o", "json"]) == 0
    cases = json.loads(capsys.readouterr().out)["cases"]
    assert [case["id"] for case in cases] == ["08b27429ce", "4a3d41a909"] * 2
    assert {case["outcome"] for case in cases} == {"same"}


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["run"], "error: the following arguments are required: PATH (see: quartermaster scenario run --help)"),
        ([], "error: the following arguments are required: COMMAND (see: quartermaster scenario --help)"),
        (["run", "gone.yaml"], "error: gone.yaml: does not exist; name a scenario file or a folder of them"),
        (
            ["run", "good.yaml", "wrong.yaml"],
            "error: wrong.yaml: until: 'x' is no time: give seconds, or a time such as",
        ),
        (["run", "good.yaml", "-o", "csv"], "error: argument -o/--output: invalid choice: 'csv'"),
    ],
)
def test_what_cannot_be_used(files: Path, capsys: pytest.CaptureFixture[str], arguments: list[str], said: str) -> None:
    (files / "wrong.yaml").write_text(GOOD.replace("1m", "x"))
    assert main(["scenario", *arguments]) == 2
    out, err = capsys.readouterr()
    assert err.startswith(said)
    assert err.count("\n") == 1
    assert not out, "nothing runs before everything is read"


def case(outcome: Outcome, *, file: str = "f", beyond: str = "") -> CaseResult:
    return CaseResult(id="i", name="n", file=file, outcome=outcome, differences=(), seconds=0.1, beyond=beyond)


def test_percentages_leave_out_what_cannot_be_compared() -> None:
    report = Report(
        [
            case(Outcome.SAME),
            case(Outcome.EQUALLY_VALID),
            case(Outcome.DIFFERENT),
            case(Outcome.SAME),
            case(Outcome.ERROR, beyond="mig"),
        ]
    )
    assert report.counts() == {"same": 2, "equally-valid": 1, "different": 1, "error": 1}
    assert summary(report)[-1] == (
        "of 4 cases (without 1 that need MIG instances or resource claims): 50.0 % same, 75.0 % same or equally valid"
    )
    assert not report.passed
    assert Report([case(Outcome.SAME), case(Outcome.EQUALLY_VALID)]).passed
    assert summary(Report([case(Outcome.ERROR, beyond="dra")]))[-1].startswith("total")
