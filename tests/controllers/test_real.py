"""The recording is still what a real kube-controller-manager does: all stories at once, then compared one by one."""

import asyncio

import pytest

from tests.controllers import golden
from tests.controllers.story import Story, stories
from tests.controllers.suite import PROGRAMS, differences, played_by_real
from tests.kubernetes.fixtures import program


@pytest.fixture(scope="module")
def real(tmp_path_factory: pytest.TempPathFactory) -> golden.Recording:
    programs = {name: program(name) for name in PROGRAMS}
    folder = tmp_path_factory.mktemp("controllers")
    return asyncio.run(played_by_real(stories(), programs=programs, folder=folder, wanted=golden.load()[1]))


@pytest.mark.kubernetes
@pytest.mark.parametrize("story", stories(), ids=lambda story: story.name)
def test_the_real_one_does_as_recorded(real: golden.Recording, story: Story) -> None:
    found = differences(story, real[story.name])
    assert not found, "\n".join(map(str, found))
