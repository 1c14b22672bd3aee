"""What a Deployment says of itself: counts, Available, Progressing with its deadline, ReplicaFailure.

``kubectl rollout status`` and ``helm --wait`` read nothing else, so reasons and messages are the real ones.
"""

from __future__ import annotations

from quartermaster.local.apiserver.codec import seconds_of, timestamp
from quartermaster.local.controllers import conditions
from quartermaster.local.controllers.objects import DEPLOYMENTS, Json
from quartermaster.local.controllers.writes import Write, status

_NO_DEADLINE = 2**31 - 1


def status_of(
    deployment: Json, new: Json | None, sets: list[Json], unavailable: int, now: float
) -> tuple[Json, float | None]:
    """The status now, and when it will be too late for progress."""
    spec, old = deployment["spec"], deployment.get("status") or {}
    replicas = spec.get("replicas", 1)
    counts = _counts(sets, new)
    available = counts["availableReplicas"]
    wanted: Json = {key: value or None for key, value in counts.items()}
    wanted["unavailableReplicas"] = max(0, sum(item["spec"].get("replicas", 1) for item in sets) - available) or None
    wanted["terminatingReplicas"] = counts["terminatingReplicas"]
    wanted["observedGeneration"] = deployment["metadata"].get("generation")
    wanted["collisionCount"] = old.get("collisionCount")
    enough = available >= replicas - unavailable
    minimum = {
        "type": "Available",
        "status": "True" if enough else "False",
        "reason": "MinimumReplicasAvailable" if enough else "MinimumReplicasUnavailable",
        "message": "Deployment has minimum availability."
        if enough
        else "Deployment does not have minimum availability.",
    }
    listed = put(old.get("conditions") or [], minimum, now)
    if spec.get("paused"):  # what rests on purpose is neither late nor done
        return wanted | {"conditions": listed}, None
    listed, again = _progress(deployment, listed, counts, new, now)
    failure = next(
        filter(None, (conditions.find(item, "ReplicaFailure") for item in [*([new] if new else []), *sets])), None
    )
    if failure is not None:
        said = {key: failure.get(key) for key in ("type", "status", "reason", "message")}
        listed = put(listed, said, now)
    else:
        listed = conditions.without(listed, "ReplicaFailure")
    wanted["conditions"] = listed
    return wanted, again


def _counts(sets: list[Json], new: Json | None) -> Json:
    def total(field: str) -> int:
        return sum((item.get("status") or {}).get(field, 0) for item in sets)

    return {
        "replicas": total("replicas"),
        "updatedReplicas": ((new or {}).get("status") or {}).get("replicas", 0),
        "readyReplicas": total("readyReplicas"),
        "availableReplicas": total("availableReplicas"),
        "terminatingReplicas": total("terminatingReplicas"),
    }


def put(listed: list[Json], condition: Json, now: float) -> list[Json]:
    """Like `conditions.put`, with the lastUpdateTime that only Deployments have; what changes goes to the end."""
    old = next((item for item in listed if item["type"] == condition["type"]), None)
    if old is not None and (old.get("status"), old.get("reason")) == (condition["status"], condition["reason"]):
        return listed
    return last(listed, condition | {"lastUpdateTime": timestamp(now)}, now)


def last(listed: list[Json], condition: Json, now: float) -> list[Json]:
    """The list with `condition` at its end."""
    made = next(item for item in conditions.put(listed, condition, now) if item["type"] == condition["type"])
    return [*conditions.without(listed, condition["type"]), made]


def _progress(
    deployment: Json, listed: list[Json], counts: Json, new: Json | None, now: float
) -> tuple[list[Json], float | None]:
    spec, old = deployment["spec"], deployment.get("status") or {}
    deadline = spec.get("progressDeadlineSeconds", 600)
    current = next((item for item in listed if item["type"] == "Progressing"), None)
    settled = counts["replicas"] == counts["updatedReplicas"]
    if deadline == _NO_DEADLINE:
        return conditions.without(listed, "Progressing"), None
    if settled and current is not None and current.get("reason") == "NewReplicaSetAvailable":
        return listed, None
    replicas = spec.get("replicas", 1)
    complete = all(counts[field] == replicas for field in ("replicas", "updatedReplicas", "availableReplicas"))
    set_name = f'ReplicaSet "{new["metadata"]["name"]}"' if new is not None else None
    whom = set_name or f'Deployment "{deployment["metadata"]["name"]}"'
    if complete and new is not None:
        done = {"status": "True", "reason": "NewReplicaSetAvailable", "message": f"{whom} has successfully progressed."}
        return put(listed, {"type": "Progressing", **done}, now), None
    if _moved(old, counts):
        moving = {
            "type": "Progressing",
            "status": "True",
            "reason": "ReplicaSetUpdated",
            "message": f"{whom} is progressing.",
            "lastUpdateTime": timestamp(now),
        }
        return last(listed, moving, now), now + deadline
    if current is None and new is not None:
        found = {"status": "True", "reason": "FoundNewReplicaSet", "message": f"Found new replica set {set_name}"}
        return put(listed, {"type": "Progressing", **found}, now), now + deadline
    since = seconds_of((current or {}).get("lastUpdateTime"))
    # What has been available once is not late: nothing has been asked of it since.
    if since is None or (current or {}).get("reason") in ("ProgressDeadlineExceeded", "NewReplicaSetAvailable"):
        return listed, None
    if since + deadline > now:
        return listed, since + deadline
    late = {"status": "False", "reason": "ProgressDeadlineExceeded", "message": f"{whom} has timed out progressing."}
    return put(listed, {"type": "Progressing", **late}, now), None


def _moved(old: Json, counts: Json) -> bool:
    """Whether more is new, less is old, or more can be used than when last told."""
    was_old = old.get("replicas", 0) - old.get("updatedReplicas", 0)
    return bool(
        counts["updatedReplicas"] > old.get("updatedReplicas", 0)
        or counts["replicas"] - counts["updatedReplicas"] < was_old
        or counts["readyReplicas"] > old.get("readyReplicas", 0)
        or counts["availableReplicas"] > old.get("availableReplicas", 0)
    )


def needs_condition(deployment: Json, now: float) -> tuple[Write, ...] | None:
    """The write that says that a rollout was paused or resumed, if that has not been said yet."""
    spec = deployment["spec"]
    if spec.get("progressDeadlineSeconds", 600) == _NO_DEADLINE:
        return None
    current = conditions.find(deployment, "Progressing")
    reason = (current or {}).get("reason")
    paused = bool(spec.get("paused"))
    if reason == "ProgressDeadlineExceeded" or paused == (reason == "DeploymentPaused"):
        return None
    word = "paused" if paused else "resumed"
    said = {"type": "Progressing", "status": "Unknown", "reason": f"Deployment{word.capitalize()}"}
    listed = put(
        (deployment.get("status") or {}).get("conditions") or [], said | {"message": f"Deployment is {word}"}, now
    )
    return status(DEPLOYMENTS, deployment, dict(deployment.get("status") or {}) | {"conditions": listed}) or None
