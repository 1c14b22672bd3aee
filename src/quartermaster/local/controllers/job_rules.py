"""When a job is over, and which of its failed pods count: the rules, without the counting.

Semantics: kubernetes/pkg/controller/job/{job_controller,pod_failure_policy,backoff_utils}.go; reasons and messages are
the real ones, since users and operators match on them.
"""

from __future__ import annotations

from collections.abc import Sequence

from quartermaster.local.apiserver.codec import seconds_of
from quartermaster.local.controllers import pods
from quartermaster.local.controllers.objects import Json

_FIRST_BACKOFF, _LONGEST_BACKOFF = 10.0, 600.0
"""Seconds between a failure and the next try: doubled each time, up to the longest."""


def action(job: Json, pod: Json) -> tuple[str, str]:
    """What the pod failure policy says of a failed pod (Count, Ignore, FailJob), and why."""
    for index, rule in enumerate((job["spec"].get("podFailurePolicy") or {}).get("rules") or ()):
        why = _exit_code(rule.get("onExitCodes"), pod) or _condition(rule.get("onPodConditions"), pod)
        if why:
            return rule["action"], f"{why} matching {rule['action']} rule at index {index}"
    return "Count", ""


def _exit_code(rule: Json | None, pod: Json) -> str:
    if rule is None:
        return ""
    told = pod.get("status") or {}
    where = f"pod {pod['metadata']['namespace']}/{pod['metadata']['name']}"
    for container in [*(told.get("initContainerStatuses") or ()), *(told.get("containerStatuses") or ())]:
        code = ((container.get("state") or {}).get("terminated") or {}).get("exitCode", 0)
        if not code or rule.get("containerName", container["name"]) != container["name"]:
            continue
        if (code in rule["values"]) == (rule["operator"] == "In"):
            return f"Container {container['name']} for {where} failed with exit code {code}"
    return ""


def _condition(patterns: Sequence[Json] | None, pod: Json) -> str:
    where = f"Pod {pod['metadata']['namespace']}/{pod['metadata']['name']}"
    for pattern in patterns or ():
        for condition in (pod.get("status") or {}).get("conditions") or ():
            if (condition["type"], condition["status"]) == (pattern["type"], pattern.get("status", "True")):
                return f"{where} has condition {pattern['type']}"
    return ""


def failure(job: Json, owned: list[Json], *, failed: int, now: float) -> tuple[str, str] | None:
    """(reason, message) if the job has failed by its own limits."""
    spec, told = job["spec"], job.get("status") or {}
    for pod in owned:
        if pods.phase(pod) == "Failed":
            what, why = action(job, pod)
            if what == "FailJob":
                return "PodFailurePolicy", why
    limit = spec.get("backoffLimit", 6)
    if failed > limit or _restarts_exceed(spec, owned, limit):
        return "BackoffLimitExceeded", "Job has reached the specified backoff limit"
    deadline, started = spec.get("activeDeadlineSeconds"), seconds_of(told.get("startTime"))
    if deadline is not None and started is not None and not spec.get("suspend") and now >= started + deadline:
        return "DeadlineExceeded", "Job was active longer than specified deadline"
    return None


def _restarts_exceed(spec: Json, owned: list[Json], limit: int) -> bool:
    """Containers restarted in place count too."""
    if spec["template"]["spec"].get("restartPolicy") != "OnFailure":
        return False
    restarts = sum(
        item.get("restartCount", 0)
        for pod in owned
        if pods.phase(pod) in ("Running", "Pending")
        for name in ("initContainerStatuses", "containerStatuses")
        for item in (pod.get("status") or {}).get(name) or ()
    )
    return restarts > 0 if limit == 0 else restarts >= limit


def deadline(job: Json) -> float | None:
    """When activeDeadlineSeconds is over."""
    limit, started = job["spec"].get("activeDeadlineSeconds"), seconds_of((job.get("status") or {}).get("startTime"))
    return None if limit is None or started is None or job["spec"].get("suspend") else started + limit


def retry_at(owned: list[Json]) -> float:
    """The earliest moment for another pod: later the more have failed since one succeeded."""
    succeeded = max((_ended(pod) for pod in owned if pods.phase(pod) == "Succeeded"), default=0.0)
    failures = [moment for pod in owned if pods.phase(pod) == "Failed" and (moment := _ended(pod)) > succeeded]
    if not failures:
        return 0.0
    return max(failures) + min(_LONGEST_BACKOFF, _FIRST_BACKOFF * 2 ** (len(failures) - 1))


def _ended(pod: Json) -> float:
    told = pod.get("status") or {}
    ends = [
        seconds_of(((item.get("state") or {}).get("terminated") or {}).get("finishedAt"))
        for item in told.get("containerStatuses") or ()
    ]
    known = [moment for moment in ends if moment is not None]
    if known:
        return max(known)
    turned = [seconds_of(item.get("lastTransitionTime")) for item in told.get("conditions") or ()]
    later = [moment for moment in turned if moment is not None]
    return max(later, default=seconds_of(pod["metadata"].get("creationTimestamp")) or 0.0)
