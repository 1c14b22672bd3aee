"""kubectl and helm as a person runs them, against the real server and the embedded one: both have to answer alike."""

import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from quartermaster.testing.kubernetes import served
from tests.kubernetes.fixtures import program
from tests.kubernetes.server import Server


class Clients:
    """Runs programs with one kubeconfig and nothing else of this machine's."""

    def __init__(self, kubeconfig: Path, *, real: bool) -> None:
        self._kubeconfig, self.real = kubeconfig, real

    def run(self, *words: str, given: str | None = None, code: int = 0) -> str:
        """What a program says, on both outputs."""
        found, said = self.ask(*words, given=given)
        assert found == code, said
        return said

    def until(self, *words: str, seconds: float = 30.0) -> str:
        """Tries again until it succeeds: controllers need their time."""
        deadline = time.monotonic() + seconds
        while True:
            code, said = self.ask(*words)
            if not code:
                return said
            assert time.monotonic() < deadline, said
            time.sleep(0.1)

    def ask(self, *words: str, given: str | None = None) -> tuple[int, str]:
        """Exit code, and what a program says on both outputs."""
        home = str(self._kubeconfig.parent)
        done = subprocess.run(
            [str(program(words[0])), *words[1:]],
            input=given,
            capture_output=True,
            text=True,
            timeout=120,
            env={"KUBECONFIG": str(self._kubeconfig), "HOME": home, "PATH": "/usr/bin:/bin"},
            check=False,
        )
        return done.returncode, (done.stdout + done.stderr).strip()


@pytest.fixture(scope="module", params=["real", "embedded"])
def clients(
    request: pytest.FixtureRequest, kubernetes: Server, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Clients]:
    """The same tests, first with the real server."""
    kubeconfig = tmp_path_factory.mktemp("clients") / "config"
    if request.param == "real":
        kubeconfig.write_text(kubernetes.kubeconfig())
        yield Clients(kubeconfig, real=True)
    else:
        with served(kubeconfig=kubeconfig):
            yield Clients(kubeconfig, real=False)
