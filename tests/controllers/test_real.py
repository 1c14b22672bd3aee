"""The recording is still what a real kube-controller-manager does: all stories at once, then compared one by one.

In some things it differs from itself: unsteady.yaml."""

import asyncio

import pytest

from tests.controllers import golden
from tests.controllers.story import Story, stories
from tests.controllers.suite import PROGRAMS, UNSTEADY, differences, played_by_real
from tests.differential.compare import load_accepted, split
from tests.kubernetes.fixtures import program
from tests.recordings import Recording


@pytest.fixture(scope="module")
def real(tmp_path_factory: pytest.TempPathFactory) -> Recording:
    programs = {name: program(name) for name in PROGRAMS}
    folder = tmp_path_factory.mktemp("controllers")
    return asyncio.run(played_by_real(stories(), programs=programs, folder=folder, wanted=golden.load()[1]))


@pytest.mark.kubernetes
@pytest.mark.parametrize("story", stories(), ids=lambda story: story.name)
def test_the_real_one_does_as_recorded(real: Recording, story: Story) -> None:
    left, _ = split(differences(story, real[story.name]), load_accepted(UNSTEADY))
    assert not left, "\n".join(map(str, left))
