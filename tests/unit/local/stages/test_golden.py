"""Each case of the golden folder: an object goes in, the stages that compete for it and what they do come out."""

import importlib.util
from pathlib import Path

import pytest

from quartermaster.local.stages.table import everything

_spec = importlib.util.spec_from_file_location("stage_golden", Path(__file__).parent / "golden.py")
assert _spec is not None
assert _spec.loader is not None
golden = importlib.util.module_from_spec(_spec)
_spec.loader.exec_module(golden)

CASES: list[Path] = golden.inputs()


@pytest.mark.parametrize("path", CASES, ids=lambda path: path.name.split(".", 1)[0])
def test_outcome_is_the_written_one(path: Path) -> None:
    assert golden.outcome(path) == golden.output_of(path).read_text(), "write anew: see the docstring of golden.py"


def test_every_shipped_stage_has_a_case() -> None:
    written = "".join(golden.output_of(path).read_text() for path in CASES)
    missing = [stage.name for stage in everything() if f"stage: {stage.name}\n" not in written]
    assert missing == []
