"""Validation of kinds with few rules: bindings of roles, classes, slices, autoscalers, leases, quotas, ranges."""

from __future__ import annotations

import base64
import binascii
import zoneinfo
from collections.abc import Callable
from typing import Any

from quartermaster.local.apiserver.errors import Cause, Json, invalid_value, required, shown
from quartermaster.local.apiserver.names import label_key_problem
from quartermaster.local.apiserver.quantity import parse

Causes = list[Cause]

_SCOPES = (
    "Terminating",
    "NotTerminating",
    "BestEffort",
    "NotBestEffort",
    "PriorityClass",
    "CrossNamespacePodAffinity",
    "VolumeAttributesClass",
)
_PLAIN_FINALIZERS = ("orphan", "foregroundDeletion", "kubernetes")


def unsupported(field: str, value: object, known: tuple[str, ...]) -> Cause:
    """A field outside its list of values, which are named in their own order."""
    text = ", ".join(f'"{item}"' for item in known)
    return Cause("FieldValueNotSupported", f"Unsupported value: {shown(value)}: supported values: {text}", field)


def finalizers(names: Any) -> Causes:
    """Finalizers are qualified names, but for the old ones."""
    causes: Causes = []
    for index, name in enumerate(names or ()):
        at = f"metadata.finalizers[{index}]"
        if problem := label_key_problem(name):
            causes.append(invalid_value(at, name, problem))
        elif "/" not in name and name not in _PLAIN_FINALIZERS:
            why = "name is neither a standard finalizer name nor is it fully qualified"
            causes.append(invalid_value(at, name, why))
    return causes


def _role(value: Json) -> Causes:
    causes: Causes = []
    for index, rule in enumerate(value.get("rules") or ()):
        at = f"rules[{index}]"
        if not rule.get("verbs"):
            causes.append(required(f"{at}.verbs", "verbs must contain at least one value"))
        if rule.get("nonResourceURLs"):
            continue
        if not rule.get("apiGroups"):
            causes.append(required(f"{at}.apiGroups", "resource rules must supply at least one api group"))
        if not rule.get("resources"):
            causes.append(required(f"{at}.resources", "resource rules must supply at least one resource"))
    return causes


def _role_binding(value: Json) -> Causes:
    known = ("ClusterRole",) if value.get("kind") == "ClusterRoleBinding" else ("Role", "ClusterRole")
    reference = value.get("roleRef") or {}
    causes: Causes = []
    if reference.get("kind", "") not in known:
        causes.append(unsupported("roleRef.kind", reference.get("kind", ""), known))
    if not reference.get("name"):
        causes.append(required("roleRef.name"))
    for index, subject in enumerate(value.get("subjects") or ()):
        if subject.get("kind") not in ("ServiceAccount", "User", "Group"):
            at = f"subjects[{index}].kind"
            causes.append(unsupported(at, subject.get("kind", ""), ("ServiceAccount", "User", "Group")))
        if not subject.get("name"):
            causes.append(required(f"subjects[{index}].name"))
    return causes


def _storage_class(value: Json) -> Causes:
    return [] if value.get("provisioner") else [required("provisioner")]


def _ingress(value: Json) -> Causes:
    spec = value.get("spec") or {}
    if not spec.get("rules") and not spec.get("defaultBackend"):
        return [invalid_value("spec", None, "either `defaultBackend` or `rules` must be specified")]
    return []


def _endpoint_slice(value: Json) -> Causes:
    return [] if value.get("addressType") else [required("addressType")]


def _autoscaler(value: Json) -> Causes:
    spec = value.get("spec") or {}
    target = spec.get("scaleTargetRef") or {}
    causes: Causes = []
    most, least = spec.get("maxReplicas", 0), spec.get("minReplicas", 1)
    if most < 1:
        causes.append(required("spec.maxReplicas", "must be set and greater than 0"))
    if most < least:
        causes.append(invalid_value("spec.maxReplicas", most, "must be greater than or equal to `minReplicas`"))
    causes += [required(f"spec.scaleTargetRef.{name}") for name in ("kind", "name") if not target.get(name)]
    if not target.get("apiVersion"):
        causes.append(invalid_value("spec.scaleTargetRef.apiVersion", "", "apiVersion must specify API group"))
    return causes


def _resource_slice(value: Json) -> Causes:
    spec = value.get("spec") or {}
    pool = spec.get("pool") or {}
    causes: Causes = []
    if not spec.get("driver"):
        causes.append(required("spec.driver"))
    if not pool.get("name"):
        causes.append(required("spec.pool.name"))
    if pool.get("resourceSliceCount", 0) <= 0:
        causes.append(
            invalid_value(
                "spec.pool.resourceSliceCount", pool.get("resourceSliceCount", 0), "must be greater than zero"
            )
        )
    places = ("nodeName", "nodeSelector", "allNodes", "perDeviceNodeSelection")
    if not any(spec.get(name) for name in places):
        text = ", ".join(f"`{name}`" for name in places)
        causes.append(required("spec", f"exactly one of {text} is required"))
    return causes


def _lease(value: Json) -> Causes:
    spec = value.get("spec") or {}
    seconds, times = spec.get("leaseDurationSeconds"), spec.get("leaseTransitions")
    causes: Causes = []
    if seconds is not None and seconds <= 0:
        causes.append(invalid_value("spec.leaseDurationSeconds", seconds, "must be greater than 0"))
    if times is not None and times < 0:
        causes.append(invalid_value("spec.leaseTransitions", times, "must be greater than or equal to 0"))
    return causes


def _quota(value: Json) -> Causes:
    spec = value.get("spec") or {}
    causes: Causes = []
    for name, amount in (spec.get("hard") or {}).items():
        number = parse(str(amount))
        whole = "." not in name and name not in ("cpu", "memory", "ephemeral-storage")
        if number < 0:
            causes.append(invalid_value(f"spec.hard[{name}]", str(amount), "must be greater than or equal to 0"))
        elif whole and number.denominator != 1:
            causes.append(invalid_value(f"spec.hard[{name}]", str(amount), "must be an integer"))
    scopes = spec.get("scopes") or []
    if any(scope not in _SCOPES for scope in scopes):
        causes.append(invalid_value("spec.scopes", scopes, "unsupported scope"))
    return causes


def _limit_range(value: Json) -> Causes:
    causes: Causes = []
    for index, limit in enumerate((value.get("spec") or {}).get("limits") or ()):
        most = limit.get("max") or {}
        for group, text, at in (
            ("defaultRequest", "default request", "defaultRequest"),
            ("default", "default", "default"),
        ):
            for name, amount in (limit.get(group) or {}).items():
                if name in most and parse(str(amount)) > parse(str(most[name])):
                    why = f"{text} value {amount} is greater than max value {most[name]}"
                    told = amount if group == "defaultRequest" else most[name]
                    causes.append(invalid_value(f"spec.limits[{index}].{at}[{name}]", str(told), why))
    return causes


def schedule(spec: Json) -> Causes:
    """Of cron jobs."""
    text, zone = spec.get("schedule", ""), spec.get("timeZone")
    causes: Causes = []
    if not text:
        causes.append(required("spec.schedule"))
    elif not text.startswith("@") and len(text.split()) != 5:
        found = f"expected exactly 5 fields, found {len(text.split())}: [{' '.join(text.split())}]"
        causes.append(invalid_value("spec.schedule", text, found))
    if zone is not None:
        try:
            zoneinfo.ZoneInfo(zone)
        except (zoneinfo.ZoneInfoNotFoundError, ValueError, OSError):
            causes.append(invalid_value("spec.timeZone", zone, f"unknown time zone {zone}"))
    return causes


def base64_problem(value: Json, names: tuple[str, ...]) -> str:
    """What Go says of bytes that are not base64; empty if all are."""
    for name in names:
        for text in (value.get(name) or {}).values():
            if not isinstance(text, str):
                continue
            try:
                base64.b64decode(text, validate=True)
            except (binascii.Error, ValueError):
                bad = next(
                    (at for at, mark in enumerate(text) if not (mark.isalnum() or mark in "+/=")), len(text) // 4 * 4
                )
                return f"illegal base64 data at input byte {bad}"
    return ""


def _data_twice(value: Json) -> Causes:
    both = sorted(set(value.get("data") or ()) & set(value.get("binaryData") or ()))
    return [invalid_value(f"data[{key}]", key, "duplicate of key present in binaryData") for key in both]


def _tls_secret(value: Json) -> Causes:
    if value.get("type") != "kubernetes.io/tls":
        return []
    data = value.get("data") or {}
    return [required(f"data[{key}]") for key in ("tls.crt", "tls.key") if key not in data]


_GROUP = "rbac.authorization.k8s.io"

RULES: dict[str, Callable[[Json], Causes]] = {
    f"roles.{_GROUP}": _role,
    f"clusterroles.{_GROUP}": _role,
    f"rolebindings.{_GROUP}": _role_binding,
    f"clusterrolebindings.{_GROUP}": _role_binding,
    "storageclasses.storage.k8s.io": _storage_class,
    "ingresses.networking.k8s.io": _ingress,
    "endpointslices.discovery.k8s.io": _endpoint_slice,
    "horizontalpodautoscalers.autoscaling": _autoscaler,
    "resourceslices.resource.k8s.io": _resource_slice,
    "leases.coordination.k8s.io": _lease,
    "resourcequotas": _quota,
    "limitranges": _limit_range,
    "configmaps": _data_twice,
    "secrets": _tls_secret,
}
"""By table; each from an object to what is wrong with it."""
