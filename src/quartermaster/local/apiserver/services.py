"""Services: defaults, and the addresses and ports that the server gives them.

Addresses come from 10.96.0.0/16, ports of nodes from 30000 to 32767. What a service has it keeps when a client replaces
it without saying so, and what its type has no use for it loses. The cluster has one family, IPv4; a service without
address and selector names both, since only who reads its endpoints knows.
"""

from __future__ import annotations

import ipaddress
import json

from quartermaster.local.apiserver.cluster import Cluster
from quartermaster.local.apiserver.errors import ApiError, Json, invalid, invalid_value
from quartermaster.local.apiserver.names import path_segment_problems
from quartermaster.local.apiserver.store import Key

_RANGE = ipaddress.ip_network("10.96.0.0/16")
_FIRST_FREE = 256
"""Addresses below are for those who ask for one: the API itself has the first."""
_PORTS = range(30000, 32768)
_ON_NODES = ("NodePort", "LoadBalancer")


def service_defaults(value: Json) -> None:
    """What a client need not say."""
    spec = value.setdefault("spec", {})
    kind = spec.setdefault("type", "ClusterIP")
    affinity = spec.setdefault("sessionAffinity", "None")
    if affinity == "None":
        spec.pop("sessionAffinityConfig", None)
    elif affinity == "ClientIP":
        spec.setdefault("sessionAffinityConfig", {}).setdefault("clientIP", {}).setdefault("timeoutSeconds", 10800)
    if kind != "ExternalName":
        spec.setdefault("internalTrafficPolicy", "Cluster")
    if kind in _ON_NODES:
        spec.setdefault("externalTrafficPolicy", "Cluster")
    if kind == "LoadBalancer":
        spec.setdefault("allocateLoadBalancerNodePorts", True)
        for ingress in ((value.get("status") or {}).get("loadBalancer") or {}).get("ingress") or ():
            if ingress.get("ip"):
                ingress.setdefault("ipMode", "VIP")
    for port in spec.get("ports") or ():
        port.setdefault("protocol", "TCP")
        if port.get("targetPort") in (None, 0, ""):
            port["targetPort"] = port.get("port", 0)


def place_new(value: Json, cluster: Cluster, *, dry_run: bool) -> None:
    """Give a new service what it needs; raises ApiError 422 for what it may not have."""
    spec = value["spec"]
    if spec.get("clusterIP") and not spec.get("clusterIPs"):
        spec["clusterIPs"] = [spec["clusterIP"]]
    _families(spec, {})
    _address(value, cluster, dry_run=dry_run)
    _node_ports(value, cluster, ())


def place_changed(value: Json, old: Json, cluster: Cluster, *, dry_run: bool) -> None:
    """Keep what a service has, drop what it has no use for any more, give what it needs now; raises ApiError 422."""
    spec, before = value["spec"], old.get("spec", {})
    _kept(spec, before)
    _dropped(value, before)
    if spec.get("clusterIP") != before.get("clusterIP") and spec.get("clusterIPs") == before.get("clusterIPs"):
        spec["clusterIPs"] = [spec["clusterIP"]] if spec.get("clusterIP") else []
        if not spec["clusterIPs"]:
            del spec["clusterIPs"]
    _families(spec, before)
    if spec.get("type") != "ExternalName" and not before.get("clusterIP"):
        _address(value, cluster, dry_run=dry_run)
    _node_ports(value, cluster, tuple(port.get("nodePort", 0) for port in before.get("ports") or ()))


def _kept(spec: Json, before: Json) -> None:
    if "ExternalName" not in (spec.get("type"), before.get("type")):
        if not spec.get("clusterIP") and before.get("clusterIP"):
            spec["clusterIP"] = before["clusterIP"]
        if not spec.get("clusterIPs") and spec.get("clusterIP") == before.get("clusterIP") and before.get("clusterIPs"):
            spec["clusterIPs"] = list(before["clusterIPs"])
    if spec.get("type") in _ON_NODES and before.get("type") in _ON_NODES:
        known = {port.get("name", ""): port.get("nodePort", 0) for port in before.get("ports") or ()}
        used = {port.get("nodePort", 0) for port in spec.get("ports") or ()} & set(known.values())
        for port in spec.get("ports") or ():
            number = known.get(port.get("name", ""), 0)
            if not port.get("nodePort") and number and number not in used:
                port["nodePort"] = number
                used.add(number)


def _dropped(value: Json, before: Json) -> None:
    """What the old type needed and the new one does not, where the client has not touched it."""
    spec = value["spec"]
    kind, was = spec.get("type"), before.get("type")
    gone: tuple[str, ...] = ()
    if kind == "ExternalName":
        spec.pop("internalTrafficPolicy", None)
        if was != "ExternalName":
            gone += ("ipFamilies", "ipFamilyPolicy")
            if spec.get("clusterIPs") == before.get("clusterIPs"):
                gone += ("clusterIP", "clusterIPs")
    if was == "LoadBalancer" and kind != "LoadBalancer":
        gone += ("allocateLoadBalancerNodePorts", "loadBalancerClass", "healthCheckNodePort")
    if was in _ON_NODES and kind not in _ON_NODES:
        gone += ("externalTrafficPolicy",)
        now, then = ([port.get("nodePort") for port in of.get("ports") or ()] for of in (spec, before))
        if now == then:
            for port in spec.get("ports") or ():
                port.pop("nodePort", None)
    for name in gone:
        if spec.get(name) == before.get(name):
            spec.pop(name, None)
    if kind != "LoadBalancer" and "status" in value:
        value["status"]["loadBalancer"] = {}


def _families(spec: Json, before: Json) -> None:
    if spec.get("type") == "ExternalName":
        return
    open_ = spec.get("clusterIP") == "None" and not spec.get("selector")
    if "ipFamilyPolicy" not in spec:
        usual = "RequireDualStack" if open_ else "SingleStack"
        spec["ipFamilyPolicy"] = before.get("ipFamilyPolicy", usual)
    families = spec.setdefault("ipFamilies", [])
    if not families:
        addresses = [text for text in spec.get("clusterIPs") or () if text != "None"]
        families += ["IPv6" if ":" in text else "IPv4" for text in addresses] or ["IPv4"]
    if open_ and len(families) < 2 and spec["ipFamilyPolicy"] != "SingleStack":
        families.append("IPv6" if families[0] == "IPv4" else "IPv4")


def _address(value: Json, cluster: Cluster, *, dry_run: bool) -> None:
    spec = value["spec"]
    if spec.get("type") == "ExternalName" or spec.get("clusterIP") == "None":
        return
    said = spec.get("clusterIP", "")
    if said and not _is_address(said):
        why = "must be a valid IP address, (e.g. 10.9.8.7 or 2001:db8::ffff)"
        raise _refused(value, "spec.clusterIPs[0]", said, why)
    if spec["ipFamilyPolicy"] == "RequireDualStack":
        why = "this cluster is not configured for dual-stack services"
        raise _refused(value, "spec.ipFamilyPolicy", spec["ipFamilyPolicy"], why)
    used = {record.fields[0] for record in cluster.store.table("services").records()}
    if said:
        problem = "provided IP is already allocated" if said in used else _range_problem(said)
    else:  # nothing is looked for that nobody will have
        said, problem = str(_RANGE[0]) if dry_run else _free(used, cluster), ""
    name = value["metadata"].get("name", "")
    unfit = () if dry_run else path_segment_problems(name)
    if problem or unfit:
        of = f" {spec['clusterIP']}" if spec.get("clusterIP") else ""
        why = problem or (
            f'IPAddress.networking.k8s.io "{said}" is invalid: spec.parentRef.name: Invalid value: "{name}": {unfit[0]}'
        )
        raise _refused(value, "spec.clusterIPs", spec.get("clusterIPs") or [""], f"failed to allocate IP{of}: {why}")
    spec["clusterIP"] = said
    spec.setdefault("clusterIPs", [said])


def _is_address(text: str) -> bool:
    try:
        ipaddress.ip_address(text)
    except ValueError:
        return False
    return True


def _range_problem(text: str) -> str:
    inside = ipaddress.ip_address(text) in _RANGE
    return "" if inside else "the provided network does not match the current range"


def _free(used: set[str], cluster: Cluster) -> str:
    """An address nobody has: any one, so that a new service does not get that of one just deleted."""
    size = _RANGE.num_addresses - _FIRST_FREE - 1
    start = cluster.rng.randrange(size)
    for step in range(size):
        address = str(_RANGE[_FIRST_FREE + (start + step) % size])
        if address not in used:
            return address
    raise ApiError(500, "InternalError", "failed to allocate a serviceIP: range is full")


def _node_ports(value: Json, cluster: Cluster, own: tuple[int, ...]) -> None:
    spec = value["spec"]
    if spec.get("type") not in _ON_NODES or spec.get("allocateLoadBalancerNodePorts") is False:
        return
    used: set[int] | None = None
    for index, port in enumerate(spec.get("ports") or ()):
        number = port.get("nodePort", 0)
        if number and number in own:
            continue
        if used is None:
            used = _used_ports(cluster, value["metadata"])
        if not number:
            port["nodePort"] = next((free for free in _PORTS if free not in used), 0)
        elif number not in _PORTS or number in used:
            bounds = f"{_PORTS[0]}-{_PORTS[-1]}"
            why = (
                "provided port is already allocated"
                if number in used
                else f"provided port is not in the valid range. The range of valid ports is {bounds}"
            )
            raise _refused(value, f"spec.ports[{index}].nodePort", number, why)
        used.add(port["nodePort"])


def _used_ports(cluster: Cluster, metadata: Json) -> set[int]:
    own: Key = (metadata.get("namespace", ""), metadata.get("name", ""))
    used: set[int] = set()
    for record in cluster.store.table("services").records():
        if record.fields[1] in _ON_NODES and record.key != own:
            ports = json.loads(record.raw)["spec"].get("ports", ())
            used |= {port["nodePort"] for port in ports if port.get("nodePort")}
    return used


def _refused(value: Json, field: str, said: object, why: str) -> ApiError:
    return invalid("Service", "", value["metadata"].get("name", ""), [invalid_value(field, said, why)])
