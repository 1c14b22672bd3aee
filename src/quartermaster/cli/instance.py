"""Which local cluster is up: a file that says so, and the kubeconfig by which other commands reach it."""

from __future__ import annotations

import base64
import contextlib
import json
import os
import ssl
from collections.abc import AsyncIterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import yaml

from quartermaster.kube.api import Refused
from quartermaster.model.errors import InvalidInput

if TYPE_CHECKING:
    from quartermaster.local.client import LocalClient

NAME = "quartermaster"
"""Of cluster, user and context in kubeconfigs (identity.NAME, which is slow to import)."""


@dataclass(frozen=True, slots=True)
class Instance:
    """A running ``quartermaster up``."""

    pid: int
    url: str
    metrics: str
    kubeconfig: str
    folder: str


def runtime_folder() -> Path:
    """A folder of this user that goes with the session."""
    base = os.environ.get("XDG_RUNTIME_DIR") or os.environ.get("TMPDIR") or "/tmp"  # noqa: S108  # a fixed, private name
    return Path(base) / f"quartermaster-{os.getuid()}"


def own_kubeconfig() -> Path:
    """The kubeconfig that belongs to the running cluster alone."""
    return runtime_folder() / "up.kubeconfig"


def users_kubeconfig() -> Path:
    """Where kubectl looks first."""
    named = os.environ.get("KUBECONFIG", "").split(os.pathsep)[0]
    return Path(named) if named else Path.home() / ".kube" / "config"


def write(instance: Instance) -> None:
    """Say that a cluster is up."""
    path = runtime_folder() / "up.json"
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    path.write_text(json.dumps(asdict(instance)))


def clear() -> None:
    """Say that it is not, if it was this process."""
    found = read()
    if found is not None and found.pid == os.getpid():
        (runtime_folder() / "up.json").unlink(missing_ok=True)
        own_kubeconfig().unlink(missing_ok=True)


def read() -> Instance | None:
    """What the file says; None if there is none, or its process is gone."""
    try:
        found = Instance(**json.loads((runtime_folder() / "up.json").read_text()))
        os.kill(found.pid, 0)
    except (OSError, ValueError, TypeError):
        return None
    return found


def needed() -> Instance:
    """The running cluster; raises InvalidInput if none is."""
    found = read()
    if found is None:
        raise InvalidInput("local cluster", "is not running", "start it in another terminal: quartermaster up")
    return found


def _access(kubeconfig: str | None) -> tuple[str, str, str]:
    """Address, token and authority of our cluster in a kubeconfig; raises InvalidInput."""
    path = Path(kubeconfig).expanduser() if kubeconfig else Path(needed().kubeconfig)
    try:
        document = yaml.safe_load(path.read_text())
        cluster = next(item["cluster"] for item in document["clusters"] if item["name"] == NAME)
        token = next(item["user"]["token"] for item in document["users"] if item["name"] == NAME)
        authority = base64.b64decode(cluster["certificate-authority-data"]).decode()
        return cluster["server"], token, authority
    except (OSError, KeyError, TypeError, ValueError, StopIteration, yaml.YAMLError):
        raise InvalidInput(
            f"kubeconfig {path}", f"has no cluster '{NAME}'", "name the one that quartermaster up wrote"
        ) from None


@contextlib.asynccontextmanager
async def client(kubeconfig: str | None) -> AsyncIterator[LocalClient]:
    """A client of the running cluster, or of the one that `kubeconfig` names; raises InvalidInput."""
    url, token, authority = _access(kubeconfig)
    from quartermaster.local.apiserver.http import HttpTransport  # noqa: PLC0415  # slow to import
    from quartermaster.local.client import LocalClient  # noqa: PLC0415

    transport = HttpTransport(url, token=token, tls=ssl.create_default_context(cadata=authority))
    try:
        yield LocalClient(transport, agent="quartermaster")
    except OSError as wrong:
        raise InvalidInput(f"cluster at {url}", f"does not answer ({wrong})", "is quartermaster up running?") from None
    except Refused as wrong:
        raise InvalidInput(f"cluster at {url}", f"refused ({wrong})", "see the message") from None
    finally:
        await transport.close()
