"""Whether the world is what an expectation says, and what it is instead."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from quartermaster.model.errors import InvalidInput
from quartermaster.model.podgroup import SubGroup
from quartermaster.model.topology import TopologyConstraint
from quartermaster.testing.scenarios.timeline import document as doc
from quartermaster.testing.scenarios.timeline.metrics import METRICS
from quartermaster.testing.scenarios.timeline.world import Entry, World

OF_GROUP = ("running", "waiting", "nominated", "leaving", "evicted", "completed", "nodes", "one_domain", "reason")


def check(scenario: doc.Scenario, world: World) -> None:
    """Raises `InvalidInput` for an expectation or threshold that could never be asked of this scenario."""
    for number, expectation in enumerate(scenario.expect):
        where = f"expect[{number}]"
        if expectation.at is not None and expectation.at > scenario.until:
            raise InvalidInput(f"{where}.at", f"{expectation.at} is after the end", f"give at most {scenario.until}")
        _known(f"{where}.group", expectation.group, world.entries)
        _known(f"{where}.queue", expectation.queue, {queue.name: queue for queue in world.queues})
        asked = [name for name in OF_GROUP if getattr(expectation, name) is not None]
        if asked and expectation.group is None:
            key = asked[0].replace("_", "-")
            raise InvalidInput(f"{where}.{key}", "is asked of no group", "add `group`")
        if expectation.gpus is not None and expectation.queue is None:
            raise InvalidInput(f"{where}.gpus", "is asked of no queue", "add `queue`")
        if not asked and expectation.gpus is None and expectation.evictions is None:
            raise InvalidInput(where, "expects nothing", "say what is to be true, see docs/scenarios.md")
    for number, event in enumerate(scenario.events):
        where = f"events[{number}]"
        _known(f"{where}.complete", event.complete, world.entries)
        _known(f"{where}.node-down", event.node_down, world.all_nodes)
        _known(f"{where}.node-up", event.node_up, world.all_nodes)
        name = None if event.queue is None else event.queue.name
        _known(f"{where}.queue.name", name, {one.name: one for one in scenario.queues})
    for entry in world.entries.values():
        _known(f"workload '{entry.workload.name}': queue", entry.group.queue, {one.name: one for one in world.queues})
        for constraint in _constraints(entry.group.root):
            _known(f"workload '{entry.workload.name}': topology", constraint.topology, world.topologies)
            constraint.check(world.topologies[constraint.topology])
    for name in scenario.thresholds:
        _known(f"thresholds.{name}", name, METRICS)


def _constraints(part: SubGroup) -> Iterator[TopologyConstraint]:
    if part.topology is not None:
        yield part.topology
    for child in part.children:
        yield from _constraints(child)


def _known(where: str, name: str | None, known: Mapping[str, object]) -> None:
    if name is not None and name not in known:
        raise InvalidInput(where, f"there is no '{name}'", f"name one of: {', '.join(known)}")


def unmet(expectation: doc.Expectation, world: World) -> Iterator[str]:
    """What is not as expected, in words."""
    if expectation.group is not None:
        yield from _group(expectation, world.entries[expectation.group], world)
    if expectation.queue is not None and expectation.gpus is not None:
        held = sum(
            world.gpus(pod)
            for pod in world.places
            if any(queue.name == expectation.queue for queue in world.queues.path(world.of_pod[pod].group.queue))
        )
        yield from _bound(f"queue {expectation.queue} holds", held, expectation.gpus, "GPUs")
    if expectation.evictions is not None:
        yield from _bound("there were", world.ledger.evictions, expectation.evictions, "evictions")


def _group(wanted: doc.Expectation, entry: Entry, world: World) -> Iterator[str]:
    name = entry.group.name
    staying = world.staying(entry)
    waiting = world.waiting(entry) if entry.workload.at <= world.now and entry.ended is None else []
    counts = (
        ("running", wanted.running, len(staying)),
        ("waiting", wanted.waiting, len(waiting)),
        ("nominated", wanted.nominated, sum(pod.name in world.nominated for pod in entry.pods)),
        ("leaving", wanted.leaving, sum(pod.name in world.places for pod in entry.pods) - len(staying)),
        ("evicted", wanted.evicted, entry.evicted),
    )
    for word, bound, count in counts:
        if bound is not None:
            yield from _bound(f"group {name} has", count, bound, f"pods {word}")
    if wanted.completed is not None and wanted.completed is not (entry.ended is not None):
        yield f"group {name} has {'' if entry.ended is not None else 'not '}completed"
    used = sorted({world.places[pod].node for pod in staying})
    if wanted.nodes is not None and used != sorted(wanted.nodes):
        yield f"group {name} is on {', '.join(used) or 'no node'}, expected {', '.join(sorted(wanted.nodes))}"
    if wanted.one_domain is not None:
        domains = {world.all_nodes[node].labels.get(wanted.one_domain) for node in used}
        if len(domains) != 1 or None in domains:
            found = ", ".join(sorted(str(domain) for domain in domains)) or "nowhere"
            yield f"group {name} is in {found}, expected one domain of {wanted.one_domain}"
    if wanted.reason is not None and wanted.reason not in entry.reason:
        yield f"group {name} waits because '{entry.reason}', expected '{wanted.reason}'"


def _bound(what: str, value: float, bound: doc.Bound, unit: str) -> Iterator[str]:
    if isinstance(bound, doc.Range):
        if not bound.at_least <= value <= bound.at_most:
            sides = ("at least", bound.at_least), ("at most", bound.at_most)
            asked = " and ".join(f"{word} {limit:g}" for word, limit in sides if abs(limit) != float("inf"))
            yield f"{what} {value:g} {unit}, expected {asked}"
    elif abs(value - bound) > 1e-9:
        yield f"{what} {value:g} {unit}, expected {bound:g}"


def exceeded(scenario: doc.Scenario, world: World) -> Iterator[str]:
    """Thresholds that do not hold at the end."""
    for name, bound in scenario.thresholds.items():
        yield from _bound(name, METRICS[name](world), bound, "over the run")
