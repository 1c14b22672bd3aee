"""Volcano: Queue (scheduling.volcano.sh) and HyperNode (topology.volcano.sh).

A weight divides what is left, as here; `capability` is a limit. HyperNodes name nodes, our levels are node labels: the
labels that are needed are made too, for nodes that are named or known.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping
from fractions import Fraction
from typing import Any, Final

from quartermaster.api.peers.carrying import (
    Carried,
    Carrying,
    Json,
    amount,
    many,
    of_kinds,
    ours,
    quantity,
    spec_of,
    title,
)
from quartermaster.api.selecting import label_selector

_RESOURCES: Final = {"nvidia.com/gpu": "gpu", "cpu": "cpu", "memory": "memory"}
_ROOT: Final = "root"
_NEVER: Final = "3650d"
_TIER: Final = "quartermaster.dev/hypernode-tier-"
_OF_ITSELF: Final = {
    "HyperJob": "spans clusters: there is one here",
    "Numatopology": "is what nodes report of themselves, not a setting",
    "NodeShard": "divides nodes among Volcano's schedulers: there is one here",
}


def carry(objects: Iterable[Json]) -> Carrying:
    """What becomes of Volcano's objects, with Node objects if there are any; raises InvalidInput for bad amounts."""
    objects = list(objects)
    scheduling, topology = of_kinds(objects, "scheduling.volcano.sh"), of_kinds(objects, "topology.volcano.sh")
    nodes = {value["metadata"]["name"]: value for value in of_kinds(objects, "v1").get("Node", [])}
    found = Carrying()
    for value in scheduling.pop("Queue", []):
        if value["metadata"]["name"] == _ROOT:
            found.lost.append((title(value), "is the top of Volcano's tree: queues at the top need none here"))
        else:
            found.carried.append(_queue(value))
    if hypernodes := topology.pop("HyperNode", []):
        found.carried += _Tree(hypernodes, nodes).carried()
    others = (
        scheduling,
        topology,
        *(of_kinds(objects, f"{name}.volcano.sh") for name in ("nodeinfo", "shard", "training")),
    )
    found.kept += map(title, scheduling.pop("PodGroup", []))
    for kinds in others:
        for kind, values in kinds.items():
            found.lost += [(title(value), _OF_ITSELF.get(kind, "has no counterpart here")) for value in values]
    return found


# ---- queues


def _queue(value: Json) -> Carried:
    spec, status = spec_of(value), value.get("status") or {}
    made = Carried(manifest={}, source=title(value))
    given = {
        "deserved": spec.get("deserved") or {},
        "guarantee": (spec.get("guarantee") or {}).get("resource") or {},
        "capability": spec.get("capability") or {},
    }
    weight = spec.get("weight", 1)
    names = dict.fromkeys(name for amounts in given.values() for name in amounts)
    quotas = {
        resource: _quota(value, name, given, weight, made)
        for name, resource in _RESOURCES.items()
        if name in names or resource == "gpu"
    }
    made.why.append(f"weight {weight} is its part of the GPUs that are left; cpu and memory are free unless given")
    unknown = [name for name in names if name not in _RESOURCES]
    if unknown:
        made.lost.append(
            f"{many(unknown)}: has no quota here; for a GPU model give gpuModels by nvidia.com/gpu.product"
        )
    if given["guarantee"]:
        made.lost.append("guarantee: what is guaranteed and not used is lent here, and reclaimed when it is asked for")
    parent = spec.get("parent")
    if spec.get("reclaimable") is False:
        made.why.append(f"reclaimable: false: its work runs for {_NEVER} before other queues may reclaim it")
    _say_what_is_lost(spec, status, made)
    made.manifest = ours(
        "Queue",
        value["metadata"]["name"],
        {
            "parent": None if parent == _ROOT else parent,
            "priority": spec.get("priority", 0),
            **quotas,
            "reclaimMinRuntime": _NEVER if spec.get("reclaimable") is False else None,
        },
    )
    return made


def _say_what_is_lost(spec: Json, status: Json, made: Carried) -> None:
    if status.get("state") in ("Closed", "Closing"):
        made.lost.append(f"it is {status['state']} in Volcano and would be open here")
    if spec.get("affinity"):
        made.lost.append("affinity: queues are not bound to node groups here; give the pods a node selector")
    if spec.get("extendClusters"):
        made.lost.append("extendClusters: there is one cluster here")
    if spec.get("dequeueStrategy") == "fifo":
        made.lost.append("dequeueStrategy fifo: those behind the first may pass if they do not delay it")


def _quota(value: Json, name: str, given: Mapping[str, Json], weight: Any, made: Carried) -> Json:
    def read(word: str) -> Fraction | None:
        return amount(value, given[word][name], field=f"spec.{word}.{name}") if name in given[word] else None

    deserved = max(
        (found for word in ("deserved", "guarantee") if (found := read(word)) is not None), default=Fraction()
    )
    limit = read("capability")
    if limit is not None and limit < deserved:
        made.why.append(f"{name}: what is deserved is cut to the capability, beyond which nothing is given")
        deserved = limit
    memory = name == "memory"
    quota: Json = {"deserved": quantity(deserved, memory=memory)}
    if limit is not None:
        quota["limit"] = quantity(limit, memory=memory)
    return quota | {"weight": weight}


# ---- hypernodes


class _Tree:
    """HyperNodes by name, and which nodes are in which."""

    def __init__(self, hypernodes: list[Json], nodes: Mapping[str, Json]) -> None:
        self._hypernodes = {value["metadata"]["name"]: value for value in hypernodes}
        self._nodes = nodes
        self._above = {
            str(member["selector"]["exactMatch"]["name"]): name
            for name, value in self._hypernodes.items()
            for member in self._members(value, "HyperNode")
            if "exactMatch" in member.get("selector", {})
        }

    @staticmethod
    def _members(value: Json, kind: str) -> list[Json]:
        return [member for member in spec_of(value).get("members") or () if member.get("type") == kind]

    def carried(self) -> Iterator[Carried]:
        """The topology, and the labels of nodes that it needs."""
        tiers = {int(spec_of(value).get("tier", 1)) for value in self._hypernodes.values()}
        names = {
            int(spec_of(value).get("tier", 1)): spec_of(value).get("tierName") for value in self._hypernodes.values()
        }
        levels = [
            {"label": f"{_TIER}{tier}"} | ({"alias": names[tier]} if names[tier] else {})
            for tier in sorted(tiers, reverse=True)
        ]
        made = Carried(
            manifest=ours("Topology", "hypernodes", {"levels": levels}),
            source=f"{len(self._hypernodes)} HyperNodes",
            why=["a level for each tier, the highest first; labels of a node name the HyperNodes it is in"],
        )
        labels = self._labels(made)
        yield made
        for node, mine in labels.items():
            body = {"apiVersion": "v1", "kind": "Node", "metadata": {"name": node, "labels": mine}}
            yield Carried(manifest=body, source="its HyperNodes", why=["labels only: apply on the server side"])

    def _labels(self, made: Carried) -> dict[str, dict[str, str]]:
        labels: dict[str, dict[str, str]] = {}
        for name, value in self._hypernodes.items():
            for member in self._members(value, "Node"):
                for node in self._matched(value, member.get("selector") or {}, made):
                    at: str | None = name
                    seen: set[str] = set()
                    while at is not None and at in self._hypernodes and at not in seen:
                        seen.add(at)
                        tier = int(spec_of(self._hypernodes[at]).get("tier", 1))
                        labels.setdefault(node, {})[f"{_TIER}{tier}"] = at
                        at = self._above.get(at)
        return labels

    def _matched(self, value: Json, selector: Json, made: Carried) -> list[str]:
        if "exactMatch" in selector:
            return [str(selector["exactMatch"]["name"])]
        if not self._nodes:
            made.lost.append(f"{title(value)} selects nodes by pattern or label: give the Node objects too")
            return []
        if "regexMatch" in selector:
            pattern = re.compile(str(selector["regexMatch"]["pattern"]))
            return [name for name in self._nodes if pattern.search(name)]
        wanted = label_selector(selector.get("labelMatch"))
        return [name for name, node in self._nodes.items() if wanted.matches(node["metadata"].get("labels") or {})]
