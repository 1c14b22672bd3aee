"""The scenarios that are shipped as examples come out as they say, every one."""

from pathlib import Path

import pytest

from quartermaster.testing.scenarios import run

SCENARIOS = sorted((Path(__file__).parents[4] / "scenarios").glob("*.yaml"))


def test_there_are_some() -> None:
    assert len(SCENARIOS) >= 10


@pytest.mark.parametrize("path", SCENARIOS, ids=lambda path: path.stem)
def test_each_comes_out_as_written(path: Path) -> None:
    report = run([str(path)])
    assert [(case.outcome.value, case.differences) for case in report.cases] == [("same", ())] * len(report.cases)
