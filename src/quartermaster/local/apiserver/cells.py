"""Cells of the tables of built-in kinds (k8s.io/kubernetes/pkg/printers/internalversion/printers.go).

One function per table, from an object and the time to a row in the order of the headings. Pods and workloads, the
longest, are in cells_pods.py and cells_workloads.py.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from quartermaster.local.apiserver.ages import UNKNOWN, age
from quartermaster.local.apiserver.cells_pods import pod
from quartermaster.local.apiserver.cells_shared import (
    NONE,
    UNSET,
    Row,
    age_of,
    dig,
    labels_text,
    name_of,
    selector_text,
)
from quartermaster.local.apiserver.cells_workloads import (
    cron_job,
    daemon_set,
    deployment,
    job,
    pod_template,
    replica_set,
    revision,
    stateful_set,
)
from quartermaster.local.apiserver.errors import Json


def _service(value: Json, now: float) -> Row:
    spec = value.get("spec", {})
    kind = spec.get("type", "ClusterIP")
    external = list(spec.get("externalIPs") or ())
    if kind == "LoadBalancer":
        ingress = dig(value, "status", "loadBalancer", "ingress", default=[])
        found = [item.get("ip") or item.get("hostname", "") for item in ingress] + external
        shown = ",".join(found) or "<pending>"
    elif kind == "ExternalName":
        shown = spec.get("externalName", "")
    else:
        shown = ",".join(external) or NONE
    ports = ",".join(
        f"{port['port']}:{port['nodePort']}/{port.get('protocol', 'TCP')}"
        if port.get("nodePort")
        else f"{port.get('port')}/{port.get('protocol', 'TCP')}"
        for port in spec.get("ports") or ()
    )
    return [
        name_of(value),
        kind,
        spec.get("clusterIP") or NONE,
        shown,
        ports or NONE,
        age_of(value, now),
        labels_text(spec.get("selector")),
    ]


def _node(value: Json, now: float) -> Row:
    status = value.get("status", {})
    conditions = {item.get("type"): item.get("status") for item in status.get("conditions") or ()}
    ready = {"True": "Ready", "False": "NotReady"}.get(
        conditions.get("Ready", ""), "NotReady" if "Ready" in conditions else "Unknown"
    )
    states = [ready, *(["SchedulingDisabled"] if dig(value, "spec", "unschedulable") else [])]
    roles = []
    for key, text in sorted((value["metadata"].get("labels") or {}).items()):
        if key.startswith("node-role.kubernetes.io/") and key != "node-role.kubernetes.io/":
            roles.append(key.removeprefix("node-role.kubernetes.io/"))
        elif key == "kubernetes.io/role" and text:
            roles.append(text)
    info = status.get("nodeInfo", {})
    addresses = {item.get("type"): item.get("address") for item in reversed(status.get("addresses") or ())}
    return [
        name_of(value),
        ",".join(states),
        ",".join(roles) or NONE,
        age_of(value, now),
        info.get("kubeletVersion", ""),
        addresses.get("InternalIP", NONE),
        addresses.get("ExternalIP", NONE),
        info.get("osImage") or UNKNOWN,
        (info.get("kernelVersion") or UNKNOWN) + (f" ({info['architecture']})" if info.get("architecture") else ""),
        info.get("containerRuntimeVersion") or UNKNOWN,
    ]


def _event(value: Json, now: float) -> Row:
    about = value.get("involvedObject", {})
    first = value.get("firstTimestamp") or value.get("eventTime")
    series = value.get("series")
    last = value.get("lastTimestamp") or first
    if series:
        last = series.get("lastObservedTime", last)
    count = (series or value).get("count") or 1
    source = value.get("source", {})
    component = source.get("component") or value.get("reportingComponent", "")
    host = source.get("host") or value.get("reportingInstance", "")
    kind = about.get("kind", "").lower()
    return [
        age(last, now),
        value.get("type", ""),
        value.get("reason", ""),
        f"{kind}/{about.get('name', '')}" if kind else about.get("name", ""),
        about.get("fieldPath", ""),
        f"{component}, {host}" if host else component,
        value.get("message", "").strip(),
        age(first, now),
        count,
        name_of(value),
    ]


def _phase(value: Json, now: float) -> Row:
    return [name_of(value), dig(value, "status", "phase", default=""), age_of(value, now)]


def _secret(value: Json, now: float) -> Row:
    return [name_of(value), value.get("type", ""), len(value.get("data") or ()), age_of(value, now)]


def _config_map(value: Json, now: float) -> Row:
    return [name_of(value), len(value.get("data") or ()) + len(value.get("binaryData") or ()), age_of(value, now)]


def _name_age(value: Json, now: float) -> Row:
    return [name_of(value), age_of(value, now)]


_MODES = {"ReadWriteOnce": "RWO", "ReadOnlyMany": "ROX", "ReadWriteMany": "RWX", "ReadWriteOncePod": "RWOP"}


def _modes(modes: Any) -> str:
    return ",".join(short for mode, short in _MODES.items() if mode in (modes or ()))


def _persistent_volume(value: Json, now: float) -> Row:
    spec, status, metadata = value.get("spec", {}), value.get("status", {}), value["metadata"]
    claim = spec.get("claimRef")
    return [
        name_of(value),
        dig(spec, "capacity", "storage", default=""),
        _modes(spec.get("accessModes")),
        spec.get("persistentVolumeReclaimPolicy", ""),
        "Terminating" if metadata.get("deletionTimestamp") else status.get("phase", ""),
        f"{claim.get('namespace', '')}/{claim.get('name', '')}" if claim else "",
        spec.get("storageClassName", ""),
        spec.get("volumeAttributesClassName", UNSET),
        status.get("reason", ""),
        age_of(value, now),
        spec.get("volumeMode", UNSET),
    ]


def _claim(value: Json, now: float) -> Row:
    spec, status, metadata = value.get("spec", {}), value.get("status", {}), value["metadata"]
    volume = spec.get("volumeName", "")
    return [
        name_of(value),
        "Terminating" if metadata.get("deletionTimestamp") else status.get("phase", ""),
        volume,
        dig(status, "capacity", "storage", default="") if volume else "",
        _modes(status.get("accessModes")) if volume else "",
        spec.get("storageClassName", ""),
        spec.get("volumeAttributesClassName", UNSET),
        age_of(value, now),
        spec.get("volumeMode", UNSET),
    ]


def _budget(value: Json, now: float) -> Row:
    spec = value.get("spec", {})
    return [
        name_of(value),
        str(spec.get("minAvailable", "N/A")),
        str(spec.get("maxUnavailable", "N/A")),
        dig(value, "status", "disruptionsAllowed", default=0),
        age_of(value, now),
    ]


def _autoscaler(value: Json, now: float) -> Row:
    spec, status = value.get("spec", {}), value.get("status", {})
    about = spec.get("scaleTargetRef", {})
    current = {}
    for item in status.get("currentMetrics") or ():
        resource = item.get("resource", {})
        current[resource.get("name")] = resource.get("current", {})
    targets = []
    for metric in spec.get("metrics") or ():
        resource = metric.get("resource", {})
        name, target = resource.get("name", ""), resource.get("target", {})
        have = current.get(name, {})
        if "averageUtilization" in target:
            shown = f"{have['averageUtilization']}%" if "averageUtilization" in have else UNKNOWN
            targets.append(f"{name}: {shown}/{target['averageUtilization']}%")
        else:
            targets.append(
                f"{have.get('averageValue', UNKNOWN)}/{target.get('averageValue', target.get('value', UNKNOWN))}"
            )
    return [
        name_of(value),
        f"{about.get('kind', '')}/{about.get('name', '')}",
        ", ".join(targets[:2]) + (f" + {len(targets) - 2} more..." if len(targets) > 2 else "") or NONE,
        str(spec.get("minReplicas", UNSET)),
        spec.get("maxReplicas", 0),
        status.get("currentReplicas", 0),
        age_of(value, now),
    ]


def _ingress(value: Json, now: float) -> Row:
    spec = value.get("spec", {})
    hosts = [rule["host"] for rule in spec.get("rules") or () if rule.get("host")]
    addresses = [
        item.get("ip") or item.get("hostname", "")
        for item in dig(value, "status", "loadBalancer", "ingress", default=[])
    ]
    shown = ",".join(hosts[:3]) + (f" + {len(hosts) - 3} more..." if len(hosts) > 3 else "")
    return [
        name_of(value),
        spec.get("ingressClassName", NONE),
        shown or "*",
        ",".join(addresses),
        "80, 443" if spec.get("tls") else "80",
        age_of(value, now),
    ]


def _ingress_class(value: Json, now: float) -> Row:
    spec = value.get("spec", {})
    about = spec.get("parameters")
    shown = NONE
    if about:
        group = f".{about['apiGroup']}" if about.get("apiGroup") else ""
        shown = f"{about.get('kind', '')}{group}/{about.get('name', '')}"
    return [name_of(value), spec.get("controller", ""), shown, age_of(value, now)]


def _network_policy(value: Json, now: float) -> Row:
    return [name_of(value), selector_text(dig(value, "spec", "podSelector")), age_of(value, now)]


def _binding(value: Json, now: float) -> Row:
    reference = value.get("roleRef", {})
    groups: dict[str, list[str]] = {"User": [], "Group": [], "ServiceAccount": []}
    for subject in value.get("subjects") or ():
        shown = subject.get("name", "")
        if subject.get("kind") == "ServiceAccount":
            shown = f"{subject.get('namespace', '')}/{shown}"
        groups.setdefault(subject.get("kind", ""), []).append(shown)
    return [
        name_of(value),
        f"{reference.get('kind', '')}/{reference.get('name', '')}",
        age_of(value, now),
        *(", ".join(groups[kind]) for kind in ("User", "Group", "ServiceAccount")),
    ]


def _storage_class(value: Json, now: float) -> Row:
    annotations = value["metadata"].get("annotations") or {}
    default = annotations.get("storageclass.kubernetes.io/is-default-class") == "true"
    return [
        name_of(value) + (" (default)" if default else ""),
        value.get("provisioner", ""),
        value.get("reclaimPolicy", "Delete"),
        value.get("volumeBindingMode", "Immediate"),
        bool(value.get("allowVolumeExpansion")),
        age_of(value, now),
    ]


def _lease(value: Json, now: float) -> Row:
    return [name_of(value), dig(value, "spec", "holderIdentity", default=""), age_of(value, now)]


def _priority_class(value: Json, now: float) -> Row:
    policy = value.get("preemptionPolicy", "")
    return [name_of(value), value.get("value", 0), bool(value.get("globalDefault")), age_of(value, now), policy]


def _runtime_class(value: Json, now: float) -> Row:
    return [name_of(value), value.get("handler", ""), age_of(value, now)]


def _endpoint_slice(value: Json, now: float) -> Row:
    ports = [str(port.get("port", "")) for port in value.get("ports") or ()]
    addresses = [address for endpoint in value.get("endpoints") or () for address in endpoint.get("addresses") or ()]
    shown = ",".join(addresses[:3]) + (f" + {len(addresses) - 3} more..." if len(addresses) > 3 else "")
    return [name_of(value), value.get("addressType", ""), ",".join(ports) or UNSET, shown or UNSET, age_of(value, now)]


def _endpoints(value: Json, now: float) -> Row:
    found = [
        f"{address.get('ip', '')}:{port.get('port', '')}"
        for subset in value.get("subsets") or ()
        for port in subset.get("ports") or ()
        for address in subset.get("addresses") or ()
    ]
    shown = ",".join(found[:3]) + (f" + {len(found) - 3} more..." if len(found) > 3 else "")
    return [name_of(value), shown or NONE, age_of(value, now)]


def _quota(value: Json, now: float) -> Row:
    hard, used = dig(value, "status", "hard", default={}), dig(value, "status", "used", default={})
    plain = [f"{key}: {used.get(key, '0')}/{hard[key]}" for key in sorted(hard) if "limits" not in key]
    limits = [f"{key}: {used.get(key, '0')}/{hard[key]}" for key in sorted(hard) if "limits" in key]
    return [name_of(value), ", ".join(plain), ", ".join(limits), age_of(value, now)]


def _webhook(value: Json, now: float) -> Row:
    return [name_of(value), len(value.get("webhooks") or ()), age_of(value, now)]


def _policy(value: Json, now: float) -> Row:
    kind = dig(value, "spec", "paramKind")
    shown = f"{kind.get('apiVersion', '')}/{kind.get('kind', '')}" if kind else UNSET
    return [name_of(value), len(dig(value, "spec", "validations", default=[])), shown, age_of(value, now)]


def _policy_binding(value: Json, now: float) -> Row:
    spec = value.get("spec", {})
    reference = spec.get("paramRef")
    shown = UNSET
    if reference:
        shown = (
            f"{reference['namespace']}/{reference.get('name', '')}"
            if reference.get("namespace")
            else reference.get("name", "")
        )
    return [name_of(value), spec.get("policyName", ""), shown, age_of(value, now)]


def _resource_claim(value: Json, now: float) -> Row:
    status = value.get("status", {})
    states = []
    if value["metadata"].get("deletionTimestamp"):
        states.append("deleted")
    if not status.get("allocation"):
        if not value["metadata"].get("deletionTimestamp"):
            states.append("pending")
    else:
        states.append("allocated")
        if status.get("reservedFor"):
            states.append("reserved")
        if status.get("deallocationRequested"):
            states.append("deallocation-requested")
    return [name_of(value), ",".join(states), age_of(value, now)]


def _resource_slice(value: Json, now: float) -> Row:
    spec = value.get("spec", {})
    return [
        name_of(value),
        spec.get("nodeName") or UNSET,
        spec.get("driver", ""),
        dig(spec, "pool", "name", default=""),
        age_of(value, now),
    ]


CELLS: dict[str, Callable[[Json, float], Row]] = {
    "pods": pod,
    "podtemplates": pod_template,
    "poddisruptionbudgets.policy": _budget,
    "replicationcontrollers": replica_set,
    "replicasets.apps": replica_set,
    "daemonsets.apps": daemon_set,
    "jobs.batch": job,
    "cronjobs.batch": cron_job,
    "services": _service,
    "ingresses.networking.k8s.io": _ingress,
    "ingressclasses.networking.k8s.io": _ingress_class,
    "statefulsets.apps": stateful_set,
    "endpoints": _endpoints,
    "nodes": _node,
    "events": _event,
    "namespaces": _phase,
    "secrets": _secret,
    "serviceaccounts": _name_age,
    "persistentvolumes": _persistent_volume,
    "persistentvolumeclaims": _claim,
    "deployments.apps": deployment,
    "horizontalpodautoscalers.autoscaling": _autoscaler,
    "configmaps": _config_map,
    "networkpolicies.networking.k8s.io": _network_policy,
    "rolebindings.rbac.authorization.k8s.io": _binding,
    "clusterrolebindings.rbac.authorization.k8s.io": _binding,
    "storageclasses.storage.k8s.io": _storage_class,
    "leases.coordination.k8s.io": _lease,
    "priorityclasses.scheduling.k8s.io": _priority_class,
    "runtimeclasses.node.k8s.io": _runtime_class,
    "endpointslices.discovery.k8s.io": _endpoint_slice,
    "resourcequotas": _quota,
    "mutatingwebhookconfigurations.admissionregistration.k8s.io": _webhook,
    "validatingwebhookconfigurations.admissionregistration.k8s.io": _webhook,
    "validatingadmissionpolicies.admissionregistration.k8s.io": _policy,
    "validatingadmissionpolicybindings.admissionregistration.k8s.io": _policy_binding,
    "controllerrevisions.apps": revision,
    "resourceclaims.resource.k8s.io": _resource_claim,
    "resourceclaimtemplates.resource.k8s.io": _name_age,
    "deviceclasses.resource.k8s.io": _name_age,
    "resourceslices.resource.k8s.io": _resource_slice,
}
