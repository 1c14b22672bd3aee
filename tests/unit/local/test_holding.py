"""What holds an object, and what lets it go: claims in use, jobs that have ended, owners that are forgotten."""

from typing import Any

import pytest

from quartermaster.testing.kubernetes import Kubernetes, Refused, kubernetes, pod

CLAIMS = "persistentvolumeclaims"
JOBS = "/apis/batch/v1/namespaces/default/jobs"
DEPLOYMENTS = "/apis/apps/v1/namespaces/default/deployments"


def claim() -> dict[str, Any]:
    return {
        "metadata": {"name": "c"},
        "spec": {"accessModes": ["ReadWriteOnce"], "resources": {"requests": {"storage": "1Gi"}}},
    }


async def test_a_claim_waits_for_the_pods_that_use_it() -> None:
    async with kubernetes() as api:
        made = await api.create(CLAIMS, claim())
        assert made["metadata"]["finalizers"] == ["kubernetes.io/pvc-protection"]
        user = pod()
        user["spec"]["volumes"] = [{"name": "v", "persistentVolumeClaim": {"claimName": "c"}}]
        await api.create("pods", user)
        await api.delete(f"{CLAIMS}/c")
        await api.settle()
        assert await api.names(CLAIMS) == ["c"]
        await api.delete("pods/p")
        await api.settle()
        assert await api.names(CLAIMS) == []


async def test_a_claim_that_nobody_uses_goes_at_once() -> None:
    async with kubernetes() as api:
        await api.create(CLAIMS, claim())
        await api.delete(f"{CLAIMS}/c")
        await api.settle()
        assert await api.names(CLAIMS) == []


def job() -> dict[str, Any]:
    container = {"name": "m", "image": "i"}
    return {
        "metadata": {"name": "j"},
        "spec": {"template": {"spec": {"restartPolicy": "Never", "containers": [container]}}},
    }


def ended(*kinds: str, **status: Any) -> dict[str, Any]:
    return {"status": {"conditions": [{"type": kind, "status": "True"} for kind in kinds], **status}}


@pytest.mark.parametrize(
    ("status", "why"),
    [
        (ended("Complete", startTime="2026-01-01T00:00:00Z"), "completionTime is required for Complete jobs"),
        (ended("Failed", startTime="2026-01-01T00:00:00Z"), "without the FailureTarget=true condition"),
        (ended("Failed", "FailureTarget"), "startTime is required for finished job"),
        (ended("Failed", "FailureTarget", startTime="2026-01-01T00:00:00Z", active=1), "active>0 is invalid"),
        ({"status": {"completionTime": "2026-01-01T00:00:00Z"}}, "when there is no Complete=True condition"),
        ({"status": {"ready": 2, "active": 1}}, "cannot set more ready pods than active"),
        ({"status": {"failed": -1}}, "must be greater than or equal to 0"),
    ],
)
async def test_a_job_ends_once_and_for_one_reason(status: dict[str, Any], why: str) -> None:
    async with kubernetes() as api:
        await api.create(JOBS, job())
        with pytest.raises(Refused, match=why):
            await api.patch(f"{JOBS}/j/status", status)


async def test_a_job_that_has_ended_does_not_begin_again() -> None:
    async with kubernetes() as api:
        await api.create(JOBS, job())
        began, done = "2026-01-01T00:00:00Z", "2026-01-01T00:01:00Z"
        whole = ended("SuccessCriteriaMet", "Complete", startTime=began, completionTime=done, succeeded=1)
        await api.patch(f"{JOBS}/j/status", whole)
        with pytest.raises(Refused, match="cannot disable the terminal Complete=True condition"):
            await api.patch(f"{JOBS}/j/status", {"status": {"conditions": None, "completionTime": None}})
        with pytest.raises(Refused, match="cannot decrease the succeeded counter"):
            await api.patch(f"{JOBS}/j/status", {"status": {"succeeded": 0}})


def deployment(**spec: Any) -> dict[str, Any]:
    labels = {"a": "b"}
    template = {"metadata": {"labels": labels}, "spec": {"containers": [{"name": "m", "image": "i"}]}}
    return {
        "apiVersion": "apps/v1",
        "kind": "Deployment",
        "metadata": {"name": "d"},
        "spec": {"selector": {"matchLabels": labels}, "template": template, **spec},
    }


async def owners(api: Kubernetes) -> dict[str, Any]:
    entries = (await api.get(f"{DEPLOYMENTS}/d"))["metadata"].get("managedFields", [])
    return {entry["manager"]: entry["fieldsV1"] for entry in entries}


async def test_scaling_takes_the_replicas_and_nothing_else() -> None:
    async with kubernetes() as api:
        await api.patch(f"{DEPLOYMENTS}/d?fieldManager=one", deployment(replicas=1), "apply")
        scaled = await api.patch(f"{DEPLOYMENTS}/d/scale?fieldManager=hand", {"spec": {"replicas": 3}})
        assert scaled["spec"] == {"replicas": 3}
        found = await owners(api)
        assert found["hand"] == {"f:spec": {"f:replicas": {}}}
        assert "f:replicas" not in found["one"]["f:spec"]
        assert "f:template" in found["one"]["f:spec"]
        with pytest.raises(
            Refused, match=r'conflict with "hand" with subresource "scale" using apps/v1: \.spec\.replicas'
        ):
            await api.patch(f"{DEPLOYMENTS}/d?fieldManager=one", deployment(replicas=2), "apply")


async def test_who_wrote_before_the_first_apply_is_somebody() -> None:
    async with kubernetes() as api:
        await api.create(DEPLOYMENTS, deployment(replicas=1))
        await api.patch(f"{DEPLOYMENTS}/d", {"metadata": {"managedFields": [{}]}})
        assert await owners(api) == {}
        await api.patch(f"{DEPLOYMENTS}/d", {"metadata": {"labels": {"x": "y"}}})
        assert await owners(api) == {}, "nobody is tracked until somebody applies"
        with pytest.raises(Refused, match=r'conflict with "before-first-apply" using apps/v1: \.spec\.replicas'):
            await api.patch(f"{DEPLOYMENTS}/d?fieldManager=one", deployment(replicas=2), "apply")
        await api.patch(f"{DEPLOYMENTS}/d?fieldManager=one", deployment(replicas=1), "apply")
        assert set(await owners(api)) == {"before-first-apply", "one"}


async def test_a_client_may_hand_fields_over() -> None:
    async with kubernetes() as api:
        made = await api.create(f"{DEPLOYMENTS}?fieldManager=old", deployment(replicas=1))
        entry = made["metadata"]["managedFields"][0] | {"manager": "new", "operation": "Apply"}
        operation = {"op": "replace", "path": "/metadata/managedFields", "value": [entry]}
        await api.patch(f"{DEPLOYMENTS}/d", [operation], "json")
        assert set(await owners(api)) == {"new"}
