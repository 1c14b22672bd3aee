"""Queues: who is entitled to what. A tree of any depth; workloads are submitted to its leaves.

Four numbers stay separate, per resource: what a queue deserves, its weight when more is to be had, its limit, and
the priority at which it is offered the surplus.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Final

from quartermaster.model.errors import InvalidInput

UNLIMITED: Final = math.inf
DEFAULT_QUEUE_PRIORITY: Final = 100


@dataclass(frozen=True, slots=True, kw_only=True)
class Quota:
    """Entitlement to one resource, in its unit (GPUs in devices, cpu in millicores, memory in bytes)."""

    deserved: float = 0.0
    limit: float = UNLIMITED
    over_quota_weight: float = 1.0

    def __post_init__(self) -> None:
        for name in ("deserved", "limit", "over_quota_weight"):
            value = getattr(self, name)
            if math.isnan(value) or value < 0:
                raise InvalidInput(f"quota: {name}", f"{value} is not usable", "give 0 or more")
        if math.isinf(self.over_quota_weight):
            raise InvalidInput("quota: over_quota_weight", "is infinite", "weights are compared: give a finite number")


@dataclass(frozen=True, slots=True, kw_only=True)
class Queue:
    """One queue. `quotas` maps a resource (``cpu``, ``memory``, ``gpu``, ``gpu/H100``, ...) to its quota.

    A resource without a quota has nothing deserved, no limit and weight 1. `usage` is the decayed historical share of
    capacity (0..1) per resource that over-quota division is corrected by. Work in the queue runs for at least
    `reclaim_min_runtime` (`preempt_min_runtime`) seconds before it may be taken by another (by its own) queue; None
    means what the parent says, and 0 at the top.
    """

    name: str
    parent: str | None = None
    priority: int = DEFAULT_QUEUE_PRIORITY
    created: float = 0.0
    quotas: Mapping[str, Quota] = field(default_factory=dict)
    usage: Mapping[str, float] = field(default_factory=dict)
    reclaim_min_runtime: float | None = None
    preempt_min_runtime: float | None = None

    def __post_init__(self) -> None:
        for what in ("reclaim_min_runtime", "preempt_min_runtime"):
            value = getattr(self, what)
            if value is not None and (math.isnan(value) or value < 0):
                raise InvalidInput(f"queue '{self.name}': {what}", f"{value} is not usable", "give 0 s or more")
        for resource, quota in self.quotas.items():
            if quota.limit < quota.deserved < UNLIMITED:
                raise InvalidInput(
                    f"queue '{self.name}': {resource}",
                    f"deserves {quota.deserved:g} above its limit of {quota.limit:g}",
                    "raise the limit or lower what it deserves",
                )

    def quota(self, resource: str) -> Quota:
        """The quota for `resource`, or the default one."""
        return self.quotas.get(resource, _NO_QUOTA)


_NO_QUOTA: Final = Quota()


class QueueTree:
    """The queues by name, checked: names are unique, parents exist, and nothing is its own ancestor.

    Raises `InvalidInput` otherwise. Iteration order is parents first, then as given.
    """

    def __init__(self, queues: Iterable[Queue]) -> None:
        self._queues: dict[str, Queue] = {}
        for queue in queues:
            if queue.name in self._queues:
                raise InvalidInput(f"queue '{queue.name}'", "is defined twice", "give each queue a name of its own")
            self._queues[queue.name] = queue
        self._children: dict[str | None, list[Queue]] = {}
        for queue in self._queues.values():
            if queue.parent is not None and queue.parent not in self._queues:
                raise InvalidInput(
                    f"queue '{queue.name}': parent",
                    f"'{queue.parent}' does not exist",
                    "name an existing queue, or leave it out for a top queue",
                )
            self._children.setdefault(queue.parent, []).append(queue)
        self._paths: dict[str, tuple[Queue, ...]] = {}
        for queue in self._queues.values():
            self._paths[queue.name] = self._path_to(queue)

    def _path_to(self, queue: Queue) -> tuple[Queue, ...]:
        path = [queue]
        while path[-1].parent is not None:
            parent = self._queues[path[-1].parent]
            if parent in path:
                names = " -> ".join(node.name for node in (*path, parent))
                raise InvalidInput(f"queue '{queue.name}': parent", f"cycle {names}", "let one of them be a top queue")
            path.append(parent)
        return tuple(path)

    @staticmethod
    def single(name: str = "default") -> QueueTree:
        """One queue that deserves everything."""
        everything = Quota(deserved=UNLIMITED)
        return QueueTree([Queue(name=name, quotas=dict.fromkeys(("cpu", "memory", "gpu"), everything))])

    def __getitem__(self, name: str) -> Queue:
        try:
            return self._queues[name]
        except KeyError:
            known = ", ".join(sorted(self._queues)[:5])
            raise InvalidInput(f"queue '{name}'", "does not exist", f"use one of: {known}") from None

    def __contains__(self, name: str) -> bool:
        return name in self._queues

    def __iter__(self) -> Iterator[Queue]:
        todo = list(reversed(self._children.get(None, [])))
        while todo:
            queue = todo.pop()
            yield queue
            todo.extend(reversed(self._children.get(queue.name, [])))

    def __len__(self) -> int:
        return len(self._queues)

    def children(self, name: str | None) -> list[Queue]:
        """The queues below `name`; the top queues for None."""
        return list(self._children.get(name, ()))

    def path(self, name: str) -> tuple[Queue, ...]:
        """The queue and its ancestors, lowest first."""
        return self._paths[self[name].name]

    def is_leaf(self, name: str) -> bool:
        """Whether workloads may be submitted to it."""
        return not self._children.get(name)
