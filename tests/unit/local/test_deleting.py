"""What goes, what waits, and what goes with it."""

import pytest

from quartermaster.testing.kubernetes import Kubernetes, Refused, kubernetes, pod


async def owned(api: Kubernetes, name: str, owner: dict[str, object], **more: object) -> None:
    about = owner["metadata"]
    assert isinstance(about, dict)
    reference = {"apiVersion": "v1", "kind": "ConfigMap", "name": about["name"], "uid": about["uid"], **more}
    await api.create("configmaps", {"metadata": {"name": name, "ownerReferences": [reference]}})


async def test_a_pod_on_a_node_waits_for_its_kubelet() -> None:
    async with kubernetes() as api:
        await api.create("pods", pod())
        await api.create("pods/p/binding", {"metadata": {"name": "p"}, "target": {"name": "n"}})
        marked = await api.delete("pods/p")
        assert marked["metadata"]["deletionGracePeriodSeconds"] == 30
        assert marked["metadata"]["deletionTimestamp"] == "2026-01-01T00:00:30Z"
        assert await api.names("pods") == ["p"]
        await api.delete("pods/p", {"gracePeriodSeconds": 0})
        assert await api.names("pods") == []


async def test_a_pod_without_a_node_goes_at_once() -> None:
    async with kubernetes() as api:
        await api.create("pods", pod())
        await api.delete("pods/p")
        assert await api.names("pods") == []


async def test_preconditions_are_held() -> None:
    async with kubernetes() as api:
        await api.create("pods", pod())
        with pytest.raises(Refused, match=r"the UID in the precondition \(x\) does not match"):
            await api.delete("pods/p", {"preconditions": {"uid": "x"}})
        assert await api.names("pods") == ["p"]


async def test_an_object_waits_for_its_finalizers() -> None:
    async with kubernetes() as api:
        await api.create("configmaps", {"metadata": {"name": "c", "finalizers": ["example.com/f"]}})
        marked = await api.delete("configmaps/c")
        assert marked["metadata"]["deletionTimestamp"]
        with pytest.raises(Refused, match="no new finalizers can be added if the object is being deleted"):
            await api.patch("configmaps/c", {"metadata": {"finalizers": ["example.com/f", "example.com/g"]}})
        await api.patch("configmaps/c", {"metadata": {"finalizers": None}})
        assert await api.names("configmaps") == []


async def test_dependents_go_with_their_owner() -> None:
    async with kubernetes() as api:
        owner = await api.create("configmaps", {"metadata": {"name": "owner"}})
        other = await api.create("configmaps", {"metadata": {"name": "other"}})
        await owned(api, "child", owner)
        child = await api.get("configmaps/child")
        await owned(api, "grandchild", child)
        await owned(api, "shared", owner)
        await api.patch(
            "configmaps/shared",
            [
                {
                    "op": "add",
                    "path": "/metadata/ownerReferences/-",
                    "value": {
                        "apiVersion": "v1",
                        "kind": "ConfigMap",
                        "name": "other",
                        "uid": other["metadata"]["uid"],
                    },
                }
            ],
            "json",
        )
        await api.delete("configmaps/owner")
        await api.settle()
        assert await api.names("configmaps") == ["other", "shared"]
        assert len((await api.get("configmaps/shared"))["metadata"]["ownerReferences"]) == 1


async def test_orphans_are_let_go() -> None:
    async with kubernetes() as api:
        owner = await api.create("configmaps", {"metadata": {"name": "owner"}})
        await owned(api, "child", owner)
        await api.delete("configmaps/owner", {"propagationPolicy": "Orphan"})
        await api.settle()
        assert await api.names("configmaps") == ["child"]
        assert "ownerReferences" not in (await api.get("configmaps/child"))["metadata"]


async def test_foreground_waits_for_dependents_that_block() -> None:
    async with kubernetes() as api:
        owner = await api.create("configmaps", {"metadata": {"name": "owner"}})
        await owned(api, "child", owner, blockOwnerDeletion=True)
        await api.patch("configmaps/child", {"metadata": {"finalizers": ["example.com/f"]}})
        await api.delete("configmaps/owner", {"propagationPolicy": "Foreground"})
        await api.settle()
        assert await api.names("configmaps") == ["child", "owner"]
        await api.patch("configmaps/child", {"metadata": {"finalizers": []}})
        await api.settle()
        assert await api.names("configmaps") == []


async def test_objects_of_an_owner_that_never_was_are_collected() -> None:
    async with kubernetes() as api:
        await owned(api, "child", {"metadata": {"name": "ghost", "uid": "no-such-uid"}})
        await api.settle()
        assert await api.names("configmaps") == []


async def test_a_namespace_goes_with_all_that_is_in_it() -> None:
    async with kubernetes() as api:
        await api.create("/api/v1/namespaces", {"metadata": {"name": "team"}})
        await api.create(
            "/api/v1/namespaces/team/configmaps", {"metadata": {"name": "c", "finalizers": ["example.com/f"]}}
        )
        await api.create("/api/v1/namespaces/team/pods", pod())
        marked = await api.delete("/api/v1/namespaces/team")
        assert marked["status"]["phase"] == "Terminating"
        await api.settle()
        assert await api.names("/api/v1/namespaces/team/pods") == []
        with pytest.raises(
            Refused, match="unable to create new content in namespace team because it is being terminated"
        ):
            await api.create("/api/v1/namespaces/team/pods", pod())
        await api.patch("/api/v1/namespaces/team/configmaps/c", {"metadata": {"finalizers": []}})
        await api.settle()
        assert "team" not in await api.names("/api/v1/namespaces")


async def test_collections_are_deleted_by_selector() -> None:
    async with kubernetes() as api:
        for name in ("a", "b"):
            await api.create("pods", pod() | {"metadata": {"name": name, "labels": {"n": name}}})
        await api.ask("DELETE", "pods?labelSelector=n%3Da")
        assert await api.names("pods") == ["b"]
