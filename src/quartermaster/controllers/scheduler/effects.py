"""From a plan to what is sent: everything is put down first, then sent, and taken back where the API refuses it.

A binding that is refused for good takes its gang with it: what else of it was bound in the same decision is evicted if
the gang is not whole without, and the group is left alone for a while, longer each time, so that what can never be
bound starves nobody. An eviction that is refused is believed for a while too: its pod counts as leaving until then.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from typing import Final

from quartermaster.api.objects import PodObject
from quartermaster.controllers.scheduler.executor import Binding, Executor, Gang
from quartermaster.controllers.scheduler.grouping import Grouping, Known
from quartermaster.controllers.scheduler.metrics import Metrics
from quartermaster.controllers.scheduler.narrator import Narrator
from quartermaster.controllers.scheduler.occupancy import Occupancy
from quartermaster.kube.clock import Clock
from quartermaster.scheduling.plan import GroupPlacement, Plan, devices_of
from quartermaster.scheduling.presence import Presence

_log = logging.getLogger(__name__)

FIRST_BACKOFF_S: Final = 1.0
LONGEST_BACKOFF_S: Final = 300.0
REFUSED_S: Final = 5.0
"""After which an eviction that was refused may be decided on again."""


class Effects:
    """Carries plans out. `changed` is told when something came otherwise than planned."""

    def __init__(
        self,
        occupancy: Occupancy,
        grouping: Grouping,
        narrator: Narrator,
        *,
        clock: Clock,
        steady: Clock,
        metrics: Metrics,
        changed: Callable[[], None],
    ) -> None:
        self._occupancy, self._grouping, self._narrator = occupancy, grouping, narrator
        self._clock, self._steady, self._metrics, self._changed = clock, steady, metrics, changed
        self._executor: Executor | None = None
        self._tasks: asyncio.TaskGroup | None = None
        self.held_back: dict[str, Known] = {}
        """Groups that are left alone until their `not_before`."""

    def start(self, executor: Executor, tasks: asyncio.TaskGroup) -> None:
        """From now on, send by this executor."""
        self._executor, self._tasks = executor, tasks

    def carry_out(self, plan: Plan) -> None:
        """Put down what was decided, and have it sent."""
        for evict in plan.evictions:
            record = self._occupancy.records.get(evict.pod)
            if record is not None:
                self._metrics.evictions.labels(evict.action).inc()
                reason = self._narrator.evicted(evict, record.pod)
                about = {"pod": evict.pod, "node": evict.node, "action": str(evict.action), "for": evict.beneficiary}
                _log.info("evict %s from %s: %s", evict.pod, evict.node, reason, extra=about | {"reason": reason})
                self._evict(evict.pod, record.pod, reason)
        self._log_decided(plan)
        for placement in plan.placements:
            if placement.nominated:
                for pod, row in zip(placement.pods, placement.rows, strict=True):
                    self._narrator.nominated(pod, plan.nodes[row])
            else:
                self._bind(placement, plan)
        for group, explanation in plan.unschedulable:
            self._narrator.waits(self._grouping.groups[group], explanation.lasting())

    def _log_decided(self, plan: Plan) -> None:
        """A line for each cycle of which something follows."""
        starts = [placement for placement in plan.placements if not placement.nominated]
        if not _log.isEnabledFor(logging.INFO) or not (plan.placements or plan.evictions):
            return
        about = {
            "groups_started": len(starts),
            "pods_started": sum(len(placement.pods) for placement in starts),
            "groups_nominated": len(plan.placements) - len(starts),
            "pods_evicted": len(plan.evictions),
            "groups_waiting": len(plan.unschedulable),
        }
        said = ", ".join(f"{name.replace('_', ' ')} {count}" for name, count in about.items() if count)
        _log.info("decided: %s", said, extra=about)

    def settled(self, gang: Gang) -> None:
        """All bindings of a gang are answered."""
        known, now = self._grouping.groups.get(gang.group), self._steady()
        self._count(gang, known, now)
        if gang.gone:
            self._changed()
        if not gang.refused and not gang.dropped:
            if known is not None:
                known.backoff = 0.0
                self._narrator.bound(known, gang)
                self._log_bound(known, gang, now)
            return
        for pod in (*gang.refused, *gang.dropped):
            if self._occupancy.refused(pod):
                self._grouping.touch(pod)
        if known is not None and gang.refused:
            known.backoff = min(LONGEST_BACKOFF_S, max(FIRST_BACKOFF_S, known.backoff * 2))
            known.not_before = now + known.backoff
            self.held_back[known.name] = known
            pod, why = next(iter(gang.refused.items()))
            about = {"group": known.name, "pod": pod, "reason": why, "retry_in_s": known.backoff}
            _log.warning("%s cannot be bound: %s; next attempt in %g s", pod, why, known.backoff, extra=about)
            looked = self._grouping.refresh()
            self._roll_back(known, gang)
            for other in looked:  # the next cycle has to hear of them too
                self._grouping.touch(next(iter(other.members)))
        self._changed()

    def _bind(self, placement: GroupPlacement, plan: Plan) -> None:
        assert self._executor is not None, "plans are made while it runs"
        bindings = []
        for pod, row, mask in zip(placement.pods, placement.rows, placement.masks, strict=True):
            node, devices = plan.nodes[row], devices_of(mask)
            self._occupancy.assume(pod, node, devices)
            self._narrator.hush(pod)
            self._grouping.touch(pod)
            bindings.append(Binding(pod, self._occupancy.records[pod].pod, node, devices))
        self._executor.bind(Gang(placement.group, bindings))

    def _count(self, gang: Gang, known: Known | None, now: float) -> None:
        metrics = self._metrics
        results = {"bound": gang.bound, "refused": gang.refused, "dropped": gang.dropped, "gone": gang.gone}
        for result, pods in results.items():
            if pods:
                metrics.bindings.labels(result).inc(len(pods))
        metrics.bind.observe(now - gang.asked)
        if known is not None and known.value is not None and not gang.refused:
            metrics.waited.observe(max(0.0, self._clock() - known.value.queued))

    def _log_bound(self, known: Known, gang: Gang, now: float) -> None:
        """A gang is worth a line; of single pods there are too many, and each has its event."""
        level = logging.INFO if len(gang.bindings) > 1 else logging.DEBUG
        if not _log.isEnabledFor(level):
            return
        nodes = sorted({binding.node for binding in gang.bindings})
        about: dict[str, object] = {"group": known.name, "pods": len(gang.bound), "nodes": nodes}
        if known.value is not None:
            about |= {"queue": known.value.queue, "waited_s": round(now - known.value.queued, 3)}
        _log.log(level, "bound %d pods of %s to %d nodes", len(gang.bound), known.name, len(nodes), extra=about)

    def _roll_back(self, known: Known, gang: Gang) -> None:
        """Take back what was bound of a gang that is not whole: half a gang holds devices and computes nothing."""
        value, state = known.value, self._occupancy.state
        if not gang.bound or (value is not None and Presence(state.pods, state.leaving).satisfied(value.root)):
            return
        pod, why = next(iter(gang.refused.items()))
        for name in gang.bound:
            record = self._occupancy.records.get(name)
            if record is not None and name not in state.leaving:
                self._metrics.rolled_back.inc()
                about = {"group": known.name, "pod": name, "reason": why}
                _log.warning("evict %s: its gang is not whole", name, extra=about)
                self._evict(name, record.pod, f"{pod} of its gang was refused: {why}")

    def _evict(self, name: str, pod: PodObject, reason: str) -> None:
        assert self._tasks is not None, "plans are made while it runs"
        self._occupancy.leaves(name)
        self._tasks.create_task(self._send_eviction(name, pod, reason))

    async def _send_eviction(self, name: str, pod: PodObject, reason: str) -> None:
        assert self._executor is not None, "plans are made while it runs"
        refusal = await self._executor.evict(pod, reason)
        if not refusal:
            return
        self._metrics.evictions_refused.inc()
        _log.info("%s stays: %s", name, refusal, extra={"pod": name, "reason": refusal})
        await self._steady.until(self._steady() + REFUSED_S)
        record = self._occupancy.records.get(name)
        if record is not None and record.pod.metadata.uid == pod.metadata.uid and not record.pod.leaving:
            self._occupancy.stays(name)
            self._changed()
