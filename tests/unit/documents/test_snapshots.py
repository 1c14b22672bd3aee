"""Snapshots that are wrong, and the whole sentence that a person then reads."""

import gzip
from pathlib import Path

import pytest

from quartermaster.documents.snapshot import load, read
from quartermaster.model.errors import InvalidInput

GOOD = """\
now: 1h
cluster: {nodes: [{name: node, gpus: 4}], topologies: [{name: fabric, levels: [zone, {label: rack, alias: r}]}]}
queues: [{name: a, gpu: {deserved: 4}}, {name: top}, {name: low, parent: top}]
workloads:
  - {name: job, queue: a, count: 2, pod: {gpus: 1}, started: 5m, places: {job-0: {node: node, devices: [3]}}}
"""


def test_the_good_one_is_good(tmp_path: Path) -> None:
    (tmp_path / "s.yaml.gz").write_bytes(gzip.compress(GOOD.encode()))
    situation = load(tmp_path / "s.yaml.gz")
    assert (situation.now, situation.groups[0].started) == (3600.0, 300.0)
    assert situation.places["job-0"].devices == (3,)


@pytest.mark.parametrize(
    ("old", "new", "said"),
    [
        ("count: 2", "count: 2, min: 3", "s.yaml: sub-group 'job': min: 3 of 2; min lies between 0 and that count"),
        (
            "count: 2",
            "count: 2, runtime: -5",
            "s.yaml: workloads[0].runtime: -5 is no time: give seconds, or a time such",
        ),
        (
            "count: 2",
            "count: 2, topology: {topology: fabric, required: room}",
            "s.yaml: topology 'fabric': level 'room': does not exist; use one of: zone, r",
        ),
        (
            "count: 2",
            "count: 2, topology: {topology: fabrik, required: r}",
            "s.yaml: workload 'job': topology: there is no 'fabrik'; name one of: fabric",
        ),
        (
            "count: 2, pod: {gpus: 1}",
            "sub-groups: [&x {name: x, sub-groups: [*x]}]",
            "s.yaml: workloads[0].sub-groups[0].sub-groups[0]: contains itself; write out what the alias",
        ),
        (
            "gpu: {deserved: 4}",
            "gpu: {deserved: 4, limit: 2}",
            "s.yaml: queue 'a': gpu: deserves 4 above its limit of 2; raise the limit or lower what it deserves",
        ),
        (
            "gpu: {deserved: 4}",
            "gpu: {deserved: -4}",
            "s.yaml: queue 'a': gpu: deserved: -4.0 is not usable; give 0 or more",
        ),
        ("queue: a", "queue: b", "s.yaml: workload 'job': queue: there is no 'b'; name one of: a, top, low"),
        (
            "queue: a",
            "queue: top",
            "s.yaml: workload 'job': queue: 'top' has queues below it; name a leaf",
        ),
        ("job-0:", "job-7:", "s.yaml: workload 'job': places: there is no 'job-7'; name one of: job-1, job-0"),
        ("node: node", "node: nod", "s.yaml: node 'nod': does not exist; name a node of this cluster"),
        ("[3]", "[4]", "s.yaml: pod 'job-0': devices: [4]; name 1 different devices of 4"),
        ("[3]", "[]", "s.yaml: pod 'job-0': devices: []; name 1 different devices of 4"),
        ("name: a,", "name: a, parent: a,", "s.yaml: queue 'a': parent: cycle a -> a; let one of them be a top queue"),
        (
            "now: 1h",
            "now: noon",
            "s.yaml: now: 'noon' is no time: give seconds, or a time such as 90s",
        ),
        ("now: 1h", "nov: 1h", "s.yaml: the document: Object contains unknown field `nov`; see docs/what-if.md"),
    ],
)
def test_each_mistake_is_told_with_file_and_field(old: str, new: str, said: str) -> None:
    assert GOOD.count(old) == 1
    with pytest.raises(InvalidInput) as wrong:
        read(GOOD.replace(old, new).encode(), file="s.yaml")
    assert str(wrong.value).startswith(said), str(wrong.value)


@pytest.mark.parametrize(
    ("name", "content", "said"),
    [
        ("s.txt", b"", "s.txt: is no snapshot; name a file that ends in .yaml"),
        ("s.json", b"{", "s.json: is not JSON ("),
        ("s.json.gz", b"no", "s.json.gz: cannot be read (Not a gzipped file"),
        ("s.yaml", b"", "s.yaml: holds 0 documents; write one snapshot per file"),
    ],
)
def test_files_that_are_no_snapshots(tmp_path: Path, name: str, content: bytes, said: str) -> None:
    (tmp_path / name).write_bytes(content)
    with pytest.raises(InvalidInput) as wrong:
        load(tmp_path / name)
    assert str(wrong.value).replace(f"{tmp_path}/", "").startswith(said), str(wrong.value)
