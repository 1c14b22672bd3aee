"""Jobs whose indexes fail each for itself (backoffLimitPerIndex): how often one has failed, and when it is tried again.

The count is an annotation of the pods: each has that of the one before it and one more, so the failed pod of an index
keeps its finalizer until the next one is there. Semantics: kubernetes/pkg/controller/job/indexed_job_utils.go.
"""

from __future__ import annotations

from quartermaster.local.controllers import indexes, job_rules, pods
from quartermaster.local.controllers.objects import Json

FAILURES = "batch.kubernetes.io/job-index-failure-count"
IGNORED = "batch.kubernetes.io/job-index-ignored-failure-count"


def limited(job: Json) -> bool:
    """Whether each index has a limit of its own."""
    return job["spec"].get("backoffLimitPerIndex") is not None


def _number(pod: Json, name: str) -> int:
    text = (pod["metadata"].get("annotations") or {}).get(name, "")
    return int(text) if text.isdecimal() else 0


def is_last(job: Json, pod: Json) -> bool:
    """Whether the failure of `pod` is its index's last."""
    what, _ = job_rules.action(job, pod) if pods.phase(pod) == "Failed" else ("Count", "")
    return what == "FailIndex" or (what != "Ignore" and _number(pod, FAILURES) >= job["spec"]["backoffLimitPerIndex"])


def followed(failed: list[Json]) -> dict[int, Json]:
    """Of each index, the failed pod that its next one will follow: the last."""
    ordered = sorted(failed, key=lambda pod: (_number(pod, FAILURES) + _number(pod, IGNORED), job_rules.ended(pod)))
    return {index: pod for pod in ordered if (index := indexes.of(pod)) is not None}


def retry_at(before: Json | None) -> float:
    """The earliest moment for the pod that follows `before`."""
    if before is None:
        return 0.0
    return job_rules.after(job_rules.ended(before), _number(before, FAILURES) + _number(before, IGNORED) + 1)


def counts_after(job: Json, before: Json | None) -> dict[str, str]:
    """The annotations by which the pod that follows `before` knows how often its index has failed."""
    failures, ignored = (0, 0) if before is None else (_number(before, FAILURES), _number(before, IGNORED))
    if before is not None and job_rules.action(job, before)[0] == "Ignore":
        ignored += 1
    elif before is not None:
        failures += 1
    return {FAILURES: str(failures)} | ({IGNORED: str(ignored)} if ignored else {})
