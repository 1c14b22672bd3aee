"""Create, read, list, update, delete: what every client relies on first."""

import pytest

from quartermaster.testing.kubernetes import Refused, kubernetes, pod

TABLE = "application/json;as=Table;v=v1;g=meta.k8s.io"


async def test_an_object_gets_what_the_server_gives_it() -> None:
    async with kubernetes() as api:
        made = await api.create("pods", pod())
        metadata = made["metadata"]
        assert metadata["namespace"] == "default"
        assert metadata["uid"]
        assert metadata["creationTimestamp"] == "2026-01-01T00:00:00Z"
        assert metadata["generation"] == 1
        assert made["spec"]["schedulerName"] == "default-scheduler"
        assert made["status"] == {"phase": "Pending", "qosClass": "BestEffort"}
        assert await api.get("pods/p") == made


async def test_one_revision_counts_for_all_kinds() -> None:
    async with kubernetes() as api:
        first = await api.create("pods", pod())
        second = await api.create("configmaps", {"metadata": {"name": "c"}, "data": {"a": "b"}})
        assert int(second["metadata"]["resourceVersion"]) == int(first["metadata"]["resourceVersion"]) + 1


async def test_generated_names_differ() -> None:
    async with kubernetes() as api:
        body = pod() | {"metadata": {"generateName": "x-"}}
        names = {(await api.create("pods", body))["metadata"]["name"] for _ in range(20)}
        assert len(names) == 20
        assert all(name.startswith("x-") and len(name) == 7 for name in names)


@pytest.mark.parametrize(
    ("method", "path", "body", "code", "reason", "message"),
    [
        ("GET", "pods/nope", None, 404, "NotFound", 'pods "nope" not found'),
        (
            "GET",
            "/apis/apps/v1/namespaces/default/deployments/x",
            None,
            404,
            "NotFound",
            'deployments.apps "x" not found',
        ),
        ("GET", "/apis/apps/v1/things", None, 404, "NotFound", "the server could not find the requested resource"),
        ("POST", "pods", pod("p"), 409, "AlreadyExists", 'pods "p" already exists'),
        ("POST", "/api/v1/namespaces/no/pods", pod(), 404, "NotFound", 'namespaces "no" not found'),
        (
            "POST",
            "pods",
            pod("Bad_Name"),
            422,
            "Invalid",
            'Pod "Bad_Name" is invalid: metadata.name: Invalid value: "Bad_Name"',
        ),
        (
            "POST",
            "pods",
            {"metadata": {"name": "q"}},
            422,
            "Invalid",
            'Pod "q" is invalid: spec.containers: Required value',
        ),
        (
            "PATCH",
            "pods",
            {},
            405,
            "MethodNotAllowed",
            "the server does not allow this method on the requested resource",
        ),
        ("POST", "pods", b"{", 400, "BadRequest", "json parse error"),
        ("POST", "pods", {"kind": "Node", "metadata": {"name": "n"}}, 400, "BadRequest", "cannot be handled as a Pod"),
        ("GET", "pods?labelSelector=a%20b", None, 400, "BadRequest", "unable to parse requirement"),
        ("GET", "pods?fieldSelector=spec.x%3D1", None, 400, "BadRequest", "field label not supported: spec.x"),
        ("DELETE", "pods/nope", None, 404, "NotFound", 'pods "nope" not found'),
    ],
)
async def test_failures_are_said_as_kubernetes_says_them(  # noqa: PLR0917  # a table
    method: str, path: str, body: object, code: int, reason: str, message: str
) -> None:
    async with kubernetes() as api:
        await api.create("pods", pod())
        with pytest.raises(Refused) as refused:
            await api.ask(method, path, body)
        status = refused.value.status
        assert (status["kind"], status["code"], status["reason"]) == ("Status", code, reason)
        assert message in status["message"]


async def test_an_update_of_another_revision_conflicts() -> None:
    async with kubernetes() as api:
        made = await api.create("configmaps", {"metadata": {"name": "c"}, "data": {"a": "1"}})
        await api.replace("configmaps/c", made | {"data": {"a": "2"}})
        with pytest.raises(Refused, match="the object has been modified") as refused:
            await api.replace("configmaps/c", made | {"data": {"a": "3"}})
        assert refused.value.code == 409


async def test_an_update_that_changes_nothing_commits_nothing() -> None:
    async with kubernetes() as api:
        made = await api.create("configmaps", {"metadata": {"name": "c"}, "data": {"a": "1"}})
        api.clock.now += 60
        again = await api.replace("configmaps/c", made)
        assert again["metadata"]["resourceVersion"] == made["metadata"]["resourceVersion"]


async def test_generation_counts_what_was_asked_for() -> None:
    async with kubernetes() as api:
        path = "/apis/apps/v1/namespaces/default/deployments"
        template = {"metadata": {"labels": {"a": "b"}}, "spec": pod()["spec"]}
        spec = {"selector": {"matchLabels": {"a": "b"}}, "template": template}
        await api.create(path, {"metadata": {"name": "d"}, "spec": spec})
        labelled = await api.patch(f"{path}/d", {"metadata": {"labels": {"x": "y"}}})
        assert labelled["metadata"]["generation"] == 1
        scaled = await api.patch(f"{path}/d", {"spec": {"replicas": 3}})
        assert scaled["metadata"]["generation"] == 2
        status = await api.patch(f"{path}/d/status", {"status": {"replicas": 3}, "spec": {"replicas": 9}})
        assert (status["metadata"]["generation"], status["spec"]["replicas"]) == (2, 3)
        assert status["status"]["replicas"] == 3
        ignored = await api.patch(f"{path}/d", {"status": {"replicas": 7}})
        assert ignored["status"]["replicas"] == 3


async def test_lists_select_by_labels_and_fields() -> None:
    async with kubernetes() as api:
        for name, labels in (("a", {"app": "x"}), ("b", {"app": "y"}), ("c", {"app": "x", "tier": "1"})):
            await api.create("pods", pod(name) | {"metadata": {"name": name, "labels": labels}})
        await api.create("pods/b/binding", {"metadata": {"name": "b"}, "target": {"kind": "Node", "name": "n1"}})
        assert await api.names("pods?labelSelector=app%3Dx") == ["a", "c"]
        assert await api.names("pods?labelSelector=app%20in%20(x,y),!tier") == ["a", "b"]
        assert await api.names("pods?labelSelector=app!%3Dx") == ["b"]
        assert await api.names("/api/v1/pods?fieldSelector=spec.nodeName%3Dn1") == ["b"]
        assert await api.names("pods?fieldSelector=spec.nodeName%3D,metadata.name!%3Da") == ["c"]
        assert await api.names("pods?fieldSelector=status.phase%3DPending") == ["a", "b", "c"]


async def test_pages_of_a_list_come_from_one_revision() -> None:
    async with kubernetes() as api:
        for index in range(10):
            await api.create("pods", pod(f"p{index}"))
        first = await api.get("pods?limit=4")
        assert first["metadata"]["remainingItemCount"] == 6
        await api.delete("pods/p7")
        await api.create("pods", pod("p65"))
        second = await api.get(f"pods?limit=4&continue={first['metadata']['continue']}")
        third = await api.get(f"pods?limit=4&continue={second['metadata']['continue']}")
        names = [item["metadata"]["name"] for page in (first, second, third) for item in page["items"]]
        assert names == [f"p{index}" for index in range(10)]
        assert third["metadata"]["resourceVersion"] == first["metadata"]["resourceVersion"]
        assert "continue" not in third["metadata"]


async def test_a_page_that_is_too_old_says_how_to_go_on() -> None:
    async with kubernetes(history=4) as api:
        for index in range(6):
            await api.create("pods", pod(f"p{index}"))
        first = await api.get("pods?limit=2")
        for _ in range(20):
            await api.create("pods", pod() | {"metadata": {"generateName": "x-"}})
        with pytest.raises(Refused) as refused:
            await api.get(f"pods?limit=2&continue={first['metadata']['continue']}")
        assert (refused.value.code, refused.value.status["reason"]) == (410, "Expired")
        rest = await api.get(f"pods?limit=2&continue={refused.value.status['metadata']['continue']}")
        assert [item["metadata"]["name"] for item in rest["items"]] == ["p2", "p3"]


async def test_dry_runs_leave_nothing() -> None:
    async with kubernetes() as api:
        made = await api.create("pods?dryRun=All", pod())
        assert made["spec"]["dnsPolicy"] == "ClusterFirst"
        assert await api.names("pods") == []
        await api.create("pods", pod())
        await api.patch("pods/p?dryRun=All", {"metadata": {"labels": {"a": "b"}}})
        await api.ask("DELETE", "pods/p?dryRun=All")
        assert "labels" not in (await api.get("pods/p"))["metadata"]


async def test_unknown_fields_are_warned_of_or_refused() -> None:
    async with kubernetes() as api:
        body = pod()
        body["spec"]["oops"] = 1
        warned = await api.send("POST", "pods", body)
        assert warned.status == 201
        assert warned.warnings == ['299 - "unknown field \\"spec.oops\\""']
        assert "oops" not in warned.json()["spec"]
        with pytest.raises(Refused, match=r'strict decoding error: unknown field "spec\.oops"'):
            await api.create("pods?fieldValidation=Strict", body)
        with pytest.raises(Refused, match='duplicate field "data"'):
            await api.create("configmaps?fieldValidation=Strict", b'{"metadata":{"name":"c"},"data":{},"data":{}}')  # type: ignore[arg-type]


async def test_values_of_the_wrong_type_are_refused() -> None:
    async with kubernetes() as api:
        with pytest.raises(
            Refused, match=r"json: cannot unmarshal string into Go struct field PodSpec.spec.containers of type"
        ):
            await api.create("pods", {"metadata": {"name": "p"}, "spec": {"containers": "x"}})


async def test_yaml_is_read_and_written() -> None:
    async with kubernetes() as api:
        text = b"metadata: {name: c}\ndata: {when: '2020-01-01', on: 'yes'}\n"
        await api.create("configmaps", text, content_type="application/yaml")  # type: ignore[arg-type]
        response = await api.send("GET", "configmaps/c", accept="application/yaml")
        assert b'when: "2020-01-01"' in response.body


async def test_tables_have_the_columns_of_kubectl() -> None:
    async with kubernetes() as api:
        await api.create("pods", pod())
        table = await api.get("pods", accept=TABLE)
        headings = [column["name"] for column in table["columnDefinitions"] if not column["priority"]]
        assert headings == ["Name", "Ready", "Status", "Restarts", "Age"]
        assert table["rows"][0]["cells"][:5] == ["p", "0/1", "Pending", "0", "0s"]
        assert table["rows"][0]["object"]["kind"] == "PartialObjectMetadata"


async def test_every_builtin_kind_prints_its_own_columns() -> None:
    """A row for an almost empty object of each kind: as many cells as headings."""
    async with kubernetes() as api:
        from quartermaster.local.apiserver.tables import cells_of, columns_of  # noqa: PLC0415

        for kind in api.server.cluster.registry:
            metadata = {"name": "x", "creationTimestamp": "2026-01-01T00:00:00Z"}
            assert len(cells_of(kind, {"metadata": metadata}, api.clock.now)) == len(columns_of(kind)), kind.table


async def test_discovery_says_the_same_in_both_forms() -> None:
    async with kubernetes() as api:
        accept = "application/json;g=apidiscovery.k8s.io;v=v2;as=APIGroupDiscoveryList"
        for path in ("/api", "/apis"):
            aggregated = await api.get(path, accept=accept)
            for group in aggregated["items"]:
                name = group["metadata"].get("name", "")
                for version in group["versions"]:
                    base = f"/apis/{name}/{version['version']}" if name else "/api/v1"
                    legacy = (await api.get(base))["resources"]
                    whole = {entry["name"] for entry in legacy if "/" not in entry["name"]}
                    assert {entry["resource"] for entry in version["resources"]} == whole


async def test_a_binding_gives_a_pod_its_node_once() -> None:
    async with kubernetes() as api:
        await api.create("pods", pod())
        done = await api.create("pods/p/binding", {"metadata": {"name": "p"}, "target": {"kind": "Node", "name": "n1"}})
        assert (done["status"], done["code"]) == ("Success", 201)
        bound = await api.get("pods/p")
        assert bound["spec"]["nodeName"] == "n1"
        assert [item["type"] for item in bound["status"]["conditions"]] == ["PodScheduled"]
        with pytest.raises(Refused, match=r'pod p is already assigned to node "n1"'):
            await api.create("pods/p/binding", {"metadata": {"name": "p"}, "target": {"name": "n2"}})


async def test_a_budget_refuses_evictions() -> None:
    async with kubernetes() as api:
        await api.create("pods", pod() | {"metadata": {"name": "p", "labels": {"a": "b"}}})
        await api.create("pods/p/binding", {"metadata": {"name": "p"}, "target": {"name": "n1"}})
        ready = [{"type": "Ready", "status": "True"}]
        await api.patch("pods/p/status", {"status": {"phase": "Running", "conditions": ready}})
        path = "/apis/policy/v1/namespaces/default/poddisruptionbudgets"
        await api.create(
            path, {"metadata": {"name": "b"}, "spec": {"minAvailable": 1, "selector": {"matchLabels": {"a": "b"}}}}
        )
        status = {"observedGeneration": 1, "disruptionsAllowed": 0, "desiredHealthy": 1, "currentHealthy": 1}
        await api.patch(f"{path}/b/status", {"status": status})
        with pytest.raises(
            Refused, match="Cannot evict pod as it would violate the pod's disruption budget"
        ) as refused:
            await api.create("pods/p/eviction", {"metadata": {"name": "p"}})
        assert refused.value.code == 429
        await api.patch(f"{path}/b/status", {"status": {"disruptionsAllowed": 1}})
        await api.create("pods/p/eviction", {"metadata": {"name": "p"}})
        assert (await api.get("pods/p"))["metadata"]["deletionGracePeriodSeconds"] == 30
        assert (await api.get(f"{path}/b"))["status"]["disruptionsAllowed"] == 0
