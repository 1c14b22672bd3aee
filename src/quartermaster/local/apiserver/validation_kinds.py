"""Validation of kinds with few rules: bindings of roles, classes, slices, autoscalers, leases, quotas, ranges."""

from __future__ import annotations

from collections.abc import Callable

from quartermaster.local.apiserver.errors import Json, forbidden_value, invalid_value, required, unsupported_value
from quartermaster.local.apiserver.names import key_problems
from quartermaster.local.apiserver.quantity import parse
from quartermaster.local.apiserver.validation_metadata import Causes, new_metadata

_SCOPES = (
    "Terminating",
    "NotTerminating",
    "BestEffort",
    "NotBestEffort",
    "PriorityClass",
    "CrossNamespacePodAffinity",
    "VolumeAttributesClass",
)


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
        causes.append(unsupported_value("roleRef.kind", reference.get("kind", ""), known))
    if not reference.get("name"):
        causes.append(required("roleRef.name"))
    for index, subject in enumerate(value.get("subjects") or ()):
        if subject.get("kind") not in ("ServiceAccount", "User", "Group"):
            at = f"subjects[{index}].kind"
            causes.append(unsupported_value(at, subject.get("kind", ""), ("ServiceAccount", "User", "Group")))
        if not subject.get("name"):
            causes.append(required(f"subjects[{index}].name"))
    return causes


def _storage_class(value: Json) -> Causes:
    return [] if value.get("provisioner") else [required("provisioner")]


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


def event(value: Json) -> Causes:
    """An event as a core/v1 client may write it."""
    metadata, about = value["metadata"], (value.get("involvedObject") or {}).get("namespace", "")
    where, reporter = metadata.get("namespace", ""), value.get("reportingComponent", "")
    if not value.get("eventTime"):
        agrees = about == where or (not about and where == "default")
        return [] if agrees else [invalid_value("involvedObject.namespace", about, "does not match event.namespace")]
    causes: Causes = []
    if not about and where not in ("default", "kube-system"):
        causes.append(invalid_value("involvedObject.namespace", about, "does not match event.namespace"))
    if not reporter:
        causes.append(required("reportingController"))
    causes += [invalid_value("reportingController", reporter, text) for text in key_problems(reporter)]
    for name, most in (("reportingInstance", 128), ("action", 128), ("reason", 128), ("message", 1024)):
        if not value.get(name) and name != "message":
            causes.append(required(name))
        if len(value.get(name) or "") > most:
            causes.append(invalid_value(name, "", f"can have at most {most} characters"))
    return causes


def new_event(value: Json) -> Causes:
    """An event as an events.k8s.io/v1 client has to write it; the old fields are for old clients."""
    causes = event(value) + new_metadata(value["metadata"], "events.events.k8s.io", namespaced=True)
    if not value.get("eventTime"):
        causes.append(required("eventTime"))
    kind = value.get("type", "")
    if kind not in ("Normal", "Warning"):
        causes.append(invalid_value("type", "", f"has invalid value: {kind}"))
    for name in ("firstTimestamp", "lastTimestamp", "count", "source"):
        if value.get(name):
            causes.append(invalid_value(name, "", "needs to be unset"))
    return causes


def _role_update(value: Json, old: Json) -> Causes:
    if value.get("roleRef") != old.get("roleRef"):
        reference = value.get("roleRef") or {}
        shown = {"APIGroup": reference.get("apiGroup", ""), "Kind": reference.get("kind", "")}
        shown["Name"] = reference.get("name", "")
        return [invalid_value("roleRef", shown, "cannot change roleRef")]
    return []


def _priority_class(value: Json) -> Causes:
    name, amount = value["metadata"]["name"], value.get("value", 0)
    causes: Causes = []
    if name.startswith("system-") and name not in ("system-node-critical", "system-cluster-critical"):
        why = "priority class names with 'system-' prefix are reserved for system use only"
        causes.append(forbidden_value("metadata.name", f"{why}. error: {name} is not a known system priority class"))
    elif amount > 1_000_000_000 and not name.startswith("system-"):
        causes.append(forbidden_value("value", "maximum allowed value of a user defined priority is 1000000000"))
    return causes


def _priority_class_update(value: Json, old: Json) -> Causes:
    causes: Causes = []
    if value.get("value") != old.get("value"):
        causes.append(forbidden_value("value", "may not be changed in an update."))
    if value.get("preemptionPolicy") != old.get("preemptionPolicy"):
        causes.append(invalid_value("preemptionPolicy", value.get("preemptionPolicy"), "field is immutable"))
    return causes


def _resource_claim_update(value: Json, old: Json) -> Causes:
    if value.get("spec") != old.get("spec"):
        return [invalid_value("spec", value.get("spec"), "field is immutable")]
    return []


_GROUP = "rbac.authorization.k8s.io"

RULES: dict[str, Callable[[Json], Causes]] = {
    f"roles.{_GROUP}": _role,
    f"clusterroles.{_GROUP}": _role,
    f"rolebindings.{_GROUP}": _role_binding,
    f"clusterrolebindings.{_GROUP}": _role_binding,
    "storageclasses.storage.k8s.io": _storage_class,
    "endpointslices.discovery.k8s.io": _endpoint_slice,
    "horizontalpodautoscalers.autoscaling": _autoscaler,
    "resourceslices.resource.k8s.io": _resource_slice,
    "leases.coordination.k8s.io": _lease,
    "priorityclasses.scheduling.k8s.io": _priority_class,
    "resourcequotas": _quota,
    "limitranges": _limit_range,
    "events": event,
}
"""By table; each from an object to what is wrong with it."""

CHANGES: dict[str, Callable[[Json, Json], Causes]] = {
    f"rolebindings.{_GROUP}": _role_update,
    f"clusterrolebindings.{_GROUP}": _role_update,
    "priorityclasses.scheduling.k8s.io": _priority_class_update,
    "resourceclaims.resource.k8s.io": _resource_claim_update,
}
"""By table; each from an object and what it was to what is wrong with the change."""
