"""Changes to a situation: each is a function from one situation to another, so several are asked about together.

Names that are not there are `InvalidInput`; nothing is decided here, only made so.
"""

from __future__ import annotations

import difflib
from collections.abc import Iterable
from dataclasses import replace

from quartermaster.model.errors import InvalidInput
from quartermaster.model.labels import HOSTNAME
from quartermaster.model.node import Node
from quartermaster.model.podgroup import PodGroup
from quartermaster.model.queue import Queue, QueueTree, Quota
from quartermaster.whatif.situation import Situation


def nodes_like(situation: Situation, name: str, count: int) -> list[Node]:
    """`count` empty nodes like the one of that name, called ``NAME-new-0`` and so on; in its racks and zones."""
    like = next((node for node in situation.nodes if node.name == name), None)
    if like is None:
        raise _missing("node", name, (node.name for node in situation.nodes))
    return [
        replace(like, name=new, labels={**like.labels, HOSTNAME: new}, schedulable=True)
        for new in (f"{name}-new-{number}" for number in range(count))
    ]


def add_nodes(situation: Situation, nodes: Iterable[Node]) -> Situation:
    """With these nodes too."""
    added = tuple(nodes)
    have = {node.name for node in situation.nodes}
    for node in added:
        if node.name in have:
            raise InvalidInput(f"node '{node.name}'", "is there already", "give each node a name of its own")
        have.add(node.name)
    return replace(situation, nodes=(*situation.nodes, *added))


def remove_node(situation: Situation, name: str) -> Situation:
    """Without a node. Its pods wait again; groups that fall below their minimum do so as of now."""
    if not any(node.name == name for node in situation.nodes):
        raise _missing("node", name, (node.name for node in situation.nodes))
    lost = {pod for pod, place in situation.places.items() if place.node == name}
    left = replace(
        situation,
        nodes=tuple(node for node in situation.nodes if node.name != name),
        places={pod: place for pod, place in situation.places.items() if pod not in lost},
    )
    presence = left.presence()
    groups = []
    for group in left.groups:
        if any(pod.name in lost for pod in group.pods) and not presence.satisfied(group.root):
            stale = left.now if presence.running(group.root) else None
            groups.append(replace(group, started=None, stale_since=stale))
        else:
            groups.append(group)
    return replace(left, groups=tuple(groups))


def set_quota(situation: Situation, queue: str, resource: str, **what: float) -> Situation:
    """With `deserved`, `limit` or `over_quota_weight` of a queue's resource changed, in the units of `Quota`."""
    tree = situation.queues
    if queue not in tree:
        raise _missing("queue", queue, (one.name for one in tree))
    old = tree[queue]
    quotas = {**old.quotas, resource: replace(old.quotas.get(resource, Quota()), **what)}
    return with_queue(situation, replace(old, quotas=quotas))


def with_queue(situation: Situation, queue: Queue) -> Situation:
    """With the queue of that name replaced."""
    return replace(situation, queues=QueueTree(queue if one.name == queue.name else one for one in situation.queues))


def submit(situation: Situation, groups: Iterable[PodGroup]) -> Situation:
    """With these groups waiting, submitted now."""
    new = tuple(replace(group, created=situation.now) for group in groups)
    have = {group.name for group in situation.groups}
    for group in new:
        if group.name in have:
            raise InvalidInput(f"workload '{group.name}'", "is there already", "give it a name of its own")
    return replace(situation, groups=(*situation.groups, *new))


def evict(situation: Situation, name: str) -> Situation:
    """With a group's pods taken off their nodes; it waits again, evicted now."""
    group = _group(situation, name)
    if not any(pod.name in situation.places for pod in group.pods):
        raise InvalidInput(f"workload '{name}'", "has no pods on nodes", "name one that runs")
    again = replace(group, started=None, stale_since=None, last_evicted=situation.now)
    return replace(
        _without_pods(situation, group),
        groups=tuple(again if one.name == name else one for one in situation.groups),
    )


def complete(situation: Situation, name: str) -> Situation:
    """Without a group: it has ended, or was deleted."""
    group = _group(situation, name)
    return replace(
        situation,
        places=_without_pods(situation, group).places,
        groups=tuple(one for one in situation.groups if one.name != name),
    )


def _group(situation: Situation, name: str) -> PodGroup:
    group = situation.group(name)
    if group is None:
        raise _missing("workload", name, (one.name for one in situation.groups))
    return group


def _without_pods(situation: Situation, group: PodGroup) -> Situation:
    mine = {pod.name for pod in group.pods}
    return replace(situation, places={pod: place for pod, place in situation.places.items() if pod not in mine})


def _missing(what: str, name: str, known: Iterable[str]) -> InvalidInput:
    some = sorted(known)
    near = difflib.get_close_matches(name, some, n=3) or some[:5]
    return InvalidInput(f"{what} '{name}'", "does not exist", f"name one of: {', '.join(near) or 'none is there'}")
