"""From the paths of the command line to cases that can be played: which files, in which order, read by whom."""

from __future__ import annotations

import gzip
import zlib
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Final

from quartermaster.model.errors import InvalidInput
from quartermaster.testing.scenarios.deciding import Decide
from quartermaster.testing.scenarios.kai.case import Case as KaiCase
from quartermaster.testing.scenarios.kai.case import File as KaiFile
from quartermaster.testing.scenarios.kai.case import read as read_kai
from quartermaster.testing.scenarios.kai.judging import judge
from quartermaster.testing.scenarios.results import CaseResult
from quartermaster.testing.scenarios.timeline.document import Scenario, read
from quartermaster.testing.scenarios.timeline.judging import judge as judge_scenario
from quartermaster.testing.scenarios.timeline.judging import prepare

SUFFIXES: Final = (".yaml", ".yml", ".json", ".json.gz")

Playable = Callable[[Decide], CaseResult]
"""A case that was read and waits to be played."""


def find(paths: Sequence[str]) -> list[Path]:
    """The files meant by `paths`, those of a folder (and below it) by name.

    Raises `InvalidInput` for a path that is not there, holds no scenarios or is of another kind.
    """
    found: list[Path] = []
    for given in paths:
        path = Path(given)
        if path.is_dir():
            inside = sorted(file for file in path.rglob("*") if file.is_file() and file.name.endswith(SUFFIXES))
            if not inside:
                raise InvalidInput(given, "holds no scenarios", f"name a folder with {', '.join(SUFFIXES)} files")
            found.extend(inside)
        elif not path.is_file():
            raise InvalidInput(given, "does not exist", "name a scenario file or a folder of them")
        elif not path.name.endswith(SUFFIXES):
            raise InvalidInput(given, "is no scenario file", f"name a file that ends in {', '.join(SUFFIXES)}")
        else:
            found.append(path)
    return list(dict.fromkeys(found))


def load(path: Path) -> list[Playable]:
    """The cases of one file; raises `InvalidInput` with file and field if it cannot be understood."""
    file = str(path)
    try:
        text = path.read_bytes()
        if path.suffix == ".gz":
            text = gzip.decompress(text)
    except (OSError, EOFError, zlib.error) as wrong:
        raise InvalidInput(file, f"cannot be read ({wrong})", "check the file and its permissions") from None
    if path.name.endswith((".json", ".json.gz")):
        return list(_kai(read_kai(text, file=file), file))
    return list(_own(read(text, file=file), file))


def _kai(document: KaiFile, file: str) -> Iterator[Playable]:
    def playable(case: KaiCase) -> Playable:
        return lambda decide: judge(case, document.default_plugins, file=file, decide=decide)

    return map(playable, document.cases)


def _own(scenarios: Sequence[Scenario], file: str) -> Iterator[Playable]:
    def playable(scenario: Scenario) -> Playable:
        prepare(scenario, file=file)
        return lambda decide: judge_scenario(scenario, file=file, decide=decide)

    return map(playable, scenarios)
