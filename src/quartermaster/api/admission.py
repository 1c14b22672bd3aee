"""What a webhook answers about Queue and PodGroup objects: the little that needs a look at others. Pure.

The API server itself holds objects to all that they say of themselves. Here a change is refused that would put queues
out of use that are in use now, or make a circle; what may come right by itself (a parent that is applied a moment
later) is let through with a warning. Who cannot be understood is let through: the status will say so.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any, Final

from quartermaster.api import v1alpha1
from quartermaster.api.podgroups import check, missing
from quartermaster.api.queues import Queues, queues_from
from quartermaster.api.reading import Reason, many, read
from quartermaster.api.topologies import topologies_from
from quartermaster.model.errors import InvalidInput

Json = dict[str, Any]

DEFAULT: Final = "default"
"""What `QueueTree.single` calls the queue that there is while there are none."""

_WRONG_IN_ITSELF: Final = frozenset((Reason.PARENT_CYCLE, Reason.INVALID_SPEC))


@dataclass(frozen=True, slots=True, kw_only=True)
class Known:
    """What is in the cluster, as JSON: all Queue and all Topology objects."""

    queues: Sequence[Json]
    topologies: Sequence[Json]


@dataclass(slots=True)
class _Verdict:
    refused: str = ""
    warnings: list[str] = field(default_factory=list)


def review(body: Json, known: Known) -> Json:
    """The answer to an AdmissionReview; raises InvalidInput if it is none."""
    request = body.get("request")
    if not isinstance(request, dict) or "uid" not in request:
        raise InvalidInput("body", "is no AdmissionReview with a request", "only the API server asks here")
    verdict = _judge(request, known)
    response: Json = {"uid": request["uid"], "allowed": not verdict.refused}
    if verdict.refused:
        response["status"] = {"code": 403, "reason": "Forbidden", "message": verdict.refused}
    if verdict.warnings:
        response["warnings"] = verdict.warnings
    return {"apiVersion": "admission.k8s.io/v1", "kind": "AdmissionReview", "response": response}


def _judge(request: Json, known: Known) -> _Verdict:
    value, kind = request.get("object"), (request.get("kind") or {}).get("kind")
    if not isinstance(value, dict) or not isinstance(value.get("metadata"), dict):
        return _Verdict()
    if kind == "Queue" and "name" in value["metadata"]:
        return _queue(value, known)
    if kind == "PodGroup":
        return _podgroup(value, known)
    return _Verdict()


# ---- queues


def _queue(value: Json, known: Known) -> _Verdict:
    name = value["metadata"]["name"]
    others = [other for other in known.queues if other["metadata"]["name"] != name]
    before, after = queues_from(known.queues), queues_from([*others, value])
    problem = after.problems.get(name)
    if problem is not None and problem.reason in _WRONG_IN_ITSELF:
        return _Verdict(f"queue '{name}': {problem.message}")
    out_of_use = [queue.name for queue in before.tree if known.queues and queue.name in after.problems]
    if out_of_use:
        why = after.problems[out_of_use[0]].message
        return _Verdict(f"this would put queues out of use that are in use ({many(out_of_use)}): {why}")
    verdict = _Verdict()
    if not known.queues and name != DEFAULT:
        verdict.warnings.append(
            f"the queue '{DEFAULT}', which there is while there are none, is gone; make it if pods name it"
        )
    if problem is not None:
        verdict.warnings.append(f"queue '{name}' is not in use until this is mended: {problem.message}")
    verdict.warnings += _promises(before, after)
    verdict.warnings += _no_longer_a_leaf(value, before, after, known)
    return verdict


def _promises(before: Queues, after: Queues) -> Iterator[str]:
    for name, said in after.overcommitted.items():
        if before.overcommitted.get(name) != said:
            yield f"queue '{name}': {said}"


def _no_longer_a_leaf(value: Json, before: Queues, after: Queues, known: Known) -> Iterator[str]:
    parent = (value.get("spec") or {}).get("parent") or ""
    if parent in before.tree and parent in after.tree and before.tree.is_leaf(parent) > after.tree.is_leaf(parent):
        for other in known.queues:
            status = other.get("status") or {}
            if other["metadata"]["name"] == parent and (status.get("pendingGroups") or status.get("runningGroups")):
                yield f"queue '{parent}' has groups of its own: those that wait have to name a queue below it now"


# ---- pod groups


def _podgroup(value: Json, known: Known) -> _Verdict:
    try:
        group = read({**value, "metadata": {"name": "", **value["metadata"]}}, v1alpha1.PodGroup)
        check(group)
    except InvalidInput as wrong:
        return _Verdict(str(wrong))
    queues, topologies = queues_from(known.queues), topologies_from(known.topologies)
    problem = missing(group, queues=queues.tree, topologies=topologies.topologies)
    return _Verdict() if problem is None else _Verdict(warnings=[f"waits until this is mended: {problem.message}"])
