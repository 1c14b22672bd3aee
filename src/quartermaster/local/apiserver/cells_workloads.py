"""The rows of workloads."""

from __future__ import annotations

from typing import Any

from quartermaster.local.apiserver.ages import age, human
from quartermaster.local.apiserver.cells_shared import (
    NONE,
    Row,
    age_of,
    containers_of,
    dig,
    labels_text,
    name_of,
    selector_text,
    template_of,
)
from quartermaster.local.apiserver.codec import seconds_of
from quartermaster.local.apiserver.errors import Json


def deployment(value: Json, now: float) -> Row:
    """How far a deployment is."""
    wanted = dig(value, "spec", "replicas", default=0)
    status = value.get("status", {})
    return [
        name_of(value),
        f"{status.get('readyReplicas', 0)}/{wanted}",
        status.get("updatedReplicas", 0),
        status.get("availableReplicas", 0),
        age_of(value, now),
        *template_of(value),
        selector_text(dig(value, "spec", "selector")),
    ]


def replica_set(value: Json, now: float) -> Row:
    """How many replicas there are."""
    status, selector = value.get("status", {}), dig(value, "spec", "selector")
    return [
        name_of(value),
        dig(value, "spec", "replicas", default=0),
        status.get("replicas", 0),
        status.get("readyReplicas", 0),
        age_of(value, now),
        *template_of(value),
        selector_text(selector) if not _plain(selector) else labels_text(selector),
    ]


def _plain(selector: Any) -> bool:
    return isinstance(selector, dict) and all(isinstance(item, str) for item in selector.values())


def stateful_set(value: Json, now: float) -> Row:
    """How many are ready."""
    ready = dig(value, "status", "readyReplicas", default=0)
    return [
        name_of(value),
        f"{ready}/{dig(value, 'spec', 'replicas', default=0)}",
        age_of(value, now),
        *template_of(value),
    ]


def daemon_set(value: Json, now: float) -> Row:
    """On how many nodes it runs."""
    status = value.get("status", {})
    names = (
        "desiredNumberScheduled",
        "currentNumberScheduled",
        "numberReady",
        "updatedNumberScheduled",
        "numberAvailable",
    )
    return [
        name_of(value),
        *(status.get(name, 0) for name in names),
        labels_text(dig(value, "spec", "template", "spec", "nodeSelector")),
        age_of(value, now),
        *template_of(value),
        selector_text(dig(value, "spec", "selector")),
    ]


def job(value: Json, now: float) -> Row:
    """How far a job is, and for how long."""
    spec, status = value.get("spec", {}), value.get("status", {})
    succeeded = status.get("succeeded", 0)
    if "completions" in spec:
        completions = f"{succeeded}/{spec['completions']}"
    else:
        parallelism = spec.get("parallelism", 0)
        completions = f"{succeeded}/1 of {parallelism}" if parallelism > 1 else f"{succeeded}/1"
    started, done = seconds_of(status.get("startTime")), seconds_of(status.get("completionTime"))
    duration = "" if started is None else human((done if done is not None else now) - started)
    conditions = {item.get("type"): item.get("status") for item in status.get("conditions") or ()}
    state = "Running"
    for name, shown in (
        ("Complete", "Complete"),
        ("Failed", "Failed"),
        ("Suspended", "Suspended"),
        ("FailureTarget", "FailureTarget"),
        ("SuccessCriteriaMet", "SuccessCriteriaMet"),
    ):
        if conditions.get(name) == "True":
            state = shown
            break
    else:
        if value["metadata"].get("deletionTimestamp"):
            state = "Terminating"
    return [
        name_of(value),
        state,
        completions,
        duration,
        age_of(value, now),
        *template_of(value),
        selector_text(spec.get("selector")),
    ]


def cron_job(value: Json, now: float) -> Row:
    """When it runs, and ran."""
    spec, status = value.get("spec", {}), value.get("status", {})
    last = status.get("lastScheduleTime")
    return [
        name_of(value),
        spec.get("schedule", ""),
        spec.get("timeZone", NONE),
        "True" if spec.get("suspend") else "False",
        len(status.get("active") or ()),
        age(last, now) if last else NONE,
        age_of(value, now),
        *containers_of(dig(spec, "jobTemplate", "spec", "template")),
        selector_text(dig(spec, "jobTemplate", "spec", "selector")),
    ]


def pod_template(value: Json, now: float) -> Row:
    """What pods it makes."""
    del now
    template = value.get("template", {})
    return [name_of(value), *containers_of(template), labels_text(dig(template, "metadata", "labels"))]


def revision(value: Json, now: float) -> Row:
    """Whose revision it is."""
    owner = next((item for item in value["metadata"].get("ownerReferences") or () if item.get("controller")), None)
    shown = NONE
    if owner:
        group = owner.get("apiVersion", "").rpartition("/")[0]
        shown = f"{owner.get('kind', '').lower()}{'.' + group if group else ''}/{owner.get('name', '')}"
    return [name_of(value), shown, value.get("revision", 0), age_of(value, now)]
