"""End to end on a real kube-apiserver with etcd: from the first create to the last binding, everything on this machine.

KAI publishes these scenarios for its whole chain, and each is the whole chain here too: creation, watch, decision,
binding, deletion of victims, condition. Times are those of a client that creates and watches. What the scheduler says
of itself (`-deciding`: all cycles together; `-binding`: from a decision to the API's answer, per group) stands beside.
What was decided is checked before a figure is told: all bound, the gang in one rack, nobody evicted for what cannot be.

The stock kube-scheduler is measured on what it can do, in the same run; ours must need no more.
"""

from __future__ import annotations

import asyncio
import sys
import time
from collections.abc import AsyncIterator, Callable, Iterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path

from benchmarks.figures import Figure
from benchmarks.testbed import GPUS, PATIENCE_S, RACK, Bench, Json, Process, bench, node_name, ours, pod, stock
from quartermaster.api.v1alpha1 import API_VERSION
from quartermaster.kube.reflector import Reflector
from quartermaster.local.real.binaries import locate
from quartermaster.model.errors import InvalidInput
from quartermaster.workloads.wishes import GROUP, QUEUE

US, STOCK = "quartermaster", "default-scheduler"
KINDS = f"/apis/{API_VERSION}"
GROUPS = f"{KINDS}/namespaces/default/podgroups"
PODS = "/api/v1/namespaces/default/pods"
Programs = Mapping[str, Path]


@dataclass(frozen=True, slots=True, kw_only=True)
class Sizes:
    """How large everything is. One-GPU pods fill all nodes; `rack`: nodes of a rack, `gang`: pods that want one."""

    nodes: int
    rack: int
    gang: int
    wide: int
    """Pods of eight GPUs each that want one GPU more than they may have."""
    large: int
    """Nodes of the larger cluster."""
    idle: float
    """Seconds to watch it do nothing."""
    full: bool = False
    """Whether these are the sizes that targets are set for."""

    @property
    def pods(self) -> int:
        """What fills the nodes."""
        return self.nodes * GPUS


FULL = Sizes(nodes=500, rack=100, gang=512, wide=10, large=5_000, idle=30.0, full=True)
SMALL = Sizes(nodes=20, rack=5, gang=32, wide=2, large=40, idle=2.0)
"""Large enough that everything happens, small enough for a test."""


@dataclass
class Report:
    """The figures so far."""

    sizes: Sizes
    figures: list[Figure] = field(default_factory=list)

    def tell(self, name: str, value: float, unit: str = "s", *, target: float | None = None) -> None:
        """One more."""
        bound = target if self.sizes.full else None
        self.figures.append(Figure(name=f"e2e/{name}", value=value, unit=unit, target=bound))

    def of(self, name: str, *, otherwise: float) -> float:
        """A figure that was told before."""
        return next((one.value for one in self.figures if one.name == f"e2e/{name}"), otherwise)


@asynccontextmanager
async def measured(report: Report, name: str, process: Process) -> AsyncIterator[None]:
    """What a scheduler says that it did meanwhile."""
    before = await process.counted()
    yield
    after = await process.counted()
    new = {key: value - before.get(key, 0.0) for key, value in after.items()}
    bind = "quartermaster_bind_duration_seconds"
    report.tell(f"{name}-deciding", new["quartermaster_cycle_duration_seconds_sum"])
    if new[f"{bind}_count"]:
        report.tell(f"{name}-binding", new[f"{bind}_sum"] / new[f"{bind}_count"])


# ---- filling


@dataclass(frozen=True, slots=True, kw_only=True)
class Fill:
    """Seconds from the first create: to the last create, to the last binding; CPU until all is said; writes."""

    created: float
    bound: float
    cpu: float
    writes: int


async def fill(it: Bench, process: Process, count: int, scheduler: str) -> Fill:
    """Create pods of one GPU, as fast as the API takes them, and see them bound."""
    writes, before = await it.writes(), process.cpu()
    began = time.perf_counter()
    await it.pods(count, lambda number: pod(f"fill-{number}", scheduler))
    created = time.perf_counter()
    bound = await it.bound.until(f"fill-{number}" for number in range(count))
    await process.quiet()
    return Fill(
        created=created - began, bound=bound - began, cpu=process.cpu() - before, writes=await it.writes() - writes
    )


async def by_stock(programs: Programs, report: Report) -> None:
    """The stock kube-scheduler fills the same nodes with the same pods."""
    sizes = report.sizes
    async with bench(programs) as it:
        await it.nodes(sizes.nodes, rack=sizes.rack)
        async with stock(it) as process:
            found = await fill(it, process, sizes.pods, STOCK)
    name = f"kube-scheduler-fill-{sizes.pods}"
    report.tell(name, found.bound)
    report.tell(f"{name}-creating", found.created)
    report.tell(f"{name}-cpu", found.cpu)
    report.tell("kube-scheduler-writes-per-bound-pod", found.writes / sizes.pods, "writes")


async def by_us(it: Bench, process: Process, report: Report) -> None:
    """We fill them."""
    sizes, endless = report.sizes, float("inf")
    name = f"fill-{sizes.pods}"
    async with measured(report, name, process):
        found = await fill(it, process, sizes.pods, US)
    report.tell(name, found.bound, target=min(12.0, report.of(f"kube-scheduler-{name}", otherwise=endless)))
    report.tell(f"{name}-creating", found.created)
    report.tell(f"{name}-cpu", found.cpu, target=report.of(f"kube-scheduler-{name}-cpu", otherwise=endless))
    report.tell("writes-per-bound-pod", found.writes / sizes.pods, "writes", target=2.0)


# ---- on full nodes


async def queue(it: Bench, name: str, deserved: int) -> None:
    """A queue that is promised GPUs, and nothing beyond them."""
    spec = {"gpu": {"deserved": deserved, "weight": 0}}
    body = {"apiVersion": API_VERSION, "kind": "Queue", "metadata": {"name": name}, "spec": spec}
    path = f"{KINDS}/queues/{name}?fieldManager=benchmark&force=true"
    await it.api.send("PATCH", path, body, media="application/apply-patch+yaml")


async def one_gpu_short(it: Bench, process: Process, report: Report) -> None:
    """A gang needs one GPU more than may be reclaimed: from the creation of its group until that is said of it."""
    sizes = report.sizes
    asked = sizes.wide * GPUS
    await queue(it, "default", sizes.pods - asked + 1)
    await queue(it, "wide", asked)
    await process.quiet()
    refused = asyncio.Event()

    def changed(_: Json | None, after: Json | None) -> None:
        said = ((after or {}).get("status") or {}).get("conditions", ())
        if any(one["type"] == "Unschedulable" and one["status"] == "True" for one in said):
            refused.set()

    watch = Reflector(it.api, GROUPS, changed)
    task = asyncio.create_task(watch.run())
    await watch.synced.wait()
    async with measured(report, "one-gpu-short", process):
        began = time.perf_counter()
        await group(it, "wide", queue="wide", least=sizes.wide)
        await it.pods(sizes.wide, lambda number: pod(f"wide-{number}", US, gpus=GPUS, labels={GROUP: "wide"}))
        await asyncio.wait_for(refused.wait(), PATIENCE_S)
        took = time.perf_counter() - began
    task.cancel()
    assert len(it.bound.nodes) == sizes.pods, "nobody leaves for a gang that cannot start"
    report.tell("one-gpu-short", took, target=1.0)
    await remove(it, [f"wide-{number}" for number in range(sizes.wide)])
    await it.api.send("DELETE", f"{GROUPS}/wide")


async def reclaim_one(it: Bench, process: Process, report: Report) -> None:
    """A queue takes the one GPU that it is promised: from the creation of its pod to the binding."""
    pods = report.sizes.pods
    await queue(it, "default", pods - 1)
    await queue(it, "one", 1)
    await process.quiet()
    async with measured(report, "reclaim-one", process):
        began = time.perf_counter()
        await it.pods(1, lambda _: pod("one", US, labels={QUEUE: "one"}))
        took = await it.bound.until(["one"]) - began
    assert len(it.bound.nodes) == pods, "one leaves for one"
    report.tell("reclaim-one", took, target=1.0)


# ---- gangs


async def group(it: Bench, name: str, *, queue: str = "default", least: int, rack: bool = False) -> None:
    """A PodGroup."""
    spec: Json = {"queue": queue, "min": least}
    if rack:
        spec["topology"] = {"topology": "racks", "required": RACK}
    body = {"apiVersion": API_VERSION, "kind": "PodGroup", "metadata": {"name": name}, "spec": spec}
    await it.api.send("POST", GROUPS, body)


async def gang(it: Bench, process: Process, report: Report) -> None:
    """A gang that wants one rack, on empty nodes: from the creation of its group to the last binding."""
    size, rack = report.sizes.gang, report.sizes.rack
    topology = {"metadata": {"name": "racks"}, "spec": {"levels": [{"label": RACK}]}}
    await it.api.send("POST", f"{KINDS}/topologies", {"apiVersion": API_VERSION, "kind": "Topology", **topology})
    await process.quiet()
    name = f"gang-{size}"
    async with measured(report, name, process):
        began = time.perf_counter()
        await group(it, "gang", least=size, rack=True)
        await it.pods(size, lambda number: pod(f"gang-{number}", US, labels={GROUP: "gang"}))
        created = time.perf_counter()
        bound = await it.bound.until(f"gang-{number}" for number in range(size))
    racks = {int(it.bound.nodes[f"gang-{number}"].rpartition("-")[2]) // rack for number in range(size)}
    assert len(racks) == 1, "the gang has to be in one rack"
    report.tell(name, bound - began, target=1.5)
    report.tell(f"{name}-creating", created - began)


async def remove(it: Bench, names: list[str]) -> None:
    """Delete pods."""

    async def one(number: int) -> None:
        await it.api.send("DELETE", f"{PODS}/{names[number]}")

    await it.each(len(names), one)


# ---- many nodes


async def large(programs: Programs, report: Report) -> None:
    """Many nodes, eight running pods on each, of which one in ten has no GPU: first nothing changes, then they fill."""
    sizes = report.sizes
    running = sizes.large * GPUS
    async with bench(programs) as it:
        await it.nodes(sizes.large, rack=sizes.rack)
        await it.pods(running, _running)
        await queue(it, "default", running)
        began = time.perf_counter()
        async with ours(it) as process:
            report.tell(f"start-{sizes.large}", time.perf_counter() - began)
            await process.quiet()
            report.tell(f"start-{sizes.large}-cpu", process.cpu())
            await idle(process, report)
            count = min(running // 10, sizes.pods)
            name = f"fill-{count}-at-{sizes.large}"
            async with measured(report, name, process):
                found = await fill(it, process, count, US)
            report.tell(f"{name}-memory", process.memory(), "MB")
    report.tell(name, found.bound, target=report.of(f"fill-{count}", otherwise=float("inf")))
    report.tell(f"{name}-creating", found.created)
    report.tell(f"{name}-cpu", found.cpu)


async def idle(process: Process, report: Report) -> None:
    """Nothing changes."""
    sizes, before = report.sizes, process.cpu()
    await asyncio.sleep(sizes.idle)
    name = f"idle-{sizes.large}"
    report.tell(f"{name}-cpu-share", (process.cpu() - before) / sizes.idle, "cores", target=0.05)
    report.tell(f"{name}-memory", process.memory(), "MB")


def _running(number: int) -> Json:
    gpus = 0 if number % 10 == 0 else 1
    return pod(f"running-{number}", US, gpus=gpus, node=node_name(number // GPUS))


# ---- all of it


async def on_full_nodes(programs: Programs, report: Report) -> None:
    """We fill them, and what follows."""
    sizes = report.sizes
    async with bench(programs) as it:
        await it.nodes(sizes.nodes, rack=sizes.rack)
        await queue(it, "default", sizes.pods)
        async with ours(it) as process:
            await by_us(it, process, report)
            await one_gpu_short(it, process, report)
            await reclaim_one(it, process, report)
            await remove(it, list(it.bound.nodes))
            await gang(it, process, report)


def measure(sizes: Sizes, programs: Programs) -> Iterator[Figure]:
    """Everything, one control plane after the other; without a kube-scheduler, nothing beside ours."""
    report = Report(sizes)
    for part in (by_stock, on_full_nodes, large):
        if part is not by_stock or "kube-scheduler" in programs:
            told = len(report.figures)
            asyncio.run(part(programs, report))
            yield from report.figures[told:]


def suite(sizes: Sizes) -> Callable[[], Iterator[Figure]]:
    """The figures at these sizes."""

    def figures() -> Iterator[Figure]:
        try:
            programs = locate(("kube-apiserver", "etcd"), useful=("kube-scheduler",))
        except InvalidInput as wrong:
            print(f"e2e: NOT MEASURED: {wrong}", file=sys.stderr)
            return
        if "kube-scheduler" not in programs:
            print("e2e: NOT COMPARED: no kube-scheduler here; see make kubernetes", file=sys.stderr)
        yield from measure(sizes, programs)

    return figures
