"""The recorded answers are those of a real kube-apiserver: played again, nothing differs."""

import pytest

from tests.differential import golden
from tests.differential.suite import Server, Story, differences, play, stories
from tools.kubernetes.binaries import BINARIES, version


@pytest.mark.parametrize("story", stories(), ids=lambda story: story.name)
def test_the_real_server_answers_as_recorded(kubernetes: Server, story: Story) -> None:
    found = differences(story, play(kubernetes, story))
    assert not found, "\n".join(map(str, found))


def test_the_recording_is_of_the_pinned_release() -> None:
    assert golden.load()[0] == version(BINARIES["kube-apiserver"])


def test_the_recording_has_every_request_of_the_table_and_no_other() -> None:
    recorded = {story: list(answers) for story, answers in golden.load()[1].items()}
    assert recorded == {story.name: [request.name for request in story.requests] for story in stories()}
