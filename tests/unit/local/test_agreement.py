"""How far the embedded API answers as a recorded kube-apiserver did: no story may get worse.

data/agreement.txt has one line per story: its name, how many answers are equal, how many there are. When more are equal
the test says what to write; the differences themselves: `python -m tests.differential compare KUBECONFIG --causes`.
"""

from collections.abc import Iterator
from pathlib import Path

import pytest

from quartermaster.local.apiserver.server import Settings
from quartermaster.local.apiserver.transport import User
from quartermaster.testing.kubernetes import served
from tests.differential.suite import Server, play, stories, unexplained

RECORDED = Path(__file__).parent / "data/agreement.txt"


@pytest.fixture
def bare_server() -> Iterator[Server]:
    """The embedded API on a thread of its own, without controllers and with the administrator of the recorded one."""
    administrator = User("admin", ("system:masters", "system:authenticated"), "admin")
    with served(controllers=False, settings=Settings(tokens={"token": administrator})) as api:
        assert api.http is not None
        assert api.identity is not None
        yield Server(url=api.http.url, token="token", ca=api.identity.authority.decode())


def test_no_story_agrees_less_with_the_real_server(bare_server: Server) -> None:
    recorded = dict(line.rsplit(maxsplit=2)[:2] for line in RECORDED.read_text(encoding="utf-8").splitlines())
    now, lines = {}, []
    for story in stories():
        differing = {difference.where for difference in unexplained(story, play(bare_server, story))}
        now[story.name] = len(story.requests) - len(differing)
        lines.append(f"{story.name} {now[story.name]} {len(story.requests)}")
    worse = {name: (now[name], int(count)) for name, count in recorded.items() if now.get(name, 0) < int(count)}
    assert not worse, f"(now, recorded): {worse}"
    assert len(recorded) == len(lines), "a new story: write its line"
    better = [line for line in lines if now[line.split()[0]] > int(recorded[line.split()[0]])]
    assert not better, "more is equal than was written down; write: " + "; ".join(better)
