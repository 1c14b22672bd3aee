"""What ingresses and network policies have to satisfy (k8s.io/kubernetes/pkg/apis/networking/validation)."""

from __future__ import annotations

import ipaddress

from quartermaster.local.apiserver.errors import Json, forbidden_value, invalid_value, required, unsupported_value
from quartermaster.local.apiserver.names import label_problems, port_problems, subdomain_problems
from quartermaster.local.apiserver.validation_metadata import Causes, selector_causes

Network = ipaddress.IPv4Network | ipaddress.IPv6Network

_PATHS = ("Exact", "ImplementationSpecific", "Prefix")
_UNCLEAN = ("//", "/./", "/../", "%2f", "%2F")
_UNCLEAN_ENDS = ("/..", "/.")
_CIDR = "must be a valid CIDR value, (e.g. 10.9.8.0/24 or 2001:db8::/64)"
_TRANSPORTS = ("TCP", "UDP", "SCTP")


def ingress(value: Json) -> Causes:
    """Where requests from outside go."""
    spec = value.get("spec") or {}
    causes: Causes = []
    if not spec.get("rules") and not spec.get("defaultBackend"):
        causes.append(invalid_value("spec", None, "either `defaultBackend` or `rules` must be specified"))
    if spec.get("defaultBackend"):
        causes += _backend(spec["defaultBackend"], "spec.defaultBackend")
    for index, rule in enumerate(spec.get("rules") or ()):
        path = f"spec.rules[{index}]"
        causes += _host(rule.get("host", ""), f"{path}.host")
        if "http" in rule:
            causes += _paths(rule["http"] or {}, f"{path}.http")
    for index, tls in enumerate(spec.get("tls") or ()):
        path, secret = f"spec.tls[{index}]", tls.get("secretName", "")
        for at, host in enumerate(tls.get("hosts") or ()):
            causes += [invalid_value(f"{path}.hosts[{at}]", host, why) for why in _host_problems(host)]
        causes += [invalid_value(f"{path}.secretName", secret, why) for why in subdomain_problems(secret) if secret]
    name = spec.get("ingressClassName")
    if name is not None:
        causes += [invalid_value("spec.ingressClassName", name, why) for why in subdomain_problems(name)]
    return causes


def _host(host: str, path: str) -> Causes:
    causes: Causes = []
    if _is_address(host):
        causes.append(invalid_value(path, host, "must be a DNS name, not an IP address"))
    return causes + [invalid_value(path, host, why) for why in (_host_problems(host) if host else ())]


def _host_problems(host: str) -> list[str]:
    if "*" not in host:
        return [*subdomain_problems(host)]
    return [] if host.startswith("*.") and not subdomain_problems(host[2:]) else [_WILDCARD]


_WILDCARD = (
    "a wildcard DNS-1123 subdomain must start with '*.', followed by a valid DNS subdomain, which must consist of "
    "lower case alphanumeric characters, '-' or '.' and end with an alphanumeric character (e.g. '*.example.com', "
    r"regex used for validation is '\*\.[a-z0-9]([-a-z0-9]*[a-z0-9])?(\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*')"
)


def _is_address(host: str) -> bool:
    try:
        ipaddress.ip_address(host)
    except ValueError:
        return False
    return True


def _paths(http: Json, at: str) -> Causes:
    causes: Causes = [] if http.get("paths") else [required(f"{at}.paths")]
    for index, item in enumerate(http.get("paths") or ()):
        path, kind, text = f"{at}.paths[{index}]", item.get("pathType"), item.get("path", "")
        if kind is None:
            causes.append(required(f"{path}.pathType", "pathType must be specified"))
            continue
        if kind not in _PATHS:
            causes.append(unsupported_value(f"{path}.pathType", kind, _PATHS))
        elif not text.startswith("/") and (text or kind != "ImplementationSpecific"):
            causes.append(invalid_value(f"{path}.path", text, "must be an absolute path"))
        if kind in ("Exact", "Prefix"):
            unclean = [f"must not contain '{part}'" for part in _UNCLEAN if part in text]
            unclean += [f"cannot end with '{part}'" for part in _UNCLEAN_ENDS if text.endswith(part)]
            causes += [invalid_value(f"{path}.path", text, why) for why in unclean]
        causes += _backend(item.get("backend") or {}, f"{path}.backend")
    return causes


def _backend(backend: Json, at: str) -> Causes:
    service, resource = backend.get("service"), backend.get("resource")
    if service is not None and resource is not None:
        return [invalid_value(at, "", "cannot set both resource and service backends")]
    if resource is not None:
        return [required(f"{at}.resource.{name}") for name in ("kind", "name") if not resource.get(name)]
    if service is None:
        return [invalid_value(at, "", "resource or service backend is required")]
    name, port = service.get("name", ""), service.get("port") or {}
    causes = [] if name else [required(f"{at}.service.name")]
    causes += [invalid_value(f"{at}.service.name", name, text) for text in (label_problems(name) if name else ())]
    if port.get("name") and port.get("number"):
        causes.append(invalid_value(at, "", "cannot set both port name & port number"))
    elif port.get("number"):
        causes += _port(port["number"], f"{at}.service.port.number")
    elif port.get("name"):
        path = f"{at}.service.port.name"
        causes += [invalid_value(path, port["name"], why) for why in port_problems(port["name"])]
    else:
        causes.append(required(at, "port name or number is required"))
    return causes


def _port(number: int, path: str) -> Causes:
    return [] if 0 < number < 65536 else [invalid_value(path, number, "must be between 1 and 65535, inclusive")]


def network_policy(value: Json) -> Causes:
    """Who may talk to whom."""
    spec = value.get("spec") or {}
    causes = selector_causes(spec.get("podSelector"), "spec.podSelector")
    for group, peers in (("ingress", "from"), ("egress", "to")):
        for index, rule in enumerate(spec.get(group) or ()):
            path = f"spec.{group}[{index}]"
            for at, port in enumerate(rule.get("ports") or ()):
                causes += _policy_port(port, f"{path}.ports[{at}]")
            for at, peer in enumerate(rule.get(peers) or ()):
                causes += _peer(peer, f"{path}.{peers}[{at}]")
    kinds = spec.get("policyTypes") or ()
    if len(kinds) > 2:
        return [*causes, invalid_value("spec.policyTypes", kinds, "may not specify more than two policyTypes")]
    return causes + [
        unsupported_value(f"spec.policyTypes[{index}]", kind, ("Ingress", "Egress"))
        for index, kind in enumerate(kinds)
        if kind not in ("Ingress", "Egress")
    ]


def _policy_port(port: Json, path: str) -> Causes:
    protocol, number, end = port.get("protocol", "TCP"), port.get("port"), port.get("endPort")
    causes: Causes = []
    if protocol not in _TRANSPORTS:
        causes.append(unsupported_value(f"{path}.protocol", protocol, _TRANSPORTS))
    if isinstance(number, int):
        causes += _port(number, f"{path}.port")
        if end is not None and end < number:
            causes.append(invalid_value(f"{path}.endPort", number, "must be greater than or equal to `port`"))
        causes += _port(end, f"{path}.endPort") if end is not None else []
        return causes
    if end is not None:
        why = "is non-numeric" if number is not None else "is not specified"
        causes.append(invalid_value(f"{path}.endPort", end, f"may not be specified when `port` {why}"))
    if number is not None:
        causes += [invalid_value(f"{path}.port", number, text) for text in port_problems(number)]
    return causes


def _peer(peer: Json, path: str) -> Causes:
    causes = [
        cause
        for name in ("podSelector", "namespaceSelector")
        for cause in selector_causes(peer.get(name), f"{path}.{name}")
    ]
    block = peer.get("ipBlock")
    if block is not None:
        causes += _block(block, f"{path}.ipBlock")
    if not any(name in peer for name in ("podSelector", "namespaceSelector", "ipBlock")):
        causes.append(required(path, "must specify a peer"))
    elif block is not None and len(peer) > 1:
        causes.append(forbidden_value(path, "may not specify both ipBlock and another peer"))
    return causes


def _block(block: Json, path: str) -> Causes:
    text = block.get("cidr", "")
    if not text:
        return [required(f"{path}.cidr")]
    whole = _network(text)
    if whole is None:
        return [invalid_value(f"{path}.cidr", text, _CIDR)]
    causes: Causes = []
    for index, part in enumerate(block.get("except") or ()):
        within = _network(part)
        if within is None:
            causes.append(invalid_value(f"{path}.except[{index}]", part, _CIDR))
        elif within == whole or not _contains(whole, within):
            causes.append(invalid_value(f"{path}.except[{index}]", part, "must be a strict subset of `cidr`"))
    return causes


def _network(text: str) -> Network | None:
    try:
        return ipaddress.ip_network(text, strict=False) if "/" in text else None
    except ValueError:
        return None


def _contains(whole: Network, part: Network) -> bool:
    if isinstance(whole, ipaddress.IPv4Network):
        return isinstance(part, ipaddress.IPv4Network) and part.subnet_of(whole)
    return isinstance(part, ipaddress.IPv6Network) and part.subnet_of(whole)
