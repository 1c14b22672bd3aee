"""Jain's index: its values by hand, its bounds, and what the metrics are made of."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from quartermaster.simulation.fairness import fairness, jain, service


@pytest.mark.parametrize(
    ("values", "index"),
    [
        ([0.3, 0.3, 0.3], 1.0),
        ([1.0, 0.0, 0.0, 0.0], 1 / 4),
        ([1.0, 0.5], 2.25 / 2.5),
        ([0.0, 0.0], 1.0),
        ([], 1.0),
    ],
)
def test_the_index_by_hand(values: list[float], index: float) -> None:
    assert jain(values) == pytest.approx(index)


@given(st.lists(st.floats(0.001, 1), min_size=1, max_size=50), st.floats(0.1, 10))
def test_the_index_has_bounds_and_no_unit(values: list[float], factor: float) -> None:
    index = jain(values)
    assert 1 / len(values) - 1e-9 <= index <= 1 + 1e-9
    assert jain(value * factor for value in values) == pytest.approx(index)


@pytest.mark.parametrize(
    ("duration", "completion", "expected"),
    [
        (100, 100, 1.0),
        (100, 400, 0.25),
        (1, 8, 1.0),  # A second's job that ends within ten was not kept waiting.
        (1, 100, 0.1),
        (100, 99, 1.0),  # Rounding may end a job early; nobody is served better than at once.
    ],
)
def test_service(duration: float, completion: float, expected: float) -> None:
    assert service(duration=duration, completion=completion) == pytest.approx(expected)


def test_queues_are_compared_where_there_are_several() -> None:
    assert fairness({"a": [1.0, 0.5]}) == {"fairness_jain": pytest.approx(0.9)}
    both = fairness({"a": [1.0, 0.5], "b": [0.75]})
    assert both["queue_fairness_jain"] == pytest.approx(1.0), "each queue's mean is 0.75"
    assert both["fairness_jain"] == pytest.approx(2.25**2 / (3 * (1 + 0.25 + 0.5625)))
