"""Play all cases of some paths. Everything is read before anything runs: a mistake in the last file costs no wait."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from quartermaster.scheduling.cycle import cycle
from quartermaster.testing.scenarios.deciding import Decide
from quartermaster.testing.scenarios.files import find, load
from quartermaster.testing.scenarios.results import CaseResult, Report


def run(paths: Sequence[str], *, decide: Decide = cycle, tell: Callable[[CaseResult], None] | None = None) -> Report:
    """Play every case of the files and folders named, in order; `tell` hears of each as it is done.

    Raises `InvalidInput` for paths and files that cannot be used. `decide` takes the place of our cycle.
    """
    cases = [case for path in find(paths) for case in load(path)]
    results = []
    for case in cases:
        results.append(case(decide))
        if tell is not None:
            tell(results[-1])
    return Report(results)
