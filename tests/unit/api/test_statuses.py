"""What Queue, PodGroup and Topology objects are told after a real cycle."""

from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from quartermaster.api.podgroup_status import Verdicts, least, podgroup_status
from quartermaster.api.quantities import text
from quartermaster.api.queue_status import queue_patches
from quartermaster.api.queues import queues_from
from quartermaster.api.reading import Problem, Reason, written
from quartermaster.api.statuses import patch
from quartermaster.api.topologies import topologies_from
from quartermaster.api.topology_status import topology_status
from quartermaster.api.v1alpha1 import Holding, QueueStatus
from quartermaster.cluster.state import ClusterState
from quartermaster.model.node import Node
from quartermaster.model.pod import GpuRequest, Pod, PodSpec
from quartermaster.model.podgroup import PodGroup, SubGroup
from quartermaster.model.topology import Topology, TopologyConstraint
from quartermaster.model.units import DEVICE, GIB
from quartermaster.scheduling.cycle import Policies, cycle
from quartermaster.scheduling.plan import Plan
from quartermaster.scheduling.policies.catalogue import placement_policy
from quartermaster.scheduling.policies.fragmentation import Mix
from quartermaster.scheduling.presence import Presence
from quartermaster.scheduling.rules import Rules
from quartermaster.scheduling.standing import Standing

Json = dict[str, Any]
NOW = 1_795_845_600.0
STAMP = "2026-11-28T06:00:00Z"

QUEUES: list[Json] = [
    {
        "metadata": {"name": "org", "generation": 2},
        "spec": {"gpu": {"deserved": 8}, "gpuModels": {"A": {"deserved": 8}}},
    },
    {
        "metadata": {"name": "red", "generation": 1},
        "spec": {"parent": "org", "gpu": {"deserved": 6, "limit": 6}, "gpuModels": {"A": {"deserved": 6}}},
    },
    {"metadata": {"name": "blue", "generation": 1}, "spec": {"parent": "org", "gpu": {"deserved": 4}}},
    {"metadata": {"name": "lost", "generation": 3}, "spec": {"parent": "gone"}},
]
GPU = PodSpec(cpu=1000, memory=GIB, gpu=GpuRequest(count=1))


def gang(name: str, queue: str, size: int, *, min: int | None = None, spec: PodSpec = GPU) -> PodGroup:  # noqa: A002
    return PodGroup.gang(name, queue=queue, spec=spec, size=size, min=min, created=NOW)


@dataclass
class World:
    """A node of eight devices, and what one cycle made of it."""

    state: ClusterState
    plan: Plan
    policies: Policies

    @staticmethod
    def after(*groups: PodGroup, **topologies: Topology) -> "World":
        state = ClusterState()
        labels = {"rack": "r1"}
        state.add_nodes([Node(name="n", cpu=32_000, memory=64 * GIB, gpus=8, gpu_model="A", labels=labels)])
        policies = Policies(
            placement=placement_policy("best-fit", Mix.of([GPU])),
            queues=queues_from(QUEUES).tree,
            topologies=topologies,
        )
        world = World(state, Plan([]), policies)
        world.decide(groups)
        return world

    def decide(self, groups: tuple[PodGroup, ...], running: tuple[PodGroup, ...] = (), now: float = NOW) -> None:
        rng = np.random.default_rng(0)
        self.plan = cycle(self.state.borrow(), self.policies, groups=groups, running=running, now=now, rng=rng)
        for evict in self.plan.evictions:
            self.state.leave(evict.pod)
        for placement in self.plan.placements:
            if not placement.nominated:
                columns = zip(placement.pods, placement.shapes, placement.rows, placement.masks, strict=True)
                for pod, shape, row, mask in columns:
                    self.state.place(pod, shape, row, mask, placement.account)

    @property
    def presence(self) -> Presence:
        return Presence(self.state.pods, dict(self.state.leaving))

    def told(self, group: PodGroup | Problem, value: Json | None = None, now: float = NOW) -> Json:
        value = value or {"metadata": {"name": "g", "generation": 4}}
        status = podgroup_status(value, group, Verdicts.of(self.plan), presence=self.presence, now=now)
        return written(status)


def condition(status: Json, kind: str) -> tuple[str, str, str]:
    (found,) = [item for item in status["conditions"] if item["type"] == kind]
    return found["status"], found["reason"], found["message"]


# ---- queues


def queue_statuses(
    objects: list[Json], world: World, groups: tuple[PodGroup, ...], now: float = NOW
) -> dict[str, Json]:
    queues = queues_from(objects)
    standing = Standing(queues.tree, world.state, groups=groups, presence=world.presence, rules=Rules())
    return dict(queue_patches(objects, queues, standing, groups=groups, now=now))


def test_queues_are_told_what_they_hold_deserve_and_wait_for() -> None:
    groups = (gang("a", "red", 3), gang("b", "red", 4), gang("c", "blue", 2, min=1), gang("d", "lost", 1))
    world = World.after(*groups[:3])
    told = queue_statuses(QUEUES, world, groups)
    red, org = told["red"]["status"], told["org"]["status"]
    assert red["gpu"] == {
        "allocated": "3",
        "nonPreemptible": "0",
        "requested": "7",
        "deserved": "6",
        "fairShare": "6",
        "limit": "6",
    }
    assert (red["pendingGroups"], red["runningGroups"]) == (1, 1)
    assert (org["pendingGroups"], org["runningGroups"], org["children"]) == (1, 2, ["red", "blue"])
    assert (org["gpu"]["allocated"], org["gpu"]["requested"], org["gpu"]["limit"]) == ("5", "9", "unlimited")
    assert org["gpuModels"]["A"]["allocated"] == "5"
    assert org["cpu"]["deserved"] == "unlimited"
    assert (org["cpu"]["allocated"], org["memory"]["allocated"]) == ("5", "5Gi")
    assert org["observedGeneration"] == 2
    assert condition(red, "Ready") == ("True", "InUse", "")
    said = "gpu: the queues below deserve 10 together, and it 8"
    assert condition(org, "Overcommitted") == ("True", "ChildrenDeserveMore", said)
    lost = told["lost"]["status"]
    assert condition(lost, "Ready")[:2] == ("False", "ParentNotFound")
    assert (lost["pendingGroups"], "gpu" in lost) == (1, False)


def test_non_preemptible_work_is_told_apart() -> None:
    firm = replace(gang("a", "red", 2), preemptible=False)
    world = World.after(firm)
    held = queue_statuses(QUEUES, world, (firm,))["red"]["status"]["gpu"]
    assert (held["allocated"], held["nonPreemptible"]) == ("2", "2")


def test_a_queue_that_has_nothing_new_is_not_written_to() -> None:
    groups = (gang("a", "red", 3),)
    world = World.after(*groups)
    first = queue_statuses(QUEUES, world, groups)
    assert first.keys() == {"org", "red", "blue", "lost"}
    objects = [value | first[value["metadata"]["name"]] for value in QUEUES]
    assert queue_statuses(objects, world, groups, now=NOW + 60) == {}


def test_a_condition_remembers_since_when_it_holds() -> None:
    world = World.after()
    first = queue_statuses(QUEUES, world, ())
    objects = [value | first[value["metadata"]["name"]] for value in QUEUES]
    objects.append({"metadata": {"name": "gone"}, "spec": {}})
    second = queue_statuses(objects, world, (), now=NOW + 60)
    assert second.keys() == {"lost", "gone"}
    ready = second["lost"]["status"]["conditions"][0]
    assert (ready["status"], ready["lastTransitionTime"]) == ("True", "2026-11-28T06:01:00Z")
    objects[2] = objects[2] | {"spec": {"parent": "org", "gpu": {"deserved": 1}}}
    third = queue_statuses(objects, world, (), now=NOW + 120)
    org = {item["type"]: item for item in third["org"]["status"]["conditions"]}
    assert org["Ready"]["lastTransitionTime"] == STAMP
    assert org["Overcommitted"]["lastTransitionTime"] == "2026-11-28T06:02:00Z"


def test_a_patch_removes_what_is_no_longer_said() -> None:
    before = {"metadata": {}, "status": {"gpu": {"allocated": "1"}, "pendingGroups": 2, "observedGeneration": 0}}
    change = patch(before, QueueStatus(pending_groups=3))
    assert change is not None
    assert change["status"]["gpu"] is None
    assert change["status"]["pendingGroups"] == 3
    assert "observedGeneration" not in change["status"]


def merged(before: Json, change: Json) -> Json:
    """RFC 7396."""
    found = dict(before)
    for name, item in change.items():
        if item is None:
            found.pop(name, None)
        elif isinstance(item, dict):
            was = found.get(name)
            found[name] = merged(was if isinstance(was, dict) else {}, item)
        else:
            found[name] = item
    return found


_HOLDINGS = st.builds(Holding, allocated=st.sampled_from("012"), limit=st.sampled_from(["4", "unlimited"]))
_STATUSES = st.builds(
    QueueStatus,
    gpu=st.none() | _HOLDINGS,
    gpu_models=st.dictionaries(st.sampled_from("ab"), _HOLDINGS),
    pending_groups=st.integers(0, 2),
    children=st.lists(st.sampled_from("xy"), max_size=2),
)


@given(_STATUSES, _STATUSES)
def test_a_patch_makes_one_status_of_another(before: QueueStatus, after: QueueStatus) -> None:
    value = {"metadata": {}, "status": written(before)}
    change = patch(value, after)
    assert (change is None) == (before == after)
    assert merged(value, change or {})["status"] == written(after)


def test_amounts_are_quantities() -> None:
    assert [text(one, "gpu") for one in (0, DEVICE, DEVICE / 2, 2.25 * DEVICE)] == ["0", "1", "0.5", "2.25"]
    assert [text(one, "cpu") for one in (0, 500, 64_000, float("inf"))] == ["0", "0.5", "64", "unlimited"]
    memory = (0, 1000, 3 * 1024, GIB, GIB * 3 + 1, 2048 * GIB)
    assert [text(one, "memory") for one in memory] == ["0", "1000", "3Ki", "1Gi", "3Gi", "2Ti"]


# ---- pod groups


def test_a_group_that_runs() -> None:
    whole = gang("a", "red", 3)
    told = World.after(whole).told(whole)
    assert {name: told[name] for name in ("phase", "desired", "minimum", "running", "started", "nominatedNodes")} == {
        "phase": "Running",
        "desired": 3,
        "minimum": 3,
        "running": 3,
        "started": STAMP,
        "nominatedNodes": [],
    }
    assert (condition(told, "Scheduled"), told["observedGeneration"]) == (("True", "Complete", ""), 4)
    assert condition(told, "Unschedulable")[0] == "False"


def test_a_group_beyond_the_limit_is_told_which_and_by_how_much() -> None:
    wide = gang("a", "red", 7)
    told = World.after(wide).told(wide)
    said = "queue 'red': limit of 6 gpu: 0 in use, 7 more asked"
    assert told["phase"] == "Pending"
    assert condition(told, "Scheduled") == ("False", "OverLimit", said)
    assert condition(told, "Unschedulable") == ("True", "OverLimit", said)
    firm = replace(gang("b", "blue", 5), preemptible=False)
    assert condition(World.after(firm).told(firm), "Unschedulable")[1] == "NonPreemptibleOverQuota"


def test_a_group_that_fits_nowhere_is_told_what_the_nodes_lack() -> None:
    big = gang("a", "blue", 1, spec=replace(GPU, gpu=GpuRequest(count=9)))
    status, reason, message = condition(World.after(big).told(big), "Unschedulable")
    assert (status, reason) == ("True", "InsufficientResources")
    assert "asks 9 whole GPUs, the most idle on one of those is 8" in message
    other = gang("a", "blue", 1, spec=replace(GPU, gpu=GpuRequest(count=1, models=frozenset("B"))))
    assert condition(World.after(other).told(other), "Unschedulable")[1] == "NoNodeFits"


def test_a_topology_in_the_way_is_a_reason_of_its_own() -> None:
    found = topologies_from([{"metadata": {"name": "fabric"}, "spec": {"levels": [{"label": "rack"}]}}])
    near = TopologyConstraint(topology="fabric", required="rack")
    pods = tuple(Pod(f"ml/{number}", GPU) for number in range(9))
    group = PodGroup(name="ml/g", queue="blue", root=SubGroup(pods=pods, min=9, topology=near))
    told = World.after(group, **found.topologies).told(group)
    assert condition(told, "Unschedulable")[1] == "TopologyUnsatisfied"


def test_a_group_whose_room_is_being_made_is_told_where() -> None:
    low, high = gang("low", "blue", 8), replace(gang("high", "blue", 8), priority=90)
    world = World.after(low)
    world.decide((high,), (replace(low, started=NOW - 9000),))
    told = world.told(high)
    assert (told["phase"], told["nominatedNodes"]) == ("Nominated", ["n"])
    assert condition(told, "Scheduled")[:2] == ("False", "MakingRoom")
    victim = world.told(replace(low, started=NOW - 9000), now=NOW + 5)
    assert (victim["phase"], victim["lastEvicted"], "started" in victim) == ("Pending", "2026-11-28T06:00:05Z", False)


def test_a_group_below_its_minimum_is_stale_since_the_plan_says_so() -> None:
    whole = gang("a", "red", 3)
    world = World.after(whole)
    world.state.forget("a-1")
    world.state.update_node(replace(world.state.node(0), schedulable=False))
    world.decide((whole,), (whole,), now=NOW + 30)
    told = world.told(whole, now=NOW + 30)
    assert (told["phase"], told["running"], told["staleSince"]) == ("Stale", 2, "2026-11-28T06:00:30Z")
    assert "started" not in told


def test_an_object_that_cannot_be_used_says_so() -> None:
    world = World.after()
    missing = world.told(Problem(Reason.PODS_MISSING, "2 of 3 pods exist"))
    assert (missing["phase"], condition(missing, "Unschedulable")[0]) == ("Pending", "False")
    assert condition(missing, "Scheduled") == ("False", "PodsMissing", "2 of 3 pods exist")
    invalid = world.told(Problem(Reason.INVALID_SPEC, "min: is missing"))
    assert (invalid["phase"], condition(invalid, "Unschedulable")[0]) == ("Invalid", "True")
    assert world.told(Problem(Reason.QUEUE_NOT_FOUND, "there is none"))["phase"] == "Pending"


def test_an_estimated_start_is_written_when_it_moved_by_a_minute() -> None:
    first, second = gang("a", "blue", 8), gang("b", "blue", 8)
    world = World.after(first)
    value: Json = {"metadata": {"name": "b"}}
    seen = []
    for start in (NOW + 600, NOW + 630, NOW + 700, None):
        world.plan.starts = {"b": start}
        value["status"] = world.told(second, value)
        seen.append(value["status"].get("estimatedStart"))
    assert seen == ["2026-11-28T06:10:00Z", "2026-11-28T06:10:00Z", "2026-11-28T06:11:40Z", None]


def test_what_counts_down_is_not_in_a_condition() -> None:
    first, second = replace(gang("a", "blue", 8), runtime=600.0), replace(gang("b", "blue", 8), runtime=60.0)
    world = World.after(first)
    world.policies = replace(world.policies, rules=Rules(forecast=10))
    running = (replace(first, started=NOW),)
    world.decide((second,), running, now=NOW + 1)
    told = [world.told(second)]
    world.decide((second,), running, now=NOW + 2)
    told.append(world.told(second, {"metadata": {"name": "g", "generation": 4}, "status": told[0]}, now=NOW + 2))
    assert told[0] == told[1]
    assert told[0]["estimatedStart"] == "2026-11-28T06:10:00Z"


def test_the_fewest_pods_of_a_tree() -> None:
    def leaf(size: int) -> SubGroup:
        return SubGroup(name=str(size), pods=tuple(Pod(f"{size}-{number}", GPU) for number in range(size)))

    assert least(SubGroup(children=(leaf(3), leaf(1), leaf(2)), min=2)) == 3
    assert least(leaf(4)) == 4


# ---- topologies


def test_a_topology_is_told_its_domains() -> None:
    levels = [{"label": "zone"}, {"label": "example.com/rack", "alias": "rack"}]
    value: Json = {"metadata": {"name": "fabric", "generation": 1}, "spec": {"levels": levels}}
    nodes = [{"zone": "a", "example.com/rack": "1"}, {"zone": "b", "example.com/rack": "1"}, {"zone": "b"}, {"x": "y"}]
    known = topologies_from([value])
    told = written(topology_status(value, known, labels=nodes, now=NOW))
    assert told["levels"] == [
        {"label": "zone", "domains": 2, "nodes": 3},
        {"label": "example.com/rack", "domains": 2, "nodes": 2},
    ]
    assert told["domains"] == "zone 2, rack 2"
    assert condition(told, "Ready") == ("True", "InUse", "")
    misspelt = written(topology_status(value, known, labels=[{"zone": "a"}], now=NOW))
    assert condition(misspelt, "Ready") == ("True", "NoDomains", "no node is in a domain of example.com/rack")
    broken: Json = {"metadata": {"name": "fabric"}, "spec": {"levels": []}}
    said = written(topology_status(broken, topologies_from([broken]), labels=[], now=NOW))
    assert condition(said, "Ready")[:2] == ("False", "InvalidSpec")
