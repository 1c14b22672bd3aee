"""MutatingAdmissionPolicy: objects that are merged, patches, order, and what may not be changed."""

from typing import Any

import pytest

from quartermaster.testing.kubernetes import Json, Kubernetes, Refused, kubernetes, pod

GROUP = "/apis/admissionregistration.k8s.io/v1"
PODS = {"apiGroups": [""], "apiVersions": ["v1"], "operations": ["CREATE", "UPDATE"], "resources": ["pods"]}


def merged(expression: str) -> Json:
    return {"patchType": "ApplyConfiguration", "applyConfiguration": {"expression": expression}}


def patched(expression: str) -> Json:
    return {"patchType": "JSONPatch", "jsonPatch": {"expression": expression}}


async def policy(api: Kubernetes, name: str, *mutations: Json, **spec: Any) -> None:
    usual = {"failurePolicy": "Fail", "reinvocationPolicy": "Never", "matchConstraints": {"resourceRules": [PODS]}}
    await api.create(
        f"{GROUP}/mutatingadmissionpolicies",
        {"metadata": {"name": name}, "spec": usual | {"mutations": list(mutations), **spec}},
    )
    binding = {"metadata": {"name": name}, "spec": {"policyName": name}}
    await api.create(f"{GROUP}/mutatingadmissionpolicybindings", binding)


async def test_an_object_is_merged_by_the_keys_of_its_lists() -> None:
    async with kubernetes() as api:
        side = 'Object.spec.containers{name: "side", image: "sidecar", workingDir: "/" + object.metadata.name}'
        await policy(api, "side", merged(f"Object{{spec: Object.spec{{containers: [{side}]}}}}"))
        made = await api.create("pods", pod())
        assert [item["name"] for item in made["spec"]["containers"]] == ["main", "side"]
        side = made["spec"]["containers"][1]
        assert (side["workingDir"], side["imagePullPolicy"]) == ("/p", "Always")
        again = await api.patch("pods/p", {"metadata": {"labels": {"a": "b"}}})
        assert len(again["spec"]["containers"]) == 2


async def test_a_patch_may_test_first_and_speak_of_variables() -> None:
    async with kubernetes() as api:
        add = (
            '[JSONPatch{op: "test", path: "/spec/restartPolicy", value: "Always"},'
            ' JSONPatch{op: "add", path: "/metadata/labels/" + jsonpatch.escapeKey("x/y"), value: variables.team}]'
        )
        team = {"name": "team", "expression": "object.metadata.?labels[?'team'].orValue('none')"}
        await policy(api, "team", patched(add), variables=[team])
        labelled = pod() | {"metadata": {"name": "p", "labels": {"team": "a"}}}
        assert (await api.create("pods", labelled))["metadata"]["labels"] == {"team": "a", "x/y": "a"}
        other = pod("q", restartPolicy="Never") | {"metadata": {"name": "q", "labels": {"team": "a"}}}
        assert (await api.create("pods", other))["metadata"]["labels"] == {"team": "a"}


async def test_a_policy_that_asks_for_it_runs_again_after_another_changed_the_object() -> None:
    async with kubernetes() as api:
        count = 'Object{metadata: Object.metadata{annotations: {"n": string(size(object.spec.containers))}}}'
        side = 'Object{spec: Object.spec{containers: [Object.spec.containers{name: "side", image: "s"}]}}'
        await policy(api, "a-count", merged(count), reinvocationPolicy="IfNeeded")
        await policy(api, "b-side", merged(side))
        assert (await api.create("pods", pod()))["metadata"]["annotations"] == {"n": "2"}


@pytest.mark.parametrize(
    ("mutation", "why"),
    [
        (merged('Object{spec: Object.spec{containers: [{"name": "main", "args": object.absent}]}}'), "absent"),
        (merged("1 + 1"), "the expression gives no object"),
        (
            merged('Object{spec: Object.spec{containers: [{"name": "main", "command": ["x"]}]}}'),
            "may not mutate atomic arrays, maps or structs: .spec.containers[0].command",
        ),
        (patched('[JSONPatch{op: "remove", path: "/spec/none"}]'), "JSON Patch"),
    ],
)
async def test_a_policy_that_fails_refuses_or_is_passed_over(mutation: Json, why: str) -> None:
    async with kubernetes() as api:
        await policy(api, "bad", mutation)
        with pytest.raises(Refused) as refused:
            await api.create("pods", pod())
        assert (refused.value.code, refused.value.status["reason"]) == (403, "Invalid")
        assert "policy 'bad' with binding 'bad' denied request" in refused.value.status["message"]
        assert why in refused.value.status["message"]
        change = {"spec": {"failurePolicy": "Ignore"}}
        await api.patch(f"{GROUP}/mutatingadmissionpolicies/bad", change)
        made = await api.create("pods", pod())
        assert len(made["spec"]["containers"]) == 1
