"""Definitions make kinds: served, pruned, defaulted, validated, printed, scaled; and they go with their objects."""

from contextlib import aclosing
from typing import Any

import pytest

from quartermaster.local.apiserver.schema_check import check
from quartermaster.testing.kubernetes import Json, Kubernetes, Refused, kubernetes

CRDS = "/apis/apiextensions.k8s.io/v1/customresourcedefinitions"
QUEUES = "/apis/example.com/v1/namespaces/default/queues"


def definition(**spec: Any) -> Json:
    schema = {
        "type": "object",
        "properties": {
            "spec": {
                "type": "object",
                "required": ["weight"],
                "x-kubernetes-validations": [
                    {"rule": "!has(self.limit) || self.limit >= self.weight", "message": "too low"}
                ],
                "properties": {
                    "weight": {"type": "integer", "minimum": 0},
                    "limit": {"type": "integer"},
                    "mode": {"type": "string", "enum": ["strict", "soft"], "default": "soft"},
                    "replicas": {"type": "integer"},
                    "parts": {
                        "type": "array",
                        "x-kubernetes-list-type": "map",
                        "x-kubernetes-list-map-keys": ["name"],
                        "items": {
                            "type": "object",
                            "properties": {"name": {"type": "string"}, "n": {"type": "integer"}},
                        },
                    },
                    "free": {"type": "object", "x-kubernetes-preserve-unknown-fields": True},
                },
            },
            "status": {"type": "object", "properties": {"replicas": {"type": "integer"}}},
        },
    }
    version = {
        "name": "v1",
        "served": True,
        "storage": True,
        "schema": {"openAPIV3Schema": schema},
        "subresources": {
            "status": {},
            "scale": {"specReplicasPath": ".spec.replicas", "statusReplicasPath": ".status.replicas"},
        },
        "additionalPrinterColumns": [{"name": "Weight", "type": "integer", "jsonPath": ".spec.weight"}],
        "selectableFields": [{"jsonPath": ".spec.mode"}],
    }
    names = {"plural": "queues", "kind": "Queue", "shortNames": ["qq"]}
    return {
        "metadata": {"name": "queues.example.com"},
        "spec": {"group": "example.com", "scope": "Namespaced", "names": names, "versions": [version], **spec},
    }


def queue(name: str = "a", **spec: Any) -> Json:
    return {"apiVersion": "example.com/v1", "kind": "Queue", "metadata": {"name": name}, "spec": {"weight": 1, **spec}}


async def define(api: Kubernetes) -> None:
    await api.create(CRDS, definition())


async def test_a_definition_that_was_applied_is_established_too() -> None:
    async with kubernetes() as api:
        body = definition() | {"apiVersion": "apiextensions.k8s.io/v1", "kind": "CustomResourceDefinition"}
        await api.patch(f"{CRDS}/queues.example.com?fieldManager=me", body, kind="apply")
        conditions = (await api.get(f"{CRDS}/queues.example.com"))["status"]["conditions"]
        assert [item["type"] for item in conditions] == ["NamesAccepted", "Established"]


async def test_a_definition_is_served_at_once() -> None:
    async with kubernetes() as api:
        await define(api)
        established = await api.get(f"{CRDS}/queues.example.com")
        assert [item["type"] for item in established["status"]["conditions"]] == ["NamesAccepted", "Established"]
        resources = (await api.get("/apis/example.com/v1"))["resources"]
        assert [item["name"] for item in resources] == ["queues", "queues/status", "queues/scale"]
        assert resources[0]["shortNames"] == ["qq"]
        document = await api.get("/openapi/v3/apis/example.com/v1")
        assert "com.example.v1.Queue" in document["components"]["schemas"]


async def test_objects_are_pruned_and_defaulted() -> None:
    async with kubernetes() as api:
        await define(api)
        made = await api.create(QUEUES, queue(oops=1, free={"any": {"thing": 1}}))
        assert made["spec"] == {"weight": 1, "free": {"any": {"thing": 1}}, "mode": "soft"}
        assert made["metadata"]["generation"] == 1


@pytest.mark.parametrize(
    ("spec", "message"),
    [
        ({"weight": -1}, "spec.weight: Invalid value: -1: spec.weight in body should be greater than or equal to 0"),
        ({"weight": "x"}, 'spec.weight in body must be of type integer: "string"'),
        ({"mode": "x"}, 'spec.mode: Unsupported value: "x": supported values: "strict", "soft"'),
        ({"weight": 5, "limit": 1}, "spec: Invalid value: too low"),
        ({"parts": [{"name": "x"}, {"name": "x"}]}, 'spec.parts[1]: Duplicate value: {"name":"x"}'),
    ],
)
async def test_objects_are_validated(spec: Json, message: str) -> None:
    async with kubernetes() as api:
        await define(api)
        with pytest.raises(Refused) as refused:
            await api.create(QUEUES, queue(**spec))
        assert refused.value.code == 422
        assert message in refused.value.status["message"]


async def test_status_and_scale_are_their_own() -> None:
    async with kubernetes() as api:
        await define(api)
        await api.create(QUEUES, queue() | {"status": {"replicas": 9}})
        after = await api.patch(f"{QUEUES}/a/status", {"status": {"replicas": 2}, "spec": {"weight": 7}})
        assert (after["status"], after["spec"]["weight"], after["metadata"]["generation"]) == ({"replicas": 2}, 1, 1)
        scaled = await api.patch(f"{QUEUES}/a/scale", {"spec": {"replicas": 4}})
        assert (scaled["kind"], scaled["spec"]["replicas"], scaled["status"]["replicas"]) == ("Scale", 4, 2)
        assert (await api.get(f"{QUEUES}/a"))["metadata"]["generation"] == 2


async def test_columns_and_fields_are_those_of_the_definition() -> None:
    async with kubernetes() as api:
        await define(api)
        await api.create(QUEUES, queue())
        await api.create(QUEUES, queue("b", mode="strict"))
        table = await api.get(QUEUES, accept="application/json;as=Table;v=v1;g=meta.k8s.io")
        assert [column["name"] for column in table["columnDefinitions"]] == ["Name", "Weight"]
        assert [row["cells"] for row in table["rows"]] == [["a", 1], ["b", 1]]
        assert await api.names(f"{QUEUES}?fieldSelector=spec.mode%3Dstrict") == ["b"]


async def test_lists_by_key_merge_when_applied() -> None:
    async with kubernetes() as api:
        await define(api)
        for manager, part in (("one", {"name": "x", "n": 1}), ("two", {"name": "y", "n": 2})):
            await api.patch(f"{QUEUES}/a?fieldManager={manager}", queue(parts=[part]), "apply")
        assert [item["name"] for item in (await api.get(f"{QUEUES}/a"))["spec"]["parts"]] == ["x", "y"]


async def test_objects_go_with_their_definition() -> None:
    async with kubernetes() as api:
        await define(api)
        await api.create(QUEUES, queue())
        await api.delete(f"{CRDS}/queues.example.com")
        await api.settle()
        assert (await api.send("GET", QUEUES)).body == b"404 page not found\n"
        await define(api)
        assert await api.names(QUEUES) == []


async def test_what_a_stricter_schema_forbids_may_stay_but_not_change() -> None:
    async with kubernetes() as api:
        await define(api)
        await api.create(QUEUES, queue(mode="strict", limit=5))
        stricter = definition()
        properties = stricter["spec"]["versions"][0]["schema"]["openAPIV3Schema"]["properties"]["spec"]["properties"]
        properties["mode"]["enum"] = ["soft"]
        properties["limit"]["x-kubernetes-validations"] = [{"rule": "self < 3", "message": "too high"}]
        patch = [{"op": "replace", "path": "/spec/versions", "value": stricter["spec"]["versions"]}]
        await api.patch(f"{CRDS}/queues.example.com", patch, "json")
        changed = await api.patch(f"{QUEUES}/a", {"spec": {"weight": 2}})
        assert changed["spec"] == {"weight": 2, "mode": "strict", "limit": 5}
        with pytest.raises(Refused, match="too high"):
            await api.patch(f"{QUEUES}/a", {"spec": {"limit": 4}})
        with pytest.raises(Refused, match="Unsupported value"):
            await api.create(QUEUES, queue("b", mode="strict"))


@pytest.mark.parametrize(
    ("schema", "value", "messages"),
    [
        (
            {"oneOf": [{"required": ["a"]}, {"required": ["b"]}]},
            {"a": 1, "b": 1},
            ['"x" must validate one and only one schema (oneOf). Found 2 valid alternatives'],
        ),
        (
            {"oneOf": [{"required": ["a"]}, {"required": ["b"]}]},
            {},
            ['"x" must validate one and only one schema (oneOf). Found none valid', "x.a: Required value"],
        ),
        ({"not": {"required": ["a"]}}, {"a": 1}, ['"x" must not validate the schema (not)']),
        ({"allOf": [{"maxProperties": 1}]}, {"a": 1, "b": 2}, ["Too many: 2: must have at most 1 item"]),
        ({"properties": {"a": {"type": "string"}}}, {"a": None}, ['x.a in body must be of type string: "null"']),
    ],
)
def test_what_is_wrong_with_a_value_is_said_as_kube_openapi_does(schema: Json, value: Any, messages: list[str]) -> None:
    causes = check({"x": value}, {"type": "object", "properties": {"x": {"type": "object"} | schema}})
    texts = [f"{cause.field}: {cause.message}" for cause in causes]
    for message in messages:
        assert any(message in text for text in texts), texts


@pytest.mark.parametrize(
    ("change", "field"),
    [
        ({"names": {"plural": "Queues", "kind": "Queue"}}, "spec.names.plural"),
        ({"names": {"plural": "queues", "kind": "Queue", "listKind": "Queue"}}, "spec.names.listKind"),
        ({"conversion": {"strategy": "Webhook"}}, "spec.conversion.webhookClientConfig"),
        ({"group": "flat"}, "spec.group"),
    ],
)
async def test_a_definition_that_cannot_be_served_is_refused(change: Json, field: str) -> None:
    async with kubernetes() as api:
        with pytest.raises(Refused) as refused:
            await api.create(CRDS, definition(**change))
        assert field in [cause["field"] for cause in refused.value.status["details"]["causes"]]


async def test_a_watch_from_before_the_definition_is_too_old() -> None:
    async with kubernetes() as api:
        before = (await api.get("pods"))["metadata"]["resourceVersion"]
        await define(api)
        async with aclosing(api.watch(f"{QUEUES}?watch=true&resourceVersion={before}")) as events:
            assert (await anext(events))["object"]["code"] == 410
        listed = await api.get(f"{QUEUES}?resourceVersion={before}&resourceVersionMatch=NotOlderThan")
        assert listed["items"] == []


async def test_what_only_a_webhook_converts_is_served_as_it_is_stored_and_never_guessed() -> None:
    async with kubernetes() as api:
        made = definition()
        second = made["spec"]["versions"][0] | {"name": "v2", "storage": False}
        made["spec"]["versions"].append(second)
        client = {"clientConfig": {"url": "https://localhost:1/convert"}, "conversionReviewVersions": ["v1"]}
        made["spec"]["conversion"] = {"strategy": "Webhook", "webhook": client}
        await api.create(CRDS, made)
        other = QUEUES.replace("/v1/", "/v2/")
        assert (await api.get(other))["items"] == []
        await api.create(QUEUES, queue())
        assert await api.names(QUEUES) == ["a"]
        for ask in (
            api.get(other),
            api.get(f"{other}/a"),
            api.create(other, queue("b") | {"apiVersion": "example.com/v2"}),
            anext(api.watch(f"{other}?watch=true")),
        ):
            with pytest.raises(Refused, match=r"conversion webhook for example\.com/v") as refused:
                await ask
            assert refused.value.code == 500
        assert await api.names(QUEUES) == ["a"]
