"""Volcano: Queue (scheduling.volcano.sh) and HyperNode (topology.volcano.sh).

A weight divides what is left, as here; `capability` is a limit. HyperNodes name nodes, our levels are node labels: the
labels that are needed are made too, for nodes that are named or known.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from fractions import Fraction
from typing import Final

from quartermaster.api.peers.carrying import (
    Carried,
    Carrying,
    Json,
    amount,
    each,
    of_kinds,
    ours,
    quantity,
    spec_of,
    title,
)
from quartermaster.api.reading import many
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
    """What becomes of Volcano's objects, with Node objects if there are any."""
    objects = list(objects)
    scheduling, topology = of_kinds(objects, "scheduling.volcano.sh"), of_kinds(objects, "topology.volcano.sh")
    nodes = {value["metadata"]["name"]: value for value in of_kinds(objects, "v1").get("Node", [])}
    found = Carrying()
    queues = scheduling.pop("Queue", [])
    tops = [title(value) for value in queues if value["metadata"]["name"] == _ROOT]
    found.lost += [(top, "is the top of Volcano's tree: queues at the top need none here") for top in tops]
    found.carried += each((value for value in queues if value["metadata"]["name"] != _ROOT), _queue, found)
    if hypernodes := list(each(topology.pop("HyperNode", []), _hypernode, found)):
        found.carried += _Tree(hypernodes, nodes).carried(found)
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
    weight = int(amount(spec.get("weight", 1), field="spec.weight"))
    names = dict.fromkeys(name for amounts in given.values() for name in amounts)
    quotas = {
        resource: _quota(name, given, weight, made)
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


def _quota(name: str, given: Mapping[str, Json], weight: int, made: Carried) -> Json:
    def read(word: str) -> Fraction | None:
        return amount(given[word][name], field=f"spec.{word}.{name}") if name in given[word] else None

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


@dataclass(frozen=True, slots=True, kw_only=True)
class _HyperNode:
    """A set of nodes and of other such sets; `below` are those that it names, `selectors` choose nodes."""

    name: str
    tier: int
    alias: str
    below: tuple[str, ...]
    selectors: tuple[Json, ...]


def _hypernode(value: Json) -> _HyperNode:
    spec = spec_of(value)
    members = spec.get("members") or ()
    return _HyperNode(
        name=value["metadata"]["name"],
        tier=int(spec.get("tier", 1)),
        alias=spec.get("tierName") or "",
        below=tuple(
            str(member["selector"]["exactMatch"]["name"])
            for member in members
            if member["type"] == "HyperNode" and "exactMatch" in member["selector"]
        ),
        selectors=tuple(dict(member["selector"]) for member in members if member["type"] == "Node"),
    )


class _Tree:
    """HyperNodes by name, and which nodes are in which."""

    def __init__(self, hypernodes: Sequence[_HyperNode], nodes: Mapping[str, Json]) -> None:
        self._hypernodes = {one.name: one for one in hypernodes}
        self._nodes = nodes
        self._above = {name: one.name for one in hypernodes for name in one.below}

    def carried(self, found: Carrying) -> Iterator[Carried]:
        """The topology, and the labels of nodes that it needs."""
        names = {one.tier: one.alias for one in self._hypernodes.values()}
        levels = [
            {"label": f"{_TIER}{tier}"} | ({"alias": names[tier]} if names[tier] else {})
            for tier in sorted(names, reverse=True)
        ]
        yield Carried(
            manifest=ours("Topology", "hypernodes", {"levels": levels}),
            source=f"{len(self._hypernodes)} HyperNodes",
            why=["a level for each tier, the highest first; labels of a node name the HyperNodes it is in"],
        )
        for node, labels in self._labels(found).items():
            body = {"apiVersion": "v1", "kind": "Node", "metadata": {"name": node, "labels": labels}}
            yield Carried(manifest=body, source="its HyperNodes", why=["labels only: apply on the server side"])

    def _labels(self, found: Carrying) -> dict[str, dict[str, str]]:
        labels: dict[str, dict[str, str]] = {}
        for one in self._hypernodes.values():
            chain = {f"{_TIER}{above.tier}": above.name for above in self._chain(one)}
            for selector in one.selectors:
                for node in self._matched(one, selector, found):
                    labels.setdefault(node, {}).update(chain)
        return labels

    def _chain(self, one: _HyperNode) -> list[_HyperNode]:
        """A HyperNode and those that it is in, lowest first."""
        chain = [one]
        while (above := self._hypernodes.get(self._above.get(chain[-1].name, ""))) is not None and above not in chain:
            chain.append(above)
        return chain

    def _matched(self, one: _HyperNode, selector: Json, found: Carrying) -> list[str]:
        if "exactMatch" in selector:
            return [str(selector["exactMatch"]["name"])]
        if not self._nodes:
            found.lost.append((f"HyperNode {one.name}", "selects nodes by pattern or label: give the Node objects too"))
            return []
        try:
            if "regexMatch" in selector:
                pattern = re.compile(str(selector["regexMatch"]["pattern"]))
                return [name for name in self._nodes if pattern.search(name)]
            wanted = label_selector(selector.get("labelMatch"))
        except (re.error, LookupError, ValueError) as wrong:
            found.lost.append((f"HyperNode {one.name}", f"selects nodes in a way that cannot be read: {wrong}"))
            return []
        return [name for name, node in self._nodes.items() if wanted.matches(node["metadata"].get("labels") or {})]
