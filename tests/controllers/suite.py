"""Stories played on either cluster, and what is left of the differences."""

import asyncio
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from tests.controllers import golden
from tests.controllers.playing import play
from tests.controllers.sides import ours, real
from tests.controllers.story import Story
from tests.differential.compare import Difference, compare, load_accepted, split
from tests.recordings import Recording

PROGRAMS = ("kube-apiserver", "etcd", "kube-controller-manager")
ACCEPTED = Path(__file__).parent / "accepted.yaml"
UNSTEADY = ACCEPTED.with_name("unsteady.yaml")


async def played_by_ours(story: Story) -> dict[str, Any]:
    """In virtual time, on a cluster of its own."""
    async with ours() as side:
        return await play(side, story)


async def played_by_real(
    stories: Sequence[Story], *, programs: dict[str, Path], folder: Path, wanted: Recording | None = None
) -> Recording:
    """All side by side on one cluster: each waits for most of its time. A story that cannot be played has no steps."""

    async def one(story: Story) -> dict[str, Any]:
        try:
            return await play(side, story, (wanted or {}).get(story.name))
        except AssertionError as wrong:
            sys.stderr.write(f"{story.name}: {wrong}\n")
            return {}

    async with real(programs=programs, folder=folder) as side:
        seen = await asyncio.gather(*map(one, stories))
    return {story.name: steps for story, steps in zip(stories, seen, strict=True)}


def differences(story: Story, seen: dict[str, Any]) -> list[Difference]:
    """Everything in which it is not as recorded."""
    return compare(story.name, golden.load()[1][story.name], seen)


def unexplained(story: Story, seen: dict[str, Any]) -> list[Difference]:
    """The differences that accepted.yaml gives no reason for."""
    return split(differences(story, seen), load_accepted(ACCEPTED))[0]
