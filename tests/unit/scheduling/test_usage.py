"""Decayed usage against the integral that it stands for."""

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from quartermaster.cluster.state import ClusterState
from quartermaster.model.errors import InvalidInput
from quartermaster.model.node import Node
from quartermaster.model.pod import GpuRequest, PodSpec
from quartermaster.model.queue import Queue, QueueTree
from quartermaster.model.units import DEVICE, GPU
from quartermaster.scheduling.fairshare import fair_shares
from quartermaster.scheduling.usage import History, held_by, with_usage

HOUR = 3600.0


def test_the_example_of_the_page() -> None:
    history = History(half_life=HOUR, window=2 * HOUR)
    history.observe(0.0, {"first": {GPU: 8}}, {GPU: 8})
    history.observe(HOUR, {"second": {GPU: 8}}, {GPU: 8})
    usage = history.usage(2 * HOUR)
    assert usage["first"][GPU] == pytest.approx(1 / 3)
    assert usage["second"][GPU] == pytest.approx(2 / 3)


def test_what_has_left_the_window_is_forgotten_and_a_part_of_it_counts_in_part() -> None:
    history = History(half_life=math.inf, window=100.0)
    history.observe(0.0, {"q": {GPU: 4}}, {GPU: 8})
    history.observe(100.0, {}, {GPU: 8})
    assert history.usage(100.0) == {"q": {GPU: 0.5}}
    assert history.usage(150.0) == {"q": {GPU: 0.25}}
    assert history.usage(200.0) == {}


def test_a_tumbling_window_begins_anew() -> None:
    history = History(half_life=math.inf, window=100.0, tumbling=True)
    history.observe(0.0, {"q": {GPU: 8}}, {GPU: 8})
    history.observe(90.0, {"q": {GPU: 2}}, {GPU: 8})
    assert history.usage(99.0)["q"][GPU] == pytest.approx((90 * 8 + 9 * 2) / (99 * 8))
    assert history.usage(110.0)["q"][GPU] == pytest.approx(0.25)


def test_capacity_that_changes_weighs_as_long_as_it_was_there() -> None:
    history = History(half_life=math.inf, window=1000.0)
    history.observe(0.0, {"q": {GPU: 4}}, {GPU: 4})
    history.observe(100.0, {"q": {GPU: 4}}, {GPU: 12})
    assert history.usage(200.0)["q"][GPU] == pytest.approx(800 / 1600)


def test_nothing_seen_nothing_used() -> None:
    history = History(half_life=1.0, window=10.0)
    assert history.usage(5.0) == {}
    history.observe(5.0, {"q": {GPU: 1}}, {})
    assert history.usage(6.0) == {"q": {}}


@given(
    st.lists(st.tuples(st.integers(1, 50), st.integers(0, 8)), min_size=1, max_size=12),
    st.sampled_from((20.0, 100.0)),
    st.sampled_from((60.0, 250.0)),
    st.booleans(),
)
def test_it_is_the_integral(steps: list[tuple[int, int]], half_life: float, window: float, tumbling: bool) -> None:
    history = History(half_life=half_life, window=window, tumbling=tumbling)
    now, course = 0, []
    for seconds, held in steps:
        history.observe(float(now), {"q": {GPU: held}}, {GPU: 8})
        history.usage(float(now))  # Asking changes nothing.
        course.extend([held] * seconds)
        now += seconds
    begin = now - now % window if tumbling else now - window
    # Second by second, at its middle: the decay is convex, so this differs from the integral by less than 1e-3.
    weights = {s: 0.5 ** ((now - s - 0.5) / half_life) for s in range(now) if s >= begin}
    expected = sum(course[s] * w for s, w in weights.items()) / (8 * sum(weights.values())) if weights else 0.0
    assert history.usage(float(now)).get("q", {}).get(GPU, 0.0) == pytest.approx(expected, abs=1e-3)


@given(st.lists(st.integers(0, 8), min_size=1, max_size=200))
def test_grains_bound_memory_and_keep_device_seconds(held: list[int]) -> None:
    coarse = History(half_life=math.inf, window=500.0, grain=25.0)
    for second, amount in enumerate(held):
        coarse.observe(float(second), {"q": {GPU: amount}}, {GPU: 8})
    assert coarse.usage(float(len(held))).get("q", {}).get(GPU, 0.0) == pytest.approx(sum(held) / (8 * len(held)))
    assert len(coarse._stretches) <= len(held) / 25 + 1


def test_parents_have_what_those_below_have_and_it_reaches_fair_share() -> None:
    tree = QueueTree([Queue(name="top"), Queue(name="a", parent="top"), Queue(name="b")])
    state = ClusterState([Node(name="n", cpu=1000, memory=0, gpus=8)])
    state.assume("p", PodSpec(gpu=GpuRequest(count=4)), "n", range(4), queue="a")
    state.assume("other", PodSpec(gpu=GpuRequest(count=1)), "n", (4,), queue="elsewhere")
    held = held_by(state, tree)
    assert held == {"top": {GPU: 4 * DEVICE}, "a": {GPU: 4 * DEVICE}, "b": {}}
    history = History(half_life=HOUR, window=2 * HOUR)
    history.observe(0.0, held, {GPU: 8 * DEVICE})
    later = with_usage(tree, history.usage(HOUR))
    assert later["top"].usage == {GPU: pytest.approx(0.5)}
    asked = {"a": {GPU: 8 * DEVICE}, "b": {GPU: 8 * DEVICE}}
    shares = fair_shares(later, capacity={GPU: 8 * DEVICE}, requested=asked, k=1.0)
    assert shares["b"][GPU].share > shares["a"][GPU].share


@pytest.mark.parametrize(
    ("what", "values"),
    [("half-life", {"half_life": 0.0}), ("window", {"window": math.inf}), ("grain", {"grain": 10.0})],
)
def test_bad_values(what: str, values: dict[str, float]) -> None:
    with pytest.raises(InvalidInput, match=what):
        History(**({"half_life": 1.0, "window": 10.0} | values))  # type: ignore[arg-type]


def test_time_does_not_run_backwards() -> None:
    history = History(half_life=1.0, window=10.0)
    history.observe(5.0, {}, {})
    with pytest.raises(InvalidInput, match="order of time"):
        history.observe(4.0, {}, {})
