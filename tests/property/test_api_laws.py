"""Laws of the embedded API: patches undo differences, watches converge, owners are true, no request breaks it."""

import asyncio
import json
import string
from contextlib import aclosing
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from quartermaster.local.apiserver.fieldsets import compare, difference, fields_of, intersection, paths, union
from quartermaster.local.apiserver.managers import apply
from quartermaster.local.apiserver.normal import normalize
from quartermaster.local.apiserver.patches import (
    json_diff,
    json_patch,
    merge_diff,
    merge_patch,
    strategic_diff,
    strategic_patch,
)
from quartermaster.local.apiserver.quantity import canonical, parse
from quartermaster.local.apiserver.schemas import Schemas, Type
from quartermaster.testing.kubernetes import Json, Kubernetes, kubernetes, pod

SCHEMAS = Schemas()
NAMES = st.text(string.ascii_lowercase, min_size=1, max_size=2)
LEAVES = st.none() | st.booleans() | st.integers(-5, 5) | st.text("ab/~", max_size=3)
VALUES = st.recursive(
    LEAVES, lambda inner: st.lists(inner, max_size=3) | st.dictionaries(NAMES, inner, max_size=3), max_leaves=8
)
OBJECTS = st.dictionaries(NAMES, VALUES, max_size=4)


def without_nulls(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: without_nulls(item) for key, item in value.items() if item is not None}
    return value


def copied(value: Any) -> Any:
    return json.loads(json.dumps(value))


@given(OBJECTS, OBJECTS)
def test_a_json_patch_of_a_difference_gives_the_other(old: Json, new: Json) -> None:
    assert json_patch(copied(old), json_diff(old, new)) == new


@given(OBJECTS, OBJECTS)
def test_a_merge_patch_of_a_difference_gives_the_other(old: Json, new: Json) -> None:
    new = without_nulls(new)
    assert merge_patch(copied(old), copied(merge_diff(old, new))) == new


def containers() -> st.SearchStrategy[list[Json]]:
    environment = st.lists(st.sampled_from("ABC"), unique=True, max_size=3).map(
        lambda names: [{"name": name, "value": name} for name in names]
    )
    one = st.fixed_dictionaries(
        {"name": st.sampled_from("abc"), "image": NAMES},
        optional={"env": environment, "command": st.lists(NAMES, max_size=2)},
    )
    return st.lists(one, max_size=3, unique_by=lambda item: item["name"])


PODS = st.fixed_dictionaries(
    {
        "metadata": st.fixed_dictionaries(
            {},
            optional={
                "labels": st.dictionaries(NAMES, NAMES, max_size=3),
                "finalizers": st.lists(NAMES, unique=True, max_size=3),
            },
        )
    },
    optional={
        "spec": st.fixed_dictionaries(
            {"containers": containers()}, optional={"nodeName": NAMES, "hostNetwork": st.booleans()}
        )
    },
)


def pod_type() -> Type:
    found = SCHEMAS.of("/v1/Pod")
    assert found is not None
    return found


@given(PODS, PODS)
def test_a_strategic_patch_of_a_difference_gives_the_other(old: Json, new: Json) -> None:
    assert strategic_patch(copied(old), copied(strategic_diff(old, new, pod_type())), pod_type()) == new


@given(PODS, PODS)
def test_sets_of_fields_are_sets(left: Json, right: Json) -> None:
    one, two = fields_of(left, pod_type()), fields_of(right, pod_type())
    both, either = set(paths(intersection(one, two))), set(paths(union(one, two)))
    assert both == set(paths(one)) & set(paths(two))
    assert either == set(paths(one)) | set(paths(two))
    assert set(paths(difference(one, two))) == set(paths(one)) - set(paths(two))


@given(PODS, PODS)
def test_what_compares_equal_is_equal(left: Json, right: Json) -> None:
    normalize(left, pod_type())
    normalize(right, pod_type())
    changed, removed = compare(left, right, pod_type())
    if left == right:
        assert not changed
        assert not removed
    elif not changed and not removed:
        assert bare(left) == bare(right)


def bare(value: Any) -> Any:
    """Without what no set of fields can tell: the order of items, and the empty from the absent."""
    if isinstance(value, dict):
        return {key: inner for key, item in value.items() if (inner := bare(item)) not in (None, {}, [], "", False)}
    if isinstance(value, list):
        return sorted((bare(item) for item in value), key=str)
    return value


def applied(live: Json | None, config: Json, manager: str, *, force: bool = True) -> Json:
    wanted = copied(config)
    wanted.setdefault("metadata", {})
    return apply(
        copied(live) if live else None,
        wanted,
        type_=pod_type(),
        manager=manager,
        subresource="",
        force=force,
        now="t",
        api_version="v1",
    )


@given(PODS, PODS)
def test_applying_twice_is_applying_once(one: Json, two: Json) -> None:
    live = applied(applied(None, one, "a"), two, "b")
    assert applied(live, two, "b") == live


@given(PODS, PODS)
def test_all_that_was_applied_is_there_and_owned(one: Json, two: Json) -> None:
    live = applied(applied(None, one, "a"), two, "b")
    entries = {entry["manager"]: entry["fieldsV1"] for entry in live["metadata"]["managedFields"]}
    wanted = set(paths(fields_of({"metadata": two.get("metadata", {}), **two}, pod_type())))
    assert {path for path in wanted if path != ".metadata"} <= set(paths(entries.get("b", {}))) | {""}


@given(PODS, PODS)
def test_applying_nothing_takes_back_what_nobody_else_owns(one: Json, two: Json) -> None:
    alone = applied(None, one, "a")
    shared = applied(alone, two, "b")
    back = applied(shared, {"metadata": {}}, "b")
    kept = {entry["manager"] for entry in back["metadata"]["managedFields"]}
    assert "b" not in kept
    assert applied(back, one, "a")["metadata"].get("labels") == alone["metadata"].get("labels")


@given(st.integers(0, 10**9), st.sampled_from(["", "m", "k", "M", "Ki", "Mi", "Gi"]))
def test_the_canonical_form_of_a_quantity_has_its_value(number: int, suffix: str) -> None:
    text = f"{number}{suffix}"
    assert parse(canonical(text)) == parse(text)
    assert canonical(canonical(text)) == canonical(text)


STEPS = st.lists(
    st.tuples(
        st.sampled_from(["create", "label", "delete", "watch", "relist", "compact"]),
        st.sampled_from("abc"),
        st.booleans(),
    ),
    max_size=25,
)


class Informer:
    """A client that lists, watches, and lists again when told to: what it knows has to become what there is."""

    def __init__(self, api: Kubernetes, query: str) -> None:
        self.api, self.query = api, query
        self.known: dict[str, Json] = {}
        self.revision = ""

    async def relist(self) -> None:
        found = await self.api.get(f"pods?{self.query}")
        self.known = {item["metadata"]["name"]: item["metadata"] for item in found["items"]}
        self.revision = found["metadata"]["resourceVersion"]

    async def watch(self) -> None:
        """Take in what is there now."""
        response = await self.api.send("GET", f"pods?watch=true&resourceVersion={self.revision}&{self.query}")
        assert response.stream is not None
        async with aclosing(response.stream) as stream:  # type: ignore[type-var]
            try:
                async with asyncio.timeout(0):
                    async for part in stream:
                        for event in map(json.loads, part.splitlines()):
                            if event["type"] == "ERROR":
                                assert event["object"]["code"] == 410
                                await self.relist()
                            else:
                                self.take(event)
            except TimeoutError:
                pass

    def take(self, event: Json) -> None:
        metadata = event["object"]["metadata"]
        name = metadata["name"]
        self.revision = metadata["resourceVersion"]
        if event["type"] == "DELETED":
            assert name in self.known
            del self.known[name]
        else:
            assert (name in self.known) is (event["type"] == "MODIFIED")
            self.known[name] = metadata


@settings(max_examples=60)
@given(STEPS, st.sampled_from(["", "labelSelector=on"]))
def test_any_interleaving_of_list_watch_and_relist_converges(steps: list[tuple[str, str, bool]], query: str) -> None:
    async def play() -> None:
        async with kubernetes(history=8) as api:
            informer = Informer(api, query)
            await informer.relist()
            for step, name, flag in steps:
                if step == "create":
                    await api.send("POST", "pods", pod(name))
                elif step == "label":
                    change = {"metadata": {"labels": {"on": "1" if flag else None, "n": str(flag)}}}
                    await api.send("PATCH", f"pods/{name}", change, content_type="application/merge-patch+json")
                elif step == "delete":
                    await api.send("DELETE", f"pods/{name}")
                elif step == "watch":
                    await informer.watch()
                elif step == "relist":
                    await informer.relist()
                else:
                    table = api.server.cluster.store.table("pods")
                    table.compact(api.server.cluster.store.revision)
            await informer.watch()
            there = {item["metadata"]["name"]: item["metadata"] for item in (await api.get(f"pods?{query}"))["items"]}
            assert informer.known == there

    asyncio.run(play())


PATHS = st.sampled_from(
    [
        *("/", "/api", "/apis", "/api/v1", "/apis/apps/v1", "/openapi/v3", "/version", "/metrics", "/healthz/x"),
        *("/api/v1/pods", "/api/v1/namespaces/default/pods", "/api/v1/namespaces/default/pods/p", "/api/v1/nodes"),
        *("/api/v1/namespaces/default/pods/p/status", "/api/v1/namespaces/default/pods/p/binding"),
        *("/api/v1/namespaces/default/pods/p/eviction", "/api/v1/namespaces/default/pods/p/log"),
        *("/api/v1/namespaces/default", "/api/v1/namespaces/default/finalize", "/api/v1/watch/pods"),
        "/apis/apps/v1/namespaces/default/deployments",
        "/apis/apps/v1/namespaces/default/deployments/p",
        "/apis/apps/v1/namespaces/default/deployments/p/scale",
        "/apis/batch/v1/namespaces/default/jobs",
        "/api/v1/namespaces/default/services",
        "/apis/autoscaling/v1/namespaces/default/horizontalpodautoscalers",
        "/apis/events.k8s.io/v1/namespaces/default/events",
        "/apis/apiextensions.k8s.io/v1/customresourcedefinitions",
        "/apis/authorization.k8s.io/v1/selfsubjectaccessreviews",
        "/apis/authorization.k8s.io/v1/subjectaccessreviews",
        "/apis/rbac.authorization.k8s.io/v1/clusterroles",
        "/apis/rbac.authorization.k8s.io/v1/clusterrolebindings",
        "/apis/policy/v1/namespaces/default/poddisruptionbudgets",
        "/apis/resource.k8s.io/v1/namespaces/default/resourceclaims",
        "/api/v1/namespaces/default/resourcequotas",
        "/api/v1/namespaces/default/limitranges",
        "/apis/admissionregistration.k8s.io/v1/validatingadmissionpolicies",
        "/apis/admissionregistration.k8s.io/v1/mutatingadmissionpolicies",
        "/apis/admissionregistration.k8s.io/v1/mutatingadmissionpolicybindings",
        "/apis",
        "/openapi/v3",
        "/api/v1/namespaces/default/serviceaccounts/default/token",
    ]
)
QUERIES = st.sampled_from(
    [
        *("", "limit=1", "limit=x", "continue=abc", "labelSelector=a%20in%20(", "fieldSelector=a%3D%3Db", "dryRun=All"),
        *("dryRun=x", "fieldManager=m&force=true", "fieldValidation=Strict", "resourceVersion=0", "resourceVersion=-1"),
        *(
            "resourceVersion=1&resourceVersionMatch=Exact",
            "timeoutSeconds=x",
            "watch=true&resourceVersion=1",
            "pretty=true",
            "propagationPolicy=Foreground",
            "includeObject=Object",
        ),
    ]
)
FIELDS = st.sampled_from(
    [
        "apiVersion",
        "kind",
        "metadata",
        "spec",
        "status",
        "name",
        "labels",
        "containers",
        "template",
        "selector",
        "rules",
        "subjects",
        "roleRef",
        "target",
        "replicas",
        "names",
        "versions",
        "schema",
        "openAPIV3Schema",
        "limits",
        "hard",
        "conditions",
        "finalizers",
        "ownerReferences",
        "annotations",
        "ports",
        "type",
        "data",
    ]
)
JUNK = st.recursive(
    LEAVES, lambda inner: st.lists(inner, max_size=2) | st.dictionaries(FIELDS, inner, max_size=4), max_leaves=12
)
BODIES = (
    JUNK.map(lambda value: json.dumps(value).encode())
    | st.binary(max_size=40)
    | st.dictionaries(FIELDS, JUNK, max_size=4).map(
        lambda value: json.dumps({"metadata": {"name": "p"}} | value).encode()
    )
    | st.binary(max_size=40).map(lambda raw: b"k8s\x00" + raw)
)
TYPES = st.sampled_from(
    [
        *("application/json", "application/yaml", "application/vnd.kubernetes.protobuf", "text/plain", ""),
        *("application/json-patch+json", "application/merge-patch+json", "application/strategic-merge-patch+json"),
        "application/apply-patch+yaml",
    ]
)
ACCEPTS = st.sampled_from(
    [
        "",
        "*/*",
        "application/yaml",
        "text/html",
        "application/json;as=Table;v=v1;g=meta.k8s.io",
        "application/json;as=PartialObjectMetadata;v=v1;g=meta.k8s.io",
        "application/vnd.kubernetes.protobuf",
        "application/vnd.kubernetes.protobuf;as=PartialObjectMetadataList;v=v1;g=meta.k8s.io",
    ]
)
REQUESTS = st.tuples(
    st.sampled_from(["GET", "POST", "PUT", "PATCH", "DELETE", "HEAD", "TRACE"]), PATHS, QUERIES, BODIES, TYPES, ACCEPTS
)


@settings(max_examples=150)
@given(st.lists(REQUESTS, min_size=1, max_size=6))
def test_no_request_breaks_the_server(requests: list[tuple[str, str, str, bytes, str, str]]) -> None:
    async def play() -> None:
        async with kubernetes() as api:
            await api.create("pods", pod())
            for method, path, query, body, media, accept in requests:
                response = await api.send(method, f"{path}?{query}", body, content_type=media, accept=accept)
                if response.stream is not None:
                    async with aclosing(response.stream):  # type: ignore[type-var]
                        pass
                    continue
                # Some 500 are the real server's own, each with its words; a broken handler has only these.
                assert b"an error on the server" not in response.body, (method, path, query, body, media, accept)

    asyncio.run(play())
