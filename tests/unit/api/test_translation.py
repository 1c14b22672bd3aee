"""Kubernetes JSON as model values."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from quartermaster.api import nodes, pods
from quartermaster.api.objects import NodeObject, PodObject, read
from quartermaster.api.quantities import milli, whole
from quartermaster.local.apiserver import quantity
from quartermaster.model.errors import InvalidInput
from quartermaster.model.labels import Effect, LabelSelector, Operator, Requirement, Taint, Toleration
from quartermaster.model.units import DEVICE, GIB, MIB


@pytest.mark.parametrize(
    ("text", "units", "thousandths"),
    [
        ("2", 2, 2000),
        ("500m", 1, 500),
        ("1.5", 2, 1500),
        ("16Gi", 16 * GIB, 16_000 * GIB),
        ("1e3", 1000, 10**6),
        ("1n", 1, 1),
    ],
)
def test_quantities(text: str, units: int, thousandths: int) -> None:
    assert (whole(text), milli(text)) == (units, thousandths)


@given(st.integers(0, 10**12), st.sampled_from(["", "m", "k", "M", "G", "Ki", "Mi", "Gi", "u", "n"]))
def test_quantities_agree_with_the_server(number: int, suffix: str) -> None:
    exact = quantity.parse(f"{number}{suffix}")
    assert whole(f"{number}{suffix}") == -(-exact.numerator // exact.denominator)


@pytest.mark.parametrize("text", ["", "x", "1Qi", "--1"])
def test_what_is_no_quantity(text: str) -> None:
    with pytest.raises(InvalidInput):
        whole(text)


def node(**more: object) -> dict[str, object]:
    return {
        "metadata": {
            "name": "n",
            "labels": {"nvidia.com/gpu.product": "NVIDIA-H200", "nvidia.com/gpu.memory": "143771"},
        },
        "spec": {"taints": [{"key": "gpu", "value": "yes", "effect": "NoSchedule"}], "unschedulable": True},
        "status": {
            "capacity": {"cpu": "8", "memory": "64Gi", "nvidia.com/gpu": "8"},
            "allocatable": {
                "cpu": "7500m",
                "memory": "60Gi",
                "pods": "110",
                "nvidia.com/gpu": "6",
                "nvidia.com/mig-1g.5gb": "7",
            },
            "conditions": [{"type": "Ready", "status": "True"}],
        },
    } | more


def test_a_node() -> None:
    found = nodes.node_from(read(NodeObject, node()))
    assert (found.cpu, found.memory, found.pods, found.gpus) == (7500, 60 * GIB, 110, 8)
    assert (found.gpu_model, found.gpu_memory, found.schedulable) == ("NVIDIA-H200", 143771 * MIB, False)
    assert found.extended == {"nvidia.com/mig-1g.5gb": 7}
    assert found.taints == (Taint(key="gpu", value="yes", effect=Effect.NO_SCHEDULE),)


def test_devices_that_are_not_offered_are_the_marked_ones_else_the_last() -> None:
    value = node()
    assert nodes.lost_devices(read(NodeObject, value)) == (7, 6)
    value["metadata"] = {"name": "n", "annotations": {"quartermaster.dev/xid": "79:0,3"}}
    assert nodes.lost_devices(read(NodeObject, value)) == (0, 3)


def test_a_node_that_is_not_ready_is_closed() -> None:
    value = {"metadata": {"name": "n"}, "status": {"conditions": [{"type": "Ready", "status": "Unknown"}]}}
    found = nodes.node_from(read(NodeObject, value))
    assert [taint.key for taint in found.taints] == ["node.kubernetes.io/not-ready"]


def pod(spec: dict[str, object], **metadata: object) -> PodObject:
    return read(PodObject, {"metadata": {"name": "p", "namespace": "team", **metadata}, "spec": spec})


def container(**requests: str) -> dict[str, object]:
    return {"name": "c", "resources": {"requests": {key.replace("_", "/"): value for key, value in requests.items()}}}


def test_requests_are_those_of_all_containers_or_of_the_largest_init_container() -> None:
    spec: dict[str, object] = {
        "containers": [container(cpu="1", memory="1Gi"), container(cpu="500m")],
        "initContainers": [container(cpu="4"), {**container(memory="2Gi"), "restartPolicy": "Always"}],
        "overhead": {"cpu": "100m"},
    }
    assert pods.requests(pod(spec).spec) == {"cpu": 4100, "memory": 3 * GIB}


def test_a_pod() -> None:
    found = pods.spec_from(
        pod(
            {
                "containers": [
                    {
                        "name": "c",
                        "resources": {"limits": {"nvidia.com/gpu": "2"}},
                        "ports": [{"containerPort": 1, "hostPort": 80}],
                    },
                    container(**{"nvidia.com/mig-1g.5gb": "1"}),
                ],
                "nodeSelector": {"zone": "a"},
                "tolerations": [{"key": "gpu", "operator": "Exists"}],
                "affinity": {
                    "nodeAffinity": {
                        "requiredDuringSchedulingIgnoredDuringExecution": {
                            "nodeSelectorTerms": [
                                {"matchExpressions": [{"key": "k", "operator": "In", "values": ["v"]}]}
                            ]
                        }
                    },
                    "podAntiAffinity": {
                        "requiredDuringSchedulingIgnoredDuringExecution": [
                            {"topologyKey": "zone", "labelSelector": {"matchLabels": {"a": "b"}}}
                        ]
                    },
                },
            },
            labels={"a": "b"},
        )
    )
    assert (found.gpu.count, found.gpu.whole, found.extended) == (2, True, (("nvidia.com/mig-1g.5gb", 1),))
    assert found.host_ports == (("TCP", 80),)
    assert found.node_selector == LabelSelector.of({"zone": "a"})
    assert found.node_affinity == (
        LabelSelector(requirements=(Requirement(key="k", operator=Operator.IN, values=("v",)),)),
    )
    assert found.tolerations == (Toleration(key="gpu", exists=True),)
    assert found.anti_affinity[0].matches(namespace="team", labels={"a": "b"})
    assert not found.anti_affinity[0].matches(namespace="other", labels={"a": "b"})


@pytest.mark.parametrize(
    ("annotations", "share", "memory"),
    [({"gpu-fraction": "0.25"}, DEVICE // 4, 0), ({"gpu-memory": "2048"}, DEVICE, 2048 * MIB)],
)
def test_shares(annotations: dict[str, str], share: int, memory: int) -> None:
    found = pods.spec_from(pod({"containers": [container()]}, annotations=annotations)).gpu
    assert (found.count, found.share, found.memory) == (1, share, memory)


@pytest.mark.parametrize("annotations", [{"gpu-fraction": "2"}, {"gpu-fraction": "half"}, {"gpu-memory": "2Gi"}])
def test_shares_that_are_none(annotations: dict[str, str]) -> None:
    with pytest.raises(InvalidInput):
        pods.spec_from(pod({"containers": [container()]}, annotations=annotations))


def test_groups() -> None:
    labels, notes = {"kueue.x-k8s.io/pod-group-name": "g"}, {"kueue.x-k8s.io/pod-group-total-count": "4"}
    assert pods.group_of(pod({}, labels=labels, annotations=notes)) == ("team/g", 4)
    assert pods.group_of(pod({})) is None


def test_a_binding_says_which_devices() -> None:
    value = pod({}, uid="u")
    assert pods.binding(value, "n", (1, 3))["metadata"]["annotations"] == {"quartermaster.dev/devices": "1,3"}
    assert "annotations" not in pods.binding(value, "n", ())["metadata"]
