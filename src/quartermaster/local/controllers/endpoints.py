"""EndpointSlices: where the pods behind a Service listen, a hundred to a slice, apart by the ports they give it.

Semantics: k8s.io/endpointslice. Slices have numbered names, not random ones, so that equal clusters have equal slices.
Refuses topology hints and IPv6.
"""

from __future__ import annotations

from typing import Any

from quartermaster.local.apiserver.codec import encode
from quartermaster.local.controllers import pods
from quartermaster.local.controllers.objects import NODES, PODS, SERVICES, SLICES, Json, Key, Objects, changed, key_of
from quartermaster.local.controllers.writes import Create, Delete, Outcome, Update, Write

SERVICE = "kubernetes.io/service-name"
MANAGER = "endpointslice.kubernetes.io/managed-by"
_US = "endpointslice-controller.k8s.io"
_MOST = 100
_ZONE = "topology.kubernetes.io/zone"


def reconcile(objects: Objects, key: Key, now: float) -> Outcome:
    """Bring the slices of one service to what its pods are."""
    del now
    service = objects.get(SERVICES, key)
    mine = {
        found["metadata"]["name"]: found
        for found in objects.within(SLICES, key[0])
        if (labels := found["metadata"].get("labels") or {}).get(SERVICE) == key[1] and labels.get(MANAGER) == _US
    }
    wanted: dict[str, Json] = {}
    if service is not None and not pods.is_going(service) and service["spec"].get("selector"):
        for made in _slices(objects, service):
            wanted[made["metadata"]["name"]] = made
    elif service is not None and not service["spec"].get("selector"):
        return Outcome()
    writes: list[Write] = [Delete(SLICES, found) for name, found in mine.items() if name not in wanted]
    for name, made in wanted.items():
        old = mine.get(name)
        if old is None:
            writes.append(Create(SLICES, made))
        elif any((old.get(field) or None) != made[field] for field in ("endpoints", "ports")):
            writes.append(Update(SLICES, {**changed(old), "endpoints": made["endpoints"], "ports": made["ports"]}))
    return Outcome(tuple(writes))


def _slices(objects: Objects, service: Json) -> list[Json]:
    spec = service["spec"]
    selected = [
        pod
        for pod in objects.within(PODS, service["metadata"]["namespace"])
        if spec["selector"].items() <= (pod["metadata"].get("labels") or {}).items()
        and (pod.get("status") or {}).get("podIP")
        and not pods.is_finished(pod)
    ]
    grouped: dict[bytes, tuple[list[Json], list[Json]]] = {}
    for pod in selected:
        ports = _ports(spec, pod)
        grouped.setdefault(encode(ports), (ports, []))[1].append(_endpoint(objects, service, pod))
    if not grouped:
        grouped[b""] = ([], [])
    parts = [
        (ports, endpoints[start : start + _MOST])
        for ports, endpoints in grouped.values()
        for start in range(0, max(1, len(endpoints)), _MOST)
    ]
    return [_slice(service, number, ports, endpoints) for number, (ports, endpoints) in enumerate(parts)]


def _ports(spec: Json, pod: Json) -> list[Json]:
    """The service's ports as numbers of this pod; one that it does not have is left out."""
    found: list[Json] = []
    for port in spec.get("ports") or ():
        target: Any = port.get("targetPort", port["port"])
        if isinstance(target, str):
            named = (
                item["containerPort"]
                for container in pod["spec"]["containers"]
                for item in container.get("ports") or ()
                if item.get("name") == target and item.get("protocol", "TCP") == port.get("protocol", "TCP")
            )
            target = next(named, None)
        if target is not None:
            more = {"appProtocol": port["appProtocol"]} if port.get("appProtocol") else {}
            name, protocol = port.get("name", ""), port.get("protocol", "TCP")
            found.append({"name": name, "port": target, "protocol": protocol, **more})
    return found


def _endpoint(objects: Objects, service: Json, pod: Json) -> Json:
    going, ready = pods.is_going(pod), pods.is_ready(pod)
    always = bool(service["spec"].get("publishNotReadyAddresses"))
    node = pod["spec"].get("nodeName")
    about = pod["metadata"]
    made: Json = {
        "addresses": [pod["status"]["podIP"]],
        "conditions": {"ready": always or (ready and not going), "serving": ready, "terminating": going},
        "targetRef": {
            "kind": "Pod",
            "namespace": about["namespace"],
            "name": about["name"],
            "uid": about["uid"],
        },
    }
    if node:
        made["nodeName"] = node
        found = objects.get(NODES, ("", node))
        zone = ((found or {}).get("metadata", {}).get("labels") or {}).get(_ZONE)
        if zone:
            made["zone"] = zone
    if pod["spec"].get("hostname") and pod["spec"].get("subdomain") == service["metadata"]["name"]:
        made["hostname"] = pod["spec"]["hostname"]
    return made


def _slice(service: Json, number: int, ports: list[Json], endpoints: list[Json]) -> Json:
    about = service["metadata"]
    labels = {**(about.get("labels") or {}), SERVICE: about["name"], MANAGER: _US}
    if service["spec"].get("clusterIP") == "None":
        labels["service.kubernetes.io/headless"] = ""
    return {
        "apiVersion": SLICES.api_version,
        "kind": SLICES.kind,
        "metadata": {
            "generateName": f"{about['name']}-",
            "name": f"{about['name']}-{pods.short_hash([about['uid'], number], length=5)}",
            "namespace": about["namespace"],
            "labels": labels,
            "ownerReferences": [pods.owner_reference(SERVICES, service)],
        },
        "addressType": "IPv4",
        "endpoints": endpoints or None,
        "ports": ports or None,
    }


def of_pod(objects: Objects, pod: Json) -> list[Key]:
    """Services that select a pod."""
    labels = pod["metadata"].get("labels") or {}
    return [
        key_of(service)
        for service in objects.within(SERVICES, pod["metadata"]["namespace"])
        if service["spec"].get("selector") and service["spec"]["selector"].items() <= labels.items()
    ]


def of_slice(objects: Objects, found: Json) -> list[Key]:
    """The service of a slice."""
    del objects
    name = (found["metadata"].get("labels") or {}).get(SERVICE)
    return [(found["metadata"]["namespace"], name)] if name else []
