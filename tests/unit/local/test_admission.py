"""Quota, limit ranges, policies, webhooks, roles: what may not be written, and by whom."""

import asyncio
import base64
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import pytest
from aiohttp import web

from quartermaster.local.apiserver.codec import encode
from quartermaster.local.apiserver.transport import Request, User
from quartermaster.testing.kubernetes import Json, Kubernetes, Refused, kubernetes, pod

ADMISSION = "/apis/admissionregistration.k8s.io/v1"
RBAC = "/apis/rbac.authorization.k8s.io/v1"
PODS = {"apiGroups": [""], "apiVersions": ["v1"], "operations": ["CREATE"], "resources": ["pods"]}


def asking(name: str, **requests: str) -> Json:
    return pod(name, containers=[{"name": "main", "image": "i", "resources": {"requests": requests}}])


async def test_a_quota_is_held() -> None:
    async with kubernetes() as api:
        hard = {"pods": "2", "requests.cpu": "3"}
        await api.create("resourcequotas", {"metadata": {"name": "q"}, "spec": {"hard": hard}})
        await api.create("pods", asking("a", cpu="1"))
        assert (await api.get("resourcequotas/q"))["status"]["used"] == {"pods": "1", "requests.cpu": "1"}
        with pytest.raises(
            Refused, match=r"exceeded quota: q, requested: requests.cpu=2500m, used: requests.cpu=1"
        ) as refused:
            await api.create("pods", asking("b", cpu="2.5"))
        assert refused.value.code == 403
        with pytest.raises(Refused, match=r"failed quota: q: must specify requests.cpu for: main"):
            await api.create("pods", pod("c"))
        await api.delete("pods/a")
        await api.create("pods", asking("d", cpu="3"))


async def test_a_limit_range_fills_in_and_holds() -> None:
    async with kubernetes() as api:
        limits = [{"type": "Container", "default": {"cpu": "2"}, "defaultRequest": {"cpu": "1"}, "max": {"cpu": "4"}}]
        await api.create("limitranges", {"metadata": {"name": "l"}, "spec": {"limits": limits}})
        made = await api.create("pods", pod())
        assert made["spec"]["containers"][0]["resources"] == {"limits": {"cpu": "2"}, "requests": {"cpu": "1"}}
        assert made["status"]["qosClass"] == "Burstable"
        big = pod("big", containers=[{"name": "m", "image": "i", "resources": {"limits": {"cpu": "8"}}}])
        with pytest.raises(Refused, match="maximum cpu usage per Container is 4, but limit is 8"):
            await api.create("pods", big)


async def policy(api: Kubernetes, **binding: Any) -> None:
    spec = {
        "matchConstraints": {"resourceRules": [PODS]},
        "variables": [{"name": "team", "expression": "object.metadata.?labels.team.orValue('')"}][:0],
        "validations": [
            {
                "expression": "has(object.metadata.labels) && 'team' in object.metadata.labels",
                "messageExpression": "'no team on ' + request.name",
            }
        ],
    }
    await api.create(f"{ADMISSION}/validatingadmissionpolicies", {"metadata": {"name": "team"}, "spec": spec})
    bound = {"policyName": "team", "validationActions": ["Deny"], **binding}
    await api.create(f"{ADMISSION}/validatingadmissionpolicybindings", {"metadata": {"name": "all"}, "spec": bound})


async def test_a_policy_refuses_in_its_own_words() -> None:
    async with kubernetes() as api:
        await policy(api)
        with pytest.raises(Refused) as refused:
            await api.create("pods", pod())
        assert refused.value.status["message"] == (
            "pods \"p\" is forbidden: ValidatingAdmissionPolicy 'team' with binding 'all' denied request: no team on p"
        )
        assert (refused.value.code, refused.value.status["reason"]) == (422, "Invalid")
        await api.create("pods", pod() | {"metadata": {"name": "p", "labels": {"team": "a"}}})


async def test_a_policy_may_only_warn_or_be_about_other_namespaces() -> None:
    async with kubernetes() as api:
        await policy(api, validationActions=["Warn"])
        response = await api.send("POST", "pods", pod())
        assert response.status == 201
        assert "no team on p" in response.warnings[0]
        where = {"matchLabels": {"kubernetes.io/metadata.name": "elsewhere"}}
        change = {"spec": {"validationActions": ["Deny"], "matchResources": {"namespaceSelector": where}}}
        await api.patch(f"{ADMISSION}/validatingadmissionpolicybindings/all", change)
        await api.create("pods", pod("q"))


@asynccontextmanager
async def webhook(answer: Json) -> AsyncIterator[tuple[str, list[Json]]]:
    """An admission webhook on loopback that always answers the same, and the reviews it was sent."""
    seen: list[Json] = []

    async def serve(request: web.BaseRequest) -> web.Response:
        review = await request.json()
        seen.append(review["request"])
        response = answer | {"uid": review["request"]["uid"]}
        return web.json_response({"kind": "AdmissionReview", "apiVersion": "admission.k8s.io/v1", "response": response})

    runner = web.ServerRunner(web.Server(serve))
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    try:
        yield f"http://127.0.0.1:{runner.addresses[0][1]}/", seen
    finally:
        await runner.cleanup()


def hook(url: str, **more: Any) -> Json:
    made = {"name": "hook.example.com", "clientConfig": {"url": url}, "rules": [PODS], "sideEffects": "None"}
    return {"metadata": {"name": "h"}, "webhooks": [made | {"admissionReviewVersions": ["v1"], **more}]}


async def test_a_webhook_changes_what_is_created() -> None:
    patch = [{"op": "add", "path": "/metadata/labels", "value": {"seen": "yes"}}]
    answer = {"allowed": True, "patchType": "JSONPatch", "patch": base64.b64encode(encode(patch)).decode()}
    async with kubernetes() as api, webhook(answer) as (url, seen):
        await api.create(f"{ADMISSION}/mutatingwebhookconfigurations", hook(url))
        assert (await api.create("pods", pod()))["metadata"]["labels"] == {"seen": "yes"}
        assert (seen[0]["operation"], seen[0]["resource"]["resource"], seen[0]["namespace"]) == (
            "CREATE",
            "pods",
            "default",
        )


async def test_a_webhook_refuses_in_its_own_words() -> None:
    answer = {"allowed": False, "status": {"message": "not today", "code": 403}}
    async with kubernetes() as api, webhook(answer) as (url, _):
        await api.create(f"{ADMISSION}/validatingwebhookconfigurations", hook(url))
        with pytest.raises(Refused, match=r'admission webhook "hook.example.com" denied the request: not today'):
            await api.create("pods", pod())
        await api.create("configmaps", {"metadata": {"name": "c"}})


@pytest.mark.parametrize(("policy_of_failure", "code"), [("Ignore", 201), ("Fail", 500)])
async def test_a_webhook_that_is_not_there_fails_as_it_says(policy_of_failure: str, code: int) -> None:
    async with kubernetes() as api:
        made = hook("http://127.0.0.1:1/", failurePolicy=policy_of_failure)
        await api.create(f"{ADMISSION}/validatingwebhookconfigurations", made)
        assert (await api.send("POST", "pods", pod())).status == code


async def as_user(api: Kubernetes, name: str, method: str, path: str, body: Any = None) -> int:
    request = Request.of(method, path, body)
    request.user = User(name, ("system:authenticated",))
    return (await api.handler(request)).status


async def test_roles_say_what_a_user_may() -> None:
    async with kubernetes() as api:
        path = "/api/v1/namespaces/default/pods"
        assert await as_user(api, "ann", "GET", path) == 403
        rules = [{"apiGroups": [""], "resources": ["pods"], "verbs": ["get", "list"]}]
        await api.create(f"{RBAC}/namespaces/default/roles", {"metadata": {"name": "reader"}, "rules": rules})
        binding = {
            "metadata": {"name": "ann"},
            "roleRef": {"kind": "Role", "name": "reader", "apiGroup": "rbac.authorization.k8s.io"},
            "subjects": [{"kind": "User", "name": "ann", "apiGroup": "rbac.authorization.k8s.io"}],
        }
        await api.create(f"{RBAC}/namespaces/default/rolebindings", binding)
        assert await as_user(api, "ann", "GET", path) == 200
        assert await as_user(api, "ann", "POST", path, pod()) == 403
        assert await as_user(api, "ann", "GET", "/api/v1/namespaces/kube-system/pods") == 403
        assert await as_user(api, "bob", "GET", path) == 403
        assert await as_user(api, "ann", "GET", "/apis") == 200
        await api.delete(f"{RBAC}/namespaces/default/rolebindings/ann")
        assert await as_user(api, "ann", "GET", path) == 403


async def test_the_usual_roles_are_there_and_take_in_what_is_labelled_for_them() -> None:
    async with kubernetes() as api:
        binding = {
            "metadata": {"name": "ann"},
            "roleRef": {"kind": "ClusterRole", "name": "edit", "apiGroup": "rbac.authorization.k8s.io"},
            "subjects": [{"kind": "User", "name": "ann", "apiGroup": "rbac.authorization.k8s.io"}],
        }
        await api.create(f"{RBAC}/namespaces/default/rolebindings", binding)
        assert await as_user(api, "ann", "POST", "/api/v1/namespaces/default/pods", pod()) == 201
        assert await as_user(api, "ann", "GET", f"{RBAC}/namespaces/default/roles") == 403
        groups = {"apiGroups": ["rbac.authorization.k8s.io"], "resources": ["roles"], "verbs": ["list"]}
        label = {"rbac.authorization.k8s.io/aggregate-to-edit": "true"}
        more = {"metadata": {"name": "more", "labels": label}, "rules": [groups]}
        await api.create(f"{RBAC}/clusterroles", more)
        await asyncio.sleep(0)  # the aggregation's turn
        assert await as_user(api, "ann", "GET", f"{RBAC}/namespaces/default/roles") == 200
        question = {"spec": {"user": "ann", "resourceAttributes": {"resource": "pods", "verb": "create"}}}
        question["spec"]["resourceAttributes"]["namespace"] = "default"  # type: ignore[index]
        review = await api.create("/apis/authorization.k8s.io/v1/subjectaccessreviews", question)
        assert review["status"] == {
            "allowed": True,
            "reason": 'RBAC: allowed by RoleBinding "ann/default" of ClusterRole "edit" to User "ann"',
        }


async def test_what_a_quota_says_is_used_falls_when_something_goes_or_ends() -> None:
    async with kubernetes() as api:
        await api.create(
            "resourcequotas", {"metadata": {"name": "q"}, "spec": {"hard": {"pods": "5", "configmaps": "9"}}}
        )

        async def used() -> dict[str, str]:
            for _ in range(3):  # the turns of what counts
                await asyncio.sleep(0)
            found: dict[str, str] = (await api.get("resourcequotas/q"))["status"]["used"]
            return found

        assert await used() == {"pods": "0", "configmaps": "0"}
        for name in "ab":
            await api.create("pods", pod(name))
        await api.create("configmaps", {"metadata": {"name": "c"}})
        assert await used() == {"pods": "2", "configmaps": "1"}
        await api.delete("pods/a")
        assert await used() == {"pods": "1", "configmaps": "1"}
        await api.patch("pods/b/status", {"status": {"phase": "Succeeded"}})
        await api.delete("configmaps/c")
        assert await used() == {"pods": "0", "configmaps": "0"}
