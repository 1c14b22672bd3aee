"""What a cluster's operators lay down: queues, topologies, priority classes, disruption budgets, as they are now.

Refuses to let a wrong object stop the scheduler: it is left out with what hangs on it, and its own status says why.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping

from quartermaster.api import v1alpha1
from quartermaster.api.admission import Known
from quartermaster.api.objects import BudgetObject, read
from quartermaster.api.peers import mixed as peers
from quartermaster.api.peers.mixed import Mixed
from quartermaster.api.queues import Queues, queues_from
from quartermaster.api.selecting import label_selector
from quartermaster.api.topologies import Topologies, topologies_from
from quartermaster.controllers.scheduler.sources import GroupKind, Sources
from quartermaster.kube.api import Json
from quartermaster.model.disruption import DisruptionBudget
from quartermaster.model.errors import InvalidInput
from quartermaster.model.queue import Queue, QueueTree
from quartermaster.model.topology import Topology

QUEUES: GroupKind = (v1alpha1.GROUP, "Queue")
TOPOLOGIES: GroupKind = (v1alpha1.GROUP, "Topology")
BUDGETS: GroupKind = ("policy", "PodDisruptionBudget")
HYPER_NODES: GroupKind = ("topology.volcano.sh", "HyperNode")


class Site:
    """`queues`, `topologies` and `budgets`; `generation` rises when something changed that decisions depend on."""

    def __init__(
        self,
        sources: Sources,
        *,
        default_queue: str,
        changed: Callable[[], None],
        nodes: Callable[[], list[Json]] = list,
    ) -> None:
        self._sources, self.default, self._changed = sources, default_queue, changed
        self._nodes = nodes
        self.generation = 0
        self._mixed: Mixed | None = None
        self._queues: Queues | None = None
        self._topologies: Topologies | None = None
        self._tree: QueueTree | None = None
        self._budgets: tuple[DisruptionBudget, ...] | None = None

    async def start(self) -> None:
        """Watch, and return when it is known what there is."""
        version = (v1alpha1.VERSION,)
        await self._sources.want(QUEUES, "queues", version, self._queue_changed)
        await self._sources.want(TOPOLOGIES, "topologies", version, self._topology_changed)
        for group, kind, plural in peers.KINDS:
            await self._sources.want((group, kind), plural, (), self._peer_changed)
        await self._sources.want(BUDGETS, "poddisruptionbudgets", ("v1",), self._budget_changed)

    def resolve(self, queue: str, namespace: str) -> str:
        """The leaf queue that work is charged to which names `queue`; raises InvalidInput if there is none."""
        name = self._everything.queue(queue, namespace=namespace) if queue else self.default
        problem = self.found.problems.get(name)
        if problem is not None:
            raise InvalidInput(f"queue '{name}'", f"cannot be used: {problem.message}", "mend it, or use another")
        if not self.queues.is_leaf(self.queues[name].name):
            raise InvalidInput(f"queue '{name}'", "has queues below it", "submit to one of its leaves")
        return name

    @property
    def _everything(self) -> Mixed:
        """Our objects, and those of other schedulers as ours."""
        if self._mixed is None:
            kinds = (QUEUES, TOPOLOGIES, *((group, kind) for group, kind, _ in peers.KINDS))
            objects = [value for key in kinds for value in self._sources.objects(key).values()]
            if self._sources.objects(HYPER_NODES):  # they may select nodes by name or label
                objects += self._nodes()
            self._mixed = peers.mixed(objects)
        return self._mixed

    def known(self) -> Known:
        """What a webhook has to know of the cluster."""
        objects = self._sources.objects
        return Known(queues=list(objects(QUEUES).values()), topologies=list(objects(TOPOLOGIES).values()))

    @property
    def node_labels(self) -> Mapping[str, Mapping[str, str]]:
        """Labels that nodes have to be seen with, by node: topologies of others that name nodes are read as labels."""
        return self._everything.node_labels

    @property
    def found(self) -> Queues:
        """The queues that there are, and what is wrong with some."""
        if self._queues is None:
            self._queues = queues_from(self._everything.queues)
        return self._queues

    @property
    def queues(self) -> QueueTree:
        """The tree that is scheduled by. If nobody defined the default queue, it has what others leave."""
        if self._tree is None:
            tree = self.found.tree
            if self.default not in tree and self.default not in self.found.problems:
                known = self._everything.queues
                tree = QueueTree([*tree, Queue(name=self.default)]) if known else QueueTree.single(self.default)
            self._tree = tree
        return self._tree

    @property
    def found_topologies(self) -> Topologies:
        """The topologies that there are, and what is wrong with some."""
        if self._topologies is None:
            self._topologies = topologies_from(self._everything.topologies)
        return self._topologies

    @property
    def topologies(self) -> Mapping[str, Topology]:
        """The topologies that can be used."""
        return self.found_topologies.topologies

    @property
    def budgets(self) -> tuple[DisruptionBudget, ...]:
        """What may be taken down now."""
        if self._budgets is None:
            found = (read(BudgetObject, value) for value in self._sources.objects(BUDGETS).values())
            self._budgets = tuple(
                DisruptionBudget(
                    name=budget.metadata.name,
                    namespace=budget.metadata.namespace,
                    selector=label_selector(budget.spec.selector),
                    allowed=max(0, budget.status.disruptions_allowed),
                )
                for budget in found
            )
        return self._budgets

    def _queue_changed(self, before: Json | None, after: Json | None) -> None:
        if (before or {}).get("spec") != (after or {}).get("spec") or before is None or after is None:
            self._forget()

    def _topology_changed(self, before: Json | None, after: Json | None) -> None:
        if (before or {}).get("spec") != (after or {}).get("spec"):
            self._forget()

    def _peer_changed(self, before: Json | None, after: Json | None) -> None:
        if (before or {}).get("spec") != (after or {}).get("spec"):
            self._forget()

    def nodes_changed(self) -> None:
        """Nodes came, went or changed their labels."""
        if self._sources.objects(HYPER_NODES):
            self._forget()

    def _forget(self) -> None:
        self._mixed = self._queues = self._tree = self._topologies = None
        self._moved()

    def _budget_changed(self, before: Json | None, after: Json | None) -> None:
        self._budgets = None
        if (before or {}).get("status") != (after or {}).get("status"):
            self._moved()

    def _moved(self) -> None:
        self.generation += 1
        self._changed()
