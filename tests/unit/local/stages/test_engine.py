"""The drawing of stages: weights, luck that stays, and what a bad table says."""

import random
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from quartermaster.local.stages import paths
from quartermaster.local.stages.engine import choose, due
from quartermaster.local.stages.facts import Facts
from quartermaster.local.stages.table import everything, read
from quartermaster.model.errors import InvalidInput


def stage(name: str, *, weight: int = 0, low: int = 1000, high: int = 3000, key: str = ".metadata.name") -> str:
    return (
        f"apiVersion: quartermaster.dev/v1alpha1\nkind: Stage\nmetadata: {{name: {name}}}\nspec:\n"
        f"  resourceRef: {{resource: pods}}\n  weight: {weight}\n"
        f"  selector: {{matchExpressions: [{{key: '{key}', operator: Exists}}]}}\n"
        f"  delay: {{durationMilliseconds: {low}, jitterDurationMilliseconds: {high}}}\n---\n"
    )


def facts(now: float = 0.0, **metadata: Any) -> Facts:
    return Facts("pods", {"metadata": {"name": "p", **metadata}, "spec": {}}, now)


def test_what_has_weight_goes_before_what_has_none() -> None:
    stages = read(stage("plain") + stage("heavy", weight=1), "x")
    for seed in range(20):
        drawn = choose(stages, facts(), random.Random(seed))
        assert drawn is not None
        assert drawn.stage.name == "heavy"


def test_weights_are_odds() -> None:
    stages = read(stage("often", weight=9) + stage("seldom", weight=1), "x")
    rng = random.Random(3)
    drawn = [choose(stages, facts(), rng) for _ in range(1000)]
    often = sum(found is not None and found.stage.name == "often" for found in drawn)
    assert 860 <= often <= 940


@given(st.integers(0, 10_000), st.integers(0, 10_000), st.integers(0, 2**32))
def test_delays_lie_between_their_bounds_and_stay_while_the_stage_matches(low: int, high: int, seed: int) -> None:
    stages = read(stage("a", low=low, high=high), "x")
    first = choose(stages, facts(100.0), random.Random(seed))
    assert first is not None
    when = due(first, facts(100.0))
    assert 100 + low / 1000 <= when <= 100 + max(low, high) / 1000 + 1e-9
    later = choose(stages, facts(100.5, labels={"new": "label"}), random.Random(seed + 1), before=first)
    assert later == first
    assert due(later, facts(100.5)) == when


def test_nothing_matches() -> None:
    assert choose(read(stage("a", key=".metadata.labels"), "x"), facts(), random.Random(0)) is None


@pytest.mark.parametrize(
    ("text", "part"),
    [
        (stage("a").replace("weight: 0", "weight: -1"), "weight"),
        (stage("a").replace("weight: 0", "wait: 1"), "wait"),
        (stage("a").replace("operator: Exists", "operator: In"), "In takes"),
        (stage("a", key="metadata"), "cannot be read"),
        ("a: [", "is not YAML"),
    ],
)
def test_a_bad_table_is_one_line(text: str, part: str) -> None:
    with pytest.raises(InvalidInput) as wrong:
        read(text.replace("In takes", ""), "mine.yaml")
    assert "\n" not in str(wrong.value)
    if part != "In takes":
        assert part in str(wrong.value)


def test_own_stages_take_the_place_of_shipped_ones(tmp_path: Path) -> None:
    path = tmp_path / "mine.yaml"
    path.write_text(stage("pod-ready") + stage("pod-extra"))
    found = {item.name: item for item in everything([path])}
    assert found["pod-ready"].spec.delay.duration_milliseconds == 1000
    assert set(found) == {item.name for item in everything()} | {"pod-extra"}


@pytest.mark.parametrize(
    ("path", "value"),
    [
        ('.a["x.y/z"]', 1),
        (".list[type=B].n", 2),
        (".list[1].n", 2),
        (".list[7].n", None),
        (".a.b.c", None),
    ],
)
def test_paths(path: str, value: object) -> None:
    assert paths.look({"a": {"x.y/z": 1}, "list": [{"type": "A"}, {"type": "B", "n": 2}]}, path) == value
