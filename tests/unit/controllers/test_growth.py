"""A gang keeps what it was admitted with: what its object asks for beyond that has to find a place of its own."""

from quartermaster.kube.api import MERGE
from tests.unit.controllers.world import FOUR, OWN, World, template, world

LABEL = "quartermaster.dev/pod-group"


async def raised(it: World) -> None:
    """A gang of one that runs and is asked to be three, with room for one more on four nodes that are full."""
    body = {"apiVersion": OWN.removeprefix("/apis/"), "kind": "PodGroup", "metadata": {"name": "g"}, "spec": {"min": 1}}
    await it.client.send("POST", f"{OWN}/namespaces/default/podgroups", body)
    await pod(it, "a")
    await it.after(10)
    for number in range(3):
        await it.single(f"full-{number}", gpus=8)
    await it.after(10)
    path = f"{OWN}/namespaces/default/podgroups/g"
    await it.client.send("PATCH", path, {"spec": {"min": 3}}, media=MERGE)
    for name in ("b", "c"):
        await pod(it, name)
    await it.after(10)


async def pod(it: World, name: str) -> None:
    body = template(8, name=name, labels={LABEL: "g"})
    await it.client.send("POST", "/api/v1/namespaces/default/pods", body)


def running(it: World) -> set[str]:
    return {item["metadata"]["name"] for item in it.live() if item["metadata"]["name"] in {"a", "b", "c"}}


async def test_a_leader_that_dies_is_followed_by_one_that_knows_what_was_admitted() -> None:
    async with world(fleet=FOUR) as it:
        leader = it.start()
        await raised(it)
        assert running(it) == {"a"}
        group = await it.client.send("GET", f"{OWN}/namespaces/default/podgroups/g")
        assert group["status"]["admitted"] == {"pods": 1}
        leader.kill()
        it.start()
        await it.after(600)
        assert running(it) == {"a"}, "it is not below the minimum that it was admitted with"
        for number in range(2):
            await it.delete(f"/api/v1/namespaces/default/pods/full-{number}")
        await it.after(120)
        assert running(it) == {"a", "b", "c"}
        group = await it.client.send("GET", f"{OWN}/namespaces/default/podgroups/g")
        assert group["status"].get("admitted", {}) == {}
