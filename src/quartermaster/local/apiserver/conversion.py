"""Between versions of one resource.

Custom resources convert as strategy ``None`` does: only apiVersion changes. Those that only a webhook can convert are
served in the version that is stored. Of the built-in kinds, two are served in
two versions with different fields: events (core/v1 and events.k8s.io/v1) and autoscalers (autoscaling/v1 and v2).
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from quartermaster.local.apiserver.codec import encode, load
from quartermaster.local.apiserver.errors import ApiError, Json
from quartermaster.local.apiserver.kinds import Kind

_NOT_ASKED = "conversion webhooks are not called by the local API; the version that is stored is served"
_METRICS = "autoscaling.alpha.kubernetes.io/metrics"

_EVENT_NAMES = {
    "involvedObject": "regarding",
    "message": "note",
    "source": "deprecatedSource",
    "firstTimestamp": "deprecatedFirstTimestamp",
    "lastTimestamp": "deprecatedLastTimestamp",
    "count": "deprecatedCount",
    "reportingComponent": "reportingController",
}


def convert(value: Json, have: Kind, want: Kind) -> Json:
    """`value` as another version of its resource; `value` is used up.

    Raises ApiError 500 where a webhook would have to be asked: no data is better than wrong data.
    """
    if have.group == want.group and have.version == want.version:
        return value
    if want.custom is not None and want.custom.by_webhook:
        why = f"conversion webhook for {have.api_version}, Kind={have.kind} failed"
        raise ApiError(500, "InternalError", f"Internal error occurred: {why}: {_NOT_ASKED}")
    step = _STEPS.get((have.gvk, want.gvk))
    if step is not None:
        value = step(value)
    value["apiVersion"] = want.api_version
    return value


def _to_events_v1(value: Json) -> Json:
    return {_EVENT_NAMES.get(key, key): item for key, item in value.items()}


def _to_core_event(value: Json) -> Json:
    names = {new: old for old, new in _EVENT_NAMES.items()}
    return {names.get(key, key): item for key, item in value.items()}


def _to_hpa_v1(value: Json) -> Json:
    spec, status = value.get("spec", {}), value.get("status", {})
    others = []
    for metric in spec.pop("metrics", ()):
        target = _cpu_target(metric)
        if target is not None and "targetCPUUtilizationPercentage" not in spec:
            spec["targetCPUUtilizationPercentage"] = target
        else:
            others.append(metric)
    for metric in status.pop("currentMetrics", ()):
        resource = metric.get("resource", {})
        if resource.get("name") == "cpu" and "averageUtilization" in resource.get("current", {}):
            status["currentCPUUtilizationPercentage"] = resource["current"]["averageUtilization"]
    status.pop("conditions", None)
    spec.pop("behavior", None)
    if others:
        value["metadata"].setdefault("annotations", {})[_METRICS] = encode(others).decode()
    return value


def _cpu_target(metric: Any) -> int | None:
    resource = metric.get("resource", {})
    if metric.get("type") == "Resource" and resource.get("name") == "cpu":
        found: int | None = resource.get("target", {}).get("averageUtilization")
        return found
    return None


def _to_hpa_v2(value: Json) -> Json:
    spec = value.get("spec", {})
    metrics: list[Any] = []
    target = spec.pop("targetCPUUtilizationPercentage", None)
    if target is not None:
        metrics.append(
            {
                "type": "Resource",
                "resource": {"name": "cpu", "target": {"type": "Utilization", "averageUtilization": target}},
            }
        )
    annotations = value.get("metadata", {}).get("annotations") or {}
    if _METRICS in annotations:
        metrics.extend(load(annotations.pop(_METRICS).encode()))
    if metrics:
        spec["metrics"] = metrics
    value.get("status", {}).pop("currentCPUUtilizationPercentage", None)
    return value


_STEPS: dict[tuple[str, str], Callable[[Json], Json]] = {
    ("/v1/Event", "events.k8s.io/v1/Event"): _to_events_v1,
    ("events.k8s.io/v1/Event", "/v1/Event"): _to_core_event,
    ("autoscaling/v2/HorizontalPodAutoscaler", "autoscaling/v1/HorizontalPodAutoscaler"): _to_hpa_v1,
    ("autoscaling/v1/HorizontalPodAutoscaler", "autoscaling/v2/HorizontalPodAutoscaler"): _to_hpa_v2,
}
