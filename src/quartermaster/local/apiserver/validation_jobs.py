"""What jobs and cron jobs have to satisfy, and how their status may go on (k8s.io/kubernetes/pkg/apis/batch)."""

from __future__ import annotations

from typing import Any

from quartermaster.local.apiserver.errors import Cause, Json, invalid_value, required, unsupported_value
from quartermaster.local.apiserver.names import label_problems
from quartermaster.local.apiserver.selectors import from_object, matches
from quartermaster.local.apiserver.validation_metadata import Causes
from quartermaster.local.apiserver.validation_pods import template_causes
from quartermaster.local.apiserver.validation_schedules import schedule

_OWN_LABELS = ("batch.kubernetes.io/controller-uid", "batch.kubernetes.io/job-name", "controller-uid", "job-name")
_CONCURRENCY = ("Allow", "Forbid", "Replace")
_IMMUTABLE = ("completionMode", "podFailurePolicy", "backoffLimitPerIndex", "managedBy", "successPolicy")


def job(value: Json) -> Causes:
    """A job that is made."""
    spec, metadata = value.get("spec", {}), value.get("metadata", {})
    causes: Causes = []
    selector = from_object(spec.get("selector"))
    template = spec.get("template", {})
    labels = dict(sorted((template.get("metadata", {}).get("labels") or {}).items()))
    if selector is not None and not spec.get("manualSelector"):
        said = (metadata.get("uid", ""), metadata.get("name", ""))
        own = dict(zip(_OWN_LABELS, (*said, *said), strict=True))
        causes += [
            invalid_value(f"spec.template.metadata.labels[{name}]", labels, f"must be '{text}'")
            if name in labels
            else required(f"spec.template.metadata.labels[{name}]", f"must be '{text}'")
            for name, text in own.items()
            if labels.get(name) != text
        ]
        if not matches(selector, own):
            causes.append(invalid_value("spec.selector", spec["selector"], "`selector` not auto-generated"))
    causes += job_spec(spec, "spec")
    if selector is not None and not matches(selector, labels):
        why = "`selector` does not match template `labels`"
        causes.append(invalid_value("spec.template.metadata.labels", labels, why))
    if spec.get("completionMode") == "Indexed" and spec.get("completions"):
        host = f"{metadata.get('name', '')}-{spec['completions'] - 1}"
        if label_problems(host):
            why = f"will not able to create pod with invalid DNS label: {host}"
            causes.append(invalid_value("metadata.name", metadata.get("name", ""), why))
    return causes


def job_spec(spec: Json, path: str) -> Causes:
    """Of jobs and of what makes them."""
    amounts = ("parallelism", "completions", "activeDeadlineSeconds", "backoffLimit", "ttlSecondsAfterFinished")
    causes = [
        invalid_value(f"{path}.{name}", spec[name], "must be greater than or equal to 0")
        for name in (*amounts, "backoffLimitPerIndex", "maxFailedIndexes")
        if spec.get(name, 0) < 0
    ]
    if spec.get("completionMode", "NonIndexed") not in ("NonIndexed", "Indexed"):
        known = ("NonIndexed", "Indexed")
        causes.append(unsupported_value(f"{path}.completionMode", spec["completionMode"], known))
    if spec.get("completionMode") == "Indexed":
        if "completions" not in spec:
            causes.append(required(f"{path}.completions", "when completion mode is Indexed"))
    else:
        causes += [
            invalid_value(f"{path}.{name}", spec[name], "requires indexed completion mode")
            for name in ("backoffLimitPerIndex", "maxFailedIndexes", "successPolicy")
            if name in spec
        ]
    template = spec.get("template", {})
    causes += template_causes(template, f"{path}.template")
    policy, at = template.get("spec", {}).get("restartPolicy", ""), f"{path}.template.spec.restartPolicy"
    if policy in ("", "Always"):
        causes.append(required(at, 'valid values: "OnFailure", "Never"'))
    elif policy not in ("OnFailure", "Never"):
        causes.append(unsupported_value(at, policy, ("OnFailure", "Never")))
    elif "podFailurePolicy" in spec and policy != "Never":
        why = 'only "Never" is supported when podFailurePolicy is specified'
        causes.append(invalid_value(at, policy, why))
    return causes


def changed_job(value: Json, old: Json) -> Causes:
    """A job that was there before: it is not turned into another."""
    spec, before = value.get("spec", {}), old.get("spec", {})
    if spec == before:
        return []
    causes = job(value)
    if spec.get("completions") != before.get("completions"):
        if spec.get("completionMode") != "Indexed":
            causes.append(invalid_value("spec.completions", spec.get("completions"), "field is immutable"))
        elif spec.get("completions") not in (None, spec.get("parallelism")):
            why = "can only be modified in tandem with spec.parallelism"
            causes.append(invalid_value("spec.completions", spec["completions"], why))
    if spec.get("selector") != before.get("selector"):
        causes.append(invalid_value("spec.selector", spec.get("selector"), "field is immutable"))
    if spec.get("template") != before.get("template") and not before.get("suspend"):
        causes.append(invalid_value("spec.template", spec.get("template"), "field is immutable"))
    causes += [
        invalid_value(f"spec.{name}", spec.get(name), "field is immutable")
        for name in _IMMUTABLE
        if spec.get(name) != before.get(name)
    ]
    return causes


def cron_job(value: Json) -> Causes:
    """What makes jobs at times."""
    spec = value.get("spec", {})
    causes, policy = schedule(spec), spec.get("concurrencyPolicy", "")
    if not policy:
        causes.append(required("spec.concurrencyPolicy"))
    elif policy not in _CONCURRENCY:
        causes.append(unsupported_value("spec.concurrencyPolicy", policy, _CONCURRENCY))
    causes += job_spec(spec.get("jobTemplate", {}).get("spec", {}), "spec.jobTemplate.spec")
    return causes + [
        invalid_value(f"spec.{name}", spec[name], "must be greater than or equal to 0")
        for name in ("successfulJobsHistoryLimit", "failedJobsHistoryLimit")
        if spec.get(name, 0) < 0
    ]


def changed_cron_job(value: Json, old: Json) -> Causes:
    """All of it may change."""
    return cron_job(value) if value.get("spec") != old.get("spec") else []


def job_status(value: Json, old: Json) -> Causes:
    """Of a job: it is finished once, for one reason, and after it has begun. Only what changes is looked at."""
    status, before = value.get("status") or {}, old.get("status") or {}
    is_now, was = _conditions(status), _conditions(before)
    spec = value.get("spec", {})
    turned = {name for name in is_now | was if (name in is_now) != (name in was)}
    changed = {name for name in {*status, *before} if status.get(name) != before.get(name)}
    finished, ended = is_now & {"Complete", "Failed"}, bool(turned & {"Complete", "Failed"})
    complete, failed = "Complete" in is_now, "Failed" in is_now
    causes = [
        invalid_value(f"status.{name}", status[name], "must be greater than or equal to 0")
        for name in ("active", "succeeded", "failed", "ready", "terminating")
        if (status.get(name) or 0) < 0
    ]

    def refuse(why: str) -> None:
        causes.append(_conditions_cause(why))

    def refuse_value(field: str, why: str) -> None:
        causes.append(invalid_value(f"status.{field}", status.get(field), why))

    if ended and complete and failed:
        refuse("cannot set Complete=True and Failed=true conditions")
    if turned & {"Complete", "FailureTarget"} and complete and "FailureTarget" in is_now:
        refuse("cannot set Complete=True and FailureTarget=true conditions")
    if "Complete" in turned or "completionTime" in changed:
        if "completionTime" in status and not complete:
            refuse_value("completionTime", "cannot set completionTime when there is no Complete=True condition")
        if "completionTime" not in status and complete:
            causes.append(required("status.completionTime", "completionTime is required for Complete jobs"))
    if changed & {"startTime", "completionTime"} and _earlier(status):
        refuse_value("completionTime", "must be equal to or after `startTime`")
    if ("Failed" in turned or "failedIndexes" in changed) and failed and "FailureTarget" not in is_now:
        refuse("cannot set Failed=True condition without the FailureTarget=true condition")
    if turned & {"Complete", "SuccessCriteriaMet"} and complete and "SuccessCriteriaMet" not in is_now:
        refuse("cannot set Complete=True condition without the SuccessCriteriaMet=true condition")
    if (ended or "active" in changed) and status.get("active") and finished:
        refuse_value("active", "active>0 is invalid for finished job")
    idle = spec.get("suspend") and spec.get("completions") == 0
    if (ended or "startTime" in changed) and not idle and "startTime" not in status and finished:
        causes.append(required("status.startTime", "startTime is required for finished job"))
    if (ended or "terminating" in changed) and status.get("terminating") and finished:
        refuse_value("terminating", "terminating>0 is invalid for finished job")
    if changed & {"ready", "active"} and (status.get("ready") or 0) > (status.get("active") or 0):
        refuse_value("ready", "cannot set more ready pods than active")
    if "SuccessCriteriaMet" in is_now and failed:
        refuse("cannot set SuccessCriteriaMet=True and Failed=true conditions")
    if {"SuccessCriteriaMet", "FailureTarget"} <= is_now:
        refuse("cannot set SuccessCriteriaMet=True and FailureTarget=true conditions")
    return causes + _no_way_back(value, status, before)


def _no_way_back(value: Json, status: Json, before: Json) -> Causes:
    """What has ended has ended, and what was counted stays counted."""
    is_now, was = _conditions(status), _conditions(before)
    spec = value.get("spec", {})
    causes = [
        _conditions_cause(f"cannot disable the terminal {name}=True condition")
        for name in ("Failed", "Complete", "FailureTarget")
        if name in was - is_now
    ]
    scaled = spec.get("completionMode") == "Indexed" and spec.get("completions") == spec.get("parallelism")
    causes += [
        invalid_value(f"status.{name}", status.get(name, 0), f"cannot decrease the {name} counter")
        for name in ("failed", "succeeded")
        if (status.get(name) or 0) < (before.get(name) or 0) and not (name == "succeeded" and scaled)
    ]
    for name, free, why in (
        ("completionTime", "completionTime" not in status, "field is immutable"),
        ("startTime", spec.get("suspend"), "field is immutable for unsuspended job once set"),
    ):
        if name in before and not free and status.get(name) != before[name] and not _resuming(status, before):
            causes.append(invalid_value(f"status.{name}", status.get(name), why))
    if "SuccessCriteriaMet" in was - is_now:
        causes.append(_conditions_cause("cannot disable the SuccessCriteriaMet=True condition"))
    if "Complete" in was and "SuccessCriteriaMet" in is_now - was:
        why = "cannot set SuccessCriteriaMet=True for Job already has Complete=true conditions"
        causes.append(_conditions_cause(why))
    return causes


def _resuming(status: Json, before: Json) -> bool:
    stopped = {item.get("type"): item.get("status") for item in status.get("conditions") or ()}.get("Suspended")
    return stopped == "False" and "Suspended" in _conditions(before)


def _conditions_cause(why: str) -> Cause:
    return Cause("FieldValueInvalid", f"Invalid value: {why}", "status.conditions")


def _conditions(status: Json) -> set[str]:
    return {str(item.get("type")) for item in status.get("conditions") or () if item.get("status") == "True"}


def _earlier(status: Json) -> Any:
    began, ended = status.get("startTime"), status.get("completionTime")
    return began and ended and ended < began
