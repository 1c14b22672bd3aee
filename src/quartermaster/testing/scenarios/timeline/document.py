"""The format of a scenario file; docs/scenarios.md is its reference.

One YAML document is one scenario. Keys are in kebab-case, unknown ones are refused, and every mistake is told with the
file and the path of the field.
"""

from __future__ import annotations

import msgspec

from quartermaster.documents.parts import Cluster, Part, Policy, Queue, Strings, Workload
from quartermaster.documents.quantities import Seconds
from quartermaster.documents.reading import convert, yaml_documents
from quartermaster.model.errors import InvalidInput


class Budget(Part, frozen=True):
    """At most this many pods with these labels may be down at once."""

    name: str
    match: Strings
    max_unavailable: int


class Event(Part, frozen=True):
    """One thing that happens at a time: exactly one of the others is given."""

    at: Seconds
    complete: str | None = None
    node_down: str | None = None
    node_up: str | None = None
    queue: Queue | None = None


class Range(Part, frozen=True):
    """Bounds, both included."""

    at_least: float = float("-inf")
    at_most: float = float("inf")


Bound = float | Range
"""A number that is to be met exactly, or a range."""


class Expectation(Part, frozen=True):
    """What is to be true at a time (left out: at the end), of a group, a queue, or of everything.

    Of a group: pods `running`, `waiting`, `nominated`, `leaving` and (so far) `evicted`; whether it has `completed`;
    exactly these `nodes`; all of it in `one-domain` of a node label; a `reason` for waiting that contains a text. Of a
    queue: the `gpus` it holds. Of everything: `evictions` so far.
    """

    at: Seconds | None = None
    group: str | None = None
    queue: str | None = None
    running: Bound | None = None
    waiting: Bound | None = None
    nominated: Bound | None = None
    leaving: Bound | None = None
    evicted: Bound | None = None
    completed: bool | None = None
    nodes: list[str] | None = None
    one_domain: str | None = None
    reason: str | None = None
    gpus: Bound | None = None
    evictions: Bound | None = None


class Scenario(Part, frozen=True):
    """A whole scenario. A cycle is held at every event and at least `every` so often; evicted pods leave after `grace`.

    `thresholds` bound what was measured over the whole run, by name (see `metrics`).
    """

    name: str
    cluster: Cluster
    workloads: list[Workload]
    until: Seconds
    description: str = ""
    every: Seconds = Seconds(10)
    grace: Seconds = Seconds(30)
    policy: Policy = Policy()
    queues: list[Queue] = msgspec.field(default_factory=list)
    budgets: list[Budget] = msgspec.field(default_factory=list)
    events: list[Event] = msgspec.field(default_factory=list)
    expect: list[Expectation] = msgspec.field(default_factory=list)
    thresholds: dict[str, Bound] = msgspec.field(default_factory=dict)
    id: str = ""


def with_queue(scenario: Scenario, queue: Queue) -> Scenario:
    """The scenario with the queue of that name replaced."""
    queues = [queue if one.name == queue.name else one for one in scenario.queues]
    return msgspec.structs.replace(scenario, queues=queues)


def read(text: bytes, *, file: str) -> list[Scenario]:
    """The scenarios of a file, one per YAML document; raises `InvalidInput` with the file and the field."""
    documents = yaml_documents(text, file=file)
    if not documents:
        raise InvalidInput(file, "is empty", "write at least one scenario")
    many = len(documents) > 1
    return [_scenario(document, file=file, number=i if many else None) for i, document in enumerate(documents)]


def _scenario(document: object, *, file: str, number: int | None) -> Scenario:
    where = file if number is None else f"{file}[{number}]"
    scenario = convert(document, Scenario, where=where, reference="docs/scenarios.md")
    stem = file.rsplit("/", 1)[-1].rsplit(".", 1)[0]
    return msgspec.structs.replace(scenario, id=scenario.id or (stem if number is None else f"{stem}/{number}"))
