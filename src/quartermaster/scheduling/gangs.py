"""Whole groups: a tree of sub-groups is brought to its minimum, or nothing of it is placed.

The same code places a gang on what is free and, given a placer that makes room (`room.Room`), on what can be freed: so
minimums, topology and device rules hold in every action.

A part with a topology constraint goes into one domain. Domains that could take it are tried **tightest first**, at the
preferred level before coarser ones, never coarser than the required one; pods that run already pin the domain. When a
later sibling finds no place, earlier siblings move on to their next domain (`_ways` are generators: what is placed
while one is suspended is taken back when it is resumed). Tries are counted, so a hopeless tree costs `MAX_TRIES` at
most.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import groupby

import numpy as np
from numpy.typing import NDArray

from quartermaster.cluster.shapes import Shape
from quartermaster.cluster.state import ClusterState
from quartermaster.model.errors import InvalidInput
from quartermaster.model.pod import Pod, PodSpec
from quartermaster.model.podgroup import PodGroup, SubGroup
from quartermaster.model.topology import Topology, TopologyConstraint
from quartermaster.scheduling.domains import DomainIndex, Rows, domains
from quartermaster.scheduling.placing import Placer
from quartermaster.scheduling.presence import Presence

MAX_TRIES = 4096
"""Domains tried for one group before the search is cut."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Shortfall:
    """Where placing a group stopped. `domain` says how close the best domain came, if one was asked for."""

    shape: Shape
    wanted: int
    fitted: int
    domain: str = ""
    cut: bool = False


@dataclass(frozen=True, slots=True)
class _Where:
    """Rows that a part may use (None: all), and the level inside them that is better not split."""

    rows: Rows | None = None
    index: DomainIndex | None = None
    prefer: int = -1


ANYWHERE = _Where()


class Gangs:
    """Places groups through one placer. `short` is the first shortfall of the last group that did not fit."""

    def __init__(self, placer: Placer, *, topologies: Mapping[str, Topology], leaving: Mapping[str, bool]) -> None:
        self.placer = placer
        self.short: Shortfall | None = None
        self.presence = Presence(placer.state.pods, leaving)
        self._state: ClusterState = placer.state
        self._topologies = topologies
        self._tries = 0

    # ---- the two ways to place

    def start(self, group: PodGroup, account: int) -> bool:
        """Bring a group to its minimum; nothing is placed when that cannot be."""
        self.short, self._tries = None, 0
        mark = self.placer.mark()
        for _ in self._ways(group.root, account, ANYWHERE):
            return True
        self.placer.undo(mark)
        return False

    def grow(self, group: PodGroup, account: int) -> bool:
        """Place one pod above the minimum, or bring one more sub-group to its own."""
        self.short, self._tries = None, 0
        return self._grow(group.root, account, ANYWHERE)

    def advance(self, group: PodGroup, account: int) -> bool:
        """The next step of a group: to its minimum, else one pod or sub-group more; whether there was one to take."""
        before = len(self.placer.placed.pods)
        if not self.start(group, account):
            return False
        return len(self.placer.placed.pods) > before or not self.grows(group) or self.grow(group, account)

    def grows(self, group: PodGroup) -> bool:
        """Whether a group that is at its minimum has pods that wait."""
        root = group.root
        if not root.children and root.minimum == len(root.pods):
            return False
        return self.presence.waits(group)

    # ---- to the minimum

    def _ways(self, part: SubGroup, account: int, where: _Where) -> Iterator[None]:
        if part.topology is not None:
            yield from self._in_domains(part, part.topology, account, where)
        else:
            yield from self._ways_inside(part, account, where)

    def _ways_inside(self, part: SubGroup, account: int, where: _Where) -> Iterator[None]:
        if part.children:
            yield from self._children(part, account, where)
            return
        mark = self.placer.mark()
        if self._leaf(part, account, where):
            yield
        self.placer.undo(mark)

    def _leaf(self, leaf: SubGroup, account: int, where: _Where) -> bool:
        waiting = self.presence.waiting(leaf)
        need = leaf.minimum - len(self.presence.running(leaf))
        if need <= 0:
            return True
        fitted, short = 0, None
        for spec, run in _runs(waiting):
            if fitted >= need:
                break
            asked = run[: need - fitted]
            shape = self._state.shape(spec)
            done = self._place(asked, shape, account, where)
            fitted += done
            if done < len(asked):
                short = shape
        if fitted >= need:
            return True
        if short is None:  # Too few pods wait: the others are gated or still leaving.
            pods = waiting or leaf.pods
            short = self._state.shape(pods[0].spec) if pods else None
        if short is not None and self.short is None:
            self.short = Shortfall(shape=short, wanted=need, fitted=fitted)
        return False

    def _children(self, part: SubGroup, account: int, where: _Where) -> Iterator[None]:
        """Every way to satisfy enough children: those satisfied already, then the others in order; depth first."""
        todo = [child for child in part.children if not self.presence.satisfied(child)]
        done, spare = len(part.children) - len(todo), len(part.children) - part.minimum
        if done >= part.minimum:
            yield
            return
        stack: list[Iterator[None] | None] = []  # One entry per child that was decided; None: left out.
        while True:
            good = done + sum(entry is not None for entry in stack)
            if good >= part.minimum:
                yield
            elif len(stack) < len(todo):
                stack.append(self._ways(todo[len(stack)], account, where))
                self._next(stack, spare)
                if not stack:
                    return
                continue
            # Take the last decision back and try its next way; what leads nowhere is dropped from the end.
            while stack and stack[-1] is None:
                stack.pop()
            if not stack:
                return
            self._next(stack, spare)
            if not stack:
                return

    def _next(self, stack: list[Iterator[None] | None], spare: int) -> None:
        """Move the last child on to its next way; if it has none, leave it out, or go back to the child before."""
        while stack:
            ways = stack[-1]
            assert ways is not None, "only children that were placed can move on"
            if next(ways, _END) is not _END:
                return
            if sum(entry is None for entry in stack) < spare:
                stack[-1] = None
                return
            stack.pop()
            while stack and stack[-1] is None:
                stack.pop()

    # ---- topology

    def _constraint(self, constraint: TopologyConstraint) -> tuple[DomainIndex, int, int]:
        """The index, and the depths of required and preferred level (-1: none)."""
        topology = self._topologies.get(constraint.topology)
        if topology is None:
            known = ", ".join(sorted(self._topologies)) or "none"
            raise InvalidInput(f"topology '{constraint.topology}'", "does not exist", f"use one of: {known}")
        constraint.check(topology)
        required = topology.depth(constraint.required) if constraint.required else -1
        preferred = topology.depth(constraint.preferred) if constraint.preferred else -1
        return domains(self._state, topology), required, preferred

    def _in_domains(self, part: SubGroup, asked: TopologyConstraint, account: int, where: _Where) -> Iterator[None]:
        index, required, preferred = self._constraint(asked)
        needs = self._needs(part)
        if not needs:
            yield from self._ways_inside(part, account, where)
            return
        if where.rows is not None and len(where.rows) == 0:
            return
        pinned = self._pinned(part, index, max(required, 0)) if required >= 0 else None
        capacity = [(self.placer.capacity(shape), count) for shape, count in needs]
        if where.rows is not None:
            allowed = np.zeros(len(self._state.nodes), dtype=np.bool_)
            allowed[where.rows] = True
            capacity = [(per_row * allowed, count) for per_row, count in capacity]
        for depth in range(max(required, preferred), max(required, 0) - 1, -1):
            for number in _tightest(index, depth, capacity):
                rows = index.rows(depth, number)
                if pinned is not None and (not len(rows) or index.of[required, rows[0]] != pinned):
                    continue
                if self._tries >= MAX_TRIES:
                    self._cut(needs)
                    return
                self._tries += 1
                if where.rows is not None:
                    rows = rows[allowed[rows]]
                inside = _Where(rows, index, preferred) if preferred > depth else _Where(rows)
                yield from self._ways_inside(part, account, inside)
        if required < 0:
            yield from self._ways_inside(part, account, _Where(where.rows, index, preferred))
            return
        self._domain_short(index, required, capacity, needs, pinned)

    def _needs(self, part: SubGroup) -> list[tuple[Shape, int]]:
        """The pods that a part lacks to its minimum, counted by shape."""
        counts: dict[int, int] = {}
        for spec in self.presence.lacking(part):
            shape = self._state.shape(spec)
            counts[shape.id] = counts.get(shape.id, 0) + 1
        return [(self._state.shapes[number], count) for number, count in counts.items()]

    def _pinned(self, part: SubGroup, index: DomainIndex, depth: int) -> int | None:
        """The domain in which most of a part's running pods are; None when none runs."""
        at = [int(index.of[depth, self._state.pods[pod].row]) for pod in self.presence.running(part)]
        return max(set(at), key=lambda number: (at.count(number), -number)) if at else None

    def _cut(self, needs: Sequence[tuple[Shape, int]]) -> None:
        shape, count = needs[0]
        self.short = Shortfall(
            shape=shape, wanted=count, fitted=0, domain=f"search cut after {MAX_TRIES} domains", cut=True
        )

    def _domain_short(
        self,
        index: DomainIndex,
        depth: int,
        capacity: list[tuple[NDArray[np.int64], int]],
        needs: Sequence[tuple[Shape, int]],
        pinned: int | None,
    ) -> None:
        if self.short is not None and self.short.domain:
            return
        worst: tuple[float, Shape, int, int, int] | None = None
        for (per_row, count), (shape, _) in zip(capacity, needs, strict=True):
            sums = index.sums(depth, per_row)
            best = pinned if pinned is not None else (int(sums.argmax()) if len(sums) else -1)
            have = int(sums[best]) if best >= 0 else 0
            if worst is None or have / count < worst[0]:
                worst = (have / count, shape, count, have, best)
        assert worst is not None, "a part that lacks nothing was placed"
        _, shape, count, have, best = worst
        level = index.topology.levels[depth]
        if best < 0:
            text = f"no node is in a domain of level '{level.alias or level.label}'"
        elif pinned is not None:
            text = f"running pods are in {index.name(depth, best)}, which takes {have} of {count} more pods"
        else:
            missing = f", {count - have} missing" if have < count else ", but not all of its parts at once"
            text = f"the best of {index.count(depth)} domains, {index.name(depth, best)}, takes {have} of {count} pods"
            text += missing
        self.short = Shortfall(shape=shape, wanted=count, fitted=have, domain=text)

    # ---- pods on rows

    def _place(self, names: list[str], shape: Shape, account: int, where: _Where) -> int:
        if where.prefer < 0 or where.index is None:
            return self.placer.place(names, shape, account, where.rows)
        return self._close_together(names, shape, account, where.index, where)

    def _close_together(self, names: list[str], shape: Shape, account: int, index: DomainIndex, where: _Where) -> int:
        """Fill domains of the preferred level: the tightest that takes all that is left, else the roomiest."""
        done, barred = 0, set[int]()
        allowed = np.ones(len(self._state.nodes), dtype=np.bool_)
        if where.rows is not None:
            allowed[:] = False
            allowed[where.rows] = True
        while done < len(names):
            left = len(names) - done
            sums = index.sums(where.prefer, self.placer.capacity(shape) * allowed)
            order = [
                (s < left, s if s >= left else -s, -n) for n, s in enumerate(sums.tolist()) if s and n not in barred
            ]
            if not order:
                break
            number = -min(order)[2]
            rows = index.rows(where.prefer, number)
            got = self.placer.place(names[done:], shape, account, rows[allowed[rows]])
            done += got
            barred.add(number)
        if done < len(names):  # Nodes that are in no domain of that level.
            done += self.placer.place(names[done:], shape, account, where.rows)
        return done

    # ---- above the minimum

    def _grow(self, part: SubGroup, account: int, where: _Where) -> bool:
        if part.topology is not None and self.presence.satisfied(part):
            where = self._held_to(part, part.topology, where)
        if not part.children:
            return self._grow_leaf(part, account, where)
        for child in sorted(part.children, key=self.presence.fullness):
            if not any(self.presence.waiting(leaf) for leaf in child.leaves()):
                continue
            if not self.presence.satisfied(child):
                mark = self.placer.mark()
                if next(self._ways(child, account, where), _END) is not _END:
                    return True
                self.placer.undo(mark)
            elif self._grow(child, account, where):
                return True
        return False

    def _grow_leaf(self, leaf: SubGroup, account: int, where: _Where) -> bool:
        for pod in self.presence.waiting(leaf)[:1]:
            shape = self._state.shape(pod.spec)
            if self._place([pod.name], shape, account, where):
                return True
            if self.short is None:
                self.short = Shortfall(shape=shape, wanted=1, fitted=0)
        return False

    def _held_to(self, part: SubGroup, asked: TopologyConstraint, where: _Where) -> _Where:
        index, required, preferred = self._constraint(asked)
        if required < 0:
            return _Where(where.rows, index, preferred)
        pinned = self._pinned(part, index, required)
        if pinned is None:
            return where
        rows = index.rows(required, pinned) if pinned >= 0 else np.zeros(0, dtype=np.int64)
        if where.rows is not None:
            rows = np.intersect1d(rows, where.rows)
        return _Where(rows, index, preferred) if preferred > required else _Where(rows)


_END = object()


def _tightest(index: DomainIndex, depth: int, capacity: list[tuple[NDArray[np.int64], int]]) -> list[int]:
    """The domains that could take every shape's count, in the coarsest domain with least room, and so on down."""
    enough = np.ones(index.count(depth), dtype=np.bool_)
    for per_row, count in capacity:
        enough &= index.sums(depth, per_row) >= count
    rooms = []
    for level in range(depth + 1):
        room = np.zeros(index.count(level), dtype=np.float64)
        for per_row, count in capacity:
            room += index.sums(level, per_row) / count
        rooms.append(room[index.above(depth, level)])
    order = np.lexsort(rooms[::-1])
    chosen: list[int] = order[enough[order]].tolist()
    return chosen


def _runs(pods: Iterable[Pod]) -> Iterable[tuple[PodSpec, list[str]]]:
    """Neighbours with equal specs, together."""
    for spec, run in groupby(pods, key=lambda pod: pod.spec):
        yield spec, [pod.name for pod in run]
