"""Adding machines to a cluster, taking them away, and breaking them: through the API, so from any process."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from dataclasses import dataclass

from quartermaster.kube.api import MERGE, Api, Json, Refused
from quartermaster.local.fleet import marks
from quartermaster.local.fleet.devices import device_classes
from quartermaster.local.fleet.objects import names, node
from quartermaster.local.fleet.presets import Fleet, Pool
from quartermaster.model.errors import InvalidInput

FAULTS = ("not-ready", "drain", "spot", "vanish", "xid", "straggler", "mig", "heal")


async def install(api: Api, fleet: Fleet) -> list[str]:
    """Device classes and all machines of a fleet that are not there; returns the names of the new."""
    for value in device_classes():
        await _create(api, "/apis/resource.k8s.io/v1/deviceclasses", value)
    there = set(await node_names(api))
    added: list[str] = []
    for pool in fleet.pools:
        wanted = names(pool, set())
        added += [name for name in wanted if name not in there and await _put(api, pool, name)]
    return added


async def add(api: Api, pool: Pool) -> list[str]:
    """`pool.count` more machines under the next free names."""
    added = list(names(pool, set(await node_names(api))))
    for name in added:
        await _put(api, pool, name)
    return added


async def _put(api: Api, pool: Pool, name: str) -> bool:
    await _create(api, "/api/v1/nodes", node(pool, name))
    await asyncio.sleep(0)  # a large fleet leaves turns to those who watch it grow
    return True


async def _create(api: Api, path: str, value: Json) -> None:
    try:
        await api.send("POST", path, value)
    except Refused as wrong:
        if wrong.code != 409:
            raise


async def node_names(api: Api) -> list[str]:
    """All nodes."""
    answer = await api.send("GET", "/api/v1/nodes")
    return [item["metadata"]["name"] for item in answer["items"]]


async def remove(api: Api, name: str) -> list[str]:
    """Take away a node, or all nodes of a pool; raises InvalidInput if there is neither."""
    answer = await api.send("GET", "/api/v1/nodes")
    found = [
        item["metadata"]["name"]
        for item in answer["items"]
        if name in (item["metadata"]["name"], item["metadata"].get("labels", {}).get(marks.POOL))
    ]
    if not found:
        raise InvalidInput(f"'{name}'", "is neither a node nor a pool", "see: quartermaster fleet list")
    for each in found:
        await api.send("DELETE", f"/api/v1/nodes/{each}")
    return found


@dataclass(frozen=True, slots=True, kw_only=True)
class Fault:
    """What goes wrong: `kind` is one of `FAULTS`; the rest is for xid, straggler and mig."""

    kind: str
    gpus: str = "0"
    code: int = 79
    factor: float = 1.5
    config: str = ""

    def patch(self) -> Json:
        """The marks on a node; raises InvalidInput."""
        match self.kind:
            case "not-ready" | "drain" | "spot" | "vanish":
                return _marked({marks.FAULT: self.kind})
            case "xid":
                if not all(part.isdecimal() for part in self.gpus.split(",")):
                    raise InvalidInput("--gpus", f"'{self.gpus}' is no list of devices", "give indexes such as 0,3")
                return _marked({marks.XID: f"{self.code}:{self.gpus}"})
            case "straggler":
                if not 1 <= self.factor <= 1000:
                    raise InvalidInput("--factor", f"{self.factor} is out of range", "give 1 to 1000 times")
                return _marked({marks.SLOWDOWN: f"{self.factor:g}"})
            case "mig":
                if not self.config:
                    raise InvalidInput("--config", "is not given", "name a configuration such as all-1g.10gb")
                return {"metadata": {"labels": {marks.MIG_CONFIG: self.config}}}
            case "heal":
                return _marked(dict.fromkeys((marks.FAULT, marks.XID, marks.SLOWDOWN, marks.SPOT_NOTICE)))
        raise InvalidInput(f"fault '{self.kind}'", "does not exist", f"use one of: {', '.join(FAULTS)}")


def _marked(annotations: Mapping[str, str | None]) -> Json:
    return {"metadata": {"annotations": dict(annotations)}}


async def break_node(api: Api, name: str, fault: Fault) -> None:
    """Mark a node with what goes wrong on it; the stages do the rest. ``heal`` takes all marks away.

    Raises InvalidInput for a node or fault that is not there.
    """
    patch = fault.patch()
    try:
        if fault.kind == "heal":
            live = await api.send("GET", f"/api/v1/nodes/{name}")
            kept = [taint for taint in live["spec"].get("taints") or () if taint["key"] != marks.SPOT_TAINT]
            patch["spec"] = {"unschedulable": None, "taints": kept or None}
        await api.send("PATCH", f"/api/v1/nodes/{name}", patch, media=MERGE)
    except Refused as wrong:
        if wrong.code != 404:
            raise
        raise InvalidInput(f"node '{name}'", "does not exist", "see: quartermaster fleet list") from None
