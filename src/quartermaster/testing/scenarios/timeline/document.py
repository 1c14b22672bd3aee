"""The format of a scenario file; docs/scenarios.md is its reference.

One YAML document is one scenario. Keys are in kebab-case, unknown ones are refused, and every mistake is told with the
file and the path of the field.
"""

from __future__ import annotations

from collections.abc import Hashable
from typing import Any

import msgspec
import yaml

from quartermaster.model.errors import InvalidInput
from quartermaster.model.queue import DEFAULT_QUEUE_PRIORITY
from quartermaster.scheduling.rules import ALL_ACTIONS, Action
from quartermaster.testing.scenarios.timeline.quantities import Bytes, Millicores, Seconds

Strings = dict[str, str]


class _Part(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, rename="kebab"):
    """Base of all parts of a document."""


class Nodes(_Part, frozen=True):
    """`count` equal nodes: ``NAME-0``, ``NAME-1``, ...; a single one is called NAME."""

    name: str
    count: int = 1
    gpus: int = 0
    model: str = ""
    gpu_memory: Bytes = Bytes(80 * 2**30)
    cpu: Millicores = Millicores(64_000)
    memory: Bytes = Bytes(512 * 2**30)
    pods: int = 110
    labels: Strings = {}


class Level(_Part, frozen=True):
    """A topology level: the node label that tells its domains apart."""

    label: str
    alias: str = ""
    hard: bool = False


class Topology(_Part, frozen=True):
    """Levels from coarse to fine."""

    name: str
    levels: list[str | Level]


class Cluster(_Part, frozen=True):
    """What there is at the beginning."""

    nodes: list[Nodes]
    topologies: list[Topology] = []


class Quota(_Part, frozen=True):
    """Entitlement to one resource; a limit left out is none."""

    deserved: float = 0
    limit: float | None = None
    weight: float = 1


class Queue(_Part, frozen=True):
    """A queue; GPUs in devices, cpu in cores, memory in bytes. Cpu and memory are free unless given."""

    name: str
    parent: str | None = None
    priority: int = DEFAULT_QUEUE_PRIORITY
    gpu: Quota = Quota()
    cpu: Quota | None = None
    memory: Quota | None = None
    reclaim_min_runtime: Seconds | None = None
    preempt_min_runtime: Seconds | None = None


class Budget(_Part, frozen=True):
    """At most this many pods with these labels may be down at once."""

    name: str
    match: Strings
    max_unavailable: int


class Pod(_Part, frozen=True):
    """What a pod asks for. `gpus`: whole devices, or below 1 a share of one; with `gpu-memory`, that much of each."""

    gpus: float = 0
    gpu_memory: Bytes | None = None
    models: list[str] = []
    cpu: Millicores = Millicores(1000)
    memory: Bytes = Bytes(2**30)
    labels: Strings = {}
    node_selector: Strings = {}


class Constraint(_Part, frozen=True):
    """Levels of a topology, by label or alias."""

    topology: str
    required: str = ""
    preferred: str = ""


class Group(_Part, frozen=True):
    """A part of a gang: `count` pods, or sub-groups; `min` of them have to be there (left out: all)."""

    name: str
    count: int = 1
    min: int | None = None
    pod: Pod | None = None
    topology: Constraint | None = None
    sub_groups: list[Group] = []


class Workload(Group, frozen=True):
    """A pod group that is submitted `at` a time and, if it has a `runtime`, ends that long after it last started.

    `repeat` submits that many: ``NAME-0``, ``NAME-1``, ... Left out, `preemptible` is whether the priority is below
    100.
    """

    queue: str = "default"
    at: Seconds = Seconds(0)
    priority: int = 50
    preemptible: bool | None = None
    may_preempt: bool = True
    runtime: Seconds | None = None
    preemption_delay: Seconds = Seconds(0)
    staleness_grace: Seconds | None = None
    repeat: int = 1


class Event(_Part, frozen=True):
    """One thing that happens at a time: exactly one of the others is given."""

    at: Seconds
    complete: str | None = None
    node_down: str | None = None
    node_up: str | None = None
    queue: Queue | None = None


class Range(_Part, frozen=True):
    """Bounds, both included."""

    at_least: float = float("-inf")
    at_most: float = float("inf")


Bound = float | Range
"""A number that is to be met exactly, or a range."""


class Expectation(_Part, frozen=True):
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


class Policy(_Part, frozen=True):
    """How is decided: a placement policy by name, and the actions that may be taken, in order."""

    placement: str = "quartermaster"
    actions: tuple[Action, ...] = ALL_ACTIONS
    staleness_grace: Seconds = Seconds(60)


class Scenario(_Part, frozen=True):
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
    queues: list[Queue] = []
    budgets: list[Budget] = []
    events: list[Event] = []
    expect: list[Expectation] = []
    thresholds: dict[str, Bound] = {}
    id: str = ""


def with_queue(scenario: Scenario, queue: Queue) -> Scenario:
    """The scenario with the queue of that name replaced."""
    queues = [queue if one.name == queue.name else one for one in scenario.queues]
    return msgspec.structs.replace(scenario, queues=queues)


class _Loader(yaml.SafeLoader):
    """YAML as usual, but a key given twice is a mistake, not the later one."""

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Hashable, Any]:  # noqa: FBT001, FBT002
        """The mapping of a node; raises `YAMLError` for a key that is there already."""
        seen = set()
        for key, _ in node.value:
            name = self.construct_object(key, deep=True)
            if not isinstance(name, Hashable):
                break  # PyYAML refuses it.
            if name in seen:
                raise yaml.constructor.ConstructorError(None, None, f"key '{name}' is given twice", key.start_mark)
            seen.add(name)
        return super().construct_mapping(node, deep=deep)


def read(text: bytes, *, file: str) -> list[Scenario]:
    """The scenarios of a file, one per YAML document; raises `InvalidInput` with the file and the field."""
    try:
        documents = [document for document in yaml.load_all(text, Loader=_Loader) if document is not None]
    except yaml.MarkedYAMLError as wrong:
        mark = wrong.problem_mark
        line = "" if mark is None else f":{mark.line + 1}"
        raise InvalidInput(f"{file}{line}", wrong.problem or "is not YAML", "correct the YAML") from None
    except (yaml.YAMLError, UnicodeDecodeError) as wrong:
        raise InvalidInput(file, f"is not YAML ({wrong})", "give UTF-8 text in YAML") from None
    if not documents:
        raise InvalidInput(file, "is empty", "write at least one scenario")
    many = len(documents) > 1
    return [_scenario(document, file=file, number=i if many else None) for i, document in enumerate(documents)]


def _scenario(document: object, *, file: str, number: int | None) -> Scenario:
    where = file if number is None else f"{file}[{number}]"
    try:
        scenario = msgspec.convert(document, Scenario, dec_hook=_quantity)
    except msgspec.ValidationError as wrong:
        problem, _, path = str(wrong).partition(" - at `$")
        field = path.rstrip("`").lstrip(".") or "the document"
        raise InvalidInput(f"{where}: {field}", problem, "see docs/scenarios.md for the format") from None
    stem = file.rsplit("/", 1)[-1].rsplit(".", 1)[0]
    return msgspec.structs.replace(scenario, id=scenario.id or (stem if number is None else f"{stem}/{number}"))


def _quantity(kind: type, value: object) -> Any:
    if issubclass(kind, Seconds | Bytes | Millicores):
        return kind.read(value)
    raise NotImplementedError(kind)
