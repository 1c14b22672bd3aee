"""The two API servers that a local cluster can have, behind one value: where it answers, and how its parts reach it.

The embedded one is in this process and has its clock. A real one is a process beside it, reached over HTTP, and stamps
what is created with the wall clock.
"""

from __future__ import annotations

import asyncio
import contextlib
import errno
import os
from collections.abc import AsyncIterator, Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

from quartermaster.kube.api import Api
from quartermaster.kube.clock import Clock, SteadyClock
from quartermaster.kube.connecting import Connection
from quartermaster.kube.credentials import Fixed, bearer
from quartermaster.kube.http import HttpApi
from quartermaster.kube.tls import Pem, Trust
from quartermaster.local.apiserver.admission_builtin import tolerate_extended_resources
from quartermaster.local.apiserver.identity import Identity
from quartermaster.local.apiserver.local import LocalApi
from quartermaster.local.apiserver.server import ApiServer
from quartermaster.local.client import LocalClient
from quartermaster.local.controllers.manager import AGENT
from quartermaster.local.real.controlplane import ControlPlane
from quartermaster.model.errors import InvalidInput

Connect = Callable[[str], Api]
"""A client of the cluster's API for one of `AGENTS`."""
ADMIN, KUBELET, SCHEDULER, DEMO = "quartermaster", "kubelet", "quartermaster-scheduler", "demo"
AGENTS = (ADMIN, KUBELET, SCHEDULER, AGENT, DEMO)
"""Under which names the parts of a local cluster ask."""
ALPHA = ("podgroups", "workloads")
"""Kinds that a cluster serves only when asked to, and then `kubectl get podgroups` means them and not ours."""
LOOK_S = 1.0
"""Between looks whether the processes of a real server are alive."""


@dataclass(frozen=True, slots=True)
class Served:
    """A server that answers."""

    url: str
    identity: Identity
    connect: Connect
    server: ApiServer | None = None
    """The embedded one itself."""


@contextlib.asynccontextmanager
async def embedded(*, port: int, folder: Path | None, clock: Clock) -> AsyncIterator[Served]:
    """The server of this project, in this process. Raises InvalidInput if the port is taken."""
    api = LocalApi(port=port, folder=folder)
    api.server.cluster.clock = clock
    api.server.admission.mutating.append(tolerate_extended_resources)
    for plural in ALPHA:
        api.server.cluster.registry.remove("scheduling.k8s.io", "v1alpha2", plural)
    async with contextlib.AsyncExitStack() as stack:
        with needing(port):
            await stack.enter_async_context(api)
        assert api.http is not None, "a port was given"
        assert api.identity is not None, "a server on a port has an identity"
        yield Served(api.http.url, api.identity, lambda agent: LocalClient(api.server.handle, agent=agent), api.server)


@contextlib.contextmanager
def needing(port: int) -> Iterator[None]:
    """A port that is taken is bad input."""
    try:
        yield
    except OSError as wrong:
        if wrong.errno not in (errno.EADDRINUSE, errno.EACCES):
            raise
        reason = os.strerror(wrong.errno)
        raise InvalidInput("--port", f"{port} cannot be used ({reason})", "give another, or 0 for any") from None


@contextlib.asynccontextmanager
async def real(plane: ControlPlane) -> AsyncIterator[Served]:
    """A kube-apiserver that is up."""
    clock, who = SteadyClock(), plane.identity
    trust = Trust(clock, Pem("certificate authority of this run", who.authority))
    connection = Connection(server=plane.url, credentials=Fixed(bearer(who.token)), trust=trust)
    async with contextlib.AsyncExitStack() as stack:
        apis = {agent: await stack.enter_async_context(HttpApi(connection, agent=agent)) for agent in AGENTS}
        yield Served(plane.url, who, apis.__getitem__)


async def watch_over(plane: ControlPlane) -> None:
    """Until one of its processes ends, which raises NotReady."""
    while True:
        plane.check()
        await asyncio.sleep(LOOK_S)
