"""The job readers: clocks, work and overhead, and the numbers the shipped traces are known by."""

import gzip
import pickle
from pathlib import Path

import pytest

from quartermaster.model.errors import InvalidInput
from quartermaster.simulation.traces.catalogue import (
    CATALOGUE,
    GPUS_PER_NODE,
    OFFERED_LOAD,
)
from quartermaster.simulation.traces.cluster import ClusterShape, OverheadRule
from quartermaster.simulation.traces.itp import read_itp
from quartermaster.simulation.traces.jobs import JobTrace
from quartermaster.simulation.traces.muri import TAX, read_muri, start_up
from quartermaster.simulation.traces.philly import read_philly
from quartermaster.simulation.traces.source import TraceSource

SHAPE = ClusterShape(nodes=8, gpus_per_node=8)

MURI = (
    "job_id,num_gpu,submit_time,iterations,model_name,iteration_time\n"
    "0,8,0,1000,shufflenet_v2_x1_0,886\n"
    "1,3,1456000,7,a2c,921.5\n"
)
PHILLY = (
    "timestamp,duration,num_gpus,gpu_time,cluster\n"
    "2017-10-09 07:01:55,66.0,1,66.0,11cb48\n"
    "2017-10-09 06:13:03,2951.0,2,5902.0,6214e9\n"
    "2017-10-10 06:13:03,10,1,10,6214e9\n"
)
ITP = "job,submission_time,duration,num_gpu,deadline\n0,1932025,2429,64,1933904\n1,1932125,1532,1,2002204\n"

GPU_HOURS = {
    "philly-muri/trace1": (1494, 383_326 * TAX),
    "philly-muri/trace1_pr": (1494, 383_326 * TAX),
    "philly-muri/trace3": (992, 116_689 * TAX),
    "philly-muri/trace3_pr": (992, 116_689 * TAX),
    "philly/all": (67029, 505_609),
    "itp-2021/cluster01": (1595, 22_740),
    "itp-2021/cluster02": (5778, 123_748),
    "itp-2021/cluster04": (15802, 705_683),
    "itp-2021/cluster06": (2396, 123_879),
    "itp-2021/cluster08": (13047, 67_100),
}


def load(name: str) -> JobTrace:
    trace = TraceSource(name=name).load()
    assert isinstance(trace, JobTrace)
    return trace


@pytest.mark.parametrize("name", GPU_HOURS)
def test_the_shipped_traces_hold_the_work_they_are_known_for(name: str) -> None:
    trace = load(name)
    jobs, gpu_hours = GPU_HOURS[name]
    assert len(trace.jobs) == jobs
    assert trace.gpu_hours == pytest.approx(gpu_hours, abs=1.1)


def test_muri_work_is_iterations_at_the_taxed_time(tmp_path: Path) -> None:
    (tmp_path / "jobs.csv").write_text(MURI, encoding="utf-8")
    first, second = read_muri(jobs=tmp_path / "jobs.csv", cluster=SHAPE).jobs
    assert (first.submit, second.submit) == (0.0, 1456.0)
    assert first.iteration_s == 1.015 * 886 / 1000
    assert first.duration == 1000 * first.iteration_s
    assert (first.queue, first.deadline, first.model) == (
        "default",
        None,
        "shufflenet_v2_x1_0",
    )
    assert (first.overhead, second.overhead) == (5.0, 39.0)


@pytest.mark.parametrize(
    ("model", "gpus", "seconds"),
    [
        ("vgg16", 16, 9),
        ("vgg19", 16, 10),
        ("resnet18", 1, 4),
        ("gpt2", 32, 10),
        ("a2c", 3, 39),
        ("dqn", 9, 8),
    ],
)
def test_start_up_times_are_the_measured_ones_and_round_up_between_counts(
    model: str, gpus: int, seconds: float
) -> None:
    assert start_up(model=model, gpus=gpus) == seconds


def test_muri_overhead_is_counted_as_published_unless_asked_otherwise() -> None:
    assert load("philly-muri/trace1").overhead_rule is OverheadRule.PER_EVENT
    honest = TraceSource(name="philly-muri/trace1", overhead_rule=OverheadRule.PER_START).load()
    assert isinstance(honest, JobTrace)
    assert honest.overhead_rule is OverheadRule.PER_START
    assert honest.jobs == load("philly-muri/trace1").jobs


def test_philly_jobs_come_by_submission_and_are_called_after_their_line(
    tmp_path: Path,
) -> None:
    (tmp_path / "jobs.csv").write_text(PHILLY, encoding="utf-8")
    trace = read_philly(jobs=tmp_path / "jobs.csv", cluster=SHAPE)
    assert [(job.name, job.queue, job.submit) for job in trace.jobs] == [
        ("6214e9-3", "6214e9", 0.0),
        ("11cb48-2", "11cb48", 2932.0),
        ("6214e9-4", "6214e9", 86400.0),
    ]
    assert trace.jobs[0].duration == trace.jobs[0].iterations * trace.jobs[0].iteration_s == 2951.0


def test_one_virtual_cluster_starts_at_its_own_first_submission(tmp_path: Path) -> None:
    (tmp_path / "jobs.csv.gz").write_bytes(gzip.compress(PHILLY.encode()))
    trace = read_philly(jobs=tmp_path / "jobs.csv.gz", cluster=SHAPE, queue="11cb48")
    assert [(job.name, job.submit) for job in trace.jobs] == [("11cb48-2", 0.0)]


def test_itp_clock_starts_at_the_first_submission_for_deadlines_too(
    tmp_path: Path,
) -> None:
    (tmp_path / "jobs.csv").write_text(ITP, encoding="utf-8")
    first, second = read_itp(jobs=tmp_path / "jobs.csv", cluster=SHAPE).jobs
    assert (first.submit, first.deadline) == (0.0, 1879.0)
    assert (second.submit, second.deadline) == (100.0, 70179.0)


@pytest.mark.parametrize("name", [name for name in CATALOGUE if name.startswith(("philly/", "itp-2021/"))])
def test_default_clusters_follow_the_documented_rule(name: str) -> None:
    trace = load(name)
    span = trace.jobs[-1].submit - trace.jobs[0].submit
    gpus = max(
        trace.gpu_hours * 3600 / span / OFFERED_LOAD,
        *(job.gpus for job in trace.jobs),
    )
    assert trace.cluster == ClusterShape(nodes=-int(-gpus // GPUS_PER_NODE), gpus_per_node=GPUS_PER_NODE)


def test_a_trace_survives_pickling() -> None:
    trace = load("philly-muri/testbed_400")
    assert pickle.loads(pickle.dumps(trace)) == trace


def test_a_cluster_shape_is_read_and_written_alike() -> None:
    assert ClusterShape.parse("16x8") == ClusterShape(nodes=16, gpus_per_node=8)
    assert str(ClusterShape.parse(" 2X4 ")) == "2x4"
    assert ClusterShape.parse("16x8").gpus == 128


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("8", "cluster: '8' is not a cluster shape; give NODESxGPUS, such as 8x8"),
        ("8x", "cluster: '8x' is not a cluster shape; give NODESxGPUS, such as 8x8"),
        (
            "8x-8",
            "cluster: '8x-8' is not a cluster shape; give NODESxGPUS, such as 8x8",
        ),
        ("0x8", "cluster: nodes: 0 nodes; give 1 to 1000000"),
        ("8x0", "cluster: GPUs per node: 0 GPUs; give 1 to 64"),
        ("8x65", "cluster: GPUs per node: 65 GPUs; give 1 to 64"),
    ],
)
def test_a_bad_cluster_shape_is_refused(text: str, message: str) -> None:
    with pytest.raises(InvalidInput) as refused:
        ClusterShape.parse(text)
    assert str(refused.value) == message
