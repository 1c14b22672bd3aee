"""Which devices of a node a set of claims gets: Kubernetes' structured parameters, as a pure search.

Depth first over requests and devices, in the order of slices and names, as kube-scheduler does it, so the first devices
that fit are taken. Known: device classes and CEL selectors, exact counts and All, alternatives (firstAvailable),
matchAttribute and distinctAttribute, shared counters (partitionable devices), taints, adminAccess. Refuses capacity
requests (consumable capacity) and pools that are not bound to a node by name or offered to all.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

from quartermaster.local.apiserver import cel
from quartermaster.local.apiserver.quantity import parse
from quartermaster.local.controllers import nodefit
from quartermaster.local.controllers.objects import Json

Identity = tuple[str, str, str]
"""(driver, pool, device)."""
ATTEMPTS = 20_000
"""Steps of a search, after which it is given up: a claim can be made that takes for ever."""


class Impossible(Exception):
    """The claims cannot be had there; says why."""


@dataclass(frozen=True, slots=True)
class Device:
    """One device as its slice offers it."""

    identity: Identity
    value: Json

    def attribute(self, name: str) -> Any:
        """The value of a qualified attribute; of one without a domain, the driver's."""
        known = self.value.get("attributes") or {}
        domain, _, short = name.rpartition("/")
        found = known.get(name) or (known.get(short) if domain in ("", self.identity[0]) else None)
        return next(iter(found.values())) if found else None


@dataclass(slots=True)
class _Wanted:
    """One request, or one of its alternatives."""

    claim: int
    name: str
    spec: Json
    selectors: list[str]


@dataclass(slots=True)
class _Search:
    devices: list[Device]
    counters: dict[tuple[str, str, str, str], float]
    constraints: list[list[Json]]
    free: set[Identity]
    taken: list[tuple[int, str, Device, bool]] = field(default_factory=list)
    steps: int = 0
    matched: dict[tuple[str, Identity], bool] = field(default_factory=dict)


def offered(node: str, slices: Iterable[Json]) -> tuple[list[Device], dict[tuple[str, str, str, str], float]]:
    """The devices of a node and its shared counters, of the newest generation of each pool that is complete."""
    pools: dict[tuple[str, str], list[Json]] = {}
    for item in slices:
        spec = item["spec"]
        if spec.get("nodeName") == node or spec.get("allNodes"):
            pools.setdefault((spec["driver"], spec["pool"]["name"]), []).append(item)
    devices: list[Device] = []
    counters: dict[tuple[str, str, str, str], float] = {}
    for (driver, pool), found in sorted(pools.items()):
        newest = max(item["spec"]["pool"]["generation"] for item in found)
        current = [item for item in found if item["spec"]["pool"]["generation"] == newest]
        if len(current) != current[0]["spec"]["pool"]["resourceSliceCount"]:
            continue
        for item in sorted(current, key=lambda item: item["metadata"]["name"]):
            devices += [Device((driver, pool, value["name"]), value) for value in item["spec"].get("devices") or ()]
            for group in item["spec"].get("sharedCounters") or ():
                for name, counter in group["counters"].items():
                    counters[driver, pool, group["name"], name] = float(parse(counter["value"]))
    return devices, counters


def allocate(
    claims: Sequence[Json], *, node: str, slices: Iterable[Json], classes: dict[str, Json], taken: Iterable[Identity]
) -> list[Json]:
    """The `status.allocation` of each claim, all on `node`; raises Impossible."""
    devices, counters = offered(node, slices)
    used = set(taken)
    for device in devices:
        if device.identity in used:
            _consume(counters, device, -1)
    search = _Search(
        devices=devices,
        counters=counters,
        constraints=[(claim["spec"].get("devices") or {}).get("constraints") or [] for claim in claims],
        free={device.identity for device in devices} - used,
    )
    requests = [
        (number, request)
        for number, claim in enumerate(claims)
        for request in (claim["spec"].get("devices") or {}).get("requests") or ()
    ]
    if not _solve(search, requests, 0, classes):
        raise Impossible(f"cannot allocate all claims on node {node}")
    return [_result(number, claim, search, classes, node) for number, claim in enumerate(claims)]


def _alternatives(number: int, request: Json, classes: dict[str, Json]) -> Iterator[_Wanted]:
    options = [(request["name"], request["exactly"])] if request.get("exactly") else []
    options += [(f"{request['name']}/{item['name']}", item) for item in request.get("firstAvailable") or ()]
    for name, spec in options:
        found = classes.get(spec["deviceClassName"])
        if found is None:
            raise Impossible(f"device class {spec['deviceClassName']} does not exist")
        if spec.get("capacity"):
            raise Impossible(f"request {name}: capacity requests are not known here")
        listed = [*(found["spec"].get("selectors") or ()), *(spec.get("selectors") or ())]
        yield _Wanted(number, name, spec, [item["cel"]["expression"] for item in listed if item.get("cel")])


def _solve(search: _Search, requests: list[tuple[int, Json]], at: int, classes: dict[str, Json]) -> bool:
    if at == len(requests):
        return True
    for wanted in _alternatives(*requests[at], classes):
        able = [device for device in search.devices if _suits(search, wanted, device)]
        if wanted.spec.get("allocationMode") == "All":
            count = len(able)
            if not able or any(not _available(search, wanted, device) for device in able):
                continue
        else:
            count = wanted.spec.get("count", 1)
        if _pick(search, wanted, able, left=count, then=lambda: _solve(search, requests, at + 1, classes)):
            return True
    return False


def _pick(
    search: _Search, wanted: _Wanted, able: list[Device], *, at: int = 0, left: int, then: Callable[[], bool]
) -> bool:
    """Take `left` more of the devices from `at` on, then go on; undone if that leads nowhere."""
    if not left:
        return then()
    for index in range(at, len(able)):
        search.steps += 1
        if search.steps > ATTEMPTS:
            raise Impossible("the search for devices was given up")
        device = able[index]
        if not _available(search, wanted, device) or not _agrees(search, wanted, device):
            continue
        admin = bool(wanted.spec.get("adminAccess"))
        search.taken.append((wanted.claim, wanted.name, device, admin))
        if not admin:
            search.free.discard(device.identity)
            _consume(search.counters, device, -1)
        if _pick(search, wanted, able, at=index + 1, left=left - 1, then=then):
            return True
        search.taken.pop()
        if not admin:
            search.free.add(device.identity)
            _consume(search.counters, device, 1)
    return False


def _suits(search: _Search, wanted: _Wanted, device: Device) -> bool:
    """Whether a device is what a request asks for, be it free or not."""
    return all(_matches(search, expression, device) for expression in wanted.selectors)


def _matches(search: _Search, expression: str, device: Device) -> bool:
    key = (expression, device.identity)
    if key not in search.matched:
        try:
            search.matched[key] = cel.evaluate(expression, {"device": _shown(device)}) is True
        except cel.CelError as wrong:
            if "no such key" not in str(wrong).lower():  # what a device does not have, it does not match
                raise Impossible(f"selector {expression!r}: {wrong}") from None
            search.matched[key] = False
    return search.matched[key]


def _shown(device: Device) -> Json:
    """A device as CEL sees it: attributes and capacities by domain."""
    driver = device.identity[0]

    def by_domain(values: dict[str, Any]) -> Json:
        found: Json = {driver: {}}
        for name, value in values.items():
            domain, _, short = name.rpartition("/")
            found.setdefault(domain or driver, {})[short] = value
        return found

    attributes = {name: next(iter(value.values())) for name, value in (device.value.get("attributes") or {}).items()}
    capacity = {name: value["value"] for name, value in (device.value.get("capacity") or {}).items()}
    return {"driver": driver, "attributes": by_domain(attributes), "capacity": by_domain(capacity)}


def _available(search: _Search, wanted: _Wanted, device: Device) -> bool:
    if wanted.spec.get("adminAccess"):
        return True
    tolerations = wanted.spec.get("tolerations") or ()
    for taint in device.value.get("taints") or ():
        if taint["effect"] != "None" and not any(nodefit.covers(item, taint) for item in tolerations):
            return False
    return device.identity in search.free and all(
        search.counters.get(key, 0.0) >= amount for key, amount in _consumed(device)
    )


def _consumed(device: Device) -> Iterator[tuple[tuple[str, str, str, str], float]]:
    driver, pool, _ = device.identity
    for part in device.value.get("consumesCounters") or ():
        for name, counter in part["counters"].items():
            yield (driver, pool, part["counterSet"], name), float(parse(counter["value"]))


def _consume(counters: dict[tuple[str, str, str, str], float], device: Device, sign: int) -> None:
    for key, amount in _consumed(device):
        counters[key] = counters.get(key, 0.0) + sign * amount


def _agrees(search: _Search, wanted: _Wanted, device: Device) -> bool:
    """Whether a device goes with those that the claim's constraints bind it to."""
    for constraint in search.constraints[wanted.claim]:
        bound = constraint.get("requests") or ()
        if bound and not {wanted.name, wanted.name.partition("/")[0]} & set(bound):
            continue
        name = constraint.get("matchAttribute") or constraint.get("distinctAttribute")
        mine = device.attribute(str(name))
        others = [
            item.attribute(str(name))
            for claim, request, item, _ in search.taken
            if claim == wanted.claim and (not bound or {request, request.partition("/")[0]} & set(bound))
        ]
        if mine is None:
            return False
        if constraint.get("matchAttribute") and any(other != mine for other in others):
            return False
        if constraint.get("distinctAttribute") and mine in others:
            return False
    return True


def _result(number: int, claim: Json, search: _Search, classes: dict[str, Json], node: str) -> Json:
    results: list[Json] = []
    for mine, request, device, admin in search.taken:
        if mine == number:
            driver, pool, name = device.identity
            results.append({"request": request, "driver": driver, "pool": pool, "device": name})
            results[-1] |= {"adminAccess": True} if admin else {}
    field_ = {"key": "metadata.name", "operator": "In", "values": [node]}
    allocation: Json = {"devices": {"results": results}}
    allocation["nodeSelector"] = {"nodeSelectorTerms": [{"matchFields": [field_]}]}
    if config := [*_class_config(claim, classes), *_claim_config(claim)]:
        allocation["devices"]["config"] = config
    return allocation


def _class_config(claim: Json, classes: dict[str, Json]) -> Iterator[Json]:
    for request in (claim["spec"].get("devices") or {}).get("requests") or ():
        found = classes.get((request.get("exactly") or {}).get("deviceClassName", ""))
        for item in (found or {"spec": {}})["spec"].get("config") or ():
            yield {"source": "FromClass", "requests": [request["name"]], **item}


def _claim_config(claim: Json) -> Iterator[Json]:
    for item in (claim["spec"].get("devices") or {}).get("config") or ():
        yield {"source": "FromClaim", **item}
