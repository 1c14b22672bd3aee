"""What workloads and disruption budgets have to satisfy (k8s.io/kubernetes/pkg/apis/{apps,policy}/validation)."""

from __future__ import annotations

from quartermaster.local.apiserver.errors import (
    Json,
    forbidden_value,
    invalid_value,
    required,
    unsupported_value,
)
from quartermaster.local.apiserver.selectors import from_object, matches
from quartermaster.local.apiserver.validation_metadata import Causes, selector_causes
from quartermaster.local.apiserver.validation_pods import template_causes


def workload(value: Json) -> Causes:
    """Deployments, sets of replicas, stateful and daemon sets."""
    spec = value.get("spec", {})
    causes = _not_negative(spec, ("replicas", "minReadySeconds"))
    said, kind = spec.get("selector"), value.get("kind", "")
    problems = selector_causes(said, "spec.selector")
    causes += problems
    if said is None and kind != "DaemonSet":
        causes.append(required("spec.selector"))
    elif said is not None and not from_object(said) and not problems:
        # Sets of replicas are called deployments here by the real server too.
        what = "deployment" if kind == "ReplicaSet" else str(kind).lower()
        causes.append(invalid_value("spec.selector", said, f"empty selector is invalid for {what}"))
    if problems and kind != "DaemonSet":
        causes.append(invalid_value("spec.selector", said, "invalid label selector"))
    else:
        causes += _template(spec, said)
    return causes + _not_negative(spec, ("revisionHistoryLimit", "progressDeadlineSeconds"))


def _template(spec: Json, said: Json | None) -> Causes:
    template, causes = spec.get("template", {}), []
    labels = dict(sorted((template.get("metadata", {}).get("labels") or {}).items()))
    selector = from_object(said)
    if selector is None or not matches(selector, labels):
        why = "`selector` does not match template `labels`"
        causes.append(invalid_value("spec.template.metadata.labels", labels or None, why))
    causes += template_causes(template, "spec.template")
    policy = template.get("spec", {}).get("restartPolicy", "Always")
    if policy in ("OnFailure", "Never"):
        causes.append(unsupported_value("spec.template.spec.restartPolicy", policy, ("Always",)))
    return causes


def changed_workload(value: Json, old: Json) -> Causes:
    """Whom a workload selects is never changed."""
    new, before = value.get("spec", {}), old.get("spec", {})
    if new == before:
        return []
    causes = workload(value)
    if new.get("selector") != before.get("selector"):
        causes.append(invalid_value("spec.selector", new.get("selector"), "field is immutable"))
    return causes


_FREE_IN_SETS = (
    "replicas",
    "ordinals",
    "template",
    "updateStrategy",
    "revisionHistoryLimit",
    "persistentVolumeClaimRetentionPolicy",
    "minReadySeconds",
)


def changed_stateful_set(value: Json, old: Json) -> Causes:
    """Of a stateful set, only what it can carry out on the pods and claims that are there."""
    new, before = value.get("spec", {}), old.get("spec", {})
    if new == before:
        return []
    causes = workload(value)
    if any(new.get(name) != before.get(name) for name in {*new, *before} - {*_FREE_IN_SETS}):
        *names, last = (f"'{name}'" for name in _FREE_IN_SETS)
        why = f"updates to statefulset spec for fields other than {', '.join(names)} and {last} are forbidden"
        causes.append(forbidden_value("spec", why))
    return causes


def _not_negative(value: Json, names: tuple[str, ...], path: str = "spec") -> Causes:
    return [
        invalid_value(f"{path}.{name}", value[name], "must be greater than or equal to 0")
        for name in names
        if (value.get(name) or 0) < 0
    ]


def replicas_status(value: Json, old: Json) -> Causes:
    """No more pods are ready, available or up to date than there are."""
    del old
    status = value.get("status") or {}
    names = ("readyReplicas", "availableReplicas", "updatedReplicas", "currentReplicas", "fullyLabeledReplicas")
    causes = _not_negative(status, ("replicas", *names), "status")
    total, ready = status.get("replicas") or 0, status.get("readyReplicas") or 0
    causes += [
        invalid_value(f"status.{name}", status[name], "cannot be greater than status.replicas")
        for name in names
        if (status.get(name) or 0) > total
    ]
    if (status.get("availableReplicas") or 0) > ready:
        what = "status.readyReplicas" if value.get("kind") == "StatefulSet" else "readyReplicas"
        why = f"cannot be greater than {what}"
        causes.append(invalid_value("status.availableReplicas", status["availableReplicas"], why))
    return causes


def pod_template(value: Json) -> Causes:
    """A template that is an object of its own."""
    return template_causes(value.get("template") or {}, "template")


def replication_controller(value: Json) -> Causes:
    """The oldest of them selects by labels alone."""
    spec = value.get("spec") or {}
    causes = [] if spec.get("selector") else [required("spec.selector")]
    if not spec.get("template"):
        return [*causes, required("spec.template")]
    return causes + template_causes(spec["template"], "spec.template")


def budget(value: Json) -> Causes:
    """A disruption budget is bounded from one side."""
    spec = value.get("spec", {})
    causes: Causes = []
    if "minAvailable" in spec and "maxUnavailable" in spec:
        names = ("minAvailable", "selector", "maxUnavailable", "unhealthyPodEvictionPolicy")
        shown = {f"{name[0].upper()}{name[1:]}": spec.get(name) for name in names}
        causes.append(invalid_value("spec", shown, "minAvailable and maxUnavailable cannot be both set"))
    for name in ("minAvailable", "maxUnavailable"):
        causes += _int_or_percent(spec.get(name), f"spec.{name}")
    causes += selector_causes(spec.get("selector"), "spec.selector")
    policy = spec.get("unhealthyPodEvictionPolicy", "AlwaysAllow")
    if policy not in ("AlwaysAllow", "IfHealthyBudget"):
        known = ("AlwaysAllow", "IfHealthyBudget")
        causes.append(unsupported_value("spec.unhealthyPodEvictionPolicy", policy, known))
    return causes


def _int_or_percent(amount: int | str | None, at: str) -> Causes:
    if amount is None:
        return []
    if isinstance(amount, int):
        return [invalid_value(at, amount, "must be greater than or equal to 0")] if amount < 0 else []
    if not (amount.endswith("%") and amount[:-1].isdecimal()):
        why = (
            "a valid percent string must be a numeric string followed by an ending '%' (e.g. '1%',  or '93%', regex "
            "used for validation is '[0-9]+%')"
        )
        return [invalid_value(at, amount, why)]
    return [invalid_value(at, amount, "must not be greater than 100%")] if int(amount[:-1]) > 100 else []
