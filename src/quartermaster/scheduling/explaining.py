"""Why pods of a shape fit nowhere: the filters' verdicts, counted over nodes and put in numbers."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from quartermaster.cluster.shapes import Shape
from quartermaster.cluster.state import ClusterState
from quartermaster.model.units import CPU, DEVICE, GIB, MEMORY
from quartermaster.scheduling.filters import Mask, NodeRules, failing, shares
from quartermaster.scheduling.plan import Explanation, NearMiss
from quartermaster.scheduling.seating import most_in_a_zone
from quartermaster.scheduling.view import ClassView

NEAR_MISSES = 3


def explain(state: ClusterState, shape: Shape, *, wanted: int, fitted: int) -> Explanation:
    """The explanation for `wanted` pods of a shape, of which `fitted` would have fitted, in the state as it is."""
    view = ClassView(state, state.live_classes())
    nodes = np.array([state.count(number) for number in view.ids.tolist()], dtype=np.int64)
    verdicts = failing(view, shape)
    counted = {name: int(nodes[mask].sum()) for name, mask in verdicts.items()}
    rules = NodeRules(state, shape)
    if rules.active:
        out = np.logical_or.reduce(list(verdicts.values())) if verdicts else np.zeros(len(view), dtype=np.bool_)
        for number in view.ids[~out].tolist():
            for row in state.rows_of(number).tolist():
                reason = rules.reason(row)
                if reason is not None:
                    counted[reason] = counted.get(reason, 0) + 1
    return Explanation(
        wanted=wanted,
        fitted=fitted,
        nodes=int(nodes.sum()),
        reasons=tuple(sorted(counted.items(), key=lambda item: (-item[1], item[0]))),
        numbers=tuple(_numbers(view, shape, verdicts)),
        near_misses=tuple(_near_misses(view, shape, verdicts)),
    )


def amount(resource: str, value: float) -> str:
    """An amount for people: cores, GiB, GPUs."""
    if resource == CPU:
        return f"{value / 1000:g} cores"
    if resource == MEMORY or resource.endswith("storage"):
        return f"{value / GIB:.4g} GiB"
    return f"{value:g} {'idle GPU' if resource == 'idle GPUs' and value == 1 else resource}"


def _gpus(count: int, kind: str = "") -> str:
    return " ".join(filter(None, (f"{count}", kind, "GPU" if count == 1 else "GPUs")))


def _numbers(view: ClassView, shape: Shape, verdicts: dict[str, Mask]) -> list[str]:
    lines = []
    for column, name in enumerate(view.state.resources):
        if f"insufficient {name}" in verdicts:
            most = int(view.free[verdicts[f"insufficient {name}"], column].max())
            lines.append(
                f"asks {amount(name, shape.request[column])}, the most free on one of those is {amount(name, most)}"
            )
    mask = verdicts.get("insufficient GPUs")
    if mask is not None:
        if shape.whole:
            most = int(view.idle[mask].max())
            lines.append(f"asks {_gpus(shape.count, 'whole')}, the most idle on one of those is {most}")
        else:
            share = int(shares(view, shape).min())
            most = int(view.devices.max()) if view.devices.size else 0
            lines.append(
                f"asks {share / DEVICE:g} of {_gpus(shape.count)}, the most free on one device is {most / DEVICE:g}"
            )
    if any(name.startswith("Topology Manager") for name in verdicts):
        lines += _zone_numbers(view, shape)
    return lines


def _zone_numbers(view: ClassView, shape: Shape) -> list[str]:
    """What is asked of zones, and the most that a single one has."""
    most: dict[str, int] = {}
    for number in view.ids.tolist():
        for name, free in most_in_a_zone(view.state, number).items():
            most[name] = max(free, most.get(name, 0))
    asked = dict(zip(view.state.resources, shape.request, strict=True))
    asked["GPUs"] = shape.count if shape.whole else 0
    return [
        f"asks {amount(name, asked[name])}, the most free in one NUMA zone is {amount(name, free)}"
        for name, free in most.items()
        if asked.get(name, 0) > free
    ]


def _near_misses(view: ClassView, shape: Shape, verdicts: dict[str, Mask]) -> list[NearMiss]:
    if not verdicts:
        return []
    failures = np.sum(list(verdicts.values()), axis=0)
    found: list[tuple[float, int, str]] = []
    for column, name in enumerate(view.state.resources):
        mask = verdicts.get(f"insufficient {name}")
        if mask is not None:
            short = shape.request[column] - view.free[:, column]
            found += _closest(view, mask & (failures == 1), short, short / shape.request[column], name)
    mask = verdicts.get("insufficient GPUs")
    if mask is not None and shape.whole:
        short = shape.count - view.idle
        found += _closest(view, mask & (failures == 1), short, short / shape.count, "idle GPUs")
    return [NearMiss(node=view.state.node(row).name, lacks=lacks) for _, row, lacks in sorted(found)[:NEAR_MISSES]]


def _closest(
    view: ClassView, mask: Mask, short: NDArray[np.int64], relative: NDArray[np.float64], name: str
) -> list[tuple[float, int, str]]:
    index = np.flatnonzero(mask)
    index = index[np.argsort(relative[index], kind="stable")[:NEAR_MISSES]]
    first = view.state.first
    return [(float(relative[i]), first(int(view.ids[i])), amount(name, float(short[i]))) for i in index.tolist()]
