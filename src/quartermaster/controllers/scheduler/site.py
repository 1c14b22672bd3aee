"""What a cluster's operators lay down: queues, topologies, disruption budgets, as the API has them now.

Refuses to let a wrong object stop the scheduler: it is left out, and its own status says why.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable

from quartermaster.api.objects import BudgetObject, read
from quartermaster.api.selecting import label_selector
from quartermaster.kube.api import Api, Json, Mirror
from quartermaster.model.disruption import DisruptionBudget
from quartermaster.model.errors import InvalidInput
from quartermaster.model.queue import UNLIMITED, Queue, QueueTree, Quota
from quartermaster.model.topology import Topology


class Site:
    """`queues`, `topologies` and `budgets`; `generation` rises when one of them changed."""

    def __init__(self, api: Api, *, default_queue: str, changed: Callable[[], None]) -> None:
        self._api, self._default, self._changed = api, default_queue, changed
        self.generation = 0
        self.queues = _with(default_queue, [])
        self.topologies: dict[str, Topology] = {}
        self._budgets = Mirror(api, BudgetObject.RESOURCE, self._budget_changed)

    async def start(self, group: asyncio.TaskGroup) -> None:
        """Watch, and return when it is known what there is."""
        group.create_task(self._budgets.run(), name="watch of disruption budgets")
        await self._budgets.synced.wait()

    def resolve(self, queue: str, namespace: str) -> str:  # noqa: ARG002  # local queues are named inside namespaces
        """The leaf queue that work is charged to which names `queue`; raises InvalidInput if there is none."""
        name = queue or self._default
        if not self.queues.is_leaf(self.queues[name].name):
            raise InvalidInput(f"queue '{name}'", "has queues below it", "submit to one of its leaves")
        return name

    @property
    def budgets(self) -> tuple[DisruptionBudget, ...]:
        """What may be taken down now."""
        found = (read(BudgetObject, value) for value in self._budgets.objects.values())
        return tuple(
            DisruptionBudget(
                name=budget.metadata.name,
                namespace=budget.metadata.namespace,
                selector=label_selector(budget.spec.selector),
                allowed=max(0, budget.status.disruptions_allowed),
            )
            for budget in found
        )

    def _budget_changed(self, before: Json | None, after: Json | None) -> None:
        if (before or {}).get("status") != (after or {}).get("status"):
            self.generation += 1
            self._changed()


def _with(default: str, queues: list[Queue]) -> QueueTree:
    """The tree, with the default queue: if nobody defined it, it has what others leave."""
    if any(queue.name == default for queue in queues):
        return QueueTree(queues)
    everything = dict.fromkeys(("cpu", "memory", "gpu"), Quota(deserved=UNLIMITED if not queues else 0.0))
    return QueueTree([*queues, Queue(name=default, quotas=everything)])
