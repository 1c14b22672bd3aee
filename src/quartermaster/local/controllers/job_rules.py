"""When a job is over, and which of its failed pods count: the rules, without the counting.

Semantics: kubernetes/pkg/controller/job/{job_controller,pod_failure_policy,backoff_utils}.go; reasons and messages are
the real ones, since users and operators match on them.
"""

from __future__ import annotations

from collections.abc import Sequence

from quartermaster.local.apiserver.codec import seconds_of
from quartermaster.local.controllers import conditions, indexes, pods
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


def failure(
    job: Json, owned: list[Json], *, failed: int, lost: set[int], completed: set[int], now: float
) -> tuple[str, str] | None:
    """(reason, message) if the job has failed by its own limits. `lost` are indexes that have failed for good."""
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
    most = spec.get("maxFailedIndexes")
    if most is not None and len(lost) > most:
        return "MaxFailedIndexesExceeded", "Job has exceeded the specified maximal number of failed indexes"
    if lost and len(lost | completed) >= spec["completions"]:
        return "FailedIndexes", "Job has failed indexes"
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


def success(job: Json, completed: set[int]) -> str | None:
    """Which rule of the success policy is met, in the words of its condition."""
    for number, rule in enumerate((job["spec"].get("successPolicy") or {}).get("rules") or ()):
        count, wanted = rule.get("succeededCount"), indexes.parse(rule.get("succeededIndexes"))
        having = len(completed & wanted) if rule.get("succeededIndexes") else len(completed)
        enough = bool(wanted) and having == len(wanted)
        if completed and (enough or (count is not None and having >= count)):
            return f"Matched rules at index {number}"
    return None


def retry_at(owned: list[Json], *, going: bool) -> float:
    """The earliest moment for another pod: later the more have failed since one succeeded. `going` has failed too."""
    succeeded = max((ended(pod) for pod in owned if pods.phase(pod) == "Succeeded"), default=0.0)
    failed = [
        pod
        for pod in owned
        if pods.phase(pod) == "Failed" or (going and pods.is_going(pod) and not pods.is_finished(pod))
    ]
    failures = [moment for pod in failed if (moment := ended(pod)) >= succeeded]
    return after(max(failures), len(failures)) if failures else 0.0


def after(last: float, failures: int) -> float:
    """When to try again after so many failures, the last of them at `last`."""
    return last + min(_LONGEST_BACKOFF, _FIRST_BACKOFF * 2 ** min(failures - 1, 16))


def ended(pod: Json) -> float:
    """When a pod ended, by the first that says so: its containers, its readiness, whoever told it to go."""
    about, told = pod["metadata"], pod.get("status") or {}
    ends = [
        seconds_of(((item.get("state") or {}).get("terminated") or {}).get("finishedAt"))
        for item in told.get("containerStatuses") or ()
    ]
    known = [moment for moment in ends if moment is not None]
    if known and len(known) == len(ends):
        return max(known)
    ready = conditions.find(pod, "Ready")
    unready = seconds_of(ready.get("lastTransitionTime")) if ready and ready.get("status") == "False" else None
    deleted = seconds_of(about.get("deletionTimestamp"))
    if unready is None and deleted is not None:
        unready = deleted - about.get("deletionGracePeriodSeconds", 0)
    return unready or seconds_of(about.get("creationTimestamp")) or 0.0
