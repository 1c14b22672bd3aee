"""``quartermaster scenario run``: play scenarios, say what came out, exit with 1 if anything is not as written."""

from __future__ import annotations

import argparse
import json
from collections.abc import Sequence
from itertools import groupby

from quartermaster.testing.scenarios.results import CaseResult, Outcome, Report
from quartermaster.testing.scenarios.runner import run

EXIT_DIFFERENT = 1


def command(options: argparse.Namespace) -> int:
    """Everything is read, then played, then printed (as a table: case by case)."""
    if options.output == "json":
        report = run(options.paths)
        print(json.dumps(report.as_json(), indent=1))
    else:
        report = run(options.paths, tell=_Told(verbose=options.verbose))
        print(*summary(report), sep="\n")
    return 0 if report.passed else EXIT_DIFFERENT


class _Told:
    """Prints cases as they are done, under a line with their file."""

    def __init__(self, *, verbose: bool) -> None:
        self._verbose = verbose
        self._file = ""

    def __call__(self, case: CaseResult) -> None:
        if case.file != self._file:
            self._file = case.file
            print(case.file)
        verdict = "pass" if case.outcome.passes else "FAIL"
        print(f"  {verdict}  {case.outcome.value:13}  {case.id:10}  {case.name}")
        if self._verbose or not case.outcome.passes:
            for difference in case.differences:
                print(f"          {difference}")


def summary(report: Report) -> list[str]:
    """A row per file, the total, and the percentages of the cases that can be compared."""
    files = [(file, list(cases)) for file, cases in groupby(report.cases, key=lambda case: case.file)]
    width = max([*(len(file) for file, _ in files), len("total")], default=5)
    heads = [outcome.value for outcome in Outcome]
    lines = ["", f"{'file':{width}}  {'cases':>6}  " + "  ".join(f"{head:>13}" for head in heads)]
    for file, cases in (*files, ("total", list(report.cases))):
        counts = Report(cases).counts()
        lines.append(f"{file:{width}}  {len(cases):6}  " + "  ".join(f"{counts[head]:13}" for head in heads))
    return [*lines, *_percentages(report.cases, report.counts(comparable=True))]


def _percentages(cases: Sequence[CaseResult], counts: dict[str, int]) -> list[str]:
    total = sum(counts.values())
    if not total:
        return []
    same, valid = counts[Outcome.SAME], counts[Outcome.SAME] + counts[Outcome.EQUALLY_VALID]
    left_out = len(cases) - total
    of = f"{total} cases" + (f" (without {left_out} that need MIG instances or resource claims)" if left_out else "")
    return [f"of {of}: {100 * same / total:.1f} % same, {100 * valid / total:.1f} % same or equally valid"]
