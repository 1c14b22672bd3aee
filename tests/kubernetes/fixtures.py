"""pytest: a real control plane as a fixture, and one loud line when there is none.

A test that takes `kubernetes` is in the lane `kubernetes` (`make test-kubernetes`), which the default run leaves out.
Where the lane was asked for and the programs are missing, its tests are skipped and the run ends with one red line that
says so: whoever reads only the end of the output still learns that nothing was compared.
"""

from collections.abc import Iterator
from pathlib import Path

import pytest

from quartermaster.local.real.controlplane import running
from tests.kubernetes.server import Server, from_kubeconfig, of
from tools.kubernetes.binaries import locate

PROGRAMS = ("kube-apiserver", "etcd", "kubectl", "helm", "kube-controller-manager", "informers", "scraping")
"""What `make test-kubernetes` builds. The server needs the first two; tests of clients the others too."""


def pytest_addoption(parser: pytest.Parser) -> None:
    """`--server` brings in tests/differential/test_server.py, which is not there without it."""
    parser.addoption(
        "--server", type=Path, metavar="KUBECONFIG", help="compare this fresh API server with a real kube-apiserver"
    )


def pytest_ignore_collect(collection_path: Path, config: pytest.Config) -> bool | None:
    """No server, no tests of it: nothing is skipped that could have run."""
    return True if collection_path.name == "test_server.py" and config.getoption("--server") is None else None


@pytest.fixture(scope="session")
def given_server(pytestconfig: pytest.Config) -> Server:
    """The API server that `--server` names."""
    path = pytestconfig.getoption("--server")
    if path is None:
        raise pytest.UsageError("--server KUBECONFIG says which server to compare")
    return from_kubeconfig(path)


def program(name: str) -> Path:
    """The executable, or the calling test is skipped; the last line of the run will say why."""
    path = locate(name)
    if path is None:
        pytest.skip(f"no {name}")
    return path


@pytest.fixture(scope="session")
def kubernetes(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """A fresh kube-apiserver with etcd, for the whole session: tests bring their own namespaces."""
    programs = {name: program(name) for name in ("kube-apiserver", "etcd")}
    with running(programs, folder=tmp_path_factory.mktemp("kubernetes")) as plane:
        yield of(plane)


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Whoever takes the fixture is in the lane; nobody has to remember the marker."""
    for item in items:
        if "kubernetes" in getattr(item, "fixturenames", ()):
            item.add_marker("kubernetes")


@pytest.hookimpl(wrapper=True, tryfirst=True)
def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> Iterator[None]:
    """The one line, below everything else that pytest sums up."""
    yield
    skipped = [
        report
        for report in terminalreporter.stats.get("skipped", [])
        if "kubernetes" in getattr(report, "keywords", ())
    ]
    missing = [f"no {name}" for name in PROGRAMS if locate(name) is None]
    if skipped and missing:
        terminalreporter.write_line(
            f"KUBERNETES LANE: {len(skipped)} TESTS DID NOT RUN: {', '.join(missing)}; see make kubernetes",
            red=True,
            bold=True,
        )
