"""The format of a day of mixed work (`day.yaml`), by the hour from its beginning."""

from __future__ import annotations

from functools import cache
from importlib.resources import files
from typing import Literal

import msgspec
import yaml


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


class Queue(_Part, frozen=True, kw_only=True):
    """A team's queue: GPUs that it deserves, and how it shares in what others leave."""

    name: str
    gpus: int
    weight: float = 1


Dialect = Literal["kubernetes", "kueue", "kai", "volcano"]


class Job(Work, frozen=True, kw_only=True):
    """A Job of `pods`, submitted `at` hours; as a `gang` they start together or not at all.

    `written` is for whom: its team has written it for another scheduler, and has it run unchanged. `queue` is the team.
    """

    at: float
    pods: int = 1
    gang: bool = False
    retries: int = 6
    written: Dialect = "kubernetes"
    queue: str = ""


class Schedule(Work, frozen=True, kw_only=True):
    """A CronJob."""

    cron: str


class Notebooks(_Part, frozen=True, kw_only=True):
    """A StatefulSet for each user, begun at even distances, on a share of a GPU; scaled to nothing after `hours`."""

    users: list[str]
    start: float = msgspec.field(name="from")
    until: float
    hours: float
    fraction: str
    cpu: int
    memory: str
    image: str
    load: float

    def begins(self, user: str) -> float:
        """At which hour."""
        return self.start + (self.until - self.start) / 2 / len(self.users) * self.users.index(user)


class Service(_Part, frozen=True, kw_only=True):
    """A Deployment with a Service and a disruption budget, as many replicas as `replicas` says for the hour."""

    name: str
    resource: str
    image: str
    cpu: int
    memory: str
    load: float
    replicas: list[int]

    def size(self, hours: float) -> int:
        """Replicas at an hour."""
        return self.replicas[int(hours) % len(self.replicas)]


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

    queues: list[Queue]
    jobs: list[Job]
    schedules: list[Schedule]
    notebooks: Notebooks
    services: list[Service]
    pipelines: list[Pipeline]
    faults: list[Breakage]


@cache
def shipped_day() -> Day:
    """The day that comes with the program."""
    return msgspec.convert(yaml.safe_load((files(__package__) / "day.yaml").read_text()), Day)
