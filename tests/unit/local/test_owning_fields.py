"""Server-side apply: who owns what, conflicts, and what goes when it is no longer applied."""

from typing import Any

import pytest

from quartermaster.testing.kubernetes import Json, Kubernetes, Refused, kubernetes, pod


async def apply(api: Kubernetes, path: str, body: Json, manager: str, *, force: bool = False) -> Json:
    return await api.patch(f"{path}?fieldManager={manager}{'&force=true' if force else ''}", body, "apply")


def config(**data: str) -> Json:
    return {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "c"}, "data": data}


def owners(value: Json) -> dict[str, Any]:
    return {entry["manager"]: entry["fieldsV1"] for entry in value["metadata"]["managedFields"]}


async def test_applying_makes_the_object_and_owns_what_it_says() -> None:
    async with kubernetes() as api:
        made = await apply(api, "configmaps/c", config(a="1"), "one")
        assert owners(made) == {"one": {"f:data": {"f:a": {}}}}
        entry = made["metadata"]["managedFields"][0]
        assert (entry["operation"], entry["apiVersion"], entry["fieldsType"]) == ("Apply", "v1", "FieldsV1")


async def test_two_managers_conflict_over_one_field() -> None:
    async with kubernetes() as api:
        await apply(api, "configmaps/c", config(a="1"), "one")
        with pytest.raises(Refused) as refused:
            await apply(api, "configmaps/c", config(a="2"), "two")
        assert refused.value.code == 409
        assert refused.value.status["message"] == 'Apply failed with 1 conflict: conflict with "one": .data.a'
        assert refused.value.status["details"]["causes"] == [
            {"reason": "FieldManagerConflict", "message": 'conflict with "one"', "field": ".data.a"}
        ]
        forced = await apply(api, "configmaps/c", config(a="2"), "two", force=True)
        assert forced["data"] == {"a": "2"}
        assert owners(forced) == {"two": {"f:data": {"f:a": {}}}}


async def test_equal_values_are_shared() -> None:
    async with kubernetes() as api:
        await apply(api, "configmaps/c", config(a="1"), "one")
        shared = await apply(api, "configmaps/c", config(a="1"), "two")
        assert set(owners(shared)) == {"one", "two"}
        kept = await apply(api, "configmaps/c", config(), "two")
        assert kept["data"] == {"a": "1"}
        gone = await apply(api, "configmaps/c", config(), "one")
        assert "data" not in gone


async def test_what_is_no_longer_applied_goes() -> None:
    async with kubernetes() as api:
        await apply(api, "configmaps/c", config(a="1", b="2"), "one")
        await api.patch("configmaps/c?fieldManager=other", {"data": {"x": "9"}})
        after = await apply(api, "configmaps/c", config(b="2"), "one")
        assert after["data"] == {"b": "2", "x": "9"}


async def test_an_update_takes_fields_over() -> None:
    async with kubernetes() as api:
        await apply(api, "configmaps/c", config(a="1", b="2"), "one")
        after = await api.patch("configmaps/c?fieldManager=other", {"data": {"a": "9"}})
        assert owners(after) == {"one": {"f:data": {"f:b": {}}}, "other": {"f:data": {"f:a": {}}}}


async def test_lists_of_items_merge_by_their_keys() -> None:
    async with kubernetes() as api:
        body = pod() | {"metadata": {"name": "p"}}
        await apply(api, "pods/p", body, "one")
        more = {"apiVersion": "v1", "kind": "Pod", "spec": {"tolerations": [{"key": "k", "operator": "Exists"}]}}
        tolerant = await apply(api, "pods/p", more, "two")  # one whole, but admission adds its own again
        assert [item["key"].partition("/")[2] for item in tolerant["spec"]["tolerations"]] == [
            "",
            "not-ready",
            "unreachable",
        ]
        path = "/apis/apps/v1/namespaces/default/deployments/d"
        template = {"metadata": {"labels": {"a": "b"}}, "spec": {"containers": [{"name": "x", "image": "1"}]}}
        spec = {"selector": {"matchLabels": {"a": "b"}}, "template": template}
        base = {"apiVersion": "apps/v1", "kind": "Deployment", "metadata": {"name": "d"}}
        await apply(api, path, base | {"spec": spec}, "one")
        side = {"template": {"spec": {"containers": [{"name": "side", "image": "2"}]}}}
        both = await apply(api, path, base | {"spec": side}, "two")
        assert [item["name"] for item in both["spec"]["template"]["spec"]["containers"]] == ["x", "side"]
        alone = await apply(api, path, base | {"spec": {}}, "two")
        assert [item["name"] for item in alone["spec"]["template"]["spec"]["containers"]] == ["x"]


async def test_applying_the_same_again_commits_nothing() -> None:
    async with kubernetes() as api:
        first = await apply(api, "configmaps/c", config(a="1"), "one")
        api.clock.now += 60
        second = await apply(api, "configmaps/c", config(a="1"), "one")
        assert first == second


async def test_apply_needs_a_manager_and_declared_fields() -> None:
    async with kubernetes() as api:
        with pytest.raises(Refused, match="fieldManager: Required value: is required for apply patch"):
            await api.patch("configmaps/c", config(a="1"), "apply")
        with pytest.raises(Refused, match=r"\.datum: field not declared in schema"):
            await apply(api, "configmaps/c", config() | {"datum": {}}, "one")
        with pytest.raises(Refused, match=r"managedFields must be nil"):
            await apply(api, "configmaps/c", config() | {"metadata": {"managedFields": [{"manager": "x"}]}}, "one")


async def test_creating_records_what_kubernetes_records() -> None:
    """As the real server writes it for the same pod (kubectl run)."""
    async with kubernetes() as api:
        made = await api.create(
            "pods?fieldManager=kubectl-run", pod() | {"metadata": {"name": "p", "labels": {"run": "p"}}}
        )
        assert owners(made) == {
            "kubectl-run": {
                "f:metadata": {"f:labels": {".": {}, "f:run": {}}},
                "f:spec": {
                    "f:containers": {
                        'k:{"name":"main"}': {
                            ".": {},
                            "f:image": {},
                            "f:imagePullPolicy": {},
                            "f:name": {},
                            "f:resources": {},
                            "f:terminationMessagePath": {},
                            "f:terminationMessagePolicy": {},
                        }
                    },
                    "f:dnsPolicy": {},
                    "f:enableServiceLinks": {},
                    "f:restartPolicy": {},
                    "f:schedulerName": {},
                    "f:securityContext": {},
                    "f:terminationGracePeriodSeconds": {},
                },
            }
        }
