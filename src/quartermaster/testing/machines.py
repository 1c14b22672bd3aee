"""Simulated machines on an embedded API: kubelets that run, log and are measured, without a scheduler.

``async with machines(fleet) as cluster: await cluster.run("p", on="cpu-0"); await cluster.after(60)``. On a
`VirtualClock`, the default, nothing sleeps; with `port` and a `WallClock` foreign clients can talk to it.
"""

from __future__ import annotations

import asyncio
import contextlib
import random
from collections.abc import AsyncIterator
from pathlib import Path

from quartermaster.local.apiserver.cluster import Cluster
from quartermaster.local.apiserver.local import LocalApi
from quartermaster.local.client import LocalClient
from quartermaster.local.clock import VirtualClock, WallClock
from quartermaster.local.controllers.manager import AGENT, Manager
from quartermaster.local.fleet import marks
from quartermaster.local.fleet.operating import install
from quartermaster.local.fleet.presets import Fleet
from quartermaster.local.fleet.publishing import PUBLISHING
from quartermaster.local.kubelet.attach import attach
from quartermaster.local.stages.player import Player
from quartermaster.local.stages.table import everything
from quartermaster.testing.kubernetes import Client, Json, pod


class Machines(Client):
    """A client of the cluster, with its parts."""

    def __init__(self, api: LocalApi, player: Player, clock: VirtualClock | WallClock) -> None:
        super().__init__(api.server.handle)
        self.server, self.player, self.clock = api.server, player, clock

    async def run(self, name: str, *, on: str, gpus: str = "", value: Json | None = None, **annotations: str) -> None:
        """A pod (`value`, or one of one container) bound to a machine; annotations of ours by name, `_` for `-`."""
        value = value or pod(name, restartPolicy="Never")
        ours = {marks.OURS + key.replace("_", "-"): text for key, text in annotations.items()}
        ours |= {marks.DEVICES: gpus} if gpus else {}
        value["metadata"] = value["metadata"] | {"name": name, "annotations": ours}
        await self.create("pods", value)
        await self.create(f"pods/{name}/binding", {"metadata": {"name": name}, "target": {"name": on}})

    async def settle(self) -> None:
        """Until nothing is written for a good while of turns."""
        quiet, seen = 0, -1
        while quiet < 40:
            await asyncio.sleep(0)
            now = self.server.cluster.store.revision
            quiet, seen = (quiet + 1, seen) if now == seen else (0, now)

    async def after(self, seconds: float) -> None:
        """Let that much virtual time pass, moment by moment."""
        assert isinstance(self.clock, VirtualClock), "real time passes by itself"
        end = self.clock() + seconds
        await self.settle()
        while (moment := self.clock.next()) is not None and moment <= end:
            self.clock.jump()
            await self.settle()
        self.clock.jump(end)
        await self.settle()


@contextlib.asynccontextmanager
async def machines(
    fleet: Fleet,
    *,
    clock: VirtualClock | WallClock | None = None,
    port: int | None = None,
    kubeconfig: Path | None = None,
    seed: int = 0,
) -> AsyncIterator[Machines]:
    """A cluster of its own whose machines are up; equal seeds give equal uids, names and delays."""
    clock = clock or VirtualClock()
    rng = random.Random(seed)  # noqa: S311  # no secrets
    async with contextlib.AsyncExitStack() as stack:
        store = Cluster(clock=clock, rng=rng)
        api = await stack.enter_async_context(LocalApi(port=port, kubeconfig=kubeconfig, cluster=store))
        player = Player(LocalClient(api.server.handle, agent="kubelet"), everything([]), clock=clock, rng=rng)
        await attach(api.server, player, clock=clock)
        cluster = Machines(api, player, clock)

        async def sleep(seconds: float) -> None:
            await clock.until(clock() + seconds)

        publisher = LocalClient(api.server.handle, agent=AGENT)
        manager = await stack.enter_async_context(Manager(publisher, (PUBLISHING,), clock=clock, sleep=sleep))
        tasks = [asyncio.create_task(player.run()), asyncio.create_task(manager.run())]
        try:
            await install(LocalClient(api.server.handle, agent="fleet"), fleet)
            if isinstance(clock, VirtualClock):
                await cluster.after(5)
            yield cluster
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)
