"""Each setup that is timed against KAI, small: the plan is what KAI decides there."""

import pytest

from benchmarks import kai_setups as setups
from benchmarks.kai_setups import Outcome, Setup
from quartermaster.scheduling.rules import Action

SMALL: dict[str, tuple[Setup, Outcome]] = {
    "fill": (setups.fill(4), Outcome(bound=32)),
    "gang in one rack": (setups.rack_gang(4, size=12, rack=2, fits=True), Outcome(bound=12)),
    "gang larger than a rack": (setups.rack_gang(4, size=12, rack=1, fits=False), Outcome(waiting=12)),
    "one GPU short, whole nodes": (setups.one_gpu_short(4, size=3), Outcome(waiting=3)),
    "one GPU short, singles": (setups.one_gpu_short(4, size=24, gpus=1), Outcome(waiting=24)),
    "more tasks than racks": (setups.too_few_racks(4, size=3, racks=2, apart=True), Outcome(waiting=3)),
    "more tasks than a rack has nodes": (setups.too_few_racks(4, size=3, racks=2, apart=False), Outcome(waiting=3)),
    "reclaim one": (setups.reclaim_one(4), Outcome(nominated=1, evicted=1)),
    "reclaim half": (setups.reclaim_large_gang(4), Outcome(nominated=2, evicted=16)),
    "reclaim all": (setups.reclaim_all(4), Outcome(nominated=32, evicted=32)),
    "consolidate": (setups.consolidate(4, size=3), Outcome(nominated=3, moved=3)),
    "idle": (setups.idle(4), Outcome()),
}


@pytest.mark.parametrize("name", SMALL)
def test_decides_as_kai_does(name: str) -> None:
    setup, counts = SMALL[name]
    assert setup.expected == counts
    state = setup.state()
    plan = setup.decide(state, setup.policies())
    setup.check(plan)
    plan.apply(state)
    assert state.gpu_free.min() >= 0


@pytest.mark.parametrize("name", [name for name, (_, counts) in SMALL.items() if counts.waiting])
def test_a_refusal_is_explained_by_the_full_cycle(name: str) -> None:
    setup, _ = SMALL[name]
    plan = setup.decide(setup.state(), setup.policies(tuple(Action)))
    assert setup.outcome(plan) == setup.expected
    (verdict,) = plan.unschedulable
    assert verdict.group == "gang"
    assert str(verdict.explanation)


def test_another_outcome_is_refused() -> None:
    setup, plan = setups.reclaim_one(4), setups.idle(4)
    with pytest.raises(AssertionError, match="KAI"):
        setup.check(plan.decide(plan.state(), plan.policies()))
