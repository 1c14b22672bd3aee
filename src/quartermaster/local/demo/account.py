"""A calm account of what happens in a cluster: who was placed where, what ended, who waits and why, what is broken.

`Account` is told what there is (`look`) and says what is new since it last spoke (`tell`); it asks nobody and knows
no time but the hours that it is given. `keep` is the loop around it. Pods of one workload are one thing.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Sequence
from dataclasses import dataclass

from quartermaster.api import pods as api_pods
from quartermaster.api.objects import PodObject, read
from quartermaster.kube.api import Json
from quartermaster.kube.clock import Clock
from quartermaster.local.demo.manifests import HOUR, NAME
from quartermaster.local.fleet import marks
from quartermaster.local.fleet.counts import counts, gpus_of
from quartermaster.local.stages.paths import look

LOOK_S = 60.0
"""Of cluster time, between looks: what came and went in between is not told."""
MOST_NAMES = 6
"""Of workloads, or nodes, in one line."""


@dataclass(frozen=True, slots=True)
class Seen:
    """A pod as it was last seen."""

    workload: str
    node: str
    phase: str
    gpus: float
    why: str
    """Why it waits, or why it failed."""

    @property
    def runs(self) -> bool:
        """Whether it has a node and has not ended."""
        return bool(self.node) and self.phase not in ("Succeeded", "Failed")


def seen(pod: Json) -> Seen:
    """A Pod object."""
    owner = look(pod, ".metadata.ownerReferences[0].name")
    name = (pod["metadata"].get("labels") or {}).get(NAME) or owner or pod["metadata"]["name"]
    phase = look(pod, ".status.phase") or ""
    known = read(PodObject, pod)
    why = api_pods.unschedulable_reason(known).partition(";")[0]
    if phase == "Failed":
        why = look(pod, ".status.containerStatuses[0].state.terminated.reason") or look(pod, ".status.reason") or ""
    return Seen(name, known.spec.node_name, phase, gpus_of(known), why)


class Account:
    """Of everything since it was made."""

    def __init__(self) -> None:
        self._pods: dict[str, Seen] = {}
        self._wrong: dict[str, str] = {}
        self._waiting: set[str] = set()
        self._hours = 0.0
        self._news: dict[str, list[Seen]] = {"placed": [], "done": [], "failed": [], "gone": []}
        self._faults: list[str] = []
        self._now: Json = counts((), ())
        self.totals = {"placed": 0, "done": 0, "failed": 0}
        self.gpu_hours = self.offered_hours = self.most_gpus = 0.0

    def look(self, hours: float, nodes: Collection[Json], pods: Collection[Json]) -> None:
        """What there is at an hour."""
        passed, self._hours = hours - self._hours, hours
        self.gpu_hours += passed * self._now["gpus"]["used"]
        self.offered_hours += passed * self._now["gpus"]["total"]
        self._now = counts(nodes, pods)
        self.most_gpus = max(self.most_gpus, self._now["gpus"]["used"])
        found = {pod["metadata"]["uid"]: seen(pod) for pod in pods}
        for uid, pod in found.items():
            before = self._pods.get(uid)
            if pod.node and (before is None or not before.node):
                self._add("placed", pod)
            if before is None or before.phase != pod.phase:
                if pod.phase == "Succeeded":
                    self._add("done", pod)
                elif pod.phase == "Failed":
                    self._add("failed", pod)
        for uid, pod in self._pods.items():
            if uid not in found and pod.runs:
                self._news["gone"].append(pod)
        self._pods = found
        wrong = {node["metadata"]["name"]: fault_of(node) for node in nodes}
        for name, fault in wrong.items():
            if fault != self._wrong.get(name, ""):
                self._faults.append(f"{name}: {fault or 'healed'}")
        self._faults += [f"{name}: gone" for name in self._wrong if name not in wrong]
        self._wrong = wrong

    def _add(self, what: str, pod: Seen) -> None:
        self._news[what].append(pod)
        self.totals[what] += 1

    def tell(self) -> list[str]:
        """The hour and the numbers, then what is new."""
        gpus, mig = self._now["gpus"], self._now["mig"]
        running, waiting = sum(pod.runs for pod in self._pods.values()), self._waits()
        head = f"{clock_of(self._hours)}  {gpus['used']:g} of {gpus['total']} GPUs"
        head += f", {mig['used']} of {mig['total']} MIG instances" if mig["total"] else ""
        lines = [f"{head}; {running} pods run, {sum(map(len, waiting.values()))} wait"]
        lines += [_line(what, _grouped(pods)) for what, pods in self._news.items() if pods]
        lines += [
            _line("waits", [f"{name} ({_pods(pods)}): {pods[0].why}"])
            for name, pods in waiting.items()
            if name not in self._waiting
        ]
        lines += [_line("fault", self._faults)] if self._faults else []
        self._waiting = set(waiting)
        self._news = {what: [] for what in self._news}
        self._faults = []
        return lines

    def summary(self) -> list[str]:
        """Of all that was."""
        share = self.gpu_hours / self.offered_hours if self.offered_hours else 0.0
        totals = self.totals
        lines = [
            f"pods: {totals['placed']} placed, {totals['done']} succeeded, {totals['failed']} failed",
            f"GPUs: in use {share:.0%} of the time ({self.gpu_hours:.1f} of {self.offered_hours:.1f} GPU-hours), "
            f"at most {self.most_gpus:g} at once",
        ]
        return lines + [f"{name} waits ({_pods(pods)}): {pods[0].why}" for name, pods in self._waits().items()]

    def _waits(self) -> dict[str, list[Seen]]:
        """Pods that were said to wait, by workload."""
        return _by_workload(pod for pod in self._pods.values() if not pod.node and pod.why and pod.phase != "Failed")


async def keep(
    account: Account,
    *,
    nodes: Callable[[], Collection[Json]],
    pods: Callable[[], Collection[Json]],
    clock: Clock,
    say: Callable[[str], None],
    until: float | None = None,
    told_at: Sequence[float] = (300.0, 900.0),
) -> None:
    """Say it at the seconds `told_at` and then every quarter of an hour; return after `until` hours with a summary."""
    began = clock()
    moments = list(told_at)
    while True:
        passed = clock() - began
        account.look(passed / HOUR, nodes(), pods())
        if passed >= moments[0]:
            say("\n".join(account.tell()))
            moments = [moment for moment in moments if moment > passed] or [passed - passed % 900 + 900]
        if until is not None and passed >= until * HOUR:
            say("\n".join([f"after {until:g} h:", *(f"  {line}" for line in account.summary())]))
            return
        await clock.until(clock() + LOOK_S)


def fault_of(node: Json) -> str:
    """What is wrong with a node, in words; empty if nothing is."""
    notes = node["metadata"].get("annotations") or {}
    forms = ((marks.FAULT, "{}"), (marks.XID, "xid {}"), (marks.SLOWDOWN, "{}x slower"))
    return ", ".join(form.format(notes[mark]) for mark, form in forms if notes.get(mark))


def clock_of(hours: float) -> str:
    """Hours since the beginning as ``HH:MM``."""
    minutes = int(hours * 60)
    return f"{minutes // 60:02}:{minutes % 60:02}"


def _by_workload(pods: Iterable[Seen]) -> dict[str, list[Seen]]:
    found: dict[str, list[Seen]] = {}
    for pod in pods:
        found.setdefault(pod.workload, []).append(pod)
    return dict(sorted(found.items()))


def _grouped(pods: Iterable[Seen]) -> list[str]:
    parts = []
    for name, group in _by_workload(pods).items():
        gpus = sum(pod.gpus for pod in group)
        about = [_pods(group)] if len(group) > 1 else []
        about += [f"{gpus:g} GPU{'s' if gpus > 1 else ''}"] if gpus else []
        about += [_listed(sorted({pod.node for pod in group if pod.node}), " ")]
        about += sorted({pod.why for pod in group if pod.phase == "Failed" and pod.why})
        parts.append(f"{name} ({', '.join(filter(None, about))})")
    return parts


def _pods(pods: Sequence[Seen]) -> str:
    return f"{len(pods)} pod{'s' if len(pods) > 1 else ''}"


def _line(what: str, parts: Sequence[str]) -> str:
    return f"       {what:7}{_listed(parts, ', ')}"


def _listed(parts: Sequence[str], glue: str) -> str:
    rest = len(parts) - MOST_NAMES
    return glue.join(parts if rest <= 0 else [*parts[:MOST_NAMES], f"and {rest} more"])
