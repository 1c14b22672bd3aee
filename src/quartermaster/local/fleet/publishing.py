"""The ResourceSlices of simulated nodes, kept as their GPUs are cut: what the kubelet plugin of a DRA driver does.

A controller like the others: a pure function of what the API holds. A new cut is a new generation of the node's pool.
Nodes that are no machines of the presets are left alone.
"""

from __future__ import annotations

from quartermaster.local.controllers import pods
from quartermaster.local.controllers.manager import Controller, Watch
from quartermaster.local.controllers.objects import NODES, RESOURCE_SLICES, Json, Key, Objects, changed, key_of
from quartermaster.local.controllers.writes import Create, Delete, Outcome, Update, Write
from quartermaster.local.fleet import marks
from quartermaster.local.fleet.devices import DRIVER, resource_slices
from quartermaster.local.fleet.presets import presets
from quartermaster.local.stages.paths import look

_MACHINE = '.metadata.labels["node.kubernetes.io/instance-type"]'


def reconcile(objects: Objects, key: Key, now: float) -> Outcome:
    """Publish what a node has, once it is cut as it was asked to be."""
    del now
    node = objects.get(NODES, key)
    if node is None or pods.is_going(node) or _cutting(node):
        return Outcome()
    there = {item["metadata"]["name"]: item for item in objects.every(RESOURCE_SLICES) if _is_of(item, key[1])}
    newest = max((item["spec"]["pool"]["generation"] for item in there.values()), default=0)
    wanted = _slices(node, generation=newest + 1)
    if {item["metadata"]["name"]: _shape(item) for item in wanted} == {name: _shape(there[name]) for name in there}:
        return Outcome()
    writes: list[Write] = []
    for made in wanted:
        old = there.pop(made["metadata"]["name"], None)
        if old is None:
            made["metadata"]["ownerReferences"] = [pods.owner_reference(NODES, node)]
            writes.append(Create(RESOURCE_SLICES, made))
        else:
            writes.append(Update(RESOURCE_SLICES, changed(old) | {"spec": made["spec"]}))
    return Outcome((*writes, *(Delete(RESOURCE_SLICES, item) for item in there.values())))


def _cutting(node: Json) -> bool:
    """Whether its MIG configuration is on its way, or was refused: then what is published stands."""
    state = look(node, f'.metadata.labels["{marks.MIG_STATE}"]')
    return state not in (None, "success")


def _slices(node: Json, *, generation: int) -> list[Json]:
    kind = presets().machines.get(str(look(node, _MACHINE)))
    if kind is None:
        return []
    config = look(node, f'.metadata.annotations["{marks.MIG_TRIED}"]') or kind.mig  # done, since it is not on its way
    by_claim = look(node, f'.metadata.annotations["{marks.MIG_PATH}"]') == marks.BY_CLAIM
    return resource_slices(kind, node["metadata"]["name"], config=config, by_claim=by_claim, generation=generation)


def _shape(item: Json) -> list[str]:
    """What tells two cuts apart: the server writes numbers its own way, so names have to do."""
    return [part["name"] for key in ("devices", "sharedCounters") for part in item["spec"].get(key) or ()]


def _is_of(item: Json, node: str) -> bool:
    return bool(item["spec"]["driver"] == DRIVER and item["spec"].get("nodeName") == node)


def _of_node(objects: Objects, node: Json) -> list[Key]:
    del objects
    return [key_of(node)]


def _of_slice(objects: Objects, item: Json) -> list[Key]:
    del objects
    return [("", item["spec"]["nodeName"])] if item["spec"].get("nodeName") else []


def _cut(node: Json) -> object:
    return node["metadata"].get("labels"), node["metadata"].get("annotations")


PUBLISHING = Controller("dra-plugin", reconcile, (Watch(NODES, _of_node, _cut), Watch(RESOURCE_SLICES, _of_slice)))
