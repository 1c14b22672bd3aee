"""The official Python client against the embedded API over TLS: objects, watches, its informer and its election.

The client blocks, so it runs on threads beside the server's loop.
"""

import asyncio
import contextlib
import threading
import time
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

import pytest
from kubernetes import client, config, dynamic, utils, watch
from kubernetes.client.exceptions import ApiException
from kubernetes.informer import ADDED, DELETED, ERROR, MODIFIED, SharedInformer
from kubernetes.leaderelection.electionconfig import Config
from kubernetes.leaderelection.leaderelection import LeaderElection
from kubernetes.leaderelection.resourcelock.leaselock import LeaseLock
from kubernetes.stream import stream

from quartermaster.local.apiserver.local import LocalApi
from quartermaster.local.clock import WallClock
from quartermaster.local.fleet.presets import parse
from quartermaster.testing.kubernetes import Client, Json
from quartermaster.testing.machines import machines
from tests.kubernetes.wire import Wire
from tests.unit.local.test_kubectl_verbs import GANG, gang

PATIENCE_S = 30.0
POD = {"apiVersion": "v1", "kind": "Pod", "spec": {"containers": [{"name": "main", "image": "image"}]}}


@contextlib.asynccontextmanager
async def connected(kubeconfig: Path) -> AsyncIterator[Any]:
    """A client whose connections are closed at the end."""
    made = config.new_client_from_config(str(kubeconfig))
    try:
        yield made
    finally:
        await asyncio.to_thread(made.rest_client.pool_manager.clear)
        await asyncio.to_thread(made.close)


@contextlib.asynccontextmanager
async def served(folder: Path) -> AsyncIterator[tuple[LocalApi, Any]]:
    kubeconfig = folder / "kubeconfig"
    async with LocalApi(kubeconfig=kubeconfig) as api, connected(kubeconfig) as made:
        yield api, made


def named(name: str, **labels: str) -> Json:
    return {**POD, "metadata": {"name": name, "labels": labels}}


async def reached(wanted: Callable[[], bool]) -> None:
    """Until something in another thread is so; fails after patience."""
    deadline = time.monotonic() + PATIENCE_S
    while not wanted():
        assert time.monotonic() < deadline
        await asyncio.sleep(0.02)


async def test_objects_of_built_in_kinds(tmp_path: Path) -> None:
    def run(core: Any, apps: Any) -> None:
        body = client.V1Pod(
            metadata=client.V1ObjectMeta(name="p", labels={"app": "web"}),
            spec=client.V1PodSpec(containers=[client.V1Container(name="main", image="image")]),
        )
        made = core.create_namespaced_pod("default", body)
        assert made.status.phase == "Pending"
        assert made.spec.containers[0].termination_message_path == "/dev/termination-log"
        with pytest.raises(ApiException) as again:
            core.create_namespaced_pod("default", body)
        assert (again.value.status, again.value.reason) == (409, "Conflict")
        core.patch_namespaced_pod("p", "default", {"metadata": {"labels": {"app": None, "tier": "front"}}})
        found = core.read_namespaced_pod("p", "default")
        assert found.metadata.labels == {"tier": "front"}
        found.metadata.resource_version = made.metadata.resource_version
        with pytest.raises(ApiException) as stale:
            core.replace_namespaced_pod("p", "default", found)
        assert stale.value.status == 409
        for number in range(5):
            core.create_namespaced_pod("default", named(f"q{number}", app="many"))
        page = core.list_namespaced_pod("default", label_selector="app=many", limit=2)
        names = [item.metadata.name for item in page.items]
        assert page.metadata.remaining_item_count is None
        while page.metadata._continue:
            page = core.list_namespaced_pod(
                "default", label_selector="app=many", limit=2, _continue=page.metadata._continue
            )
            names += [item.metadata.name for item in page.items]
        assert names == [f"q{number}" for number in range(5)]
        gone = core.delete_namespaced_pod("q0", "default", grace_period_seconds=0)
        assert gone.metadata.name == "q0"
        core.delete_collection_namespaced_pod("default", label_selector="app=many")
        assert [item.metadata.name for item in core.list_pod_for_all_namespaces().items] == ["p"]
        template = {"metadata": {"labels": {"app": "web"}}, "spec": POD["spec"]}
        spec = {"replicas": 1, "selector": {"matchLabels": {"app": "web"}}, "template": template}
        apps.create_namespaced_deployment("default", {"metadata": {"name": "web"}, "spec": spec})
        apps.patch_namespaced_deployment_scale("web", "default", {"spec": {"replicas": 4}})
        assert apps.read_namespaced_deployment("web", "default").spec.replicas == 4
        assert apps.read_namespaced_deployment_scale("web", "default").spec.replicas == 4

    async with served(tmp_path) as (_, made):
        await asyncio.to_thread(run, client.CoreV1Api(made), client.AppsV1Api(made))


async def test_custom_objects_typed_by_nobody(tmp_path: Path) -> None:
    def run(made: Any) -> None:
        utils.create_from_dict(made, GANG)
        custom = client.CustomObjectsApi(made)
        where = ("example.com", "v1", "default", "gangs")
        custom.create_namespaced_custom_object(*where, gang(2))
        with pytest.raises(ApiException) as wrong:
            custom.create_namespaced_custom_object(*where, gang(0))
        assert wrong.value.status == 422
        custom.patch_namespaced_custom_object(*where, "g", {"spec": {"members": {"a": "x"}}})
        custom.patch_namespaced_custom_object_status(*where, "g", {"status": {"phase": "Met"}})
        found = custom.get_namespaced_custom_object(*where, "g")
        assert (found["spec"], found["status"]) == ({"size": 2, "members": {"a": "x"}}, {"phase": "Met"})
        assert custom.list_namespaced_custom_object(*where)["kind"] == "GangList"
        gangs = dynamic.DynamicClient(made).resources.get(api_version="example.com/v1", kind="Gang")
        applied = gangs.server_side_apply(
            namespace="default", name="g", body=gang(3), field_manager="test", force_conflicts=True
        )
        assert applied.spec.size == 3
        gangs.delete(namespace="default", name="g")
        assert gangs.get(namespace="default").items == []

    async with served(tmp_path) as (_, made):
        await asyncio.to_thread(run, made)


async def test_a_watch_goes_on_from_a_version(tmp_path: Path) -> None:
    def run(core: Any) -> None:
        def change(name: str, value: str) -> None:
            core.patch_namespaced_config_map(name, "default", {"data": {"k": value}})

        core.create_namespaced_config_map("default", {"metadata": {"name": "c"}})
        since = core.list_namespaced_config_map("default").metadata.resource_version
        for value in ("1", "2", "3"):
            change("c", value)
        seen = []
        first = watch.Watch()
        for event in first.stream(core.list_namespaced_config_map, "default", resource_version=since):
            seen.append((event["type"], event["object"].data["k"]))
            if len(seen) == 2:
                first.stop()
        change("c", "4")
        core.delete_namespaced_config_map("c", "default")
        rest = watch.Watch().stream(
            core.list_namespaced_config_map, "default", resource_version=first.resource_version, timeout_seconds=1
        )
        seen += [(event["type"], event["object"].data["k"]) for event in rest]
        assert seen == [*(("MODIFIED", value) for value in "1234"), ("DELETED", "4")]

    async with served(tmp_path) as (_, made):
        await asyncio.to_thread(run, client.CoreV1Api(made))


async def test_its_informer_lists_watches_and_lists_again_after_410(tmp_path: Path) -> None:
    kubeconfig = tmp_path / "kubeconfig"
    async with contextlib.AsyncExitStack() as stack:
        api = await stack.enter_async_context(LocalApi(kubeconfig=kubeconfig))
        assert api.http is not None
        wire = await stack.enter_async_context(Wire(api.http.port))
        made = await stack.enter_async_context(connected(wire.kubeconfig(kubeconfig)))
        informer = SharedInformer(client.CoreV1Api(made).list_namespaced_pod, namespace="default")
        seen: list[tuple[str, str]] = []
        errors: list[Any] = []
        for kind in (ADDED, MODIFIED, DELETED):
            informer.add_event_handler(kind, lambda pod, kind=kind: seen.append((kind, pod.metadata.name)))
        informer.add_event_handler(ERROR, errors.append)
        pods = Client(api.server.handle)

        async def agrees() -> None:
            items = (await pods.get("pods"))["items"]
            wanted = {item["metadata"]["name"]: item["metadata"]["resourceVersion"] for item in items}

            def held() -> dict[str, str]:
                return {item.metadata.name: item.metadata.resource_version for item in informer.cache.list()}

            await reached(lambda: held() == wanted)

        for name in ("a", "b"):
            await pods.create("pods", named(name))
        await asyncio.to_thread(informer.start)
        stack.push_async_callback(asyncio.to_thread, informer.stop)
        await agrees()
        assert seen == [("ADDED", "a"), ("ADDED", "b")]
        await pods.patch("pods/a", {"metadata": {"labels": {"x": "y"}}})
        await pods.delete("pods/b", {"gracePeriodSeconds": 0})
        await agrees()
        # A pod that goes without grace is marked first, as by the real server.
        assert (seen[2], seen[-1]) == (("MODIFIED", "a"), ("DELETED", "b"))
        known = len(seen)

        await wire.cut()
        await pods.create("pods", named("c"))
        await pods.delete("pods/a", {"gracePeriodSeconds": 0})
        api.server.cluster.store.table("pods").compact(api.server.cluster.store.revision)
        await wire.mend()
        await agrees()
        assert seen[known:] == [("DELETED", "a"), ("ADDED", "c")]
        assert [error.status for error in errors if isinstance(error, ApiException)] == [410]
        await pods.delete("pods/c", {"gracePeriodSeconds": 0})
        await agrees()


@pytest.mark.kubernetes  # it waits for seconds, as it is made to
async def test_an_election_has_one_leader_who_is_followed_by_the_next(tmp_path: Path) -> None:
    async with served(tmp_path) as (_, made):
        led: list[str] = []
        ends = {name: threading.Event() for name in ("a", "b")}

        def stand(name: str) -> None:
            def leading() -> None:
                led.append(name)
                ends[name].wait(PATIENCE_S)
                raise InterruptedError(name)

            lock = LeaseLock("leader", "default", name)
            lock.api_instance = client.CoordinationV1Api(made)
            terms = {"lease_duration": 6, "renew_deadline": 4, "retry_period": 1}
            LeaderElection(Config(lock, **terms, onstarted_leading=leading, onstopped_leading=None)).run()

        threads = []
        for name in ("a", "b"):
            threads.append(threading.Thread(target=stand, args=(name,), name=f"candidate {name}", daemon=True))
            threads[-1].start()
            await reached(lambda: led == ["a"])
        ends["a"].set()
        await reached(lambda: led == ["a", "b"])
        lease = await asyncio.to_thread(client.CoordinationV1Api(made).read_namespaced_lease, "leader", "default")
        assert lease.spec.holder_identity == "b"
        ends["b"].set()
        for thread in threads:
            await asyncio.to_thread(thread.join, PATIENCE_S)


async def test_logs_commands_and_metrics_of_a_simulated_machine(tmp_path: Path) -> None:
    def run(core: Any, made: Any) -> None:
        assert "main starts on c-0" in core.read_namespaced_pod_log("p", "default")
        command = ["cat", "/etc/hostname"]
        execute = core.connect_get_namespaced_pod_exec
        opened = stream(execute, "p", "default", command=command, stderr=True, stdout=True, _preload_content=False)
        opened.run_forever(timeout=PATIENCE_S)
        assert (opened.read_stdout(), opened.returncode) == ("p\n", 0)
        opened.sock.shutdown()
        failing = stream(execute, "p", "default", command=["false"], stderr=True, stdout=True, _preload_content=False)
        failing.run_forever(timeout=PATIENCE_S)
        assert failing.returncode == 1
        failing.sock.shutdown()
        metrics = client.CustomObjectsApi(made).list_cluster_custom_object("metrics.k8s.io", "v1beta1", "nodes")
        assert [item["metadata"]["name"] for item in metrics["items"]] == ["c-0"]

    kubeconfig = tmp_path / "kubeconfig"
    fleet = parse("pools: [{preset: cpu, name: c, count: 1}]", "test")
    async with machines(fleet, clock=WallClock(), port=0, kubeconfig=kubeconfig) as cluster:
        await cluster.run("p", on="c-0", image_gib="0")

        def running() -> bool:
            value = cluster.server.cluster.object("pods", ("default", "p"))
            return value is not None and value["status"].get("phase") == "Running"

        await reached(running)
        async with connected(kubeconfig) as made:
            await asyncio.to_thread(run, client.CoreV1Api(made), made)
