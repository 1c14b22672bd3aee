"""KAI's cases on our cycle: what is different is listed with its reason, and nothing else is."""

import re
from functools import cache
from pathlib import Path

from quartermaster.testing.scenarios import Outcome, Report, run

KAI = Path(__file__).parents[4] / "scenarios" / "kai"


@cache
def report() -> Report:
    return run([str(KAI)])


def test_every_case_can_be_played() -> None:
    assert len(report().cases) == 237
    assert [(case.id, case.differences) for case in report().cases if case.outcome is Outcome.ERROR] == []


def test_what_differs_is_listed_and_nothing_else() -> None:
    rows = re.findall(r"^\| ([0-9a-f, ]+) \|", (KAI / "DIFFERENCES.md").read_text(encoding="utf-8"), flags=re.MULTILINE)
    listed = [found for row in rows for found in row.split(", ")]
    assert len(set(listed)) == len(listed)
    assert set(listed) == {case.id for case in report().cases if not case.outcome.passes}


def test_the_same_is_decided_again() -> None:
    path = KAI / "actions-reclaim-reclaim_test.json.gz"
    first, second = run([str(path)]), run([str(path)])
    assert [(case.outcome, case.differences) for case in first.cases] == [
        (case.outcome, case.differences) for case in second.cases
    ]
