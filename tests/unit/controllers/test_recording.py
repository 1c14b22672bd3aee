"""Recordings: they have what decisions read and nothing else, and the same is decided on them as in the cluster."""

import gzip
from copy import deepcopy
from dataclasses import replace
from typing import Any

import msgspec
import pytest

from quartermaster.controllers.scheduler.pruning import pruned
from quartermaster.controllers.scheduler.recording import Reading, RecordedApi, Recording, packed, record, unpacked
from quartermaster.controllers.scheduler.replaying import Decision, Still, decided, situation
from quartermaster.controllers.scheduler.scheduler import NAMES, Options
from quartermaster.documents.snapshot import read as read_snapshot
from quartermaster.documents.writing import dump
from quartermaster.kube.api import STRATEGIC, Refused
from quartermaster.local.client import LocalClient
from quartermaster.model.errors import InvalidInput
from quartermaster.whatif.resting import policy_of, settle
from quartermaster.workloads.group import Role
from quartermaster.workloads.grouping import groups_of
from tests.unit.cli.cluster import Local, condition, devices_of, local, workload
from tests.unit.controllers.storage import CLAIMS, CLASSES, LOCAL, VOLUMES, binding, claim, storage_class, volume
from tests.unit.controllers.test_scheduling import job, queue, submit
from tests.unit.workloads.samples import find, runtimes, samples

Json = dict[str, Any]
SECRET = "hunter2"


async def taken(it: Local) -> Recording:
    door = LocalClient(it.server.handle, agent="recorder")
    return await record(door, clock=Still(it.clock()), options=Options(names=NAMES), release="test")


async def submitted(it: Local) -> Recording:
    """A cluster in which one queue has more than it deserves, at the moment when others have asked."""
    await it.after(5)
    await queue(it, "research", gpu={"deserved": 8})
    await queue(it, "production", gpu={"deserved": 8})
    await submit(it, job("low", 2, least=1, queue="research"))
    await it.after(10)
    for index in range(3):
        await it.submit(f"small{index}", run=500, requests={"nvidia.com/mig-1g.5gb": "1"})
    await submit(it, job("urgent", 1, queue="production"))
    await submit(it, job("never", 5, queue="production"))
    await it.submit("half-0", gpus=1, gang=2)
    await it.settle()
    return await taken(it)


def started(found: Decision, *, nominated: bool = False) -> dict[str, tuple[str, tuple[int, ...]]]:
    return {
        bind.pod: (bind.node, bind.devices)
        for start in found.starts
        if start.nominated is nominated
        for bind in start.pods
    }


async def test_the_same_is_decided_on_a_recording_as_in_the_cluster() -> None:
    async with local() as it:
        found = await decided(await submitted(it))
        await it.after(0.5)
        pods = await it.pods()
        bound = {
            f"default/{name}": (pod["spec"]["nodeName"], devices_of(pod) or ())
            for name, pod in pods.items()
            if pod["spec"].get("nodeName") and not name.startswith("low")
        }
        assert started(found) == bound
        assert len(bound) == 3, "what asks for MIG instances"
        leaving = [f"default/{name}" for name, pod in pods.items() if pod["metadata"].get("deletionTimestamp")]
        assert [evict.pod for _, evict in found.evictions] == leaving
        assert len(leaving) == 1
        await it.after(1.5)
        pods = await it.pods()
        (never,) = [wait for wait in found.waits if "/never/" in wait.group]
        message = next(condition(pod, "PodScheduled")["message"] for name, pod in pods.items() if "never" in name)
        assert never.why.startswith(message)
        (half,) = [wait for wait in found.waits if wait.undecidable]
        assert half.why == "waits for pods that do not exist yet: 1 of pods"
        await it.after(60)
        pods = await it.pods()
        ((pod, (node, devices)),) = started(found, nominated=True).items()
        urgent = pods[pod.removeprefix("default/")]
        assert (urgent["spec"]["nodeName"], devices_of(urgent)) == (node, devices)


async def test_a_file_gives_the_same_again() -> None:
    async with local() as it:
        recording = await submitted(it)
        data = packed(recording)
        assert packed(await taken(it)) == data
        again = unpacked(data, file="f")
        assert again == recording
        assert await decided(again) == await decided(again) == await decided(recording)


async def test_a_situation_for_what_if() -> None:
    async with local() as it:
        recording = await submitted(it)
        found = await situation(recording)
        again = read_snapshot(dump(found, name="f.yaml"), file="f.yaml")
        assert again.places == found.places
        rest = settle(again, placement=policy_of(again))
        expected = await decided(recording)
        assert {wait.group for wait in expected.waits if not wait.undecidable} <= rest.waiting.keys()
        assert started(expected).keys() | started(expected, nominated=True).keys() <= rest.situation.places.keys()
        assert {evict.pod for evict in rest.evictions} == {evict.pod for _, evict in expected.evictions}


async def test_pods_of_others_keep_their_places_in_it() -> None:
    async with local() as it:
        await it.after(5)
        container = {"name": "c", "image": "i", "resources": {"limits": {"nvidia.com/gpu": "3"}}}
        spec = {"schedulerName": "other", "nodeName": "h-0", "containers": [container]}
        pod = {"metadata": {"name": "theirs"}, "spec": spec}
        await it.client.send("POST", "/api/v1/namespaces/default/pods", pod)
        await it.submit("ours", gpus=6)
        await it.settle()
        found = await situation(await taken(it))
        place = found.places["default/theirs"]
        assert (place.node, place.devices) == ("h-0", (0, 1, 2))
        rest = settle(found, placement=policy_of(found))
        assert rest.situation.places["default/ours"].node == "h-1"


async def test_volumes_are_where_they_were() -> None:
    async with local() as it, binding(it.client):
        await it.after(5)
        for path, value in (
            (CLASSES, LOCAL),
            (CLASSES, storage_class("disk")),
            (VOLUMES, volume("small", "local", "h-0", size="5Gi", volumeMode="Block")),
            (VOLUMES, volume("free", "local", "h-1")),
            (CLAIMS, claim("ready", volumeName="made")),
            (VOLUMES, volume("made", "disk", "h-1")),
            (CLAIMS, claim("waiting", "local")),
        ):
            await it.client.send("POST", path, value)
        await it.after(5)
        for name in ("ready", "waiting", "missing"):
            used = {"name": "data", "persistentVolumeClaim": {"claimName": name}}
            pod = workload(name, run=None, gpus=1)
            await it.client.send(
                "POST", "/api/v1/namespaces/default/pods", pod | {"spec": pod["spec"] | {"volumes": [used]}}
            )
        await it.settle()
        found = await decided(await taken(it))
        assert {pod: node for pod, (node, _) in started(found).items()} == {
            "default/ready": "h-1",
            "default/waiting": "h-1",
        }
        (missing,) = found.waits
        assert missing.why == "default/missing: persistentvolumeclaim 'missing' not found"


# ---- what is kept


async def test_no_secret_is_in_it() -> None:
    body = job("j", 2, gpus=1)
    body["metadata"]["annotations"]["kubectl.kubernetes.io/last-applied-configuration"] = SECRET
    template = body["spec"]["template"]
    template["metadata"]["annotations"]["example.com/token"] = SECRET
    container = template["spec"]["containers"][0]
    container |= {"env": [{"name": "PASSWORD", "value": SECRET}], "args": [SECRET], "command": ["sh", SECRET]}
    template["spec"]["volumes"] = [{"name": "v", "secret": {"secretName": SECRET}}]
    async with local() as it:
        await it.after(5)
        await submit(it, body)
        await it.after(5)
        told = {"conditions": [{"type": "Ready", "status": "False", "message": SECRET}]}
        (name, _), *_ = (await it.pods()).items()
        path = f"/api/v1/namespaces/default/pods/{name}/status"
        await it.client.send("PATCH", path, {"status": told}, media=STRATEGIC)
        data = gzip.decompress(packed(await taken(it)))
        assert b'"j"' in data
        assert SECRET.encode() not in data


def with_secrets(value: Any, key: str = "") -> Any:
    """The same with a secret wherever users put them."""
    if isinstance(value, list):
        return [with_secrets(item) for item in value]
    if not isinstance(value, dict):
        return value
    more: Json = {}
    if "image" in value:
        env = [*(value.get("env") or ()), {"name": "TOKEN", "value": SECRET}]
        more = {"env": env, "args": [SECRET], "command": [SECRET], "image": SECRET, "workingDir": SECRET}
    if key == "metadata":
        more = {"annotations": (value.get("annotations") or {}) | {"kubectl.kubernetes.io/x": SECRET}}
    if key == "script":
        more |= {"source": SECRET}
    if key == "arguments":
        more |= {"parameters": [{"name": "p", "value": SECRET}]}
    return {name: with_secrets(part, name) for name, part in value.items()} | more


def without_templates(role: Role) -> Role:
    return replace(role, template=None, parts=tuple(map(without_templates, role.parts)))


@pytest.mark.parametrize("name", sorted(samples()))
def test_what_is_left_out_changes_no_group(name: str) -> None:
    def groups(objects: tuple[Json, ...], beside: tuple[Json, ...]) -> list[Any]:
        found: list[Any] = []
        for value in objects:
            try:
                read = groups_of(value, lookup=find((*objects, *beside)))
            except InvalidInput as wrong:
                found.append(str(wrong))
            else:
                found += [replace(one, roles=tuple(map(without_templates, one.roles))) for one in read]
        return found

    objects = tuple(with_secrets(deepcopy(value)) for value in samples()[name])
    kept = tuple(map(pruned, objects))
    assert groups(kept, tuple(map(pruned, runtimes()))) == groups(objects, runtimes())
    assert SECRET.encode() not in msgspec.json.encode(kept)


# ---- what cannot be used


def file_of(text: bytes) -> bytes:
    return gzip.compress(text, mtime=0)  # test names are made of it


GOOD = b'{"version":1,"quartermaster":"t","taken":0,"schedulerNames":[],"defaultQueue":"default","kinds":[]}'


@pytest.mark.parametrize(
    ("data", "said"),
    [
        (b"apiVersion: v1\n", "is no recording of a cluster"),
        (b"", "is no recording of a cluster"),
        (file_of(b"{}"), "is no recording of a cluster"),
        (file_of(b"\xff"), "is no recording of a cluster"),
        (file_of(GOOD)[:-12], "ends too early"),
        (file_of(GOOD)[:30] + b"\xff\xff\xff\xff" + file_of(GOOD)[34:], "is damaged"),
        (file_of(GOOD.replace(b":1", b":7")), "is of version 7"),
        (file_of(GOOD.replace(b"[]", b"3", 1)), "schedulerNames"),
        (file_of(GOOD.replace(b'"kinds"', b'"sorts"')), "sorts"),
    ],
)
def test_bad_files_say_what_is_wrong(data: bytes, said: str) -> None:
    with pytest.raises(InvalidInput, match=r"^f\.json\.gz") as caught:
        unpacked(data, file="f.json.gz")
    assert said in str(caught.value)


def test_and_a_good_one_is_read() -> None:
    assert unpacked(file_of(GOOD), file="f").default_queue == "default"


async def test_a_cluster_that_may_not_be_read() -> None:
    class Closed(RecordedApi):
        def _found(self, path: str) -> None:
            raise Refused(403, f"{path} is forbidden")

    with pytest.raises(InvalidInput, match="cluster: /api/v1/nodes: cannot be read"):
        await record(Closed([]), clock=Still(0.0), options=Options(), release="test")


async def test_nothing_is_written() -> None:
    for api in (Reading(RecordedApi([])), RecordedApi([])):
        with pytest.raises(Refused, match="405"):
            await api.send("POST", "/api/v1/namespaces/default/pods/p/binding", {})
