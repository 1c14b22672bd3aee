"""Bad luck can be had again: the same seed, the same faults; and what is over is over."""

import importlib.util
from pathlib import Path
from typing import Any

import pytest
import yaml

from quartermaster.local.fleet import chaos
from quartermaster.model.errors import InvalidInput

_spec = importlib.util.spec_from_file_location("strikes", Path(__file__).parent / "strikes.py")
assert _spec is not None
assert _spec.loader is not None
strikes = importlib.util.module_from_spec(_spec)
_spec.loader.exec_module(strikes)


@pytest.mark.parametrize("path", strikes.inputs(), ids=lambda path: path.name.split(".", 1)[0])
def test_a_set_does_what_is_written(path: Path) -> None:
    assert strikes.outcome(path) == strikes.output_of(path).read_text(), "write anew: see the docstring of strikes.py"


def case(**changes: Any) -> dict[str, Any]:
    return yaml.safe_load((strikes.FOLDER / "stormy.input.yaml").read_text()) | changes


def test_what_befalls_a_node_does_not_depend_on_the_others() -> None:
    alone = strikes.found(case(nodes=case()["nodes"][:1]))
    assert alone == [strike for strike in strikes.found(case()) if strike.node == "h-0"]
    assert alone


def test_rates_are_what_they_say() -> None:
    nodes = [{"name": f"n{number}", "labels": {"nvidia.com/gpu.count": "8"}} for number in range(50)]
    found = strikes.found({"chaos": "stormy", "hours": 24 * 20, "nodes": nodes})
    xids = sum(strike.fault.kind == "xid" for strike in found)
    # 2 a day and node, less while one lasts (about 0.88 h each): some 1860 in 1000 node days, give or take 43.
    assert 1700 < xids < 2000


def test_faults_are_for_nodes_that_can_have_them() -> None:
    found = strikes.found(case(hours=24 * 30))
    by_node = {
        node: {strike.fault.kind for strike in found if strike.node == node} for node in ("h-0", "m-0", "s-0", "c-0")
    }
    assert by_node == {
        "h-0": {"xid", "not-ready", "straggler", "drain"},
        "m-0": {"xid", "not-ready", "straggler", "drain", "mig"},
        "s-0": {"xid", "not-ready", "straggler", "drain", "spot"},
        "c-0": {"not-ready", "drain"},
    }


HEAD = "{apiVersion: quartermaster.dev/v1alpha1, kind: Chaos, metadata: {name: x}, spec: {rules: ["


@pytest.mark.parametrize(
    ("rule", "says"),
    [
        ("{kind: xid, perNodeDay: -1}", "perNodeDay"),
        ("{kind: xid, perNodeDay: 1, codes: []}", "codes"),
        ("{kind: mig, perNodeDay: 1}", "configs"),
        ("{kind: drain, perNodeDay: 1, lastsSeconds: [9, 3]}", "lastsSeconds"),
        ("{kind: straggler, perNodeDay: 1, factor: [0.5, 3]}", "factor"),
        ("{kind: flood, perNodeDay: 1}", "flood"),
        ("{kind: xid, perNodeDay: 1, codez: [1]}", "codez"),
    ],
)
def test_a_wrong_rule_is_refused_by_name(rule: str, says: str) -> None:
    with pytest.raises(InvalidInput, match=says):
        chaos.parse(HEAD + rule + "]}}", "f.yaml")


def test_a_file_that_is_not_there_is_said() -> None:
    with pytest.raises(InvalidInput, match="as-published, stormy"):
        chaos.read("nowhere.yaml")
