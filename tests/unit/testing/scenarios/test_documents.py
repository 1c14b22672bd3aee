"""Scenario files that are wrong, and the whole sentence that a person then reads."""

import gzip
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from quartermaster.model.errors import InvalidInput
from quartermaster.model.pod import GpuRequest
from quartermaster.model.units import DEVICE, GIB
from quartermaster.testing.scenarios.files import find, load
from quartermaster.testing.scenarios.timeline import building
from quartermaster.testing.scenarios.timeline.document import Scenario, read
from quartermaster.testing.scenarios.timeline.quantities import Bytes, Millicores, Seconds

GOOD = """\
name: good
cluster: {nodes: [{name: node, gpus: 4}], topologies: [{name: fabric, levels: [zone, {label: rack, alias: r}]}]}
queues: [{name: a, gpu: {deserved: 4}}]
workloads: [{name: job, queue: a, count: 2, pod: {gpus: 1}}]
until: 1m
expect: [{group: job, running: 2}]
"""


def one(text: str) -> Scenario:
    return read(text.encode(), file="s.yaml")[0]


def message(tmp_path: Path, text: str) -> str:
    path = tmp_path / "s.yaml"
    path.write_text(text)
    with pytest.raises(InvalidInput) as wrong:
        load(path)
    return str(wrong.value).replace(f"{tmp_path}/", "")


def test_the_good_one_is_good(tmp_path: Path) -> None:
    (tmp_path / "s.yaml").write_text(GOOD)
    assert len(load(tmp_path / "s.yaml")) == 1


@pytest.mark.parametrize(
    ("old", "new", "said"),
    [
        ("gpus: 4}", "gpu: 4}", "s.yaml: cluster.nodes[0]: Object contains unknown field `gpu`; see docs/scenarios.md"),
        ("until: 1m", "until: soon", "s.yaml: until: 'soon' is no time: give seconds, or a time such as 90s or 1h30m;"),
        ("until: 1m", "until: 0", "s.yaml: until: is 0; give a time above 0"),
        ("until: 1m\n", "", "s.yaml: the document: Object missing required field `until`; see docs/scenarios.md"),
        ("count: 2", "count: two", "s.yaml: workloads[0].count: Expected `int`, got `str`; see docs/scenarios.md"),
        ("count: 2", "count: 2, min: 3", "s.yaml: sub-group 'job': min: 3 of 2; min lies between 0 and that count"),
        ("queue: a", "queue: b", "s.yaml: workload 'job': queue: there is no 'b'; name one of: a"),
        ("group: job", "group: jib", "s.yaml: expect[0].group: there is no 'jib'; name one of: job"),
        ("group: job, ", "", "s.yaml: expect[0].running: is asked of no group; add `group`"),
        ("running: 2", "at: 2m, running: 2", "s.yaml: expect[0].at: 2m is after the end; give at most 1m"),
        (", running: 2", "", "s.yaml: expect[0]: expects nothing; say what is to be true, see docs/scenarios.md"),
        (
            "gpus: 1}",
            "gpus: 1.5}",
            "s.yaml: workload 'job': pod: gpus: 1.5; give whole GPUs, or a share of one below 1",
        ),
        ("until: 1m", "until: 1m\nuntil: 2m", "s.yaml:6: key 'until' is given twice"),
        ("until: 1m", "until: [", "s.yaml:7: expected"),
        (
            "until: 1m",
            "until: 1m\nevents: [{at: 3s}]",
            "s.yaml: events[0]: needs exactly one thing that happens; give complete, node-down, node-up or queue",
        ),
        (
            "until: 1m",
            "until: 1m\nevents: [{at: 3s, node-down: nod}]",
            "s.yaml: events[0].node-down: there is no 'nod'; name one of: node",
        ),
        (
            "until: 1m",
            "until: 1m\nthresholds: {speed: 3}",
            "s.yaml: thresholds.speed: there is no 'speed'; name one of: gpu-utilisation, evictions, mean-wait,",
        ),
        (
            "until: 1m",
            "until: 1m\npolicy: {placement: bin-pak}",
            "s.yaml: policy: there is no 'bin-pak'; did you mean bin-pack",
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
            "count: 2, sub-groups: [{name: x}]",
            "s.yaml: workload 'job': sub-groups: given beside pods; give `pod` and `count`, or `sub-groups`",
        ),
        ("name: a,", "name: a, parent: z,", "s.yaml: queue 'a': parent: 'z' does not exist; name an existing queue"),
    ],
)
def test_each_mistake_is_told_with_file_and_field(tmp_path: Path, old: str, new: str, said: str) -> None:
    assert GOOD.count(old) == 1
    found = message(tmp_path, GOOD.replace(old, new))
    assert found.startswith(said), found


@pytest.mark.parametrize(
    ("name", "content", "said"),
    [
        ("empty.yaml", b"", "empty.yaml: is empty; write at least one scenario"),
        ("text.yaml", b"just text", "text.yaml: the document: Expected `object`, got `str`"),
        ("bytes.yaml", b"\xff\xfe\xfa", "bytes.yaml: is not YAML"),
        ("x.json", b"{", "x.json: the file: Input data was truncated; see scenarios/kai/README.md for the format"),
        ("x.json", b'{"format": 3}', "x.json: format: Expected `str`, got `int`; see scenarios/kai/README.md"),
        (
            "x.json",
            b'{"format": "kai-cases/9", "default_plugins": [], "cases": []}',
            "x.json: format: is 'kai-cases/9'",
        ),
        ("x.json.gz", b"no gzip", "x.json.gz: cannot be read (Not a gzipped file"),
        (
            "x.json.gz",
            gzip.compress(b"[]" * 99, mtime=0)[:20],
            "x.json.gz: cannot be read (Compressed file ended before",
        ),
    ],
)
def test_files_that_are_no_scenarios(tmp_path: Path, name: str, content: bytes, said: str) -> None:
    (tmp_path / name).write_bytes(content)
    with pytest.raises(InvalidInput) as wrong:
        load(tmp_path / name)
    assert str(wrong.value).replace(f"{tmp_path}/", "").startswith(said)


def test_paths(tmp_path: Path) -> None:
    (tmp_path / "b").mkdir()
    for name in ("b/two.yml", "one.yaml", "b/three.json.gz", "notes.txt"):
        (tmp_path / name).touch()
    found = [str(path.relative_to(tmp_path)) for path in find([str(tmp_path / "one.yaml"), str(tmp_path)])]
    assert found == ["one.yaml", "b/three.json.gz", "b/two.yml"]
    (tmp_path / "none").mkdir()
    for path, said in (
        ("none", "holds no scenarios; name a folder with .yaml, .yml, .json, .json.gz files"),
        ("gone.yaml", "does not exist; name a scenario file or a folder of them"),
        ("notes.txt", "is no scenario file; name a file that ends in .yaml, .yml, .json, .json.gz"),
    ):
        with pytest.raises(InvalidInput, match=said):
            find([str(tmp_path / path)])


def test_several_documents_are_several_scenarios() -> None:
    found = read(f"{GOOD}---\n{GOOD}id: mine\n---\n".encode(), file="dir/s.yaml")
    assert [scenario.id for scenario in found] == ["s/0", "mine"]
    assert one(GOOD).id == "s"


def test_what_pods_ask_for() -> None:
    def ask(pod: str) -> GpuRequest:
        ((_, group),) = building.groups(one(GOOD.replace("pod: {gpus: 1}", f"pod: {pod}")))
        return next(group.pods).spec.gpu

    assert ask("{}") == GpuRequest()
    assert ask("{gpus: 2}") == GpuRequest(count=2)
    assert ask("{gpus: 0.25}") == GpuRequest(count=1, share=DEVICE // 4)
    assert ask("{gpu-memory: 10Gi}") == GpuRequest(count=1, memory=10 * GIB)
    assert ask("{gpus: 2, gpu-memory: 10Gi, models: [A]}") == GpuRequest(
        count=2, memory=10 * GIB, models=frozenset({"A"})
    )


def test_repeated_and_nested_groups_have_names_of_their_own() -> None:
    text = GOOD.replace(
        "{name: job, queue: a, count: 2, pod: {gpus: 1}}",
        "{name: job, queue: a, repeat: 2, min: 1, sub-groups: [{name: x, count: 2, min: 1}, {name: y}]}",
    ).replace("group: job", "group: job-0")
    first, second = (group for _, group in building.groups(one(text)))
    assert [pod.name for pod in first.pods] == ["job-0-x-0", "job-0-x-1", "job-0-y-0"]
    assert [pod.name for pod in second.pods] == ["job-1-x-0", "job-1-x-1", "job-1-y-0"]
    assert (first.root.minimum, [leaf.minimum for leaf in first.root.leaves()]) == (1, [1, 1])


@given(st.integers(0, 10**9).map(lambda ms: ms / 1000))
def test_times_are_read_as_they_are_written(seconds: float) -> None:
    assert Seconds.read(str(Seconds(seconds))) == pytest.approx(seconds, abs=1e-2, rel=1e-5)


@pytest.mark.parametrize(
    ("kind", "text", "value"),
    [
        (Seconds, "1h30m", 5400),
        (Seconds, 1.5, 1.5),
        (Seconds, "250ms", 0.25),
        (Bytes, "80Gi", 80 * GIB),
        (Bytes, "1.5k", 1500),
        (Millicores, "500m", 500),
        (Millicores, 0.5, 500),
    ],
)
def test_quantities(kind: type[Seconds | Bytes | Millicores], text: object, value: float) -> None:
    assert kind.read(text) == value


@pytest.mark.parametrize(
    ("kind", "text"),
    [(Seconds, "1x"), (Seconds, -1), (Seconds, True), (Seconds, ""), (Bytes, "1Xi"), (Bytes, None), (Millicores, "1k")],
)
def test_no_quantities(kind: type[Seconds | Bytes | Millicores], text: object) -> None:
    with pytest.raises(ValueError, match="is no"):
        kind.read(text)
