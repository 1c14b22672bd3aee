"""The differential suite in three calls, for whoever has another server to compare with a real kube-apiserver.

    for story in stories():
        answers = play(server, story)                     # server: any `Server(url=..., token=..., ca=...)`
        left = unexplained(story, answers)                # differences that accepted.yaml does not cover
        assert not left, "\\n".join(map(str, left))

The server has to be fresh (each story makes its own namespace and never cleans up) and bare: an API without
controllers, as the recorded one was. Stories are independent; play any of them in any order, or several at a time.
"""

import datetime as dt
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from tests.differential import golden
from tests.differential.client import run
from tests.differential.compare import Accepted, Difference, compare, load_accepted, split
from tests.differential.normalise import normalise
from tests.differential.table import Story, stories
from tests.kubernetes.server import Server

ACCEPTED = Path(__file__).parent / "accepted.yaml"

__all__ = ["Server", "Story", "differences", "play", "stories", "unexplained"]


def play(server: Server, story: Story) -> dict[str, Any]:
    """Run a story and normalise what came back."""
    return normalise(run(server, story), story=story, now=dt.datetime.now(dt.UTC))


def differences(story: Story, answers: dict[str, Any]) -> list[Difference]:
    """Everything in which the answers differ from the recorded ones."""
    return compare(story.name, golden.load()[1][story.name], answers)


def unexplained(story: Story, answers: dict[str, Any], accepted: Sequence[Accepted] | None = None) -> list[Difference]:
    """The differences that nobody has agreed to (default: accepted.yaml)."""
    return split(differences(story, answers), load_accepted(ACCEPTED) if accepted is None else accepted)[0]
