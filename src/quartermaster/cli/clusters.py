"""How commands that read a cluster reach it: as kubectl would, with its flags and its order of looking."""

from __future__ import annotations

import argparse
import contextlib
from collections.abc import AsyncIterator
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from quartermaster.kube.connecting import Connection
    from quartermaster.kube.http import HttpApi


def add_flags(command: argparse._ActionsContainer, *, when: str = "") -> None:
    """``--kubeconfig`` and ``--context``; `when` says when they count."""
    said = "default: KUBECONFIG, ~/.kube/config, then the pod's own"
    command.add_argument("--kubeconfig", metavar="FILE", help=f"{when}{said}")
    command.add_argument("--context", metavar="NAME", default="", help="of the kubeconfig; default: its current one")


@contextlib.asynccontextmanager
async def cluster(options: argparse.Namespace) -> AsyncIterator[HttpApi]:
    """The API that the flags lead to; raises InvalidInput, also if it does not answer while it is used."""
    from random import SystemRandom  # noqa: PLC0415  # see the package docstring

    from quartermaster.kube.api import Refused  # noqa: PLC0415
    from quartermaster.kube.clock import WallClock  # noqa: PLC0415
    from quartermaster.kube.http import HttpApi  # noqa: PLC0415
    from quartermaster.model.errors import InvalidInput  # noqa: PLC0415

    connection = _connection(options)
    where = f"cluster at {connection.server}"
    try:
        async with HttpApi(connection, agent="quartermaster", clock=WallClock(), rng=SystemRandom()) as api:
            yield api
    except OSError as wrong:
        fix = "see whether it is running, and whether the kubeconfig is right"
        raise InvalidInput(where, f"does not answer ({wrong})", fix) from None
    except Refused as wrong:
        raise InvalidInput(where, f"refused ({wrong})", "see what the user of the kubeconfig may do") from None


def _connection(options: argparse.Namespace) -> Connection:
    import os  # noqa: PLC0415
    import time  # noqa: PLC0415
    from pathlib import Path  # noqa: PLC0415

    from quartermaster.kube.connecting import connect  # noqa: PLC0415

    kubeconfig = Path(options.kubeconfig).expanduser() if options.kubeconfig else None
    return connect(kubeconfig=kubeconfig, context=options.context, environment=os.environ, wall=time.time)
