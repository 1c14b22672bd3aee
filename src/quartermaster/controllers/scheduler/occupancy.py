"""Nodes and pods as the API tells of them, kept as the state that a cycle decides on.

The state is kept by deltas: a change costs what changed. Events may come in any order, twice, or for a node that is
not there: a pod on an unknown node is a *stray* until the node comes. A binding that was sent counts as done until its
event comes or the API refuses it, so no room is ever given twice. Pods of other schedulers are counted, under an
account of their own, and never moved. Pods that cannot be understood are remembered with the reason and not placed.

Refuses to decide anything, and to talk to the API.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, replace
from typing import Final

import msgspec
import numpy as np

from quartermaster.api import nodes as api_nodes
from quartermaster.api import pods as api_pods
from quartermaster.api.objects import NodeObject, PodObject
from quartermaster.cluster.state import ClusterState
from quartermaster.model.errors import InvalidInput
from quartermaster.model.pod import GpuRequest, PodSpec

FOREIGN: Final = "other schedulers"
"""The account of pods that are not ours, and of groups whose queue is unknown: nobody is asked to leave for it."""

REMEMBERED: Final = 10_000
"""Specs that are kept to be shared before all are forgotten."""

_encoder = msgspec.msgpack.Encoder()

LOST: Final = "lost devices"
"""The account of devices that are broken: no queue has it, so nobody pays."""


@dataclass(slots=True)
class Record:
    """A pod as it is known. `assumed`: a binding to that node was sent and not yet seen."""

    pod: PodObject
    spec: PodSpec | None
    since: float
    wrong: str = ""
    assumed: str = ""
    devices: tuple[int, ...] = ()
    queue: str = FOREIGN
    preemptible: bool = False

    @property
    def node(self) -> str:
        """Where it is, or is about to be."""
        return self.pod.spec.node_name or self.assumed

    @property
    def started(self) -> float:
        """When it got its node, as well as is known."""
        return api_pods.bound_at(self.pod) or self.since

    @property
    def live(self) -> bool:
        """Whether it holds, or will hold, room."""
        return not api_pods.ended(self.pod)


class Occupancy:
    """The state and the pods by ``namespace/name``. `now` gives seconds since 1970.

    `releases` rises whenever something changed that may let a group start which could not: room that was given back, a
    node that came or changed. `moved` has the pods that were put down or taken up because of their nodes; whoever reads
    it clears it.
    """

    def __init__(self, *, now: Callable[[], float]) -> None:
        self.state = ClusterState()
        self.records: dict[str, Record] = {}
        self.releases = 0
        self.moved: set[str] = set()
        self._now = now
        self._labels: frozenset[str] = frozenset()
        self._specs: dict[bytes, PodSpec] = {}
        """By what pods ask for: pods of one template share one."""
        self._stray: dict[str, set[str]] = {}
        self._nodes: dict[str, NodeObject] = {}
        self._seen_with: Mapping[str, Mapping[str, str]] = {}
        self.narrowed: Callable[[PodObject, PodSpec], PodSpec] = lambda _, spec: spec
        """What a pod asks for once its volumes have had their say."""

    # ---- nodes

    def see_with(self, labels: Mapping[str, Mapping[str, str]]) -> None:
        """From now on nodes have these labels beside their own."""
        before, self._seen_with = self._seen_with, labels
        for name in before.keys() | labels.keys():
            if name in self._nodes and before.get(name) != labels.get(name):
                self.node_changed(self._nodes[name], self._nodes[name])

    def nodes(self) -> Iterable[NodeObject]:
        """All nodes as they are."""
        return self._nodes.values()

    def labels_of(self, node: str) -> Mapping[str, str]:
        """The labels of a node; none if there is no such node."""
        return self.state.node(self.state.row(node)).labels if node in self.state.rows else {}

    def where(self, name: str) -> str:
        """The node that a pod has, or is about to have; empty if it has none, or holds nothing there any more."""
        record = self.records.get(name)
        return record.node if record is not None and record.live else ""

    def node_changed(self, before: NodeObject | None, after: NodeObject | None) -> bool:
        """Take in a node; whether it matters to decisions (heartbeats do not)."""
        if after is None:
            assert before is not None, "a node that went was there"
            return self._node_gone(before.metadata.name)
        name = after.metadata.name
        node, lost = api_nodes.node_from(after), api_nodes.lost_devices(after)
        if name in self._seen_with:
            node = replace(node, labels={**node.labels, **self._seen_with[name]})
        known = self._nodes.get(name)
        self._nodes[name] = after
        if known is not None and name in self.state.rows:
            if (node, lost) == (self.state.node(self.state.row(name)), api_nodes.lost_devices(known)):
                return False
            self._forget(_lost(name))
            if node.gpus != self.state.node(self.state.row(name)).gpus:
                self._empty(name)
            self.state.update_node(node)
        else:
            self.state.add_nodes([node])
        if lost:  # nobody gets them, whoever still has them
            spec = PodSpec(gpu=GpuRequest(count=len(lost)))
            self.state.assume(_lost(name), spec, name, sorted(lost), queue=LOST)
        for pod in sorted(self._stray.pop(name, ())):
            self._settle(pod)
            self.moved.add(pod)
        self.releases += 1
        return True

    def _node_gone(self, name: str) -> bool:
        self._nodes.pop(name, None)
        if name not in self.state.rows:
            return False
        lost = self.state.remove_node(name)
        strays = {pod for pod in lost if pod in self.records}
        self._stray[name] = self._stray.get(name, set()) | strays
        self.moved |= strays
        return True

    def _empty(self, name: str) -> None:
        """A node whose devices change is emptied first: its pods are put down again on what is there then."""
        row = self.state.row(name)
        there = [pod for pod, assignment in self.state.pods.items() if assignment.row == row]
        for pod in there:
            self.state.forget(pod)
        self._stray.setdefault(name, set()).update(there)

    # ---- pods

    def pod_changed(self, name: str, after: PodObject | None) -> bool:
        """Take in a pod; whether it matters to decisions (what a kubelet reports of its start does not)."""
        known = self.records.get(name)
        if known is not None and (after is None or known.pod.metadata.uid != after.metadata.uid):
            del self.records[name]
            self._forget(name)
            if after is None:
                return True
            known = None
        if after is None:
            return False
        if known is None:
            known = self.records[name] = Record(after, None, self._now())
            self._read(known)
        elif not self._take_over(name, known, after):
            return False
        if after.spec.node_name:
            known.assumed = ""
        if not known.live:
            self._forget(name)
        elif known.node:
            self._settle(name)
        return True

    def _take_over(self, name: str, known: Record, after: PodObject) -> bool:
        """A pod is now like this; whether anything follows from it."""
        before, known.pod = known.pod, after
        if not _matters(before, after):
            return False
        if _asks(before, self._labels) != _asks(after, self._labels):
            self._reread(name, known)
        as_expected = known.assumed == after.spec.node_name and known.live and not after.leaving
        if as_expected and known.assumed and _same(before, after):
            known.assumed = ""
            return False
        return True

    def _read(self, record: Record) -> None:
        keys = api_pods.affinity_labels(record.pod) if record.pod.spec.affinity else frozenset()
        if not keys <= self._labels:
            self._labels |= keys
            self._specs.clear()
            for name, other in self.records.items():
                if other is not record:
                    self._reread(name, other)
        asks = _encoder.encode(_asks(record.pod, self._labels))
        try:
            spec = self._specs.get(asks) or api_pods.spec_from(record.pod, labels=self._labels)
            record.spec, record.wrong = self.narrowed(record.pod, spec), ""
        except InvalidInput as wrong:
            record.spec, record.wrong = None, str(wrong)
        else:
            if len(self._specs) >= REMEMBERED:
                self._specs.clear()
            self._specs[asks] = spec

    def look_again(self, name: str) -> None:
        """What a pod asks for may be otherwise, though the pod is not."""
        record = self.records.get(name)
        if record is not None:
            self._reread(name, record)

    def _reread(self, name: str, record: Record) -> None:
        """A pod asks for something else than before, or its labels have come to matter: it is put down anew."""
        was = record.spec
        self._read(record)
        if record.spec != was and name in self.state.pods:
            leaving = self.state.leaving.get(name)
            self._forget(name)
            self._settle(name)
            if leaving is not None and name in self.state.pods and name not in self.state.leaving:
                self.state.leave(name, frees=leaving)

    def _settle(self, name: str) -> None:
        """Put a bound pod down where its object says, once."""
        record = self.records.get(name)
        if record is None or record.spec is None or not record.live or not record.node:
            return
        if record.node not in self.state.rows:
            self._stray.setdefault(record.node, set()).add(name)
            return
        there = self.state.pods.get(name)
        if there is None or there.row != self.state.row(record.node):
            self._forget(name)
            devices = self._devices(record)
            self.state.assume(
                name, record.spec, record.node, devices, queue=record.queue, preemptible=record.preemptible
            )
        if record.pod.leaving and name not in self.state.leaving:
            self.state.leave(name)
            self.releases += 1

    def _devices(self, record: Record) -> tuple[int, ...]:
        """The devices that the pod says, else those with most room: it was bound by somebody who does not say."""
        assert record.spec is not None, "only pods that were understood are placed"
        count, row = record.spec.gpu.count, self.state.row(record.node)
        have = self.state.node(row).gpus
        said = record.devices if record.assumed and record.devices else api_pods.devices_of(record.pod)
        if said is not None and len(set(said)) == count and all(device < have for device in said):
            return said
        if count > have:
            record.spec = replace(record.spec, gpu=GpuRequest())  # more than is there: its devices are lost already
            return ()
        free = self.state.gpu_free[row, :have]
        return tuple(sorted(np.argsort(-free, kind="stable")[:count].tolist()))

    def _forget(self, name: str) -> None:
        if name in self.state.pods:
            self.state.forget(name)
            self.releases += 1
        for stray in self._stray.values():
            stray.discard(name)

    # ---- what was decided

    def charge(self, name: str, *, queue: str, preemptible: bool) -> None:
        """Say whose pod it is."""
        record = self.records[name]
        if (record.queue, record.preemptible) != (queue, preemptible):
            record.queue, record.preemptible = queue, preemptible
            if name in self.state.pods:
                leaving = self.state.leaving.get(name)
                self.state.forget(name)
                self._settle(name)
                if leaving is not None and name in self.state.pods and name not in self.state.leaving:
                    self.state.leave(name, frees=leaving)

    def assume(self, name: str, node: str, devices: tuple[int, ...]) -> None:
        """A binding is on its way. Raises `InvalidInput` if the pod or the node is not there any more."""
        record = self.records.get(name)
        if record is None or record.spec is None or not record.live or record.node:
            raise InvalidInput(f"pod '{name}'", "cannot be bound any more", "decide again")
        self.state.assume(name, record.spec, node, devices, queue=record.queue, preemptible=record.preemptible)
        record.assumed, record.devices = node, devices

    def refused(self, name: str) -> bool:
        """The API refused a binding; whether the pod was still counted as bound."""
        record = self.records.get(name)
        if record is None or not record.assumed or record.pod.spec.node_name:
            return False
        record.assumed, record.devices = "", ()
        self._forget(name)
        return True

    def leaves(self, name: str) -> None:
        """An eviction is on its way."""
        if name in self.state.pods and name not in self.state.leaving:
            self.state.leave(name)

    def stays(self, name: str) -> None:
        """The eviction was refused."""
        self.state.stay(name)


def _matters(before: PodObject, after: PodObject) -> bool:
    """Whether a change of a pod can change a decision."""
    return (
        before.spec != after.spec
        or before.metadata.labels != after.metadata.labels
        or before.metadata.annotations != after.metadata.annotations
        or before.metadata.owner_references != after.metadata.owner_references
        or before.leaving != after.leaving
        or api_pods.ended(before) != api_pods.ended(after)
    )


def _asks(pod: PodObject, labels: frozenset[str]) -> tuple[object, ...]:
    """All that `api.pods.spec_from` looks at where only these labels matter."""
    spec, notes = pod.spec, pod.annotations
    return (
        spec.containers,
        spec.init_containers,
        spec.overhead,
        spec.node_selector,
        spec.affinity,
        spec.tolerations,
        pod.metadata.namespace,
        [(key, pod.labels[key]) for key in sorted(labels) if key in pod.labels],
        *map(notes.get, (api_pods.FRACTION, api_pods.GPU_MEMORY, api_pods.FRACTION_DEVICES)),
    )


def _same(before: PodObject, after: PodObject) -> bool:
    """Whether a pod is in its group what it was, whatever else happened to it."""
    return (
        before.metadata.labels == after.metadata.labels
        and before.metadata.owner_references == after.metadata.owner_references
    )


def _lost(node: str) -> str:
    """The name under which a node's broken devices are put down; no pod has it."""
    return f"!{node}"
