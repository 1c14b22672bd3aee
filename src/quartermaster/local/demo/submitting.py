"""One who submits a day: objects at their hour, replicas by the clock, pipeline steps in order, faults.

It stands in for users, an autoscaler and Argo's controller, and makes no pods of workloads: that is for the cluster.
"""

from __future__ import annotations

import asyncio

from quartermaster.kube.api import MERGE, Api, Json, Refused
from quartermaster.kube.clock import Clock
from quartermaster.kube.reflector import Reflector
from quartermaster.local.demo.day import Breakage, Day, shipped_day
from quartermaster.local.demo.manifests import HOUR, NAMESPACE, due, due_steps, sizes
from quartermaster.local.fleet.operating import Fault, break_node
from quartermaster.model.errors import InvalidInput

LOOK_S = 60.0
"""Of cluster time, between looks at what is to be done."""


class Demo:
    """Submits a day that began at `began`, until cancelled."""

    def __init__(self, api: Api, *, clock: Clock, day: Day | None = None) -> None:
        self.day = day or shipped_day()
        self.began = clock()
        self._api, self._clock = api, clock
        self._pods: Reflector[Json] = Reflector(api, f"/api/v1/namespaces/{NAMESPACE}/pods", self._heard)
        self._succeeded: dict[str, str] = {}
        """Phases of pods that have succeeded, whether or not they are still there."""
        self._submitted: set[str] = set()
        self._sizes: dict[str, int] = {}
        self._broken = 0

    async def run(self) -> None:
        """Submit what is due, look again later."""
        await self._make("/api/v1/namespaces", {"metadata": {"name": NAMESPACE}})
        async with asyncio.TaskGroup() as group:
            group.create_task(self._pods.run())
            await self._pods.synced.wait()
            while True:
                await self.step()
                await self._clock.until(self._clock() + LOOK_S)

    def _heard(self, _before: Json | None, after: Json | None) -> None:
        if after is not None and _phase(after) == "Succeeded":
            self._succeeded[after["metadata"]["name"]] = "Succeeded"

    async def step(self) -> None:
        """All that is due now."""
        hours = (self._clock() - self.began) / HOUR
        phases = {name: _phase(pod) for (_, name), pod in self._pods.objects.items()} | self._succeeded
        for submission in due(self.day, hours):
            if submission.name not in self._submitted and await self._make(submission.path, submission.body):
                self._submitted.add(submission.name)
        for step in due_steps(self.day, hours, phases):
            if step.body["metadata"]["name"] not in phases:  # not yet, or evicted: Argo tries again
                await self._make(step.path, step.body)
        for path, replicas in sizes(self.day, hours).items():
            if self._sizes.get(path) != replicas:
                await self._api.send("PATCH", path, {"spec": {"replicas": replicas}}, media=MERGE)
                self._sizes[path] = replicas
        for breakage in sorted(self.day.faults, key=lambda fault: fault.at)[self._broken :]:
            if breakage.at <= hours:
                self._broken += 1
                await self._break(breakage)

    async def _break(self, breakage: Breakage) -> None:
        try:
            await break_node(self._api, breakage.node, Fault(kind=breakage.kind, gpus=breakage.gpus))
        except InvalidInput:
            return  # this fleet has no such node

    async def _make(self, path: str, body: Json) -> bool:
        """Make an object; whether it is there. A kind that was defined just now may not be served yet."""
        try:
            await self._api.send("POST", path, body)
        except Refused as wrong:
            if wrong.code not in {404, 409}:
                raise
            return wrong.code == 409
        return True


def _phase(pod: Json) -> str:
    phase: str = (pod.get("status") or {}).get("phase", "")
    return phase
