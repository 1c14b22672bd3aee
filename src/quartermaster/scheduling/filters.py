"""Which nodes can take a pod: first by class, then, for the few pods whose answer differs inside a class, by node.

The same tests serve the decision (`fitting`) and its explanation (`failing`, one column per reason), so that a reason
given is the reason why.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray

from quartermaster.cluster.shapes import Profile, Shape, selected, tolerated
from quartermaster.cluster.state import ClusterState
from quartermaster.scheduling.view import ClassView

Mask = NDArray[np.bool_]


FEW = 24
"""Up to so many classes are tested one by one, which is then faster than in columns."""


def fitting(state: ClusterState, numbers: list[int], shape: Shape) -> list[int]:
    """Those of the classes whose nodes take a pod of `shape`, as far as a class can tell."""
    if len(numbers) <= FEW:
        lets_in = _lets_in(state, shape)
        return [number for number in numbers if _fits(state, number, shape, lets_in)]
    ids = np.array(numbers, dtype=np.int64)
    fits: list[int] = ids[_fit_columns(ClassView(state, ids), shape)].tolist()
    return fits


def _fits(state: ClusterState, number: int, shape: Shape, lets_in: list[bool]) -> bool:
    profile, free, devices, _, ports = state.classes.keys[number]
    # Devices first: on a cluster of GPUs that is what most classes fail by.
    if shape.count:
        if shape.count > len(devices):
            return False
        share = shape.share if not shape.by_memory else shape.share_on(state.classes.profiles[profile].gpu_memory)
        if share is None or devices[shape.count - 1] < share:
            return False
    for column, wanted in shape.asked:
        if free[column] < wanted:
            return False
    return lets_in[profile] and not (ports and ports & frozenset(shape.spec.host_ports))


def _lets_in(state: ClusterState, shape: Shape) -> list[bool]:
    """Per profile, whether it lets the shape in at all."""
    memo: list[bool] = state.caches.setdefault(("profiles", shape.id), [])
    profiles = state.classes.profiles
    if len(memo) < len(profiles):
        memo.extend(not any(reason for _, reason in _static(p, shape)) for p in profiles[len(memo) :])
    return memo


def _fit_columns(view: ClassView, shape: Shape) -> Mask:
    asked = [column for column, _ in shape.asked]
    fits: Mask = np.all(view.free[:, asked] >= [wanted for _, wanted in shape.asked], axis=1)
    if fits.any():
        fits &= np.asarray(_lets_in(view.state, shape), dtype=np.bool_)[view.profile]
    if shape.count and fits.any():
        fits &= _devices_with_room(view, shape) >= shape.count
    if shape.spec.host_ports and fits.any():
        fits &= _ports_free(view, shape)
    return fits


def _static(profile: Profile, shape: Shape) -> Iterator[tuple[str, bool]]:
    """Reasons that only the profile decides, each with whether it keeps the pod out."""
    spec = shape.spec
    yield "node is unschedulable", not profile.schedulable
    yield "untolerated taint", not tolerated(spec, profile.taints)
    yield ("node selector or affinity", not shape.pinned and not selected(spec, dict(profile.labels)))
    if shape.count:
        yield ("GPU model", bool(spec.gpu.models) and profile.gpu_model not in spec.gpu.models)
        yield ("GPU memory", profile.gpus > 0 and shape.share_on(profile.gpu_memory) is None)


def shares(view: ClassView, shape: Shape) -> NDArray[np.int64]:
    """Micro-GPU that `shape` takes of a device, per class (more than a device where devices are too small)."""
    if not shape.by_memory:
        return np.full(len(view), shape.share, dtype=np.int64)
    per_profile = [shape.share_on(profile.gpu_memory) or 2**31 for profile in view.profiles]
    return np.array(per_profile, dtype=np.int64)[view.profile]


def _devices_with_room(view: ClassView, shape: Shape) -> NDArray[np.int64]:
    if shape.whole:
        return view.idle
    return (view.devices >= shares(view, shape)[:, None]).sum(axis=1)


def _ports_free(view: ClassView, shape: Shape) -> Mask:
    wanted = frozenset(shape.spec.host_ports)
    keys = view.state.classes.keys
    return np.array([not (wanted & keys[number][4]) for number in view.ids.tolist()], dtype=np.bool_)


def failing(view: ClassView, shape: Shape) -> dict[str, Mask]:
    """Per reason, which classes of the view it rules out. A class may fail for several reasons."""
    reasons: dict[str, Mask] = {}
    for column, (name, wanted) in enumerate(zip(view.state.resources, shape.request, strict=True)):
        if wanted:
            reasons[f"insufficient {name}"] = view.free[:, column] < wanted
    static = [dict(_static(profile, shape)) for profile in view.profiles]
    for name in static[0] if static else ():
        reasons[name] = np.array([verdicts[name] for verdicts in static], dtype=np.bool_)[view.profile]
    if shape.count:
        short = _devices_with_room(view, shape) < shape.count
        reasons["no GPU"] = view.gpus == 0
        reasons["insufficient GPUs"] = short & (view.gpus > 0)
    if shape.spec.host_ports:
        reasons["host port in use"] = ~_ports_free(view, shape)
    return {name: mask for name, mask in reasons.items() if mask.any()}


class NodeRules:
    """The tests that need the node itself: pinned labels and (anti-)affinity between pods.

    `ok(row)` answers for the state as it is now, in time independent of the number of nodes.
    """

    def __init__(self, state: ClusterState, shape: Shape) -> None:
        self._state = state
        self._shape = shape
        index = state.affinity
        self._wanted = [(term, index.counts(state, term)) for term in shape.spec.affinity]
        self._unwanted = [(term, index.counts(state, term)) for term in shape.spec.anti_affinity]
        self._keeping_out = index.keeping_out(state, shape)

    @property
    def active(self) -> bool:
        """Whether there is anything to test."""
        return self._shape.constrained or bool(self._keeping_out)

    def reason(self, row: int) -> str | None:
        """Why the node in this row may not take the pod; None when it may."""
        shape, labels = self._shape, self._state.node(row).labels
        if shape.pinned and not selected(shape.spec, labels):
            return "node selector or affinity"
        for term, counts in self._wanted:
            domain = labels.get(term.topology_key)
            if domain is None:
                return "pod affinity"
            if not counts.matched.get(domain):
                # The first pod of a series that wants to be with its own kind has to start somewhere.
                alone = not counts.matched and self._state.affinity.matches(term, shape)
                if not alone:
                    return "pod affinity"
        for term, counts in self._unwanted:
            domain = labels.get(term.topology_key)
            if domain is not None and counts.matched.get(domain):
                return "pod anti-affinity"
        for term, counts in self._keeping_out:
            domain = labels.get(term.topology_key)
            if domain is not None and counts.owned.get(domain):
                return "anti-affinity of a running pod"
        return None
