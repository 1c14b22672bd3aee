"""Shipped traces by name, sources, formats, and the numbers published for the traces."""

import pickle
from pathlib import Path
from typing import Any

import pytest

from quartermaster.model.errors import InvalidInput
from quartermaster.simulation.traces.catalogue import CATALOGUE, find
from quartermaster.simulation.traces.cluster import (
    ClusterShape,
    ClusterTrace,
    OverheadRule,
)
from quartermaster.simulation.traces.formats import formats
from quartermaster.simulation.traces.jobs import JobTrace
from quartermaster.simulation.traces.recorded import (
    power_model,
    published_muri,
    recorded_allocation,
    recorded_fragmentation,
)
from quartermaster.simulation.traces.shipped import shipped
from quartermaster.simulation.traces.source import TraceSource

SHAPE = ClusterShape(nodes=2, gpus_per_node=4)


@pytest.mark.parametrize("name", CATALOGUE)
def test_every_entry_says_what_its_files_hold(name: str) -> None:
    entry = find(name)
    trace = TraceSource(name=name).load()
    assert trace.name == name
    if isinstance(trace, ClusterTrace):
        assert (entry.unit, entry.size, entry.nodes, entry.gpus) == (
            "pods",
            len(trace.pods),
            len(trace.nodes),
            trace.gpus,
        )
    else:
        assert (entry.unit, entry.size, entry.nodes, entry.gpus) == (
            "jobs",
            len(trace.jobs),
            trace.cluster.nodes,
            trace.cluster.gpus,
        )


@pytest.mark.parametrize("folder", ["openb", "philly-muri", "philly", "itp-2021", "philly-pollux"])
def test_every_set_comes_with_its_source_and_licence(folder: str) -> None:
    names = {file.name for file in shipped(folder).iterdir()}
    assert {"README.md", "NOTICE"} <= names
    assert any(name.startswith("LICENSE") for name in names)


def test_every_shipped_file_is_reached_by_some_name() -> None:
    used = {path for entry in CATALOGUE.values() for _, path in entry.files}
    sets = {path.split("/")[0] for path in used}
    there = {f"{folder}/{file.name}" for folder in sets for file in shipped(folder).iterdir()}
    assert {path for path in there - used if path.endswith(".csv.gz")} == {
        "openb/recorded_allocation.csv.gz",
        "openb/recorded_fragmentation.csv.gz",
        "philly-pollux/app_placements.csv.gz",
        "philly-pollux/app_scalability.csv.gz",
        "philly-pollux/app_validation.csv.gz",
    }


@pytest.mark.parametrize(
    ("name", "message"),
    [
        (
            "openb/defualt",
            "trace: there is no shipped trace 'openb/defualt'; "
            "did you mean 'openb/default' or 'openb/multigpu40' or 'openb/multigpu20'?",
        ),
        (
            "trace1",
            "trace: there is no shipped trace 'trace1'; did you mean 'philly-muri/trace1'?",
        ),
        (
            "hello",
            "trace: there is no shipped trace 'hello'; "
            "shipped traces are SET/VARIANT, of the sets itp-2021, openb, philly, philly-muri, philly-pollux",
        ),
    ],
)
def test_an_unknown_name_gets_near_ones(name: str, message: str) -> None:
    with pytest.raises(InvalidInput) as refused:
        find(name)
    assert str(refused.value) == message


@pytest.mark.parametrize(
    ("given", "message"),
    [
        (
            {},
            "trace: neither a name nor a format; give the name of a shipped trace, or a format and its files",
        ),
        (
            {"name": "openb/default", "format": "openb"},
            "trace: both a name and a format; give the name of a shipped trace, or a format and its files",
        ),
        (
            {"format": "phily"},
            "trace: format: there is no format 'phily'; "
            "did you mean 'philly'? formats are openb, philly-muri, philly, itp-2021, philly-pollux",
        ),
        (
            {"format": "openb", "nodes": "n.csv"},
            "trace: pods: is not given; format 'openb' wants a file of pods",
        ),
        (
            {"format": "openb", "nodes": "n.csv", "pods": "p.csv", "jobs": "j.csv"},
            "trace: jobs: format 'openb' takes no file of jobs; give nodes and pods",
        ),
        (
            {"name": "openb/default", "pods": "p.csv"},
            "trace: pods: shipped trace 'openb/default' takes no file of pods; leave it out, or give a format",
        ),
        (
            {"format": "philly-muri", "jobs": "j.csv"},
            "trace: cluster: is not given; give NODESxGPUS, such as 8x8: job files name no nodes",
        ),
        (
            {"name": "openb/default", "cluster": SHAPE},
            "trace: cluster: is no option of format 'openb'; leave it out",
        ),
        (
            {"name": "philly/all", "queue": "7f04ca"},
            "trace: queue: is part of a shipped Philly trace's name; give the name 'philly/7f04ca'",
        ),
    ],
)
def test_a_source_that_does_not_fit_together_is_refused(given: dict[str, Any], message: str) -> None:
    with pytest.raises(InvalidInput) as refused:
        TraceSource(**given)
    assert str(refused.value) == message


def test_a_source_travels_and_loads_alike() -> None:
    source = TraceSource(name="philly/ed69ec", cluster=SHAPE)
    assert pickle.loads(pickle.dumps(source)) == source
    trace = source.load()
    assert isinstance(trace, JobTrace)
    assert trace.cluster == SHAPE
    assert {job.queue for job in trace.jobs} == {"ed69ec"}


def test_a_users_own_files_are_named_after_themselves(tmp_path: Path) -> None:
    jobs = tmp_path / "mine.csv"
    jobs.write_text(
        "job,submission_time,duration,num_gpu,deadline\n0,5,2429,4,1933904\n",
        encoding="utf-8",
    )
    trace = TraceSource(
        format="itp-2021",
        jobs=str(jobs),
        cluster=SHAPE,
        queue="research",
        overhead_rule=OverheadRule.PER_EVENT,
    ).load()
    assert isinstance(trace, JobTrace)
    assert (trace.name, trace.jobs[0].queue, trace.overhead_rule) == (
        "mine",
        "research",
        OverheadRule.PER_EVENT,
    )


def test_a_users_own_pods_are_read_from_two_files(tmp_path: Path) -> None:
    (tmp_path / "nodes.csv").write_text("sn,cpu_milli,memory_mib,gpu\nn1,1000,1024,2\n", encoding="utf-8")
    (tmp_path / "pods.csv").write_text(
        "name,cpu_milli,memory_mib,num_gpu,gpu_milli,gpu_spec\np,1,1,1,1000,H100\n",
        encoding="utf-8",
    )
    nodes, pods = str(tmp_path / "nodes.csv"), str(tmp_path / "pods.csv")
    with pytest.raises(
        InvalidInput,
        match="no node has a GPU of model 'H100'; the node list's models are none",
    ):
        TraceSource(format="openb", nodes=nodes, pods=pods).load()
    trace = TraceSource(format="openb", allow_unknown_models=True, nodes=nodes, pods=pods).load()
    assert isinstance(trace, ClusterTrace)
    assert trace.name == "pods"


def test_formats_list_the_files_and_columns_each_wants() -> None:
    wanted = {form.name: [file.role for file in form.files] for form in formats()}
    assert wanted == {
        "openb": ["nodes", "pods"],
        "philly-muri": ["jobs"],
        "philly": ["jobs"],
        "itp-2021": ["jobs"],
        "philly-pollux": ["jobs"],
    }
    pods = formats()[0].files[1]
    assert (
        "num_gpu",
        "GPUs the pod asks for: a whole number, 0 to 64",
        True,
    ) in pods.columns
    assert ("gpu_spec", "GPU models joined by '|'", False) in pods.columns


def test_recorded_results_are_those_of_the_papers() -> None:
    allocation = recorded_allocation()
    assert (
        allocation["default", "FGD", 100].mean,
        allocation["default", "FGD", 100].sd,
    ) == pytest.approx((95.23, 0.11), abs=0.006)
    assert allocation["gpuspec25", "BestFit", 100].mean == pytest.approx(85.67, abs=0.006)
    assert len(allocation) == 9 * 6 * 8
    fragmentation = recorded_fragmentation()
    assert fragmentation["default", "FGD", 0].mean == pytest.approx(13.92, abs=0.006)
    assert fragmentation["default", "Random", 60].mean == pytest.approx(38.37, abs=0.006)


def test_published_muri_results_name_shipped_traces() -> None:
    runs = published_muri()
    assert len(runs) == 28
    assert all(f"philly-muri/{run.trace}" in CATALOGUE for run in runs)
    (srtf,) = (run for run in runs if (run.trace, run.policy) == ("trace1", "SRTF"))
    assert (srtf.average_jct, srtf.makespan, srtf.p99_jct) == (
        1370603.198,
        26045465.532945,
        16647148.09074,
    )


def test_every_gpu_of_the_openb_cluster_has_a_power_model() -> None:
    power = power_model()
    trace = TraceSource(name="openb/default").load()
    assert isinstance(trace, ClusterTrace)
    assert {node.gpu_model for node in trace.nodes} <= {model for kind, model in power if kind == "gpu"}
    assert (power["gpu", "T4"].idle, power["gpu", "T4"].full) == (10, 70)
