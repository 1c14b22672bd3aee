"""What services have to satisfy, and what of their addresses may change."""

from __future__ import annotations

from quartermaster.local.apiserver.errors import (
    Json,
    duplicate_value,
    forbidden_value,
    invalid_value,
    required,
    unsupported_value,
)
from quartermaster.local.apiserver.names import label_problems, port_problems, subdomain_problems
from quartermaster.local.apiserver.validation_metadata import Causes, labels_causes

_TYPES = ("ClusterIP", "ExternalName", "LoadBalancer", "NodePort")
_PORT = "must be between 1 and 65535, inclusive"


def service(value: Json) -> Causes:
    """A service as it is to be, with its addresses."""
    spec = value.get("spec", {})
    kind, headless = spec.get("type", ""), spec.get("clusterIP") == "None"
    ports = spec.get("ports") or []
    causes: Causes = []
    if not ports and not headless and kind != "ExternalName":
        causes.append(required("spec.ports"))
    if headless and kind in ("LoadBalancer", "NodePort"):
        why = f"may not be set to 'None' for {kind} services"
        causes.append(invalid_value("spec.clusterIPs[0]", "None", why))
    if kind == "ExternalName":
        causes += _external(spec)
    names: set[str] = set()
    for index, port in enumerate(ports):
        causes += _port(port, f"spec.ports[{index}]", names, named=len(ports) > 1)
    causes += labels_causes(spec.get("selector") or {}, "spec.selector")
    affinity = spec.get("sessionAffinity", "None")
    if affinity not in ("ClientIP", "None"):
        causes.append(unsupported_value("spec.sessionAffinity", affinity, ("ClientIP", "None")))
    elif affinity == "None" and "sessionAffinityConfig" in spec:
        why = "must not be set when session affinity is None"
        causes.append(forbidden_value("spec.sessionAffinityConfig", why))
    if kind not in _TYPES:
        causes.append(unsupported_value("spec.type", kind, _TYPES))
    causes += _numbers(ports, kind)
    if "allocateLoadBalancerNodePorts" in spec and kind != "LoadBalancer":
        why = "may only be used when `type` is 'LoadBalancer'"
        causes.append(forbidden_value("spec.allocateLoadBalancerNodePorts", why))
    return causes


def _external(spec: Json) -> Causes:
    why = "may not be set for ExternalName services"
    causes = [
        forbidden_value(f"spec.{name}", why)
        for name in ("clusterIPs", "ipFamilies", "ipFamilyPolicy")
        if spec.get(name)
    ]
    name = spec.get("externalName", "").removesuffix(".")
    if not name:
        return [*causes, required("spec.externalName")]
    return causes + [invalid_value("spec.externalName", name, text) for text in subdomain_problems(name)]


def _port(port: Json, path: str, names: set[str], *, named: bool) -> Causes:
    causes: Causes = []
    name = port.get("name", "")
    if not name and named:
        causes.append(required(f"{path}.name"))
    elif name:
        causes += [invalid_value(f"{path}.name", name, text) for text in label_problems(name)]
        if name in names:
            causes.append(duplicate_value(f"{path}.name", name))
    names.add(name)
    if not 0 < port.get("port", 0) < 65536:
        causes.append(invalid_value(f"{path}.port", port.get("port", 0), _PORT))
    if port.get("protocol") not in ("TCP", "UDP", "SCTP"):
        causes.append(unsupported_value(f"{path}.protocol", port.get("protocol"), ("SCTP", "TCP", "UDP")))
    target = port.get("targetPort", 0)
    problems = port_problems(target) if isinstance(target, str) else () if 0 < target < 65536 else (_PORT,)
    return causes + [invalid_value(f"{path}.targetPort", target, text) for text in problems]


def _numbers(ports: list[Json], kind: str) -> Causes:
    """Ports of nodes are for those that have them, and no port is there twice."""
    causes: Causes = []
    if kind == "ClusterIP":
        why = "may not be used when `type` is 'ClusterIP'"
        causes += [
            forbidden_value(f"spec.ports[{index}].nodePort", why)
            for index, port in enumerate(ports)
            if port.get("nodePort")
        ]
    seen: set[tuple[str, int]] = set()
    for index, port in enumerate(ports):
        number = port.get("nodePort")
        if number and (port.get("protocol", ""), number) in seen:
            causes.append(duplicate_value(f"spec.ports[{index}].nodePort", number))
        seen.add((port.get("protocol", ""), number or 0))
    known: set[tuple[str, int]] = set()
    for index, port in enumerate(ports):
        protocol, number = port.get("protocol", ""), port.get("port", 0)
        if (protocol, number) in known:
            shown = {
                "Name": "",
                "Protocol": protocol,
                "AppProtocol": None,
                "Port": number,
                "TargetPort": 0,
                "NodePort": 0,
            }
            causes.append(duplicate_value(f"spec.ports[{index}]", shown))
        known.add((protocol, number))
    return causes


def changed_service(value: Json, old: Json) -> Causes:
    """A service keeps its addresses as long as it has any."""
    new, before = value.get("spec", {}), old.get("spec", {})
    if new == before:
        return []
    causes: Causes = []
    headless = [spec.get("clusterIP") == "None" for spec in (new, before)]
    if "ExternalName" not in (new.get("type"), before.get("type")):
        if not all(headless):
            causes += _kept(new, before, "clusterIPs", "primary clusterIP can not be unset")
        if not any(headless):
            causes += _kept(new, before, "ipFamilies", "primary ipFamily can not be unset")
    return causes + service(value)


def _kept(new: Json, old: Json, name: str, unset: str) -> Causes:
    now, was = new.get(name) or [], old.get(name) or []
    if len(now) == len(was):
        return [
            invalid_value(f"spec.{name}[{index}]", now, "may not change once set")
            for index, item in enumerate(was)
            if item != now[index]
        ]
    causes: Causes = []
    if was and not now:
        causes.append(invalid_value(f"spec.{name}[0]", now, unset))
    elif was and now[0] != was[0]:
        causes.append(invalid_value(f"spec.{name}[0]", now, "may not change once set"))
    if len(now) == 1 < len(was) and new.get("ipFamilyPolicy") != "SingleStack":
        what = "clusterIP" if name == "clusterIPs" else "ipFamily"
        why = f"must be set to 'SingleStack' when releasing the secondary {what}"
        causes.append(invalid_value("spec.ipFamilyPolicy", new.get("ipFamilyPolicy"), why))
    return causes
