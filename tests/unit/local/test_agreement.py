"""How far the embedded API answers as a recorded kube-apiserver did: no story may get worse.

data/agreement.txt has one line per story: its name, how many answers are equal, how many there are. When more are equal
the test says what to write; the differences themselves: `python -m tests.differential compare KUBECONFIG --causes`.
"""

import asyncio
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from quartermaster.local.apiserver.local import LocalApi
from tests.differential.suite import Server, play, stories, unexplained

RECORDED = Path(__file__).parent / "data/agreement.txt"


@pytest.fixture
def bare_server() -> Iterator[Server]:
    """The embedded API on a thread of its own, without controllers, as the recorded one was."""
    ready = threading.Event()
    box: dict[str, object] = {}

    async def serve() -> None:
        stop = asyncio.Event()
        async with LocalApi(controllers=False) as api:
            assert api.http is not None
            assert api.identity is not None
            server = Server(url=api.http.url, token=api.identity.token, ca=api.identity.authority.decode())
            box.update(loop=asyncio.get_running_loop(), stop=stop, server=server)
            ready.set()
            await stop.wait()

    thread = threading.Thread(target=lambda: asyncio.run(serve()))
    thread.start()
    assert ready.wait(30)
    server, loop, stop = box["server"], box["loop"], box["stop"]
    assert isinstance(server, Server)
    assert isinstance(loop, asyncio.AbstractEventLoop)
    assert isinstance(stop, asyncio.Event)
    yield server
    loop.call_soon_threadsafe(stop.set)
    thread.join()


def test_no_story_agrees_less_with_the_real_server(bare_server: Server) -> None:
    recorded = dict(line.rsplit(maxsplit=2)[0::1][:2] for line in RECORDED.read_text(encoding="utf-8").splitlines())
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
