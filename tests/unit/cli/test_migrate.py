"""`quartermaster migrate`: from files and from a cluster, as a table and as YAML."""

import io
from pathlib import Path
from typing import Any

import pytest
import yaml

from quartermaster.cli.main import main
from quartermaster.cli.migrate import gather
from quartermaster.local.client import LocalClient
from quartermaster.testing.kubernetes import kubernetes
from tests.unit.api.test_peers import KAI, KUEUE, objects


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "kai.yaml").write_text(KAI)
    (tmp_path / "values.yaml").write_text("replicas: 3\n")
    (tmp_path / "below").mkdir()
    items = yaml.safe_dump({"apiVersion": "v1", "kind": "List", "items": objects(KUEUE)})
    (tmp_path / "below" / "kueue.yml").write_text(items)
    return tmp_path


def test_a_table_tells_what_why_and_what_is_lost(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["migrate", "--from", "kai", "-f", str(folder)]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[0].split() == ["KIND", "NAME", "FROM", "WHY"]
    assert lines[1].startswith(
        "Queue     department  Queue department  quota, limit and over-quota weight mean the same"
    )
    assert "UNDERSTOOD AS THEY ARE:" in lines
    assert "NOT CARRIED OVER (4):" in lines
    assert "  Queue team: its quota is for node pool 'a100' only: here it holds for the whole cluster" in lines


def test_yaml_is_ready_to_be_applied_and_has_the_reasons(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["migrate", "--from", "kueue", "-f", str(folder), "-o", "yaml"]) == 0
    text = capsys.readouterr().out
    made = list(yaml.safe_load_all(text))
    assert [one["metadata"]["name"] for one in made] == [
        "division", "team-cohort", "team", "lone", "user-queue", "default.team", "default.lone", "dc", "high",
    ]  # fmt: skip
    assert "# from ClusterQueue team\n" in text
    assert "# NOT CARRIED OVER: ResourceFlavor spot: selects nodes by pool=spot" in text


def test_standard_input(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setattr("sys.stdin", io.TextIOWrapper(io.BytesIO(KAI.encode())))
    assert main(["migrate", "--from", "kai", "-f", "-"]) == 0
    assert "Topology  fabric" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["--from", "volcano"], "nothing of scheduling.volcano.sh and topology.volcano.sh was given"),
        (["--from", "slurm"], "invalid choice: 'slurm'"),
    ],
)
def test_mistakes_are_one_line(folder: Path, words: list[str], said: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["migrate", *words, "-f", str(folder)]) == 2
    captured = capsys.readouterr()
    assert said in captured.err
    assert (captured.out, captured.err.count("\n")) == ("", 1)


def definition(group: str, version: str, kind: str, plural: str) -> dict[str, Any]:
    schema = {"type": "object", "x-kubernetes-preserve-unknown-fields": True}
    names = {"plural": plural, "kind": kind}
    served = {"name": version, "served": True, "storage": True, "schema": {"openAPIV3Schema": schema}}
    spec = {"group": group, "scope": "Cluster", "names": names, "versions": [served]}
    body = {"apiVersion": "apiextensions.k8s.io/v1", "kind": "CustomResourceDefinition"}
    return {**body, "metadata": {"name": f"{plural}.{group}"}, "spec": spec}


async def test_a_cluster_is_read_as_far_as_it_serves_the_peer_s_kinds() -> None:
    async with kubernetes() as api:
        crds = "/apis/apiextensions.k8s.io/v1/customresourcedefinitions"
        await api.create(crds, definition("scheduling.run.ai", "v2", "Queue", "queues"))
        await api.create(crds, definition("scheduling.run.ai", "v2", "BindRequest", "bindrequests"))
        department, team = objects(KAI)[:2]
        for value in (department, team):
            await api.create("/apis/scheduling.run.ai/v2/queues", value)
        bind = {"apiVersion": "scheduling.run.ai/v2", "kind": "BindRequest", "metadata": {"name": "b"}}
        await api.create("/apis/scheduling.run.ai/v2/bindrequests", bind)
        door = LocalClient(api.handler, agent="test")
        found = await gather(door, "kai")
        assert [(value["kind"], value["metadata"]["name"]) for value in found] == [
            ("Queue", "department"),
            ("Queue", "team"),
        ]
        assert await gather(door, "kueue") == []
