"""Default values of pods, alone and in templates."""

from __future__ import annotations

from quartermaster.local.apiserver.errors import Json
from quartermaster.local.apiserver.quantity import canonical

_PULL_ALWAYS = ("", "latest")


def pod_defaults(value: Json) -> None:
    """Of a pod: its containers ask for what they are limited to."""
    spec = value.setdefault("spec", {})
    pod_spec(spec)
    spec.setdefault("enableServiceLinks", True)
    if spec.get("hostNetwork"):
        _host_ports(spec)
    for container in spec.get("containers") or ():
        _requests(container)
    for container in spec.get("initContainers") or ():
        _requests(container)


def _requests(container: Json) -> None:
    resources = container.setdefault("resources", {})
    limits = resources.get("limits")
    if limits:
        requests = resources.setdefault("requests", {})
        for name, amount in limits.items():
            requests.setdefault(name, amount)


def _host_ports(spec: Json) -> None:
    for container in spec.get("containers") or ():
        for port in container.get("ports") or ():
            port.setdefault("hostPort", port.get("containerPort"))


def pod_spec(spec: Json) -> None:
    """Of pods and of pod templates."""
    fill = spec.setdefault
    fill("restartPolicy", "Always")
    fill("dnsPolicy", "ClusterFirst")
    fill("schedulerName", "default-scheduler")
    fill("terminationGracePeriodSeconds", 30)
    fill("securityContext", {})
    if spec.get("serviceAccountName"):
        spec["serviceAccount"] = spec["serviceAccountName"]
    elif spec.get("serviceAccount"):
        spec["serviceAccountName"] = spec["serviceAccount"]
    for group in ("containers", "initContainers", "ephemeralContainers"):
        for container in spec.get(group) or ():
            _container(container)
    for volume in spec.get("volumes") or ():
        _volume(volume)
    if spec.get("hostNetwork"):
        _host_ports(spec)


def _container(container: Json) -> None:
    fill = container.setdefault
    fill("terminationMessagePath", "/dev/termination-log")
    fill("terminationMessagePolicy", "File")
    if "imagePullPolicy" not in container:
        name, _, tag = container.get("image", "").rpartition("/")[2].partition(":")
        del name
        container["imagePullPolicy"] = (
            "Always" if tag in _PULL_ALWAYS and "@" not in container.get("image", "") else "IfNotPresent"
        )
    fill("resources", {})
    for port in container.get("ports") or ():
        port.setdefault("protocol", "TCP")
    for variable in container.get("env") or ():
        _references(variable.get("valueFrom") or {})
    for name in ("livenessProbe", "readinessProbe", "startupProbe"):
        probe = container.get(name)
        if probe:
            _probe(probe)
    for hook in container.get("lifecycle", {}).values():
        if isinstance(hook, dict):
            _handler(hook)


def _probe(probe: Json) -> None:
    for name, amount in (
        ("timeoutSeconds", 1),
        ("periodSeconds", 10),
        ("successThreshold", 1),
        ("failureThreshold", 3),
    ):
        probe.setdefault(name, amount)
    _handler(probe)


def _handler(handler: Json) -> None:
    get = handler.get("httpGet")
    if get is not None:
        get.setdefault("path", "/")
        get.setdefault("scheme", "HTTP")
    if handler.get("grpc") is not None:
        handler["grpc"].setdefault("service", "")


def _volume(volume: Json) -> None:
    if len(volume) == 1:
        volume["emptyDir"] = {}
    for name in ("secret", "configMap", "downwardAPI", "projected"):
        source = volume.get(name)
        if source is not None:
            source.setdefault("defaultMode", 420)
    for source in volume.get("projected", {}).get("sources") or ():
        token = source.get("serviceAccountToken")
        if token is not None:
            token.setdefault("expirationSeconds", 3600)
        for item in (source.get("downwardAPI") or {}).get("items") or ():
            _references(item)
    if volume.get("hostPath") is not None:
        volume["hostPath"].setdefault("type", "")
    for item in volume.get("downwardAPI", {}).get("items") or ():
        _references(item)


def _references(source: Json) -> None:
    """Of variables and of files that take their value from the pod."""
    if source.get("fieldRef") is not None:
        source["fieldRef"].setdefault("apiVersion", "v1")
    if source.get("resourceFieldRef") is not None:
        source["resourceFieldRef"].setdefault("divisor", "0")


def qos_class(spec: Json) -> str:
    """Guaranteed, Burstable or BestEffort (pkg/apis/core/helper/qos)."""
    guaranteed = True
    any_amount = False
    containers = [*(spec.get("containers") or ()), *(spec.get("initContainers") or ())]
    for container in containers:
        resources = container.get("resources", {})
        wanted, limits = resources.get("requests", {}), resources.get("limits", {})
        for name in ("cpu", "memory"):
            asked, limit = wanted.get(name, "0"), limits.get(name, "0")
            if asked != "0" or limit != "0":
                any_amount = True
            if limit == "0" or canonical(str(asked)) != canonical(str(limit)):
                guaranteed = False
    if not any_amount:
        return "BestEffort"
    return "Guaranteed" if guaranteed and containers else "Burstable"


def template_defaults(value: Json) -> None:
    """Of the template in the spec of a workload."""
    spec = value.get("spec", {}).get("template", {}).get("spec")
    if isinstance(spec, dict) and spec:
        pod_spec(spec)
