"""The format of a day, and one who submits it: jobs at their hour, replicas by the clock, pipeline steps in order.

It stands in for users and for controllers that a local cluster may lack (Deployment, Argo), so it makes plain pods.
What it has submitted is read back from the cluster: it can stop and go on.
"""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from functools import cache
from importlib.resources import files

import msgspec
import yaml

from quartermaster.api.pods import FRACTION
from quartermaster.kube.api import Api, Json, Mirror, Refused
from quartermaster.kube.clock import Clock
from quartermaster.local.fleet import marks
from quartermaster.local.fleet.operating import Fault, break_node
from quartermaster.model.errors import InvalidInput

NAMESPACE = "demo"
HOUR = 3600.0
LOOK_S = 60.0
"""Of cluster time, between looks at what is to be done."""


class _Part(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, rename="camel"):
    """Base of all parts of a document."""


class Work(_Part, frozen=True, kw_only=True):
    """What one pod asks for and how it ends."""

    name: str
    cpu: int
    memory: str
    hours: float
    gpus: int = 0
    image: str = "python:3.13"
    load: float = 0.75
    outcome: str = "succeed"
    ready_seconds: float = 1


class Job(Work, frozen=True, kw_only=True):
    """`count` pods of their own, or a gang of `gang`, submitted `at` hours."""

    at: float
    count: int = 0
    gang: int = 0


class Notebooks(_Part, frozen=True, kw_only=True):
    """One for each user, at even distances, on a share of a GPU."""

    users: list[str]
    start: float = msgspec.field(name="from")
    until: float
    hours: float
    fraction: str
    cpu: int
    memory: str
    image: str
    load: float


class Service(_Part, frozen=True, kw_only=True):
    """Pods of a service, as many as `replicas` says for the hour."""

    name: str
    resource: str
    image: str
    cpu: int
    memory: str
    load: float
    replicas: list[int]


class Step(Work, frozen=True, kw_only=True):
    """Runs once the steps in `after` have succeeded."""

    after: list[str] = []


class Pipeline(_Part, frozen=True, kw_only=True):
    """Started `every` so many hours."""

    name: str
    every: float
    steps: list[Step]


class Breakage(_Part, frozen=True, kw_only=True):
    """A fault `at` hours."""

    at: float
    node: str
    kind: str
    gpus: str = "0"


class Day(_Part, frozen=True, kw_only=True):
    """All of it."""

    jobs: list[Job]
    notebooks: Notebooks
    services: list[Service]
    pipelines: list[Pipeline]
    faults: list[Breakage]


@cache
def shipped_day() -> Day:
    """The day that comes with the program."""
    return msgspec.convert(yaml.safe_load((files(__package__) / "day.yaml").read_text()), Day)


@dataclass(frozen=True, slots=True)
class Submission:
    """A pod to be made."""

    name: str
    body: Json


def due_pods(day: Day, hours: float) -> list[Submission]:
    """Jobs and notebooks submitted up to `hours` since the day began."""
    found = []
    for job in day.jobs:
        if job.at <= hours:
            size = job.gang or job.count
            labels = {"kueue.x-k8s.io/pod-group-name": job.name} if job.gang > 1 else {}
            notes = {"kueue.x-k8s.io/pod-group-total-count": str(job.gang)} if job.gang > 1 else {}
            found += [_work(f"{job.name}-{index}", job, "job", labels=labels, notes=notes) for index in range(size)]
    books = day.notebooks
    step = (books.until - books.start) / 2 / len(books.users)
    for index, user in enumerate(books.users):
        if books.start + step * index <= hours:
            notes = {
                FRACTION: books.fraction,
                marks.RUN_SECONDS: f"{books.hours * HOUR:.0f}",
                marks.LOAD: f"{books.load}",
            }
            requests = {"cpu": str(books.cpu), "memory": books.memory}
            selector = {"nvidia.com/gpu.product": "NVIDIA-L40S"}
            found.append(_pod(f"notebook-{user}", "notebook", books.image, requests, notes=notes, selector=selector))
    return found


def replicas(service: Service, hours: float) -> int:
    """How many pods a service has at an hour."""
    return service.replicas[int(hours) % len(service.replicas)]


def replica(service: Service, index: int) -> Submission:
    """One pod of a service."""
    requests = {"cpu": str(service.cpu), "memory": service.memory, service.resource: "1"}
    notes = {marks.LOAD: f"{service.load}", marks.READY_SECONDS: "40"}
    labels = {"app": service.name}
    return _pod(
        f"{service.name}-{index}", "service", service.image, requests, notes=notes, labels=labels, restart="Always"
    )


def due_steps(day: Day, hours: float, phases: dict[str, str]) -> list[Submission]:
    """Pipeline steps whose predecessors have succeeded. `phases` of all pods that were ever seen, by name."""
    found = []
    for pipeline in day.pipelines:
        for run in range(int(hours / pipeline.every) + 1):
            prefix = f"{pipeline.name}-{run}"
            found += [
                _work(f"{prefix}-{step.name}", step, "pipeline", labels={"pipeline": prefix})
                for step in pipeline.steps
                if all(phases.get(f"{prefix}-{name}") == "Succeeded" for name in step.after)
            ]
    return found


def _work(
    name: str, work: Work, kind: str, *, labels: dict[str, str] | None = None, notes: dict[str, str] | None = None
) -> Submission:
    requests = {"cpu": str(work.cpu), "memory": work.memory}
    if work.gpus:
        requests[marks.WHOLE_GPU] = str(work.gpus)
    annotations = {
        marks.RUN_SECONDS: f"{work.hours * HOUR:.0f}",
        marks.LOAD: f"{work.load}",
        marks.READY_SECONDS: f"{work.ready_seconds}",
        marks.OUTCOME: work.outcome,
    }
    return _pod(name, kind, work.image, requests, notes=annotations | (notes or {}), labels=labels)


def _pod(
    name: str,
    kind: str,
    image: str,
    requests: dict[str, str],
    *,
    notes: dict[str, str],
    labels: dict[str, str] | None = None,
    selector: dict[str, str] | None = None,
    restart: str = "Never",
) -> Submission:
    limits = {key: value for key, value in requests.items() if "/" in key}
    container = {"name": "main", "image": image, "resources": {"requests": requests, "limits": limits}}
    spec: Json = {"restartPolicy": restart, "containers": [container]}
    if selector:
        spec["nodeSelector"] = selector
    if any(key.startswith("nvidia.com/") for key in requests) or FRACTION in notes:
        spec["tolerations"] = [{"key": marks.WHOLE_GPU, "operator": "Exists"}]
    metadata = {"name": name, "labels": {"quartermaster.dev/demo": kind} | (labels or {}), "annotations": notes}
    return Submission(name, {"apiVersion": "v1", "kind": "Pod", "metadata": metadata, "spec": spec})


class Demo:
    """Submits a day that began at `began`, until cancelled."""

    def __init__(self, api: Api, *, clock: Clock, day: Day | None = None) -> None:
        self.day = day or shipped_day()
        self.began = clock()
        self._api, self._clock = api, clock
        self._pods = Mirror(api, f"/api/v1/namespaces/{NAMESPACE}/pods", lambda _before, _after: None)
        self._submitted: set[str] = set()
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

    async def step(self) -> None:
        """All that is due now."""
        hours = (self._clock() - self.began) / HOUR
        there = {name: pod for (_, name), pod in self._pods.objects.items()}
        phases = {name: pod.get("status", {}).get("phase", "") for name, pod in there.items()}
        for submission in due_pods(self.day, hours) + due_steps(self.day, hours, phases):
            if submission.name not in self._submitted and submission.name not in there:
                await self._make(f"/api/v1/namespaces/{NAMESPACE}/pods", submission.body)
            self._submitted.add(submission.name)
        for service in self.day.services:
            await self._scale(service, hours, there)
        for breakage in sorted(self.day.faults, key=lambda fault: fault.at)[self._broken :]:
            if breakage.at <= hours:
                self._broken += 1
                await self._break(breakage)

    async def _scale(self, service: Service, hours: float, there: dict[str, Json]) -> None:
        wanted = replicas(service, hours)
        mine = [name for name, pod in there.items() if pod["metadata"].get("labels", {}).get("app") == service.name]
        for index in range(wanted):
            submission = replica(service, index)
            if submission.name not in there:
                await self._make(f"/api/v1/namespaces/{NAMESPACE}/pods", submission.body)
        for name in mine:
            if int(name.rpartition("-")[2]) >= wanted and "deletionTimestamp" not in there[name]["metadata"]:
                try:
                    await self._api.send("DELETE", f"/api/v1/namespaces/{NAMESPACE}/pods/{name}")
                except Refused as wrong:
                    if wrong.code != 404:
                        raise

    async def _break(self, breakage: Breakage) -> None:
        try:
            await break_node(self._api, breakage.node, Fault(kind=breakage.kind, gpus=breakage.gpus))
        except InvalidInput:
            return  # this fleet has no such node

    async def _make(self, path: str, body: Json) -> None:
        try:
            await self._api.send("POST", path, body)
        except Refused as wrong:
            if wrong.code != 409:
                raise
