"""Another API server, given by `pytest --server KUBECONFIG`, answers as the real one did, but for what was agreed to.

This is also how an embedded server is compared: a test of its own, with its own fixture in place of `given_server`.
"""

import pytest

from tests.differential.suite import Server, Story, play, stories, unexplained


@pytest.mark.parametrize("story", stories(), ids=lambda story: story.name)
def test_the_server_answers_as_the_real_one(given_server: Server, story: Story) -> None:
    left = unexplained(story, play(given_server, story))
    assert not left, "\n".join(map(str, left))
