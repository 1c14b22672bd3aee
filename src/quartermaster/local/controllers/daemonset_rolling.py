"""The steps of a DaemonSet's rollout: which daemons make room, and where a new one starts beside an old one.

Semantics: kubernetes/pkg/controller/daemon/{update,daemon_controller}.go.
"""

from __future__ import annotations

from dataclasses import dataclass

from quartermaster.local.controllers import pods
from quartermaster.local.controllers.objects import Json

REVISION = "controller-revision-hash"


@dataclass(frozen=True, slots=True)
class Daemons:
    """A set's daemons by node, where they should be, how many may be missing or twice. `digest` is the template's."""

    digest: str
    by_node: dict[str, list[Json]]
    wanted: set[str]
    surge: int
    unavailable: int
    minimum: int
    now: float

    def available(self, pod: Json) -> bool:
        """Whether a daemon serves."""
        return pods.is_available(pod, self.minimum, self.now)

    def pair(self, node: str) -> tuple[Json | None, Json | None] | None:
        """The one of the new template and the one of another; None if there are too many to say."""
        there = [pod for pod in self.by_node.get(node, ()) if not pods.is_going(pod)]
        new = [pod for pod in there if hash_of(pod) == self.digest]
        old = [pod for pod in there if hash_of(pod) != self.digest]
        if len(new) > 1 or len(old) > 1:
            return None
        return new[0] if new else None, old[0] if old else None


def hash_of(pod: Json) -> str:
    """The template that a daemon was made from."""
    return str((pod["metadata"].get("labels") or {}).get(REVISION, ""))


def surplus(fleet: Daemons, alive: list[Json]) -> list[Json]:
    """Daemons of one node that are too many; `alive` has the one to keep first."""
    if not fleet.surge:
        return alive[1:]
    new = [pod for pod in alive if hash_of(pod) == fleet.digest]
    old = [pod for pod in alive if hash_of(pod) != fleet.digest]
    gone = [*new[1:], *old[1:]]
    if new and old and (not pods.is_ready(old[0]) or fleet.available(new[0])):
        gone.append(old[0])
    return gone


def replacing(fleet: Daemons) -> list[Json]:
    """Old daemons to delete first: all that serve nobody, and of the others as many as may be missing."""
    missing, useless, stale = 0, list[Json](), list[Json]()
    for node in sorted(fleet.wanted):
        new, old = fleet.pair(node) or (None, None)
        only = new or old
        if only is None or (new is not None and old is not None) or not fleet.available(only):
            missing += 1
        if old is not None and new is None:
            (stale if fleet.available(old) else useless).append(old)
    return [*useless, *stale[: max(0, fleet.unavailable - missing)]]


def surging(fleet: Daemons) -> tuple[list[Json], list[str]]:
    """Old daemons whose successors serve, and nodes where the next successors start."""
    gone, unwanted, useless, stale = list[Json](), list[Json](), list[str](), list[str]()
    twice = serving = 0
    for node in sorted(fleet.by_node):
        found = fleet.pair(node)
        if found is None:
            twice += 1
            continue
        new, old = found
        first = old or new
        serving += first is not None and fleet.available(first)
        if old is None:
            continue
        if new is not None and fleet.available(new):
            gone.append(old)
        elif new is not None:
            twice += 1
        elif node not in fleet.wanted:
            (unwanted if fleet.available(old) else gone).append(old)
        else:
            (stale if fleet.available(old) else useless).append(node)
    gone += unwanted[: max(0, serving - len(fleet.wanted))]
    return gone, [*useless, *stale[: max(0, fleet.surge - twice)]]
