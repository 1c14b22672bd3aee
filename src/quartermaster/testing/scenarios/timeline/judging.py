"""Play a scenario through virtual time and say whether what was expected came."""

from __future__ import annotations

import time
from heapq import heappop, heappush

from quartermaster.model.errors import InvalidInput
from quartermaster.scheduling.cycle import Policies
from quartermaster.scheduling.policies.catalogue import placement_policy
from quartermaster.scheduling.policies.fragmentation import Mix
from quartermaster.scheduling.rules import Rules
from quartermaster.testing.scenarios.deciding import Decide, NoChance
from quartermaster.testing.scenarios.failing import told
from quartermaster.testing.scenarios.invariants import Scene, broken
from quartermaster.testing.scenarios.results import CaseResult, Outcome
from quartermaster.testing.scenarios.timeline import document as doc
from quartermaster.testing.scenarios.timeline.expecting import check, exceeded, unmet
from quartermaster.testing.scenarios.timeline.quantities import Seconds
from quartermaster.testing.scenarios.timeline.world import World


def prepare(scenario: doc.Scenario, *, file: str) -> None:
    """Raises `InvalidInput` with the file if a scenario names what there is not, or could never be played."""
    try:
        _check_times(scenario)
        world = World(scenario)
        check(scenario, world)
        _policies(world)
    except InvalidInput as wrong:
        raise InvalidInput(f"{file}: {wrong.field}", wrong.problem, wrong.fix) from None


def judge(scenario: doc.Scenario, *, file: str, decide: Decide) -> CaseResult:
    """Play one scenario. What cannot be played, or crashes, is an `error`."""
    began = time.perf_counter()
    try:
        found = tuple(_play(scenario, decide))
        outcome = Outcome.DIFFERENT if found else Outcome.SAME
    except Exception as wrong:  # noqa: BLE001  # one case that crashes must not hide what came of the others
        outcome, found = Outcome.ERROR, (told(wrong),)
    return CaseResult(
        id=scenario.id,
        name=scenario.name,
        file=file,
        outcome=outcome,
        differences=found,
        seconds=time.perf_counter() - began,
    )


def _play(scenario: doc.Scenario, decide: Decide) -> list[str]:
    """All that is not as written, each with the time at which it was seen."""
    world = World(scenario)
    found: list[str] = []
    agenda = _agenda(scenario, world)
    last = -1.0
    while agenda and (now := heappop(agenda)) <= scenario.until:
        if now == last:
            continue
        last = now
        world.pass_time(now)
        for event in scenario.events:
            if event.at == now:
                world.happen(event)
        _decide(world, decide)
        heappush(agenda, (now // scenario.every + 1) * scenario.every)
        for at in (*(place.gone_at for place in world.places.values()), *(one.ends for one in world.entries.values())):
            if at is not None and at > now:
                heappush(agenda, at)
        found += [f"at {Seconds(now)}: {problem}" for problem in broken(_scene(world))]
        for number, expectation in enumerate(scenario.expect):
            if (scenario.until if expectation.at is None else expectation.at) == now:
                found += [f"at {Seconds(now)}: {problem} (expect[{number}])" for problem in unmet(expectation, world)]
    return found + list(exceeded(scenario, world))


def _check_times(scenario: doc.Scenario) -> None:
    for name in ("every", "grace", "until"):
        if getattr(scenario, name) <= 0:
            raise InvalidInput(name, "is 0", "give a time above 0")
    for number, event in enumerate(scenario.events):
        if sum(value is not None for value in (event.complete, event.node_down, event.node_up, event.queue)) != 1:
            problem = "needs exactly one thing that happens"
            raise InvalidInput(f"events[{number}]", problem, "give complete, node-down, node-up or queue")


def _agenda(scenario: doc.Scenario, world: World) -> list[float]:
    times = {0.0, float(scenario.until)}
    times.update(float(event.at) for event in scenario.events)
    times.update(float(entry.workload.at) for entry in world.entries.values())
    times.update(float(expectation.at) for expectation in scenario.expect if expectation.at is not None)
    return sorted(times)


def _decide(world: World, decide: Decide) -> None:
    entries = list(world.present())
    plan = decide(
        world.state().borrow(),
        _policies(world),
        groups=[world.as_group(entry) for entry in entries if world.waiting(entry)],
        running=[world.as_group(entry) for entry in entries if len(world.waiting(entry)) < len(entry.pods)],
        now=world.now,
        rng=NoChance(),
    )
    world.carry_out(plan)


def _policies(world: World) -> Policies:
    written = world.scenario.policy
    specs = (pod.spec for entry in world.entries.values() for pod in entry.pods)
    return Policies(
        placement=placement_policy(written.placement, Mix.of(specs)),
        queues=world.queues,
        topologies=world.topologies,
        actions=written.actions,
        budgets=tuple(world.budgets()),
        rules=Rules(staleness_grace=float(written.staleness_grace)),
    )


def _scene(world: World) -> Scene:
    return Scene(
        nodes=world.nodes,
        groups=[entry.group for entry in world.entries.values()],
        queues=world.queues,
        topologies=world.topologies,
        seats=world.seats(),
        fresh=world.fresh,
    )
