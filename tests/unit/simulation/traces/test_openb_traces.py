"""The openb reader: units, sharing of equal requests, and the numbers its data is known by."""

import gzip
import pickle
from pathlib import Path

import pytest

from quartermaster.model.pod import GpuRequest
from quartermaster.model.units import DEVICE, MIB
from quartermaster.simulation.traces.cluster import ClusterTrace
from quartermaster.simulation.traces.openb import read_openb, read_pods
from quartermaster.simulation.traces.source import TraceSource

NODES = "sn,cpu_milli,memory_mib,gpu,model\nn1,64000,1024,2,P100\nn0,32000,512,0,\n"
PODS = (
    "name,cpu_milli,memory_mib,num_gpu,gpu_milli,gpu_spec\n"
    "b,4000,512,1,460,P100\n"
    "a,4000,512,2,1000,\n"
    "c,4000,512,1,460,P100|P100\n"
    "d,8000,0,0,0,\n"
    "e,4000,512,1,460,P100\n"
)

REQUESTED = {
    "default": (8152, 0.980),
    "cpu050": (7439, 0.980),
    "cpu072": (7608, 0.980),
    "cpu200": (8832, 0.980),
    "gpushare40": (8152, 0.908),
    "gpushare80": (8152, 0.710),
    "gpuspec05": (8152, 0.980),
    "gpuspec10": (8152, 0.980),
    "gpuspec25": (8152, 0.980),
    "multigpu20": (8324, 1.141),
    "multigpu40": (8746, 1.520),
}


def load(name: str) -> ClusterTrace:
    trace = TraceSource(name=name).load()
    assert isinstance(trace, ClusterTrace)
    return trace


@pytest.fixture
def small(tmp_path: Path) -> ClusterTrace:
    (tmp_path / "nodes.csv").write_text(NODES, encoding="utf-8")
    (tmp_path / "pods.csv").write_text(PODS, encoding="utf-8")
    return read_openb(nodes=tmp_path / "nodes.csv", pods=tmp_path / "pods.csv", name="small")


def test_amounts_are_in_the_units_of_the_model(small: ClusterTrace) -> None:
    node, cpu_only = small.nodes
    assert (node.name, node.cpu, node.memory, node.gpus, node.gpu_model) == (
        "n1",
        64000,
        1024 * MIB,
        2,
        "P100",
    )
    assert (cpu_only.gpus, cpu_only.gpu_model) == (0, "")
    share, whole, _, none, _ = (pod.spec for pod in small.pods)
    assert (share.cpu, share.memory) == (4000, 512 * MIB)
    assert share.gpu == GpuRequest(count=1, share=460_000, models=frozenset({"P100"}))
    assert whole.gpu == GpuRequest(count=2, share=DEVICE)
    assert none.gpu == GpuRequest()


def test_pods_keep_the_order_of_the_file(small: ClusterTrace) -> None:
    assert [pod.name for pod in small.pods] == ["b", "a", "c", "d", "e"]


def test_equal_requests_are_one_object_however_they_are_written(
    small: ClusterTrace,
) -> None:
    specs = [pod.spec for pod in small.pods]
    assert specs[0] is specs[4] is specs[2]


def test_equal_requests_stay_one_object_in_another_process(small: ClusterTrace) -> None:
    copy = pickle.loads(pickle.dumps(small))
    assert copy == small
    assert copy.pods[0].spec is copy.pods[4].spec


def test_compressed_files_are_recognised_by_content(tmp_path: Path, small: ClusterTrace) -> None:
    for name in ("pods.csv.gz", "pods.zip"):
        (tmp_path / name).write_bytes(gzip.compress(PODS.encode()))
        assert read_pods(tmp_path / name) == small.pods


def test_a_byte_order_mark_and_dos_line_ends_are_read(tmp_path: Path, small: ClusterTrace) -> None:
    (tmp_path / "dos.csv").write_bytes(b"\xef\xbb\xbf" + PODS.replace("\n", "\r\n").encode())
    assert read_pods(tmp_path / "dos.csv") == small.pods


def test_lifetimes_are_kept_where_the_file_has_them(tmp_path: Path, small: ClusterTrace) -> None:
    assert small.lifetimes is None
    assert load("openb/multigpu20").lifetimes is None
    lifetimes = load("openb/default").lifetimes
    assert lifetimes is not None
    assert lifetimes[:2] == ((0, 12537496), (427061, 12902960))


def test_the_cluster_is_that_of_the_published_results() -> None:
    trace = load("openb/default")
    assert len(trace.nodes) == 1213
    assert trace.gpus == 6212
    assert sum(node.cpu for node in trace.nodes) == 107_018_000
    assert sum(node.memory for node in trace.nodes) == 503_828_480 * MIB
    assert sum(1 for node in trace.nodes if node.gpu_model == "G2") == 549


@pytest.mark.parametrize("variant", REQUESTED)
def test_every_list_asks_for_what_it_is_known_to_ask_for(variant: str) -> None:
    trace = load(f"openb/{variant}")
    pods, ratio = REQUESTED[variant]
    assert len(trace.pods) == pods
    assert round(trace.gpu_demand / (trace.gpus * DEVICE), 3) == ratio
    assert len({id(pod.spec) for pod in trace.pods}) == len({pod.spec for pod in trace.pods}) < 500


@pytest.mark.parametrize(
    ("variant", "percent"),
    [("gpuspec05", 5.2), ("gpuspec10", 10.4), ("gpuspec25", 24.9)],
)
def test_the_lists_with_models_name_them_as_often_as_documented(variant: str, percent: float) -> None:
    gpu_pods = [pod for pod in load(f"openb/{variant}").pods if pod.spec.gpu.count]
    named = sum(1 for pod in gpu_pods if pod.spec.gpu.models)
    assert round(100 * named / len(gpu_pods), 1) == percent
