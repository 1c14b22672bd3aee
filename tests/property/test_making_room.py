"""The invariants of the whole cycle, on crowded clusters: checked from the outside, on what a plan says."""

from collections import Counter
from random import Random

import pytest
from hypothesis import given

from quartermaster.cluster.state import ClusterState
from quartermaster.model.podgroup import PodGroup, SubGroup
from quartermaster.model.units import CPU, DEVICE, GPU, MEMORY, gpu_model_resource
from quartermaster.scheduling.plan import Plan
from quartermaster.scheduling.quota import quota_resources, to_internal
from quartermaster.scheduling.rules import Action
from quartermaster.testing.crowds import TOPOLOGY, World, crowd, satisfied, worlds
from quartermaster.testing.scenarios.invariants import Scene, Seat, broken

SEEDS = range(12)


def after(world: World, plan: Plan) -> ClusterState:
    """The cluster once all that was decided is done."""
    state = world.state.snapshot().state
    plan.apply(state)
    return state


def by_pod(world: World) -> dict[str, PodGroup]:
    return {pod.name: group for group in world.groups for pod in group.pods}


def held(state: ClusterState, world: World, *, firm: bool = False) -> dict[str, Counter[str]]:
    """What every queue holds with all below it, summed up pod by pod."""
    sums: dict[str, Counter[str]] = {queue.name: Counter() for queue in world.queues}
    groups = by_pod(world)
    for pod, at in state.pods.items():
        group = groups[pod]
        if firm and group.preemptible:
            continue
        spec, profile = state.shapes[at.shape].spec, state.profile(at.row)
        devices = (spec.gpu.share_on(profile.gpu_memory) or 0) * spec.gpu.count if spec.gpu.count else 0
        amounts = {CPU: spec.cpu, MEMORY: spec.memory, GPU: devices, gpu_model_resource(profile.gpu_model): devices}
        for queue in world.queues.path(group.queue):
            sums[queue.name].update(amounts)
    return sums


def check(world: World, plan: Plan) -> None:
    """Everything that must hold of one plan."""
    before, now = world.state, after(world, plan)
    groups = by_pod(world)
    names_are_named_once(plan)
    nothing_is_overcommitted(world, now)
    for group in world.groups:
        gangs_stay_whole(group, before, now)
        topologies_hold(group.root, before, now)
    quotas_hold(world, before, now)
    for evict in plan.evictions:
        assert evict.pod in before.pods
        group = groups[evict.pod]
        if evict.action == Action.STALE:
            continue
        beneficiary = next(group for group in world.groups if group.name == evict.beneficiary)
        allowed(world, group, beneficiary, evict.action)
        gained = {pod.name for pod in beneficiary.pods} & (now.pods.keys() - before.pods.keys())
        assert gained, f"{evict} helps nobody"
        if evict.action == Action.CONSOLIDATE:
            assert evict.pod in now.pods, f"{evict} has no other place"
    budgets_hold(world, plan)


def names_are_named_once(plan: Plan) -> None:
    placed = Counter(pod for placement in plan.placements for pod in placement.pods)
    evicted = Counter(evict.pod for evict in plan.evictions)
    assert all(count == 1 for count in (placed | evicted).values())


def nothing_is_overcommitted(world: World, now: ClusterState) -> None:
    for row, node in enumerate(world.nodes):
        here = [at for at in now.pods.values() if at.row == row]
        specs = [now.shapes[at.shape].spec for at in here]
        assert sum(spec.cpu for spec in specs) <= node.cpu
        assert sum(spec.memory for spec in specs) <= node.memory
        for device in range(node.gpus):
            assert sum(at.share for at in here if at.devices >> device & 1) <= DEVICE
        assert all(at.devices < 1 << node.gpus for at in here)


def gangs_stay_whole(group: PodGroup, before: ClusterState, now: ClusterState) -> None:
    if satisfied(group.root, before.pods) or not any(pod.name in before.pods for pod in group.pods):
        assert satisfied(group.root, now.pods) or not any(pod.name in now.pods for pod in group.pods), group.name


def topologies_hold(part: SubGroup, before: ClusterState, now: ClusterState) -> None:
    for child in part.children:
        topologies_hold(child, before, now)
    if part.topology is None or not part.topology.required:
        return
    depth = TOPOLOGY.depth(part.topology.required)
    pods = [pod.name for leaf in part.leaves() for pod in leaf.pods]

    def domains(state: ClusterState) -> set[tuple[str, ...]]:
        nodes = [state.nodes[state.pods[pod].row] for pod in pods if pod in state.pods]
        return {tuple(node.labels[level.label] for level in TOPOLOGY.levels[: depth + 1]) for node in nodes if node}

    assert len(domains(now)) <= max(1, len(domains(before)))


def quotas_hold(world: World, before: ClusterState, now: ClusterState) -> None:
    """A bound that was passed before may stay so, but not get worse."""
    resources = quota_resources(world.queues)
    for firm in (False, True):
        was, have = held(before, world, firm=firm), held(now, world, firm=firm)
        for queue in world.queues:
            for resource in resources:
                quota = queue.quota(resource)
                bound = to_internal(quota.deserved if firm else quota.limit, resource)
                assert have[queue.name][resource] <= max(bound, was[queue.name][resource]), (queue.name, resource, firm)


def allowed(world: World, victim: PodGroup, beneficiary: PodGroup, action: str) -> None:
    """What protects work, read off the rules."""
    assert victim.preemptible
    assert beneficiary.may_preempt
    assert world.now - beneficiary.created >= beneficiary.preemption_delay
    assert victim.name != beneficiary.name
    if action == Action.PREEMPT:
        assert victim.queue == beneficiary.queue
        assert victim.priority < beneficiary.priority
    elif action == Action.RECLAIM:
        assert victim.queue != beneficiary.queue


def budgets_hold(world: World, plan: Plan) -> None:
    specs = {pod.name: pod.spec for group in world.groups for pod in group.pods}
    gone = [specs[evict.pod] for evict in plan.evictions if evict.action != Action.STALE]
    for budget in world.budgets:
        covered = [spec for spec in gone if budget.covers(namespace=spec.namespace, labels=spec.label_map)]
        assert len(covered) <= budget.allowed


@given(worlds())
def test_every_plan_keeps_the_invariants(world: World) -> None:
    for _ in range(3):
        plan = world.decide()
        check(world, plan)
        world.apply(plan)


@given(worlds())
def test_the_second_opinion_of_scenarios_agrees(world: World) -> None:
    plan = world.decide()
    now = after(world, plan)
    fresh = {pod for placement in plan.placements for pod in placement.pods}
    seats = [
        Seat(pod=pod, node=world.nodes[at.row].name, devices=tuple(i for i in range(8) if at.devices >> i & 1))
        for pod, at in now.pods.items()
    ]
    scene = Scene(
        nodes=world.nodes,
        groups=world.groups,
        queues=world.queues,
        topologies={TOPOLOGY.name: TOPOLOGY},
        seats=seats,
        fresh=fresh,
    )
    assert not list(broken(scene))


@given(worlds())
def test_same_world_same_plan_and_no_trace(world: World) -> None:
    world.decide()  # Shapes and accounts are known from here on.
    bytes_before = world.state.to_bytes()
    plan = world.decide()
    assert world.state.to_bytes() == bytes_before
    again = world.decide()
    assert plan == again


@given(worlds())
def test_young_work_is_left_alone(world: World) -> None:
    """Where nothing is older than its queue's minimum run time, only surplus goes."""
    groups, before = by_pod(world), world.state
    plan = world.decide()
    now = after(world, plan)
    for evict in plan.evictions:
        group = groups[evict.pod]
        if evict.action not in {Action.RECLAIM, Action.PREEMPT} or group.started is None:
            continue
        what = "reclaim_min_runtime" if evict.action == Action.RECLAIM else "preempt_min_runtime"
        path = world.queues.path(group.queue)
        if evict.action == Action.RECLAIM:  # What holds is what is said where the two queues part, or above.
            taker = next(one for one in world.groups if one.name == evict.beneficiary)
            common = {queue.name for queue in world.queues.path(taker.queue)}
            apart = [queue for queue in path if queue.name not in common]
            path = path[len(apart) - 1 :]
        least = next((value for queue in path if (value := getattr(queue, what)) is not None), 0.0)
        if world.now - group.started < least:
            assert satisfied(group.root, now.pods) or not satisfied(group.root, before.pods)


@pytest.mark.parametrize("seed", SEEDS)
def test_no_victim_can_be_spared(seed: int) -> None:
    """Take any unit out of what was evicted for one group: the engine cannot place that group without it."""
    rng = Random(seed)
    for _ in range(40):
        world = crowd(Random(rng.random()))
        for _ in range(3):
            plan = world.decide()
            spare_nobody(world, plan)
            world.apply(plan)


def spare_nobody(world: World, plan: Plan) -> None:
    """Judged where one group alone was helped in a cycle, so that the state it was helped in is known."""
    helped = {evict.beneficiary for evict in plan.evictions}
    lost = {evict.pod for evict in plan.evictions}
    moved = lost & {pod for placement in plan.placements for pod in placement.pods}
    if len(helped) != 1 or moved or len(lost) < 2 or any(evict.action == Action.STALE for evict in plan.evictions):
        return
    (name,) = helped
    placed = {pod for placement in plan.placements if placement.group == name for pod in placement.pods}
    others = [placement for placement in plan.placements if placement.group != name]
    groups = by_pod(world)
    for victim in sorted({groups[pod].name for pod in lost}):
        if victim == name:
            continue
        trial = World(
            nodes=world.nodes, queues=world.queues, groups=list(world.groups), rules=world.rules, now=world.now
        )
        state = world.state.snapshot().state
        for pod in lost:
            if groups[pod].name != victim:
                state.forget(pod)
        for placement in others:
            columns = zip(placement.pods, placement.shapes, placement.rows, placement.masks, strict=True)
            for pod, shape, row, mask in columns:
                state.place(pod, shape, row, mask, placement.account)
        trial.state = state
        group = next(group for group in world.groups if group.name == name)
        again = trial.decide([group], actions=(Action.ALLOCATE,))
        got = {pod for placement in again.placements for pod in placement.pods}
        assert len(got & placed) < len(placed), f"{victim} was evicted for {name} in vain"
