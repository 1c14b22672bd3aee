"""Job: pods until enough have succeeded, or too many have failed.

A pod that ends is counted once and for all though it may be deleted the next moment: its finalizer holds it until the
status names it (uncountedTerminatedPods), and only when the finalizer is off does it become a number. A job that is
over says so first in an interim condition (SuccessCriteriaMet, FailureTarget), and for good when its last pod is gone.
Semantics: kubernetes/pkg/controller/job, batch/v1.
"""

from __future__ import annotations

from dataclasses import dataclass

from quartermaster.local.apiserver.codec import seconds_of, timestamp
from quartermaster.local.apiserver.selectors import from_object
from quartermaster.local.controllers import conditions, indexes, job_by_index, job_rules, pods
from quartermaster.local.controllers.events import Note
from quartermaster.local.controllers.objects import JOBS, PODS, Json, Key, Objects, changed, controller_of
from quartermaster.local.controllers.writes import Delete, Outcome, Update, Write, soonest, status

FINALIZER = "batch.kubernetes.io/job-tracking"
_NAME = "batch.kubernetes.io/job-name"


@dataclass(frozen=True, slots=True)
class Count:
    """How far a job is: what its status will say of pods that have ended."""

    succeeded: int
    failed: int
    completed: set[int]
    uncounted: dict[str, list[str]]
    lost: set[int]
    """Indexes that have failed for good."""
    followed: dict[int, Json]
    """Of indexes that failed and wait for another try, the pod that has the count."""

    @property
    def pending(self) -> bool:
        """Whether pods have been named but not yet counted."""
        return any(self.uncounted.values())


def reconcile(objects: Objects, key: Key, now: float) -> Outcome:
    """Count what ended; decide whether that is enough; else have as many pods running as it should."""
    job = objects.get(JOBS, key)
    uid = job["metadata"]["uid"] if job is not None else ""
    strangers = tuple(_released(pod) for pod in _strangers(objects, key, uid))
    if job is None or job["spec"].get("managedBy", "kubernetes.io/job-controller") != "kubernetes.io/job-controller":
        return Outcome(strangers)
    owned, claims = pods.claim(objects, PODS, JOBS, job, from_object(job["spec"].get("selector")))
    if strangers or claims:
        return Outcome((*strangers, *claims))
    if pods.is_going(job) or is_over(job):
        held = tuple(_released(pod) for pod in owned if FINALIZER in (pod["metadata"].get("finalizers") or ()))
        return Outcome(held or _expired(job, now), again=_expiry(job))
    if not job.get("status", {}).get("startTime") and not job["spec"].get("suspend"):
        return Outcome(status(JOBS, job, dict(job.get("status") or {}) | {"startTime": timestamp(now)}))
    return _run(job, owned, now)


def _strangers(objects: Objects, key: Key, uid: str) -> list[Json]:
    """Pods of a job of this name that is no more, or has let them go, still held by their finalizer."""
    found = []
    for pod in objects.within(PODS, key[0]):
        if FINALIZER not in (pod["metadata"].get("finalizers") or ()):
            continue
        owner = controller_of(pod)
        if owner is None:
            strange = not uid and (pod["metadata"].get("labels") or {}).get(_NAME) == key[1]
        else:
            strange = (owner["kind"], owner["name"]) == (JOBS.kind, key[1]) and owner["uid"] != uid
        found += [pod] if strange else []
    return found


def of_pod(objects: Objects, pod: Json) -> list[Key]:
    """The job of a pod: its controller, who might take it, and who has let it go."""
    name = str((pod["metadata"].get("labels") or {}).get(_NAME, ""))
    left = controller_of(pod) is None and bool(name) and FINALIZER in (pod["metadata"].get("finalizers") or ())
    return [*pods.concerned(JOBS)(objects, pod), *([(pod["metadata"]["namespace"], name)] if left else [])]


def _released(pod: Json) -> Update:
    freed = changed(pod)
    freed["metadata"]["finalizers"] = [name for name in pod["metadata"]["finalizers"] if name != FINALIZER]
    return Update(PODS, freed)


def is_over(job: Json) -> bool:
    """Whether it is complete or failed, for good."""
    return conditions.is_true(job, "Complete") or conditions.is_true(job, "Failed")


def _expiry(job: Json) -> float | None:
    limit = job["spec"].get("ttlSecondsAfterFinished")
    if limit is None:
        return None
    ended = [found for kind in ("Complete", "Failed") if (found := conditions.find(job, kind)) is not None]
    since = [seconds_of(found.get("lastTransitionTime")) for found in ended if found["status"] == "True"]
    return soonest(*(moment + limit for moment in since if moment is not None))


def _expired(job: Json, now: float) -> tuple[Write, ...]:
    moment = _expiry(job)
    if moment is None or moment > now or pods.is_going(job):
        return ()
    return (Delete(JOBS, job, propagation="Foreground"),)


def _run(job: Json, owned: list[Json], now: float) -> Outcome:
    count, freed = _count(job, owned)
    spec, told = job["spec"], dict(job.get("status") or {})
    listed: list[Json] = told.get("conditions") or []
    active = [pod for pod in owned if pods.is_active(pod)]
    end = _end(job, owned, count, active, now)
    steps: list[Write] = []
    notes: list[Note] = []
    again: float | None = None
    if end is not None:
        listed = _put(listed, end, now)
        steps = [pods.delete(pod, JOBS, job) for pod in active]
        if not active and not count.pending and not any(_leaves(pod) for pod in owned):
            final = "Complete" if end["type"] == "SuccessCriteriaMet" else "Failed"
            listed = _put(listed, end | {"type": final}, now)
            notes = [Note(JOBS, job, end["reason"], end["message"], warning=True)]
            if final == "Complete":
                told["completionTime"] = timestamp(now)
                notes = [Note(JOBS, job, "Completed", "Job completed")]
    elif spec.get("suspend"):
        steps = _let_go(job, active)
        listed, notes = _suspended(job, listed, now, truth="True")
        told.pop("startTime", None)
    else:
        listed, notes = _suspended(job, listed, now, truth="False")
        if notes:
            told["startTime"] = timestamp(now)
        steps, again = _manage(job, owned, active, count, now)
    told |= _counts(job, owned, active, count) | {"conditions": listed or None}
    return Outcome(
        (*status(JOBS, job, told, *notes), *freed, *steps),
        again=soonest(again, None if end else job_rules.deadline(job)),
    )


def _leaves(pod: Json) -> bool:
    return pods.is_going(pod) and not pods.is_finished(pod)


def _let_go(job: Json, unwanted: list[Json]) -> list[Write]:
    """Pods that end without having failed: nothing is to be counted of them."""
    writes: list[Write] = []
    for pod in unwanted:
        writes += [_released(pod)] if FINALIZER in (pod["metadata"].get("finalizers") or ()) else []
        writes.append(pods.delete(pod, JOBS, job))
    return writes


def _put(listed: list[Json], condition: Json, now: float) -> list[Json]:
    """Like `conditions.put`, with the lastProbeTime that only Jobs have."""
    old = next((item for item in listed if item["type"] == condition["type"]), {})
    if all(old.get(key) == value for key, value in condition.items()):
        return listed
    return conditions.put(listed, condition | {"lastProbeTime": timestamp(now)}, now)


def _suspended(job: Json, listed: list[Json], now: float, *, truth: str) -> tuple[list[Json], list[Note]]:
    """The conditions with whether the job rests, and what is told if that is new."""
    if conditions.is_true(job, "Suspended") == (truth == "True"):
        return listed, []
    word = "Suspended" if truth == "True" else "Resumed"
    said = {"type": "Suspended", "status": truth, "reason": f"Job{word}", "message": f"Job {word.lower()}"}
    return _put(listed, said, now), [Note(JOBS, job, word, said["message"])]


def _has_ended(job: Json, pod: Json) -> bool:
    """Whether a pod counts as ended: going is failing, unless the job waits to see how it ends."""
    if pods.is_finished(pod):
        return True
    return pods.is_going(pod) and not _waits_for_end(job)


def _waits_for_end(job: Json) -> bool:
    spec = job["spec"]
    return bool(spec.get("podFailurePolicy")) or spec.get("podReplacementPolicy") == "Failed"


def _indexed(job: Json) -> bool:
    return bool(job["spec"].get("completionMode") == "Indexed")


def _count(job: Json, owned: list[Json]) -> tuple[Count, list[Write]]:
    """The numbers with what ended since, and the writes that let go of pods which the status already names."""
    told = job.get("status") or {}
    named = told.get("uncountedTerminatedPods") or {}
    held = {pod["metadata"]["uid"]: pod for pod in owned if FINALIZER in (pod["metadata"].get("finalizers") or ())}
    numbers = {kind: told.get(kind, 0) for kind in ("succeeded", "failed")}
    uncounted: dict[str, list[str]] = {"succeeded": [], "failed": []}
    freed: list[Write] = []
    for kind, uids in uncounted.items():
        for uid in named.get(kind) or ():
            if uid in held:
                uids.append(uid)
                freed.append(_released(held.pop(uid)))
            else:
                numbers[kind] += 1
    failing = conditions.is_true(job, "FailureTarget")  # then what is told to go has failed, whatever it says yet
    succeeding = conditions.is_true(job, "SuccessCriteriaMet")  # then it has not, and there is nothing to count
    ended = {uid: pod for uid, pod in sorted(held.items()) if _has_ended(job, pod) or (failing and pods.is_going(pod))}
    completed = indexes.parse(told.get("completedIndexes"))
    verdicts = {uid: _verdict(job, pod, completed) for uid, pod in ended.items()}
    lost, followed = _by_index(job, owned, [pod for pod in ended.values() if pods.phase(pod) != "Succeeded"], completed)
    kept = {pod["metadata"]["uid"] for pod in followed.values()}
    for uid, what in verdicts.items():
        if uid in kept:
            continue
        if what and not (succeeding and not pods.is_finished(ended[uid])):
            uncounted[what].append(uid)
        else:
            freed.append(_released(ended[uid]))
    succeeded = len(completed) if _indexed(job) else numbers["succeeded"]
    return Count(succeeded, numbers["failed"], completed, uncounted, lost, followed), freed


def _by_index(
    job: Json, owned: list[Json], failed: list[Json], completed: set[int]
) -> tuple[set[int], dict[int, Json]]:
    """Indexes that are lost, and of those that failed but are not, the pods that the next ones follow."""
    if not job_by_index.limited(job):
        return set(), {}
    if conditions.is_true(job, "FailureTarget") or conditions.is_true(job, "SuccessCriteriaMet"):
        return indexes.parse((job.get("status") or {}).get("failedIndexes")), {}
    ours = [pod for pod in failed if (index := indexes.of(pod)) is not None and index < job["spec"]["completions"]]
    lost = indexes.parse((job.get("status") or {}).get("failedIndexes"))
    lost |= {index for pod in ours if job_by_index.is_last(job, pod) and (index := indexes.of(pod)) is not None}
    done = lost | completed | {indexes.of(pod) for pod in owned if pods.is_active(pod)}
    return lost, job_by_index.followed([pod for pod in ours if indexes.of(pod) not in done])


def _verdict(job: Json, pod: Json, completed: set[int]) -> str:
    """As what an ended pod counts: succeeded, failed, or empty. A new index is added to `completed`."""
    if pods.phase(pod) != "Succeeded":
        ignored = pods.phase(pod) == "Failed" and job_rules.action(job, pod)[0] == "Ignore"
        return "" if ignored else "failed"
    if _indexed(job):
        index = indexes.of(pod)
        if index is None or index in completed or index >= job["spec"]["completions"]:
            return ""
        completed.add(index)
    return "succeeded"


def _end(job: Json, owned: list[Json], count: Count, active: list[Json], now: float) -> Json | None:
    """The interim condition of a job that has come to its end."""
    for kind in ("FailureTarget", "SuccessCriteriaMet"):
        if (before := conditions.find(job, kind)) is not None and before["status"] == "True":
            return {key: before.get(key) for key in ("type", "status", "reason", "message")}
    succeeded = count.succeeded + (0 if _indexed(job) else len(count.uncounted["succeeded"]))
    failed = count.failed + len(count.uncounted["failed"])
    why = job_rules.failure(job, owned, failed=failed, lost=count.lost, completed=count.completed, now=now)
    if why is not None:
        return {"type": "FailureTarget", "status": "True", "reason": why[0], "message": why[1]}
    if (rule := job_rules.success(job, count.completed)) is not None:
        return {"type": "SuccessCriteriaMet", "status": "True", "reason": "SuccessPolicy", "message": rule}
    wanted = job["spec"].get("completions")
    done = (succeeded > 0 and not active) if wanted is None else succeeded >= wanted and not job["spec"].get("suspend")
    if not done:
        return None
    return {
        "type": "SuccessCriteriaMet",
        "status": "True",
        "reason": "CompletionsReached",
        "message": "Reached expected number of succeeded pods",
    }


def _manage(
    job: Json, owned: list[Json], active: list[Json], count: Count, now: float
) -> tuple[list[Write], float | None]:
    """Create or delete pods to come to the parallelism; none before the last failure has been waited out."""
    spec = job["spec"]
    parallelism = spec.get("parallelism", 1)
    succeeded = count.succeeded + (0 if _indexed(job) else len(count.uncounted["succeeded"]))
    going = sum(pods.is_going(pod) and not pods.is_finished(pod) for pod in owned) if _waits_for_end(job) else 0
    if spec.get("completions") is None:
        wanted = min(parallelism, len(active)) if succeeded > 0 else parallelism
    else:
        wanted = min(parallelism, max(0, spec["completions"] - succeeded))
    surplus = _surplus(job, active, wanted)
    if surplus:
        return _let_go(job, surplus), None
    missing = wanted - len(active) - going
    if missing <= 0:
        return [], None
    moment = 0.0 if job_by_index.limited(job) else job_rules.retry_at(owned, going=not _waits_for_end(job))
    if moment > now:
        return [], moment
    if not _indexed(job):
        return [pods.create(_pod(job, None), JOBS, job) for _ in range(missing)], None
    busy = count.completed | count.lost | {indexes.of(pod) for pod in owned if not _has_ended(job, pod)}
    busy |= {indexes.of(pod) for pod in owned if pods.phase(pod) == "Succeeded"}
    free = [index for index in range(spec["completions"]) if index not in busy][:missing]
    moments = {index: job_by_index.retry_at(count.followed.get(index)) for index in free}
    writes: list[Write] = [
        pods.create(_pod(job, index, count.followed.get(index)), JOBS, job) for index in free if moments[index] <= now
    ]
    return writes, soonest(*(moment for moment in moments.values() if moment > now))


def _surplus(job: Json, active: list[Json], wanted: int) -> list[Json]:
    """Active pods that should not be: beyond the number, or a second one of an index."""
    twice: list[Json] = []
    if _indexed(job):
        seen: set[int | None] = set()
        for pod in sorted(active, key=lambda pod: (pod["metadata"]["creationTimestamp"], pod["metadata"]["name"])):
            index = indexes.of(pod)
            twice += [pod] if index is None or index in seen or index >= job["spec"]["completions"] else []
            seen.add(index)
    kept = [pod for pod in active if pod not in twice]
    order = sorted(kept, key=lambda pod: (pods.is_ready(pod), pod["metadata"]["creationTimestamp"]))
    return twice + order[: max(0, len(kept) - wanted)]


def _pod(job: Json, index: int | None, before: Json | None = None) -> Json:
    """A pod; of an index that has failed, the one after `before`."""
    name = job["metadata"]["name"]
    prefix = f"{name}-" if index is None else f"{name}-{index}-"
    made = pods.from_template(job["spec"]["template"], JOBS, job, generateName=prefix)
    made["metadata"]["finalizers"] = [FINALIZER]
    if index is None:
        return made
    annotations = made["metadata"].setdefault("annotations", {})
    annotations[indexes.INDEX] = str(index)
    annotations |= job_by_index.counts_after(job, before) if job_by_index.limited(job) else {}
    made["metadata"].setdefault("labels", {})[indexes.INDEX] = str(index)
    spec = made["spec"]
    spec["hostname"] = f"{name}-{index}"
    source = {"fieldRef": {"apiVersion": "v1", "fieldPath": f"metadata.labels['{indexes.INDEX}']"}}
    for container in [*(spec.get("initContainers") or ()), *spec["containers"]]:
        said = container.setdefault("env", [])
        if not any(item["name"] == "JOB_COMPLETION_INDEX" for item in said):
            said.append({"name": "JOB_COMPLETION_INDEX", "valueFrom": source})
    return made


def _counts(job: Json, owned: list[Json], active: list[Json], count: Count) -> Json:
    uncounted = {kind: uids for kind, uids in count.uncounted.items() if uids}
    return {
        "active": len(active) or None,
        "ready": sum(map(pods.is_ready, active)),
        "terminating": sum(map(_leaves, owned)),
        "succeeded": count.succeeded or None,
        "failed": count.failed or None,
        "completedIndexes": (indexes.text(count.completed) or None) if _indexed(job) else None,
        "failedIndexes": indexes.text(count.lost) if job_by_index.limited(job) else None,
        "uncountedTerminatedPods": uncounted,
    }
