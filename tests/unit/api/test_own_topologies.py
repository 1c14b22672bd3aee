"""Topology objects as levels."""

from typing import Any

from quartermaster.api.reading import Reason
from quartermaster.api.topologies import topologies_from
from quartermaster.model.topology import Level, Topology


def value(name: str, *levels: Any) -> dict[str, Any]:
    return {"metadata": {"name": name}, "spec": {"levels": list(levels)}}


def test_levels_aliases_and_borders() -> None:
    found = topologies_from([value("fabric", {"label": "zone"}, {"label": "clique", "alias": "nvlink", "hard": True})])
    levels = (Level(label="zone"), Level(label="clique", alias="nvlink", hard=True))
    assert found.topologies == {"fabric": Topology(name="fabric", levels=levels)}
    assert not found.problems


def test_one_that_is_wrong_leaves_the_others_alone() -> None:
    found = topologies_from(
        [
            value("none"),
            value("twice", {"label": "a"}, {"label": "b", "alias": "a"}),
            value("typed", "zone"),
            value("good", {"label": "a"}),
            value("good", {"label": "b"}),
        ]
    )
    assert found.topologies == {"good": Topology(name="good", levels=(Level(label="a"),))}, "the first counts"
    assert {name: problem.reason for name, problem in found.problems.items()} == {
        "none": Reason.INVALID_SPEC,
        "twice": Reason.INVALID_SPEC,
        "typed": Reason.INVALID_SPEC,
    }
