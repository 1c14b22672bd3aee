"""The packing experiment: pods arrive one by one, stay for ever, and are dropped when they do not fit.

As run for "Beware of Fragmentation" (Weng et al., USENIX ATC'23), so that results can be compared: the list is tuned to
a total demand, shuffled, and put on an empty cluster whose nodes are in one random order, which is also the order
that ties follow. How much of the cluster is allocated is then read against how much was asked for.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

import numpy as np

from quartermaster.cluster.state import ClusterState
from quartermaster.model.pod import Pod
from quartermaster.model.podgroup import PodGroup
from quartermaster.model.units import DEVICE
from quartermaster.scheduling.cycle import Policies, cycle
from quartermaster.scheduling.policies.catalogue import placement_policy
from quartermaster.scheduling.policies.fragmentation import Fragments, Mix
from quartermaster.scheduling.view import ClassView
from quartermaster.simulation.results import Curve, Run
from quartermaster.simulation.traces.cluster import ClusterTrace

QUEUE = "default"


def tuned(pods: Sequence[Pod], *, capacity: int, until: float, rng: np.random.Generator) -> list[Pod]:
    """The list in random order, grown or cut to a demand of `until` times `capacity` (micro-GPU).

    Grown by random pods of the list, up to the first whose share *per device* would pass the target, as the authors'
    code tests it; cut by taking out random pods.
    """
    order = sorted(pods, key=lambda pod: pod.name)
    demand = sum(_demand(pod) for pod in order)
    target = until * capacity
    order = [order[i] for i in rng.permutation(len(order)).tolist()]
    while demand > target and order:
        gone = order.pop(int(rng.integers(len(order))))
        demand -= _demand(gone)
    clones = 0
    while 0 < demand < target:
        pod = pods[int(rng.integers(len(pods)))]
        if demand + (pod.spec.gpu.share if pod.spec.gpu.count else 0) > target:
            break
        clones += 1
        order.append(Pod(f"{pod.name}+{clones}", pod.spec))
        demand += _demand(pod)
    return order


def _demand(pod: Pod) -> int:
    return pod.spec.gpu.count * pod.spec.gpu.share


@dataclass(slots=True)
class _Meter:
    """Reads the state after every arrival; fragments are worked out for many classes at once."""

    state: ClusterState
    fragments: Fragments
    capacity: int
    arrived: list[float] = field(default_factory=list)
    allocated: list[int] = field(default_factory=list)
    changes: list[tuple[int, int, int]] = field(default_factory=list)
    fragment: list[float] = field(default_factory=list)
    known: dict[int, float] = field(default_factory=dict)

    def start(self) -> float:
        """Fragment of the empty cluster."""
        live = self.state.live_classes()
        self._know(live.tolist())
        return sum(self.known[number] * self.state.count(number) for number in live.tolist())

    def flush(self, total: float) -> float:
        """Turn the changes so far into running totals."""
        self._know({number for _, before, after in self.changes for number in (before, after)})
        for _, before, after in self.changes:
            total += self.known[after] - self.known[before]
            self.fragment.append(total)
        self.changes.clear()
        return total

    def _know(self, numbers: Iterable[int]) -> None:
        new = [number for number in numbers if number not in self.known]
        for start in range(0, len(new), 2048):
            ids = np.array(new[start : start + 2048], dtype=np.int64)
            self.known.update(
                zip(ids.tolist(), self.fragments.fragment(ClassView(self.state, ids)).tolist(), strict=True)
            )


def simulate_arrivals(trace: ClusterTrace, *, policy: str, seed: int, until: float) -> Run:
    """One run. Metrics in % of the cluster's GPUs, at each whole per cent of arrived demand (mean over arrivals)."""
    rngs = [np.random.default_rng(child) for child in np.random.SeedSequence(seed).spawn(3)]
    capacity = trace.gpus * DEVICE
    pods = tuned(trace.pods, capacity=capacity, until=until, rng=rngs[0])
    nodes = [trace.nodes[i] for i in rngs[1].permutation(len(trace.nodes)).tolist()]
    mix = Mix.of(pod.spec for pod in trace.pods)
    state = ClusterState(nodes)
    policies = Policies(placement=placement_policy(policy, mix), explain=False)
    meter = _Meter(state, Fragments(mix), capacity)
    for pod in pods:
        state.shape(pod.spec)
    total = meter.start()
    arrived = allocated = failed = 0
    rng = rngs[2]
    for now, pod in enumerate(pods):
        group = PodGroup.of(pod, queue=QUEUE, created=float(now))
        plan = cycle(state.borrow(), policies, groups=(group,), now=float(now), rng=rng)
        arrived += _demand(pod)
        change = (0, 0, 0)
        if plan.placements:
            row = plan.placements[0].rows[0]
            before = int(state.node_class[row])
            plan.apply(state)
            change = (row, before, int(state.node_class[row]))
            allocated += _demand(pod)
        else:
            failed += 1
        meter.arrived.append(arrived)
        meter.allocated.append(allocated)
        meter.changes.append(change)
        if len(meter.changes) == 4096:
            total = meter.flush(total)
            if state.tidy():
                meter.known.clear()
    meter.flush(total)
    return _report(meter, policy=policy, seed=seed, failed=failed)


def _report(meter: _Meter, *, policy: str, seed: int, failed: int) -> Run:
    arrived = np.array(meter.arrived) / meter.capacity * 100
    allocated = np.array(meter.allocated) / meter.capacity * 100
    idle = meter.capacity - np.array(meter.allocated, dtype=np.float64)
    fragment = np.array(meter.fragment) / np.maximum(idle, 1) * 100
    level = np.round(arrived).astype(np.int64)
    events = np.maximum(np.bincount(level), 1)
    x = np.flatnonzero(np.bincount(level))
    curves = {
        "allocation": (np.bincount(level, weights=allocated) / events)[x],
        "fragmentation": (np.bincount(level, weights=fragment) / events)[x],
    }
    metrics = {}
    for at in (100, 130):
        where = np.flatnonzero(x == at)
        if len(where):
            metrics[f"gpu_allocation_percent@{at}"] = float(curves["allocation"][where[0]])
    where = np.flatnonzero(x == 100)
    if len(where):
        metrics["fragmentation_percent@100"] = float(curves["fragmentation"][where[0]])
    lines = {name: Curve(tuple(map(float, x.tolist())), tuple(y.tolist())) for name, y in curves.items()}
    note = f"{len(meter.arrived)} pods arrived, {failed} found no place"
    return Run(policy=policy, seed=seed, metrics=metrics, curves=lines, note=note)
