"""The traces that come with the package, by name.

A cluster is part of every entry, since most job traces record none. `philly-muri` has the one its results were
published for. For `philly` and `itp-2021` the rule is: nodes of 8 GPUs, as few as keep the offered load (GPU-seconds
over the time between first and last submission) at or below 90 %, and enough for the largest job. At that load queues
form and drain, so policies differ; the tests compute the numbers again from the data.
"""

from __future__ import annotations

import difflib
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final

from quartermaster.model.errors import InvalidInput
from quartermaster.simulation.traces.cluster import ClusterShape

OFFERED_LOAD: Final = 0.9
"""Highest offered load of a default cluster."""

GPUS_PER_NODE: Final = 8


@dataclass(frozen=True, slots=True, kw_only=True)
class Entry:
    """One shipped trace. `size` counts its pods or jobs; `files` are (role, path below the data folder)."""

    name: str
    format: str
    description: str
    size: int
    nodes: int
    gpus: int
    source: str
    licence: str
    files: tuple[tuple[str, str], ...]
    cluster: ClusterShape | None = None
    queue: str = ""

    @property
    def unit(self) -> str:
        """What `size` counts."""
        return "pods" if self.format == "openb" else "jobs"


_OPENB: Final = {
    "default": (8152, "the recorded mix: 38 % share a GPU, 13 % want none"),
    "cpu050": (7439, "5 % of pods want no GPU"),
    "cpu072": (7608, "7.2 % of pods want no GPU"),
    "cpu200": (8832, "20 % of pods want no GPU"),
    "gpushare40": (8152, "49 % of pods share a GPU"),
    "gpushare80": (8152, "77 % of pods share a GPU"),
    "gpuspec05": (8152, "5.2 % of GPU pods name models"),
    "gpuspec10": (8152, "10.4 % of GPU pods name models"),
    "gpuspec25": (8152, "24.9 % of GPU pods name models"),
    "multigpu20": (8324, "20 % of GPU demand is from pods with several GPUs"),
    "multigpu40": (8746, "40 % of GPU demand is from pods with several GPUs"),
}

_MURI: Final = {
    "trace1": ("trace1", 1494, "virtual cluster 7f04ca, 125 days"),
    "trace3": ("trace3", 992, "virtual cluster 2869ce, 94 days"),
    "trace1_pr": ("trace1_pr", 1494, "trace1, all submitted at once"),
    "trace3_pr": ("trace3_pr", 992, "trace3, all submitted at once"),
    "job_type_1": ("job_type_1", 992, "trace3 with language models only"),
    "job_type_2": ("job_type_2", 992, "trace3 with language models and VGG"),
    "testbed_400": (
        "testbed_cluster_trace_400",
        400,
        "the run on a real cluster of 64 GPUs",
    ),
}

_PHILLY: Final = {
    "all": (67029, 27, "eight virtual clusters, a queue each"),
    "6214e9": (41226, 6, "virtual cluster 6214e9, many short jobs"),
    "11cb48": (16091, 2, "virtual cluster 11cb48, many short jobs"),
    "b436b2": (7423, 8, "virtual cluster b436b2"),
    "ed69ec": (1137, 1, "virtual cluster ed69ec, one GPU each"),
    "7f04ca": (723, 9, "virtual cluster 7f04ca, long jobs"),
    "2869ce": (422, 6, "virtual cluster 2869ce, long jobs"),
    "51b7ef": (4, 1, "virtual cluster 51b7ef, four jobs"),
    "795a4c": (3, 1, "virtual cluster 795a4c, three jobs"),
}

_ITP: Final = {
    "cluster01": (1595, 8, "up to 64 GPUs a job, 34 days"),
    "cluster02": (5778, 12, "up to 64 GPUs a job, 60 days"),
    "cluster04": (15802, 69, "up to 64 GPUs a job, 59 days, half of all GPU time"),
    "cluster06": (2396, 13, "up to 64 GPUs a job, 60 days, mostly 8 GPUs"),
    "cluster08": (13047, 10, "up to 32 GPUs a job, 42 days, mostly one GPU"),
}

_POLLUX: Final = {
    "0.5": (80, "half of the load"),
    "1.0": (160, "the load of the paper's tests"),
    "1.5": (240, "one and a half times the load"),
    "2.0": (320, "twice the load"),
    "realistic": (160, "GPUs and batch sizes as users chose them, untuned"),
}


def _entries() -> Iterator[Entry]:
    for variant, (pods, description) in _OPENB.items():
        yield Entry(
            name=f"openb/{variant}",
            format="openb",
            description=description,
            size=pods,
            nodes=1213,
            gpus=6212,
            source="Alibaba GPU-sharing cluster 2023 (FGD, USENIX ATC'23)",
            licence="Apache-2.0",
            files=(
                ("nodes", "openb/openb_node_list_gpu_node.csv.gz"),
                ("pods", f"openb/openb_pod_list_{variant}.csv.gz"),
            ),
        )
    for trace, (file, jobs, description) in _MURI.items():
        yield _job_entry(
            name=f"philly-muri/{trace}",
            format="philly-muri",
            description=description,
            size=jobs,
            nodes=8,
            source="Muri simulator traces (SIGCOMM'22), from Philly 2017",
            licence="Apache-2.0",
            path=f"philly-muri/{file}.csv.gz",
        )
    for queue, (jobs, nodes, description) in _PHILLY.items():
        yield _job_entry(
            name=f"philly/{queue}",
            format="philly",
            description=description,
            size=jobs,
            nodes=nodes,
            source="Microsoft Philly 2017 (Jeon et al., ATC'19), by way of AdaptDL",
            licence="CC-BY-4.0, Apache-2.0",
            path="philly/philly_jobs_shared_vcs.csv.gz",
            queue="" if queue == "all" else queue,
        )
    for cluster, (jobs, nodes, description) in _ITP.items():
        yield _job_entry(
            name=f"itp-2021/{cluster}",
            format="itp-2021",
            description=description,
            size=jobs,
            nodes=nodes,
            source="Microsoft ITP 2021 (ElasticFlow, ASPLOS'23)",
            licence="MIT",
            path=f"itp-2021/{cluster}.csv.gz",
        )
    for load, (jobs, description) in _POLLUX.items():
        for workload in (1, 3, 5, 6):
            yield _job_entry(
                name=f"philly-pollux/{load}-{workload}",
                format="philly-pollux",
                description=f"workload {workload}, {description}",
                size=jobs,
                nodes=16,
                gpus_per_node=4,
                source="Pollux simulator workloads (OSDI'21), from Philly 2017",
                licence="Apache-2.0",
                path=f"philly-pollux/workloads-{load}_workload-{workload}.csv.gz",
            )


def _job_entry(
    *,
    name: str,
    format: str,  # noqa: A002  # the word users say
    description: str,
    size: int,
    nodes: int,
    source: str,
    licence: str,
    path: str,
    queue: str = "",
    gpus_per_node: int = GPUS_PER_NODE,
) -> Entry:
    shape = ClusterShape(nodes=nodes, gpus_per_node=gpus_per_node)
    return Entry(
        name=name,
        format=format,
        description=description,
        size=size,
        nodes=nodes,
        gpus=shape.gpus,
        source=source,
        licence=licence,
        files=(("jobs", path),),
        cluster=shape,
        queue=queue,
    )


CATALOGUE: Final = {entry.name: entry for entry in _entries()}
"""Every shipped trace, by name, in the order in which to show them."""


def find(name: str) -> Entry:
    """The shipped trace of this name."""
    entry = CATALOGUE.get(name)
    if entry is not None:
        return entry
    near = difflib.get_close_matches(name, CATALOGUE, n=3)
    # A set's name alone, or the variant's alone, is a prefix or a suffix and not similar enough for difflib.
    near = near or [known for known in CATALOGUE if name and name in known.split("/")]
    if near:
        quoted = [f"'{known}'" for known in near]
        fix = f"did you mean {' or '.join(quoted)}?"
    else:
        sets = sorted({known.split("/")[0] for known in CATALOGUE})
        fix = f"shipped traces are SET/VARIANT, of the sets {', '.join(sets)}"
    raise InvalidInput("trace", f"there is no shipped trace '{name}'", fix)
