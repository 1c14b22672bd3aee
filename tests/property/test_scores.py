"""One class at a time or in columns: filters and scores say the same, to the last bit."""

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from quartermaster.cluster.state import ClusterState
from quartermaster.model.node import Node
from quartermaster.model.pod import GpuRequest, PodSpec
from quartermaster.model.podgroup import PodGroup
from quartermaster.model.units import DEVICE
from quartermaster.scheduling import filters
from quartermaster.scheduling.cycle import Policies, cycle
from quartermaster.scheduling.policies.base import PlacementPolicy, ScoresOne
from quartermaster.scheduling.policies.fragmentation import Mix
from quartermaster.scheduling.policies.quartermaster import Quartermaster
from quartermaster.scheduling.policies.simple import BinPack, Spread
from quartermaster.scheduling.policies.worth import Worth
from quartermaster.scheduling.view import ClassView
from quartermaster.testing.clusters import gpu_requests, groups, nodes, specs


def mixes() -> st.SearchStrategy[Mix]:
    """Mixes whose probabilities, cpu and shares are no round numbers, so that sums do round."""
    cpus = st.sampled_from((0, 300, 700, 1100, 3000))
    share = st.sampled_from((DEVICE // 3, DEVICE // 7, 123_456)).map(lambda share: GpuRequest(count=1, share=share))
    demands = st.builds(lambda cpu, gpu: PodSpec(cpu=cpu, gpu=gpu), cpus, st.one_of(gpu_requests(), share))
    return st.lists(demands, max_size=40).map(Mix.of)


def full(cluster: list[Node], waiting: list[PodGroup], policy: PlacementPolicy) -> ClusterState:
    """The cluster with what fits of the groups on it."""
    state = ClusterState(cluster)
    plan = cycle(state.borrow(), Policies(placement=policy), groups=waiting, now=0.0, rng=np.random.default_rng(1))
    plan.apply(state)
    return state


@given(nodes(), groups(), specs(), st.one_of(st.sampled_from((BinPack(), Spread())), mixes().map(Quartermaster)))
def test_one_class_scores_as_in_columns(
    cluster: list[Node], waiting: list[PodGroup], spec: PodSpec, policy: PlacementPolicy
) -> None:
    state = full(cluster, waiting, policy)
    shape = state.shape(spec)
    live = state.live_classes().tolist()
    one_by_one = [number for number in live if filters.fitting(state, [number], shape)]
    padded = live * (filters.FEW + 1)
    assert set(filters.fitting(state, padded, shape)) == set(one_by_one)
    scorer = policy.bind(state)
    assert isinstance(scorer, ScoresOne)
    columns = scorer.score(ClassView(state, np.array(one_by_one, dtype=np.int64)), shape)
    levels = [None] * len(one_by_one) if columns.level is None else columns.level.tolist()
    expected = list(zip(columns.score.tolist(), levels, strict=True))
    assert expected == [scorer.score_one(state, number, shape) for number in one_by_one]


@given(nodes(), groups(), mixes(), st.integers(0, 4))
def test_one_class_is_worth_what_it_is_in_columns(
    cluster: list[Node], waiting: list[PodGroup], mix: Mix, taken: int
) -> None:
    """Scores are cut to steps, which hides a last bit until it decides; worths are not."""
    state = full(cluster, waiting, Quartermaster(mix))
    worth, profiles, keys = Worth(mix), state.classes.profiles, state.classes.keys
    view = ClassView(state, state.live_classes())
    accepted, cpu = worth.accepted(profiles)[view.profile], view.free[:, 0]
    room = worth.room(view.devices.astype(np.int64))
    together = worth.worth(accepted, cpu, room).tolist()
    fewer = worth.worth(accepted, cpu, worth.without(room, taken)).tolist()
    for number, whole, less in zip(view.ids.tolist(), together, fewer, strict=True):
        profile, free, devices, _, _ = keys[number]
        assert worth.of(profiles, profile, free[0], devices) == whole
        assert worth.of_less(profiles, profile, free[0], devices, taken=taken) == less
