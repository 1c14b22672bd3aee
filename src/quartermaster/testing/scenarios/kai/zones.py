"""The NUMA zones of a case: as a node's locality, and what its tasks hold in them.

A case counts the GPUs of a zone and does not name them, so indexes are given out in order, zone after zone. What a zone
has left at the start follows from its tasks, which say in an annotation where they are (KAI does the same by default,
and distrusts what is reported as available).
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Final

from quartermaster.cluster.inside import held_in, zones_of
from quartermaster.model.locality import Locality, Zone
from quartermaster.model.units import CPU, MEMORY
from quartermaster.testing.scenarios.kai.case import Amounts, Node, Numa, Task

GPU_RESOURCE: Final = "nvidia.com/gpu"
SEEN: Final = "kai.scheduler/numa-placement-observed"
PREDICTED: Final = "kai.scheduler/numa-placement-predicted"

ZoneAmounts = Mapping[int, Mapping[str, int]]
"""By zone index, then resource, in our units."""


def locality(numa: Numa) -> Locality:
    """Zones and managers of a node; only aligned resources count."""
    zones, given = [], 0
    for zone in numa.zones:
        gpus = round(zone.allocatable.gpu_count) if GPU_RESOURCE in numa.aligned_resources else 0
        amounts = [(name, _amount(zone.allocatable, name)) for name in numa.aligned_resources if name != GPU_RESOURCE]
        zones.append(Zone(id=zone.id, allocatable=tuple(amounts), gpus=tuple(range(given, given + gpus))))
        given += gpus
    return Locality(
        policy=numa.policy,
        scope=numa.scope,
        pins_cpu=CPU in numa.aligned_resources,
        pins_memory=MEMORY in numa.aligned_resources,
        zones=tuple(zones),
    )


def _amount(have: Amounts, name: str) -> int:
    return {CPU: have.cpu_milli, MEMORY: have.memory_bytes}.get(name, have.other.get(name, 0))


def held(place: int, numa: Numa | None) -> ZoneAmounts | None:
    """What a placement of ours holds in the zones of its node: only those in which it has something."""
    if numa is None:
        return None
    where = locality(numa)
    amounts = held_in(place, where)
    return {index: dict(zip(where.aligned, amounts[index], strict=True)) for index in zones_of(place, where)}


def annotated(task: Task, node: Node) -> ZoneAmounts | None:
    """What a task says that it holds in the zones of its node; None if it says nothing."""
    text = task.annotations.get(SEEN) or task.annotations.get(PREDICTED)
    if node.numa is None or not text:
        return None
    index = {zone.id: number for number, zone in enumerate(node.numa.zones)}
    return {
        index[part["zone"]]: {name: _parsed(name, amount) for name, amount in part["amount"].items()}
        for part in json.loads(text)
    }


def _parsed(name: str, amount: str) -> int:
    """A plain quantity: cores with or without ``m``, else whole numbers."""
    if name == CPU:
        return int(amount[:-1]) if amount.endswith("m") else round(float(amount) * 1000)
    return int(amount)
