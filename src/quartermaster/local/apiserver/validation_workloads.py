"""What workloads and disruption budgets have to satisfy (k8s.io/kubernetes/pkg/apis/{apps,policy}/validation)."""

from __future__ import annotations

from collections.abc import Callable

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


def deployment(value: Json) -> Causes:
    """A deployment, in the order of the real server."""
    spec = value.get("spec", {})
    causes = _not_negative(spec, ("replicas",)) + _selects(value)
    causes += _deployment_strategy(spec.get("strategy") or {})
    causes += _not_negative(spec, ("minReadySeconds", "revisionHistoryLimit", "progressDeadlineSeconds"))
    deadline = spec.get("progressDeadlineSeconds")
    if deadline is not None and deadline <= spec.get("minReadySeconds", 0):
        causes.append(invalid_value("spec.progressDeadlineSeconds", deadline, "must be greater than minReadySeconds"))
    return causes


def workload(value: Json) -> Causes:
    """Sets of replicas and stateful sets."""
    spec = value.get("spec", {})
    causes = _not_negative(spec, ("replicas", "minReadySeconds")) + _selects(value)
    return causes + _not_negative(spec, ("revisionHistoryLimit",))


def daemon_set(value: Json) -> Causes:
    """A set with a pod on every node."""
    spec = value.get("spec", {})
    causes = _selects(value)
    if "activeDeadlineSeconds" in spec.get("template", {}).get("spec", {}):
        why = "activeDeadlineSeconds in DaemonSet is not Supported"
        causes.append(forbidden_value("spec.template.spec.activeDeadlineSeconds", why))
    causes += _not_negative(spec, ("minReadySeconds",))
    causes += _daemon_strategy(spec.get("updateStrategy") or {})
    return causes + _not_negative(spec, ("revisionHistoryLimit",))


def _selects(value: Json) -> Causes:
    """Whom a workload selects, and that it selects what it makes."""
    spec = value.get("spec", {})
    said, kind = spec.get("selector"), value.get("kind", "")
    causes = problems = selector_causes(said, "spec.selector")
    if said is None and kind != "DaemonSet":
        causes = [*causes, required("spec.selector")]
    elif said is not None and not from_object(said) and not problems:
        # Sets of replicas are called deployments here by the real server too.
        what = "deployment" if kind == "ReplicaSet" else str(kind).lower()
        causes = [*causes, invalid_value("spec.selector", said, f"empty selector is invalid for {what}")]
    if problems and kind != "DaemonSet":
        return [*causes, invalid_value("spec.selector", said, "invalid label selector")]
    return causes + _template(spec, said)


def _with_claims(template: Json, spec: Json) -> Json:
    """A stateful set's pods have its claims among their volumes."""
    claims = [claim.get("metadata", {}).get("name", "") for claim in spec.get("volumeClaimTemplates") or ()]
    inner = template.get("spec", {})
    there = {volume.get("name") for volume in inner.get("volumes") or ()}
    more = [{"name": name} for name in claims if name and name not in there]
    return {**template, "spec": {**inner, "volumes": [*(inner.get("volumes") or ()), *more]}} if more else template


def _deployment_strategy(strategy: Json) -> Causes:
    path, kind, rolling = "spec.strategy", strategy.get("type", ""), strategy.get("rollingUpdate")
    if kind == "Recreate":
        why = "may not be specified when strategy `type` is 'Recreate'"
        return [] if rolling is None else [forbidden_value(f"{path}.rollingUpdate", why)]
    if kind != "RollingUpdate":
        return [unsupported_value(path, _shown(strategy), ("Recreate", "RollingUpdate"))]
    if rolling is None:
        return [required(f"{path}.rollingUpdate", "this should be defaulted and never be nil")]
    most, more, path = rolling.get("maxUnavailable"), rolling.get("maxSurge"), f"{path}.rollingUpdate"
    causes = _amount(most, f"{path}.maxUnavailable") + _amount(more, f"{path}.maxSurge")
    if not _share(most) and not _share(more):
        causes.append(invalid_value(f"{path}.maxUnavailable", most, "may not be 0 when `maxSurge` is 0"))
    return causes + _not_all(most, f"{path}.maxUnavailable")


def _daemon_strategy(strategy: Json) -> Causes:
    path, kind, rolling = "spec.updateStrategy", strategy.get("type", ""), strategy.get("rollingUpdate")
    if kind == "OnDelete":
        return []
    if kind != "RollingUpdate":
        return [unsupported_value(path, _shown(strategy), ("RollingUpdate", "OnDelete"))]
    path = f"{path}.rollingUpdate"
    if rolling is None:
        return [required(path)]
    names = ("maxUnavailable", "maxSurge")
    causes = [cause for name in names for cause in _amount(rolling.get(name), f"{path}.{name}")]
    causes += [cause for name in names for cause in _not_all(rolling.get(name), f"{path}.{name}")]
    away, more = (_share(rolling.get(name)) != 0 for name in names)
    if away and more:
        why = "may not be set when maxUnavailable is non-zero"
        causes.append(invalid_value(f"{path}.maxSurge", rolling["maxSurge"], why))
    elif not away and not more:
        causes.append(required(f"{path}.maxUnavailable", "cannot be 0 when maxSurge is 0"))
    return causes


def _shown(strategy: Json) -> Json:
    """A strategy as the server's own type has it."""
    rolling = strategy.get("rollingUpdate")
    inner = None
    if rolling is not None:
        inner = {"MaxUnavailable": rolling.get("maxUnavailable", 0), "MaxSurge": rolling.get("maxSurge", 0)}
    return {"Type": strategy.get("type", ""), "RollingUpdate": inner}


def _template(spec: Json, said: Json | None) -> Causes:
    template, causes = spec.get("template", {}), []
    labels = dict(sorted((template.get("metadata", {}).get("labels") or {}).items()))
    selector = from_object(said)
    if selector is None or not matches(selector, labels):
        why = "`selector` does not match template `labels`"
        causes.append(invalid_value("spec.template.metadata.labels", labels or None, why))
    causes += template_causes(_with_claims(template, spec), "spec.template")
    policy = template.get("spec", {}).get("restartPolicy", "Always")
    if policy in ("OnFailure", "Never"):
        causes.append(unsupported_value("spec.template.spec.restartPolicy", policy, ("Always",)))
    return causes


def _selector_kept(value: Json, old: Json) -> Causes:
    """Whom a workload selects is never changed."""
    new, before = (item.get("spec", {}).get("selector") for item in (value, old))
    return [] if new == before else [invalid_value("spec.selector", new, "field is immutable")]


def changed_deployment(value: Json, old: Json) -> Causes:
    """A deployment that was there before."""
    return _changed(value, old, lambda: deployment(value) + _selector_kept(value, old))


def changed_replica_set(value: Json, old: Json) -> Causes:
    """A set of replicas that was there before."""
    return _changed(value, old, lambda: workload(value) + _selector_kept(value, old))


def changed_daemon_set(value: Json, old: Json) -> Causes:
    """A daemon set that was there before."""
    return _changed(value, old, lambda: _selector_kept(value, old) + daemon_set(value))


def _changed(value: Json, old: Json, causes: Callable[[], Causes]) -> Causes:
    return [] if value.get("spec", {}) == old.get("spec", {}) else causes()


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


_DAEMONS = (
    "currentNumberScheduled",
    "numberMisscheduled",
    "desiredNumberScheduled",
    "numberReady",
    "observedGeneration",
    "updatedNumberScheduled",
    "numberAvailable",
    "numberUnavailable",
    "collisionCount",
)


def daemons_status(value: Json, old: Json) -> Causes:
    """Numbers of daemons are not negative, and collisions are not forgotten."""
    status, before = value.get("status") or {}, old.get("status") or {}
    causes = _not_negative(status, _DAEMONS, "status")
    count = status.get("collisionCount") or 0
    if "collisionCount" in before and count < before["collisionCount"]:
        causes.append(invalid_value("status.collisionCount", count, "cannot be decremented"))
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
    return _amount(amount, at) or _not_all(amount, at)


def _amount(amount: int | str | None, at: str) -> Causes:
    """A whole number that is not negative, or a share."""
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
    return []


def _not_all(amount: int | str | None, at: str) -> Causes:
    """A share of at most all."""
    if isinstance(amount, str) and _share(amount) > 100:
        return [invalid_value(at, amount, "must not be greater than 100%")]
    return []


def _share(amount: int | str | None) -> int:
    """The number in an amount, whichever of the two it is; 0 where it is none."""
    if isinstance(amount, str):
        return int(amount[:-1]) if amount.endswith("%") and amount[:-1].isdecimal() else 0
    return amount or 0
