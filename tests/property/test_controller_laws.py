"""Whatever happens in whatever order, a cluster ends as what was last asked for, and is then at rest."""

import asyncio
import random
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from quartermaster.local.client import LocalClient
from quartermaster.local.controllers import scaling
from quartermaster.local.controllers.manager import AGENT, Manager
from quartermaster.local.controllers.registry import CONTROLLERS
from quartermaster.testing.controllers import APPS, BATCH, NODES, Controlled, controlled, workload
from quartermaster.testing.kubernetes import Json, kubernetes

DEPLOYMENT, STATEFUL, DAEMON = f"{APPS}/deployments/web", f"{APPS}/statefulsets/db", f"{APPS}/daemonsets/agent"
BUDGET = "/apis/policy/v1/namespaces/default/poddisruptionbudgets"

actions = st.one_of(
    st.tuples(st.just("scale web"), st.integers(0, 5)),
    st.tuples(st.just("scale db"), st.integers(0, 3)),
    st.tuples(st.just("image web"), st.integers(1, 3)),
    st.tuples(st.just("image db"), st.integers(1, 3)),
    st.tuples(st.just("label"), st.sampled_from(["n1", "n2", "n3"])),
    st.tuples(st.just("kill"), st.integers(0, 20)),
    st.tuples(st.just("fail"), st.integers(0, 20)),
    st.tuples(st.just("relabel"), st.integers(0, 20)),
)


class Wanted:
    """What has been asked for so far."""

    def __init__(self) -> None:
        self.replicas = {"web": 2, "db": 1}
        self.images = {"web": 1, "db": 1}
        self.labelled = {"n1": True, "n2": False, "n3": False}

    async def make(self, cluster: Controlled) -> None:
        await cluster.add_nodes(*self.labelled)
        for node, on in self.labelled.items():
            await label(cluster, node, on=on)
        for kind, name in (("Deployment", "web"), ("StatefulSet", "db")):
            body = workload(kind, name, replicas=self.replicas[name])
            body["spec"]["template"]["spec"]["containers"][0]["image"] = f"image:{self.images[name]}"
            body["spec"] |= {"serviceName": "db"} if name == "db" else {}
            await cluster.create(f"{APPS}/{kind.lower()}s", body)
        body = workload("DaemonSet", "agent")
        body["spec"]["template"]["spec"]["nodeSelector"] = {"on": "yes"}
        await cluster.create(f"{APPS}/daemonsets", body)
        spec = {"selector": {"matchLabels": {"app": "web"}}, "maxUnavailable": 1}
        await cluster.create(BUDGET, {"metadata": {"name": "b"}, "spec": spec})
        port = {"selector": {"app": "web"}, "ports": [{"port": 80}]}
        await cluster.create("services", {"metadata": {"name": "web"}, "spec": port})

    async def ask(self, cluster: Controlled, what: str, which: Any) -> None:
        verb, _, name = what.partition(" ")
        path = DEPLOYMENT if name == "web" else STATEFUL
        if verb == "scale":
            self.replicas[name] = which
            await cluster.patch(f"{path}/scale", {"spec": {"replicas": which}})
        elif verb == "image":
            self.images[name] = which
            containers = [{"name": "main", "image": f"image:{which}"}]
            await cluster.patch(path, {"spec": {"template": {"spec": {"containers": containers}}}}, "strategic")
        elif verb == "label":
            self.labelled[which] = not self.labelled[which]
            await label(cluster, which, on=self.labelled[which])
        elif pods := (await cluster.get("pods"))["items"]:
            pod = pods[which % len(pods)]
            if verb == "kill":
                await cluster.delete(f"pods/{pod['metadata']['name']}")
            elif verb == "fail":
                await cluster.kubelet.say(pod, "Failed")
            elif not pod["metadata"]["name"].startswith("db-"):  # a member let go keeps its name from the next one
                await cluster.patch(f"pods/{pod['metadata']['name']}", {"metadata": {"labels": {"app": "loose"}}})


async def label(cluster: Controlled, node: str, *, on: bool) -> None:
    await cluster.patch(f"{NODES}/{node}", {"metadata": {"labels": {"on": "yes" if on else "no"}}})


async def shape(cluster: Controlled) -> Json:
    """What is left of the cluster without names that chance gave and without how it came about."""
    owners = {}
    for found in (await cluster.get(f"{APPS}/replicasets"))["items"]:
        owners[found["metadata"]["uid"]] = found["metadata"]["ownerReferences"][0]["name"]
    pods = []
    for pod in (await cluster.get("pods"))["items"]:
        references = pod["metadata"].get("ownerReferences")
        if not references or pod["status"]["phase"] == "Failed":
            continue
        owner = owners.get(references[0]["uid"], references[0]["name"])
        daemon = pod["spec"]["nodeName"] if owner == "agent" else ""
        pods.append((owner, pod["spec"]["containers"][0]["image"], pod["status"]["phase"], daemon))
    counted = {}
    for path in (DEPLOYMENT, STATEFUL, DAEMON, f"{BUDGET}/b"):
        value = await cluster.get(path)
        numbers = {key: number for key, number in value["status"].items() if isinstance(number, int)}
        numbers.pop("observedGeneration")
        counted[path] = numbers
        assert value["status"]["observedGeneration"] == value["metadata"]["generation"]
    slices = (await cluster.get("/apis/discovery.k8s.io/v1/namespaces/default/endpointslices"))["items"]
    listening = [endpoint["targetRef"]["name"] for found in slices for endpoint in found.get("endpoints") or ()]
    return {"pods": sorted(pods), "status": counted, "listening": len(listening)}


@settings(max_examples=25)
@given(
    plan=st.lists(st.tuples(actions, st.integers(0, 3)), max_size=12),
    seed=st.integers(0, 2**16),
)
def test_any_order_of_events_ends_in_what_was_asked_for(plan: list[Any], seed: int) -> None:
    async def play() -> None:
        chance = random.Random(seed)
        wanted = Wanted()
        async with controlled(seed=seed) as cluster:
            cluster.manager.choose = chance.choice
            await wanted.make(cluster)
            for (what, which), rounds in plan:
                await wanted.ask(cluster, what, which)
                for _ in range(rounds):
                    await cluster.manager.step()
                    if chance.random() < 0.5:
                        await cluster.kubelet.step()
            await cluster.settle()
            rough = await shape(cluster)
            revision = cluster.server.cluster.store.revision
            await restarted(cluster)
            assert cluster.server.cluster.store.revision == revision, "a controller that starts anew finds work"
        async with controlled() as cluster:
            await wanted.make(cluster)
            await cluster.settle()
            assert rough == await shape(cluster)

    asyncio.run(play())


async def restarted(cluster: Controlled) -> None:
    """Other controllers that know nothing yet."""
    async with Manager(LocalClient(cluster.server.handle, agent=AGENT), CONTROLLERS, clock=cluster.clock) as manager:
        await manager.settle()


sizes = st.builds(scaling.Size, replicas=st.integers(0, 20), available=st.integers(0, 20), largest=st.integers(0, 40))


@given(
    old=st.lists(sizes, max_size=4),
    new=sizes,
    replicas=st.integers(0, 20),
    surge=st.one_of(st.integers(0, 20), st.integers(0, 100).map("{}%".format)),
    unavailable=st.one_of(st.integers(0, 20), st.integers(0, 100).map("{}%".format)),
)
def test_a_rollout_step_stays_within_the_fences(
    old: list[scaling.Size], new: scaling.Size, replicas: int, surge: int | str, unavailable: int | str
) -> None:
    above, below = scaling.fenceposts(surge, unavailable, replicas)
    below = min(below, replicas)
    total = sum(size.replicas for size in old)
    grown = scaling.of_new(new, total, replicas=replicas, surge=above)
    assert grown <= max(replicas, new.replicas)
    assert grown <= new.replicas or total + grown <= replicas + above
    shrunk = scaling.of_old(old, new, replicas=replicas, unavailable=below)
    assert all(0 <= after <= size.replicas for after, size in zip(shrunk, old, strict=True))
    # What is available of the old after the step, if what goes is what was not available first.
    left = new.available + sum(min(size.available, after) for size, after in zip(old, shrunk, strict=True))
    had = new.available + sum(min(size.available, size.replicas) for size in old)
    honest = all(size.available <= size.replicas for size in [*old, new])
    assert not honest or left >= min(had, replicas - below)


@given(sets=st.lists(sizes, min_size=1, max_size=4), replicas=st.integers(0, 30), surge=st.integers(0, 10))
def test_shares_of_a_scale_sum_to_what_is_allowed(sets: list[scaling.Size], replicas: int, surge: int) -> None:
    ordered = sorted(sets, key=lambda size: -size.replicas)
    total = sum(size.replicas for size in ordered)
    shares = scaling.proportional(ordered, replicas=replicas, surge=surge, current=total)
    allowed = replicas + surge if replicas else 0
    assert all(share >= 0 for share in shares)
    if total and allowed >= total:
        assert sum(shares) == allowed


@settings(max_examples=25)
@given(st.lists(st.sampled_from(["Succeeded", "Failed", "kill"]), max_size=8), st.integers(0, 2**16))
def test_every_pod_of_a_job_is_counted_once(ends: list[str], seed: int) -> None:
    async def play() -> None:
        chance = random.Random(seed)
        async with controlled("n1", seed=seed) as cluster:
            cluster.manager.choose = chance.choice
            template = {"spec": {"restartPolicy": "Never", "containers": [{"name": "main", "image": "image"}]}}
            spec = {"template": template, "completions": 20, "parallelism": 3, "backoffLimit": 100}
            await cluster.create(f"{BATCH}/jobs", {"metadata": {"name": "j"}, "spec": spec})
            succeeded = failed = 0
            for end in ends:
                await cluster.advance(600)
                running = [
                    pod
                    for pod in (await cluster.get("pods"))["items"]
                    if pod["status"].get("phase") == "Running" and not pod["metadata"].get("deletionTimestamp")
                ]
                pod = chance.choice(running)
                path = f"pods/{pod['metadata']['name']}"
                if end != "kill":
                    await cluster.kubelet.say(pod, end)
                if end == "kill" or chance.random() < 0.5:
                    await cluster.delete(path, {"gracePeriodSeconds": 0})
                succeeded += end == "Succeeded"
                failed += end != "Succeeded"
                for _ in range(chance.randrange(3)):
                    await cluster.manager.step()
            await cluster.settle()
            told = (await cluster.get(f"{BATCH}/jobs/j"))["status"]
            assert (told.get("succeeded", 0), told.get("failed", 0)) == (succeeded, failed)
            assert told["uncountedTerminatedPods"] == {}

    asyncio.run(play())


async def test_a_watch_that_was_forgotten_lists_again() -> None:
    async with (
        kubernetes(history=1) as api,
        Manager(LocalClient(api.server.handle, agent=AGENT), CONTROLLERS, clock=api.clock) as manager,
    ):
        await manager.settle()
        for number in range(20):
            await api.create("/api/v1/namespaces", {"metadata": {"name": f"team-{number}"}})
        await manager.settle()
        for number in range(20):
            assert await api.names(f"/api/v1/namespaces/team-{number}/serviceaccounts") == ["default"]
