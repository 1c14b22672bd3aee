"""What is made from other files and checked in says what it was made from."""

import json
from pathlib import Path
from typing import Any

import pytest
import yaml

from tools.generated import CHART, ROOT, files

FILES = files()


@pytest.mark.parametrize("path", FILES, ids=str)
def test_made_files_are_as_they_would_be_made(path: Path) -> None:
    assert (ROOT / path).read_text(encoding="utf-8") == FILES[path], "run: python -m tools.generated"


def test_no_made_file_is_left_over() -> None:
    there = {path.relative_to(ROOT) for path in (ROOT / CHART / "files/crds").iterdir()}
    assert there == {path for path in FILES if "crds" in path.parts}


def test_every_value_of_the_chart_is_in_its_schema_and_the_other_way_round() -> None:
    values = yaml.safe_load((ROOT / CHART / "values.yaml").read_text(encoding="utf-8"))
    schema = json.loads((ROOT / CHART / "values.schema.json").read_text(encoding="utf-8"))

    def compare(part: dict[str, Any], given: dict[str, Any], path: str) -> None:
        assert set(part["properties"]) - {"global"} == set(given), path
        for name, value in given.items():
            inner = part["properties"][name]
            assert inner.get("description"), f"{path}{name}"
            if "properties" in inner:
                compare(inner, value, f"{path}{name}.")

    compare(schema, values, "")


def test_the_chart_has_the_version_of_the_program() -> None:
    from quartermaster import __version__  # noqa: PLC0415

    chart = yaml.safe_load((ROOT / CHART / "Chart.yaml").read_text(encoding="utf-8"))
    assert chart["appVersion"] == __version__
