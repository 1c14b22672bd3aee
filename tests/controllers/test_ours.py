"""Our controllers make of every story what a real kube-controller-manager made of it, but for what was agreed to."""

import asyncio
from typing import Any

import pytest

from tests.controllers import golden
from tests.controllers.story import Story, stories
from tests.controllers.suite import ACCEPTED, differences, played_by_ours, unexplained
from tests.differential.compare import load_accepted, split
from tools.kubernetes.binaries import BINARIES, version


@pytest.fixture(scope="module")
def played() -> dict[str, Any]:
    """What ours made of each story, played when it is asked for."""
    return {}


def of(story: Story, played: dict[str, Any]) -> Any:
    if story.name not in played:
        played[story.name] = asyncio.run(played_by_ours(story))
    return played[story.name]


@pytest.mark.parametrize("story", stories(), ids=lambda story: story.name)
def test_ours_does_as_the_real_one(story: Story, played: dict[str, Any]) -> None:
    left = unexplained(story, of(story, played))
    assert not left, "\n".join(map(str, left))


def test_every_agreed_difference_is_still_one(played: dict[str, Any]) -> None:
    found = [difference for story in stories() for difference in differences(story, of(story, played))]
    _, counts = split(found, load_accepted(ACCEPTED))
    assert [entry.reason for entry, count in counts.items() if not count] == []


def test_the_recording_is_of_the_pinned_release_and_has_every_step() -> None:
    release, recording = golden.load()
    assert release == version(BINARIES["kube-controller-manager"])
    assert {story: list(steps) for story, steps in recording.items()} == {story.name: story.seen for story in stories()}
