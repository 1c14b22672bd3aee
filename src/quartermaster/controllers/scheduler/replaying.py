"""What one cycle decides on a recording: the same code as on a live cluster, with time standing still.

The scheduler that decides has just come to know the cluster, as one that takes over has. Ties between equal nodes go by
the order in which nodes are known, which is that of their names here. The same recording gives the same decisions.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Iterator
from dataclasses import dataclass

from quartermaster.controllers.scheduler.occupancy import FOREIGN, LOST
from quartermaster.controllers.scheduler.recording import RecordedApi, Recording, following
from quartermaster.controllers.scheduler.scheduler import Scheduler
from quartermaster.model.pod import Pod
from quartermaster.model.podgroup import PodGroup, SubGroup
from quartermaster.model.queue import Queue, QueueTree, Quota
from quartermaster.model.units import CPU, GPU, MEMORY
from quartermaster.scheduling.plan import Bind, Evict, Plan
from quartermaster.whatif.situation import Situation, places_of


class Still:
    """A clock that stands."""

    def __init__(self, now: float) -> None:
        self._now = now

    def __call__(self) -> float:
        """Now, always."""
        return self._now

    async def until(self, when: float) -> None:
        """Return if that moment has come; else never."""
        if when > self._now:
            await asyncio.Event().wait()


@dataclass(frozen=True, slots=True, kw_only=True)
class Start:
    """A group of which pods get nodes. `nominated`: once others have left these."""

    group: str
    queue: str
    nominated: bool
    pods: tuple[Bind, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Wait:
    """A group that waits. `undecidable`: nothing could be decided on it, as it is."""

    group: str
    queue: str
    why: str
    undecidable: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class Decision:
    """What came of it, and what there was. `evictions` with the group that each pod is of."""

    nodes: int
    gpus: int
    pods: int
    running: int
    starts: tuple[Start, ...]
    evictions: tuple[tuple[str, Evict], ...]
    waits: tuple[Wait, ...]


@contextlib.asynccontextmanager
async def replaying(recording: Recording) -> AsyncIterator[Scheduler]:
    """A scheduler that sees what was recorded. Raises InvalidInput."""
    api = RecordedApi(recording.kinds)
    async with following(api, clock=Still(recording.taken), options=recording.options()) as scheduler:
        yield scheduler


async def decided(recording: Recording) -> Decision:
    """One cycle on a recording. Raises InvalidInput."""
    async with replaying(recording) as scheduler:
        plan = scheduler.plan() or Plan([])
        return Decision(
            nodes=len(scheduler.occupancy.state.rows),
            gpus=sum(node.gpus for node in scheduler.occupancy.state.nodes if node is not None),
            pods=len(scheduler.occupancy.records),
            running=len(scheduler.grouping.running),
            starts=tuple(_starts(scheduler, plan)),
            evictions=tuple((_group_of(scheduler, evict.pod), evict) for evict in plan.evictions),
            waits=tuple(_waits(scheduler, plan)),
        )


def _group_of(scheduler: Scheduler, pod: str) -> str:
    known = scheduler.grouping.group_of(pod)
    return "" if known is None else known.name


def _starts(scheduler: Scheduler, plan: Plan) -> Iterator[Start]:
    nodes = {bind.pod: bind for bind in (*plan.binds, *plan.nominations)}
    for placement in plan.placements:
        yield Start(
            group=placement.group,
            queue=_queue(scheduler, placement.group),
            nominated=placement.nominated,
            pods=tuple(nodes[pod] for pod in placement.pods),
        )


def _queue(scheduler: Scheduler, group: str) -> str:
    value = scheduler.grouping.groups[group].value
    return "" if value is None else value.queue


def _waits(scheduler: Scheduler, plan: Plan) -> Iterator[Wait]:
    for name, explanation in plan.unschedulable:
        yield Wait(group=name, queue=_queue(scheduler, name), why=str(explanation), undecidable=False)
    for name, known in sorted(scheduler.grouping.wrong.items()):
        queue = known.group.queue if known.group is not None else ""
        yield Wait(group=name, queue=queue, why=known.wrong, undecidable=True)


# ---- for what-if


async def situation(recording: Recording) -> Situation:
    """What was recorded as a situation that can be changed and compared. Raises InvalidInput.

    Pods of other schedulers, and those that nothing can be decided on, are groups that may not be moved, in a queue
    that is entitled to nothing, so that shares are what they are for the scheduler.
    """
    async with replaying(recording) as scheduler:
        scheduler.plan()
        state, grouping, site = scheduler.occupancy.state, scheduler.grouping, scheduler.site
        groups = {**grouping.waiting, **grouping.running}
        values = [groups[name].value for name in sorted(groups)]
        decidable = [value for value in values if value is not None]
        mine = {pod.name for value in decidable for pod in value.pods}
        others = [_single(scheduler, pod) for pod in sorted(state.pods) if pod not in mine]
        beside = [Queue(name=name, quotas=_NOTHING) for name in sorted({group.queue for group in others})]
        return Situation(
            nodes=tuple(node for node in state.nodes if node is not None),
            queues=QueueTree([*site.queues, *(queue for queue in beside if queue.name not in site.queues)]),
            groups=(*decidable, *others),
            places=places_of(state),
            now=recording.taken,
            topologies=site.topologies,
            budgets=site.budgets,
            rules=scheduler.options.rules,
            placement="quartermaster",
        )


_NOTHING = dict.fromkeys((GPU, CPU, MEMORY), Quota(deserved=0, over_quota_weight=0))


def _single(scheduler: Scheduler, name: str) -> PodGroup:
    """A pod that is nobody's to move, or a broken device, as a group of its own."""
    state = scheduler.occupancy.state
    at = state.pods[name]
    queue, record = state.accounts[at.account][0], scheduler.occupancy.records.get(name)
    return PodGroup(
        name=name,
        queue=queue if queue in (FOREIGN, LOST) else FOREIGN,
        root=SubGroup(name="pods", pods=(Pod(name, state.shapes[at.shape].spec),), min=1),
        created=0.0 if record is None else record.pod.created,
        started=None if record is None else record.started,
        preemptible=False,
        owner="",
    )
