"""What is said of topology, time, quota and rules that cannot be meant."""

import math
from collections.abc import Callable

import pytest

from quartermaster.model.disruption import DisruptionBudget
from quartermaster.model.errors import InvalidInput
from quartermaster.model.labels import LabelSelector
from quartermaster.model.pod import Pod, PodSpec
from quartermaster.model.podgroup import PodGroup, SubGroup
from quartermaster.model.queue import Queue, Quota
from quartermaster.model.topology import Level, Topology, TopologyConstraint
from quartermaster.scheduling.rules import Rules

POD = Pod("p", PodSpec())
ROOT = SubGroup(pods=(POD,))
FABRIC = Topology(name="fabric", levels=(Level(label="zone"), Level(label="rack", alias="r")))


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (
            lambda: SubGroup(name="w", pods=(POD,), min=2),
            "sub-group 'w': min: 2 of 1; min lies between 0 and that count",
        ),
        (
            lambda: SubGroup(name="w", pods=(POD,), children=(ROOT,)),
            "sub-group 'w': has both pods and sub-groups; give it one of the two",
        ),
        (
            lambda: SubGroup.segments("w", [POD], size=0, topology=TopologyConstraint(topology="f", required="r")),
            "sub-group 'w': segment size: is 0; give 1 or more",
        ),
        (
            lambda: PodGroup(name="g", queue="q", root=ROOT, runtime=-1.0),
            "pod group 'g': runtime: -1.0 is not usable; give 0 s or more",
        ),
        (
            lambda: PodGroup(name="g", queue="q", root=ROOT, max_runtime=math.nan),
            "pod group 'g': max_runtime: nan is not usable; give 0 s or more",
        ),
        (
            lambda: PodGroup(name="g", queue="q", root=ROOT, preemption_delay=-5.0),
            "pod group 'g': preemption_delay: -5.0 is not usable; give 0 s or more",
        ),
        (
            lambda: Queue(name="q", quotas={"gpu": Quota(deserved=8, limit=4)}),
            "queue 'q': gpu: deserves 8 above its limit of 4; raise the limit or lower what it deserves",
        ),
        (
            lambda: Queue(name="q", reclaim_min_runtime=-1.0),
            "queue 'q': reclaim_min_runtime: -1.0 is not usable; give 0 s or more",
        ),
        (
            lambda: FABRIC.depth("pod"),
            "topology 'fabric': level 'pod': does not exist; use one of: zone, r",
        ),
        (
            lambda: TopologyConstraint(topology="fabric", required="rack", preferred="zone").check(FABRIC),
            "topology constraint on 'fabric': preferred: level 'zone' is coarser than the required 'rack'; "
            "prefer the same or a finer level",
        ),
        (
            lambda: TopologyConstraint(topology="fabric"),
            "topology constraint on 'fabric': asks for nothing; give a required or a preferred level",
        ),
        (
            lambda: Topology(name="fabric", levels=(Level(label="rack"), Level(label="host", alias="rack"))),
            "topology 'fabric': levels: 'rack' twice; give each level a label and alias of its own",
        ),
        (
            lambda: Topology(name="fabric", levels=()),
            "topology 'fabric': levels: 0 given; give 1 to 16",
        ),
        (
            lambda: DisruptionBudget(name="b", namespace="", selector=LabelSelector(), allowed=-1),
            "disruption budget 'b': allowed: -1 is negative; give 0 or more",
        ),
        (
            lambda: Rules(saturation_multiplier=0.5),
            "rules: saturation_multiplier: is 0.5; give 1 or more",
        ),
        (
            lambda: Rules(max_moves=-1),
            "rules: max_moves: is -1; give 0 or more, or none for any number",
        ),
    ],
)
def test_refused_with_field_and_fix(make: Callable[[], object], message: str) -> None:
    with pytest.raises(InvalidInput) as caught:
        make()
    assert str(caught.value) == message
