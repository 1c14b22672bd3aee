"""CronJob: a Job per moment of its schedule, named after the moment, so that no moment is run twice.

Semantics: kubernetes/pkg/controller/cronjob (cronjob_controllerv2.go). Of several missed moments only the last is run.
"""

from __future__ import annotations

from datetime import datetime
from zoneinfo import ZoneInfo

from quartermaster.local.apiserver.codec import seconds_of, timestamp
from quartermaster.local.controllers import conditions, pods
from quartermaster.local.controllers.events import Note
from quartermaster.local.controllers.job import is_over
from quartermaster.local.controllers.objects import CRON_JOBS, JOBS, Json, Key, Objects, changed
from quartermaster.local.controllers.schedules import Schedule
from quartermaster.local.controllers.writes import Create, Delete, Outcome, Write, status

SCHEDULED = "batch.kubernetes.io/cronjob-scheduled-timestamp"


def reconcile(objects: Objects, key: Key, now: float) -> Outcome:
    """Forget what ended, run what is due as the concurrency policy permits, say when to look again."""
    found = objects.get(CRON_JOBS, key)
    if found is None or pods.is_going(found):
        return Outcome()
    spec = found["spec"]
    mine = objects.children(JOBS, key[0], found["metadata"]["uid"])
    told = dict(found.get("status") or {})
    running = [job for job in mine if not is_over(job)]
    ended = [seconds_of((job.get("status") or {}).get("completionTime")) for job in mine]
    known = [moment for moment in (*ended, seconds_of(told.get("lastSuccessfulTime"))) if moment is not None]
    if known:
        told["lastSuccessfulTime"] = timestamp(max(known))
    writes: list[Write] = [*_excess(found, mine)]
    try:
        schedule = Schedule(spec["schedule"], spec.get("timeZone"))
    except ValueError:
        return Outcome((*writes, *_told(found, told, running)))
    again = None
    if not spec.get("suspend"):
        since = seconds_of(told.get("lastScheduleTime")) or seconds_of(found["metadata"]["creationTimestamp"]) or now
        again = schedule.after(now, since=since)
        due = _due(spec, schedule, since, now)
        if due is not None:
            running, told, started = _start(objects, found, running, told, due)
            writes += started
    return Outcome((*writes, *_told(found, told, running)), again=again)


def _due(spec: Json, schedule: Schedule, since: float, now: float) -> float | None:
    """The moment to run for, if there is one that has not passed its deadline."""
    due = schedule.before(now, since=since)
    deadline = spec.get("startingDeadlineSeconds")
    return None if due is None or (deadline is not None and due + deadline < now) else due


def _start(
    objects: Objects, found: Json, running: list[Json], told: Json, due: float
) -> tuple[list[Json], Json, list[Write]]:
    """What is running after, the status after, and the writes between."""
    spec = found["spec"]
    policy = spec.get("concurrencyPolicy", "Allow")
    if policy == "Forbid" and running:
        return running, told, []
    writes: list[Write] = []
    if policy == "Replace":
        writes += [_delete(found, job) for job in running if not pods.is_going(job)]
        running = []
    made = _job(found, due)
    there = objects.get(JOBS, (made["metadata"]["namespace"], made["metadata"]["name"]))
    if there is None:
        failed = Note(CRON_JOBS, found, "FailedCreate", "Error creating job: {error}", warning=True)
        told_of = Note(CRON_JOBS, found, "SuccessfulCreate", "Created job {name}")
        writes.append(Create(JOBS, made, (told_of,), failed))
    return running, told | {"lastScheduleTime": timestamp(due)}, writes


def _job(found: Json, due: float) -> Json:
    about = found["metadata"]
    template = changed(found["spec"]["jobTemplate"])
    given = template.get("metadata") or {}
    return {
        "apiVersion": JOBS.api_version,
        "kind": JOBS.kind,
        "metadata": {
            "name": f"{about['name']}-{int(due) // 60}",
            "namespace": about["namespace"],
            **({"labels": given["labels"]} if given.get("labels") else {}),
            "annotations": {**(given.get("annotations") or {}), SCHEDULED: _local(found["spec"].get("timeZone"), due)},
            "ownerReferences": [pods.owner_reference(CRON_JOBS, found)],
        },
        "spec": template["spec"],
    }


def _local(zone: str | None, moment: float) -> str:
    """A moment as the clock of the job's zone has it."""
    if not zone:
        return timestamp(moment)
    return datetime.fromtimestamp(moment, ZoneInfo(zone)).isoformat(timespec="seconds").replace("+00:00", "Z")


def _delete(found: Json, job: Json) -> Delete:
    told = Note(CRON_JOBS, found, "SuccessfulDelete", "Deleted job {name}")
    return Delete(JOBS, job, propagation="Background", notes=(told,))


def _excess(found: Json, mine: list[Json]) -> list[Write]:
    """Ended jobs beyond what is kept, oldest first."""
    writes: list[Write] = []
    for kind, limit in (("Complete", "successfulJobsHistoryLimit"), ("Failed", "failedJobsHistoryLimit")):
        kept = found["spec"].get(limit, 3 if kind == "Complete" else 1)
        ended = [job for job in mine if conditions.is_true(job, kind)]
        ended.sort(key=lambda job: ((job.get("status") or {}).get("startTime", ""), job["metadata"]["name"]))
        gone = ended[: max(0, len(ended) - kept)]
        writes += [_delete(found, job) for job in gone if not pods.is_going(job)]
    return writes


def _told(found: Json, told: Json, running: list[Json]) -> tuple[Write, ...]:
    told["active"] = [
        {
            "apiVersion": JOBS.api_version,
            "kind": JOBS.kind,
            "name": job["metadata"]["name"],
            "namespace": job["metadata"]["namespace"],
            "uid": job["metadata"]["uid"],
            "resourceVersion": job["metadata"]["resourceVersion"],
        }
        for job in running
    ] or None
    before = {item["uid"]: item for item in (found.get("status") or {}).get("active") or ()}
    # The revision is that of when it was first listed: else every step of a job would be a write here.
    told["active"] = [before.get(item["uid"], item) for item in told["active"] or ()] or None
    return status(CRON_JOBS, found, told)
