"""Values that cannot be: each is refused with the field and the fix."""

import math
import pickle
from collections.abc import Callable

import pytest

from quartermaster.model.errors import InvalidInput
from quartermaster.model.labels import Effect, LabelSelector, Operator, Requirement, Taint, Toleration
from quartermaster.model.node import Node
from quartermaster.model.pod import GpuRequest, Pod, PodSpec
from quartermaster.model.podgroup import PodGroup, SubGroup
from quartermaster.model.queue import Queue, QueueTree, Quota
from quartermaster.model.units import DEVICE, GIB


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: Node(name="", cpu=1, memory=1), "node: name: is empty; give every node a name"),
        (lambda: Node(name="n", cpu=-1, memory=1), "node 'n': cpu: -1 is negative; allocatable amounts are 0 or more"),
        (lambda: Node(name="n", cpu=1, memory=1, gpus=65), "node 'n': gpus: 65 devices; a node has 0 to 64 GPUs"),
        (lambda: GpuRequest(count=-1), "gpu request: count: -1 devices; ask for 0 to 64"),
        (
            lambda: GpuRequest(count=1, share=0),
            "gpu request: share: 0 micro-GPU; a share is more than 0 and at most 1000000",
        ),
        (
            lambda: GpuRequest(count=1, share=1, memory=1),
            "gpu request: memory: given beside a share; ask for a share or for memory",
        ),
        (lambda: PodSpec(memory=-1), "pod: memory: -1 is negative; requests are 0 or more"),
        (lambda: SubGroup(min=1), "sub-group '': min: 1 of 0; min lies between 0 and that count"),
        (
            lambda: SubGroup(name="s", pods=(Pod("p", PodSpec()),), children=(SubGroup(),)),
            "sub-group 's': has both pods and sub-groups; give it one of the two",
        ),
        (
            lambda: PodGroup(name="g", queue="q", root=SubGroup(pods=(Pod("p", PodSpec()),) * 2)),
            "pod group 'g': pod 'p' twice; name each pod once",
        ),
        (lambda: Quota(deserved=math.nan), "quota: deserved: nan is not usable; give 0 or more"),
        (
            lambda: Quota(over_quota_weight=math.inf),
            "quota: over_quota_weight: is infinite; weights are compared: give a finite number",
        ),
        (
            lambda: QueueTree([Queue(name="a"), Queue(name="a")]),
            "queue 'a': is defined twice; give each queue a name of its own",
        ),
        (
            lambda: QueueTree([Queue(name="a", parent="b"), Queue(name="b", parent="a")]),
            "queue 'a': parent: cycle a -> b -> a; let one of them be a top queue",
        ),
        (
            lambda: QueueTree([Queue(name="a", parent="x")]),
            "queue 'a': parent: 'x' does not exist; name an existing queue, or leave it out for a top queue",
        ),
        (
            lambda: Requirement(key="k", operator=Operator.IN),
            "requirement on label 'k': operator In with 0 values; give it at least one value(s)",
        ),
    ],
)
def test_refused_with_field_and_fix(make: Callable[[], object], message: str) -> None:
    with pytest.raises(InvalidInput) as caught:
        make()
    assert str(caught.value) == message
    again = pickle.loads(pickle.dumps(caught.value))
    assert (str(again), again.fix) == (message, caught.value.fix)


@pytest.mark.parametrize("parts", [1, 2, 3, 5, 6, 7, 9])
def test_equal_parts_of_a_gpus_memory_fit_it_exactly(parts: int) -> None:
    share = GpuRequest(count=1, memory=80 * GIB // parts).share_on(80 * GIB)
    assert share is not None
    assert parts * share <= DEVICE < parts * share + 2 * parts


def test_memory_that_no_device_has_is_no_share() -> None:
    assert GpuRequest(count=1, memory=81 * GIB).share_on(80 * GIB) is None
    assert GpuRequest(count=1, memory=1).share_on(80 * GIB) == 1


@pytest.mark.parametrize(
    ("requirement", "labels", "matches"),
    [
        (Requirement(key="a", operator=Operator.IN, values=("1", "2")), {"a": "2"}, True),
        (Requirement(key="a", operator=Operator.IN, values=("1",)), {}, False),
        (Requirement(key="a", operator=Operator.NOT_IN, values=("1",)), {}, True),
        (Requirement(key="a", operator=Operator.NOT_IN, values=("1",)), {"a": "1"}, False),
        (Requirement(key="a", operator=Operator.EXISTS), {"a": ""}, True),
        (Requirement(key="a", operator=Operator.DOES_NOT_EXIST), {"a": ""}, False),
        (Requirement(key="a", operator=Operator.GT, values=("3",)), {"a": "4"}, True),
        (Requirement(key="a", operator=Operator.LT, values=("3",)), {"a": "4"}, False),
        (Requirement(key="a", operator=Operator.GT, values=("3",)), {"a": "many"}, False),
    ],
)
def test_requirements_match_as_in_kubernetes(requirement: Requirement, labels: dict[str, str], matches: bool) -> None:
    assert requirement.matches(labels) is matches
    assert LabelSelector(requirements=(requirement,)).matches(labels) is matches


@pytest.mark.parametrize(
    ("toleration", "tolerates"),
    [
        (Toleration(exists=True), True),
        (Toleration(key="gpu", exists=True), True),
        (Toleration(key="gpu", value="yes"), True),
        (Toleration(key="gpu", value="no"), False),
        (Toleration(key="cpu", exists=True), False),
        (Toleration(key="gpu", exists=True, effect=Effect.NO_EXECUTE), False),
        (Toleration(), False),
    ],
)
def test_tolerations(toleration: Toleration, tolerates: bool) -> None:
    assert toleration.tolerates(Taint(key="gpu", value="yes")) is tolerates
