"""A cluster with everything but a scheduler, on a clock that jumps: schedulers come and go, and what must always hold
is read from the API alone after every moment."""

import asyncio
import contextlib
import random
from collections import Counter, defaultdict
from collections.abc import AsyncIterator, Callable
from typing import Any

from quartermaster.api import pods as api_pods
from quartermaster.api.objects import PodObject, read
from quartermaster.api.quantities import milli, whole
from quartermaster.cli import running
from quartermaster.controllers.installing import install_definitions
from quartermaster.controllers.scheduler.scheduler import Options, Scheduler
from quartermaster.kube.api import APPLY
from quartermaster.kube.leases import LeaderElector
from quartermaster.local.apiserver.admission_builtin import tolerate_extended_resources
from quartermaster.local.apiserver.cluster import Cluster
from quartermaster.local.apiserver.codec import load
from quartermaster.local.apiserver.local import LocalApi
from quartermaster.local.client import LocalClient
from quartermaster.local.clock import VirtualClock
from quartermaster.local.fleet.operating import install
from quartermaster.local.fleet.presets import Fleet, parse
from quartermaster.local.stages.player import Player
from quartermaster.local.stages.table import everything
from tests.unit.controllers.faults import FaultyApi, Journal

Json = dict[str, Any]
OWN = "/apis/quartermaster.dev/v1alpha1"

FOUR = parse("pools: [{preset: dgx-h100, name: h, count: 4}]", "four")
GANG = "kueue.x-k8s.io/pod-group-name"
MOST_TURNS = 50_000
STEP_S = 0.25
"""Moments that are nearer to each other are taken as one."""

SLACK_S = 15.0
"""Beside its grace, for which a gang may be broken: evictions take their time, and under faults more of it."""


class Replica:
    """One scheduler process. `clock` may be set, as a wall clock is."""

    def __init__(self, api: FaultyApi, clock: VirtualClock, *, seed: int, elect: bool) -> None:
        self.api, self.jumped = api, 0.0
        wall = _Wall(clock, self)
        self.elector = (
            LeaderElector(
                api,
                namespace="kube-system",
                name="quartermaster",
                identity=f"replica-{seed}",
                clock=clock,
                wall=wall,
                rng=random.Random(seed),
            )
            if elect
            else None
        )
        elector = self.elector
        self.scheduler = Scheduler(
            api,
            clock=wall,
            steady=clock,
            leading=None if elector is None else (lambda: elector.leader),
            options=Options(seed=seed),
        )
        self.tasks = [asyncio.create_task(self.scheduler.run())]
        if elector is not None:
            self.tasks.append(asyncio.create_task(elector.run(self.scheduler.lead)))

    def kill(self) -> None:
        """kill -9: nothing is said to anybody any more."""
        self.api.dead = True
        for task in self.tasks:
            task.cancel()

    @property
    def ended(self) -> bool:
        """Whether the process has ended by itself, as it does when it lost its lease."""
        return any(task.done() for task in self.tasks)

    def check(self) -> None:
        """Raises what a scheduler died of."""
        for task in self.tasks:
            if task.done() and not task.cancelled():
                task.result()


class _Wall:
    def __init__(self, clock: VirtualClock, replica: Replica) -> None:
        self._clock, self._replica = clock, replica

    def __call__(self) -> float:
        return self._clock() + self._replica.jumped

    async def until(self, when: float) -> None:
        await self._clock.until(self._clock() + when - self())


class World:
    """The cluster, and what is known of its gangs: `least` is the minimum of each."""

    def __init__(self, api: LocalApi, clock: VirtualClock, tasks: list[asyncio.Task[None]], seed: int) -> None:
        self.server, self.clock, self._tasks = api.server, clock, tasks
        self.client = LocalClient(api.server.handle, agent="test")
        self.rng = random.Random(seed)
        self.journal = Journal()
        self.replicas: list[Replica] = []
        self.least: dict[str, int] = {}
        self.grace = 60.0
        self._broken: dict[str, float] = {}
        self._started = 0

    # ---- schedulers

    def start(self, *, elect: bool = False, seed: int | None = None) -> Replica:
        """One more scheduler."""
        self._started += 1
        number = self._started if seed is None else seed
        client = LocalClient(self.server.handle, agent="quartermaster")
        rng = random.Random(self.rng.random())
        api = FaultyApi(client, clock=self.clock, rng=rng, journal=self.journal)
        replica = Replica(api, self.clock, seed=number, elect=elect)
        self.replicas.append(replica)
        return replica

    def stop(self, replica: Replica) -> None:
        """kill -9."""
        replica.kill()
        self.replicas.remove(replica)

    # ---- time

    async def settle(self) -> None:
        """Until nobody has anything to do before time passes: all are in this loop, so that can be known."""
        loop, quiet = asyncio.get_running_loop(), 0
        for _ in range(MOST_TURNS):
            await asyncio.sleep(0)
            quiet = 0 if loop._ready else quiet + 1  # type: ignore[attr-defined]
            if quiet > 2:
                break
        else:
            raise AssertionError("somebody is busy without end")
        for task in self._tasks:
            if task.done():
                task.result()
        for replica in self.replicas:
            replica.check()

    async def after(self, seconds: float, *, until: Callable[[], bool] = lambda: False) -> float:
        """Let that much time pass, checking at every moment; how much did until `until` was true."""
        began, end = self.clock(), self.clock() + seconds
        await self.settle()
        self.check()
        while not until():
            moment = min((at for at in (self.clock.next(), self._timer()) if at is not None), default=end)
            if moment > end:
                break
            self.clock.jump(min(end, max(moment, self.clock() + STEP_S)))
            await self.settle()
            self.check()
            if self.clock() >= end:
                break
        else:
            return self.clock() - began
        self.clock.jump(end)
        await self.settle()
        self.check()
        return self.clock() - began

    def _timer(self) -> float | None:
        """The loop's own timers run on the virtual clock too: see `world`."""
        timers = [timer.when() for timer in asyncio.get_running_loop()._scheduled if not timer.cancelled()]  # type: ignore[attr-defined]
        return min(timers, default=None)

    # ---- what there is, by the API's own word

    def objects(self, plural: str) -> list[Json]:
        """All objects of a core kind, as they are stored."""
        return [load(record.raw) for record in self.server.cluster.store.table(plural).records()]

    def live(self) -> list[Json]:
        """The pods that hold a node."""
        ended = {"Succeeded", "Failed"}
        return [
            pod for pod in self.objects("pods") if pod["spec"].get("nodeName") and pod["status"]["phase"] not in ended
        ]

    def bound(self) -> Counter[str]:
        """Pods that hold a node that is there, and stay, by gang, or by name for those that are in none."""
        nodes = {node["metadata"]["name"] for node in self.objects("nodes")}
        stay = (pod for pod in self.live() if not pod["metadata"].get("deletionTimestamp"))
        return Counter(gang_of(pod) for pod in stay if pod["spec"]["nodeName"] in nodes)

    def waiting(self) -> list[str]:
        """Pods without a node."""
        return [pod["metadata"]["name"] for pod in self.objects("pods") if not pod["spec"].get("nodeName")]

    @property
    def whole(self) -> bool:
        """Nothing waits, and no gang is less than it should be."""
        bound = self.bound()
        return not self.waiting() and all(bound[gang] >= least for gang, least in self.least.items())

    def check(self) -> None:
        """What must hold at every moment. Raises AssertionError."""
        nodes = {node["metadata"]["name"]: node for node in self.objects("nodes")}
        taken: dict[str, dict[int, str]] = defaultdict(dict)
        held: dict[str, Counter[str]] = defaultdict(Counter)
        for pod in self.live():
            name, node = pod["metadata"]["name"], pod["spec"]["nodeName"]
            for device in api_pods.devices_of(read(PodObject, pod)) or ():
                other = taken[node].setdefault(device, name)
                assert other == name, f"device {device} of {node} was given to {other} and to {name}"
            for resource, amount in api_pods.requests(read(PodObject, pod).spec).items():
                held[node][resource] += amount
            held[node]["pods"] += 1
        for name, amounts in held.items():
            if name in nodes:
                have = offered(nodes[name])
                over = {key: (amount, have.get(key, 0)) for key, amount in amounts.items() if amount > have.get(key, 0)}
                assert not over, f"{name} holds more than it has: {over}"
        twice = [uid for uid, count in Counter(uid for _, uid, _ in self.journal.bound).items() if count > 1]
        assert not twice, f"bound twice: {twice}"
        self._check_gangs()

    def _check_gangs(self) -> None:
        bound, now = self.bound(), self.clock()
        for gang, least in self.least.items():
            if not 0 < bound[gang] < least:
                self._broken.pop(gang, None)
                continue
            since = self._broken.setdefault(gang, now)
            limit = self.grace + SLACK_S
            assert now - since <= limit, f"{gang} has {bound[gang]} of {least} pods for {now - since:.0f} s"

    # ---- what users do

    async def gang(self, name: str, pods: int, *, gpus: int = 1, least: int | None = None, queue: str = "") -> None:
        """A Job whose pods start together."""
        self.least[name] = pods if least is None else least
        body = job(name, pods, gpus, self.least[name])
        if queue:
            body["metadata"]["labels"] = {"quartermaster.dev/queue": queue}
        await self.client.send("POST", "/apis/batch/v1/namespaces/default/jobs", body)

    async def queue(self, name: str, **spec: Any) -> None:
        """A queue is so from now on."""
        body = {"apiVersion": OWN.removeprefix("/apis/"), "kind": "Queue", "metadata": {"name": name}, "spec": spec}
        path = f"{OWN}/queues/{name}?fieldManager=test&force=true"
        await self.client.send("PATCH", path, body, media=APPLY)

    async def bare(self, name: str, pods: int, *, gpus: int) -> None:
        """A gang that nobody makes up for when it loses a pod."""
        self.least[name] = pods
        for number in range(pods):
            pod = template(gpus, name=f"{name}-{number}", labels={GANG: name})
            pod["metadata"]["annotations"]["kueue.x-k8s.io/pod-group-total-count"] = str(pods)
            await self.client.send("POST", "/api/v1/namespaces/default/pods", pod)

    async def single(self, name: str, *, gpus: int = 1) -> None:
        """A pod of its own."""
        await self.client.send("POST", "/api/v1/namespaces/default/pods", template(gpus, name=name))

    async def delete(self, path: str) -> None:
        """Delete what may be gone already."""
        with contextlib.suppress(Exception):
            await self.client.send("DELETE", path)


def gpus_of(pod: Json) -> int:
    return api_pods.requests(read(PodObject, pod).spec).get("nvidia.com/gpu", 0)


def gang_of(pod: Json) -> str:
    labels = pod["metadata"].get("labels") or {}
    return str(labels.get("job-name") or labels.get(GANG) or pod["metadata"]["name"])


def offered(node: Json) -> Json:
    found = node["status"]["allocatable"]
    return {key: milli(value) if key == "cpu" else whole(value) for key, value in found.items()}


def template(gpus: int, **metadata: Any) -> Json:
    limits = {"nvidia.com/gpu": str(gpus)} if gpus else {}
    container = {"name": "main", "image": "busybox", "resources": {"limits": limits, "requests": {"cpu": "1"} | limits}}
    notes = {"quartermaster.dev/run-seconds": "100000"}
    return {
        "metadata": {"annotations": notes, **metadata},
        "spec": {"restartPolicy": "Never", "containers": [container]},
    }


def job(name: str, pods: int, gpus: int, least: int) -> Json:
    notes = {"quartermaster.dev/min-member": str(least)}
    spec = {"parallelism": pods, "completions": pods, "backoffLimit": 1000, "template": template(gpus)}
    return {"metadata": {"name": name, "annotations": notes}, "spec": spec}


@contextlib.asynccontextmanager
async def world(*, fleet: Fleet = FOUR, seed: int = 1) -> AsyncIterator[World]:
    """A cluster that is up. The loop's own timers follow the virtual clock: a time limit of 4 s is one of its 4 s."""
    clock = VirtualClock()
    loop = asyncio.get_running_loop()
    loop.time = clock  # type: ignore[method-assign]
    cluster = Cluster(clock=clock, rng=random.Random(seed))
    async with LocalApi(port=None, cluster=cluster) as api:
        api.server.admission.mutating.append(tolerate_extended_resources)

        def connect(agent: str) -> LocalClient:
            return LocalClient(api.server.handle, agent=agent)

        player = Player(connect("kubelet"), everything(), clock=clock, rng=random.Random(seed))
        tasks = [asyncio.create_task(player.run()), asyncio.create_task(running._workloads(connect, clock, 1.0))]
        it = World(api, clock, tasks, seed)
        try:
            await install_definitions(connect("quartermaster"))
            await install(connect("quartermaster"), fleet)
            await it.after(3)
            yield it
        finally:
            for replica in list(it.replicas):
                it.stop(replica)
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)
