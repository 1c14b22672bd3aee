"""One class at a time or in columns: filters and scores say the same, to the last bit."""

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from quartermaster.cluster.state import ClusterState
from quartermaster.model.node import Node
from quartermaster.model.pod import PodSpec
from quartermaster.model.podgroup import PodGroup
from quartermaster.scheduling import filters
from quartermaster.scheduling.cycle import Policies, cycle
from quartermaster.scheduling.policies.base import ScoresOne
from quartermaster.scheduling.policies.simple import BinPack, Spread
from quartermaster.scheduling.view import ClassView
from quartermaster.testing.clusters import groups, nodes, specs


@given(nodes(), groups(), specs(), st.sampled_from((BinPack(), Spread())))
def test_one_class_scores_as_in_columns(
    cluster: list[Node], waiting: list[PodGroup], spec: PodSpec, policy: BinPack | Spread
) -> None:
    state = ClusterState(cluster)
    shape = state.shape(spec)
    cycle(state.borrow(), Policies(placement=policy), groups=waiting, now=0.0, rng=np.random.default_rng(1)).apply(
        state
    )
    live = state.live_classes().tolist()
    one_by_one = [number for number in live if filters.fitting(state, [number], shape)]
    padded = live * (filters.FEW + 1)
    assert set(filters.fitting(state, padded, shape)) == set(one_by_one)
    scorer = policy.bind(state)
    assert isinstance(scorer, ScoresOne)
    columns = scorer.score(ClassView(state, np.array(one_by_one, dtype=np.int64)), shape).score.tolist()
    assert columns == [scorer.score_one(state, number, shape) for number in one_by_one]
