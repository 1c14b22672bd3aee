"""The cluster as arrays over nodes, kept by deltas: nothing is ever rebuilt because a pod came or went.

A node's remaining cpu, memory and so on are those of its class (`classes.ClassTable`); what a class cannot say, which
device is which, is kept per node. Rows are given out in the order in which nodes are added and reused when nodes go;
**the lowest row wins every tie**, so the order of adding is the tie-break of all decisions.

The state believes what it is told: a pod that another scheduler put on a full node makes free amounts negative, and
nothing fits there. Only the scheduling cycle promises never to overcommit.
"""

from __future__ import annotations

from collections.abc import Hashable, Iterable, Mapping, Sequence
from heapq import heapify, heappop, heappush
from typing import Any

import numpy as np
from numpy.typing import NDArray

from quartermaster.cluster.affinity import AffinityIndex
from quartermaster.cluster.assignment import Assignment, Batch
from quartermaster.cluster.classes import ClassTable
from quartermaster.cluster.inside import DEVICE_BITS, Inside, empty, held_in, less, pack
from quartermaster.cluster.numa import believed
from quartermaster.cluster.shapes import MAX_KIND, Profile, Shape, kind_of, profile_of, selector_keys
from quartermaster.cluster.snapshot import Snapshot
from quartermaster.model.errors import InvalidInput
from quartermaster.model.node import Node
from quartermaster.model.pod import PodSpec
from quartermaster.model.units import BASE_RESOURCES, CPU, DEVICE, GPU, MEMORY, gpu_model_resource

FEW_VALUES = 64
"""A node label with at most this many values may tell node classes apart; one with more pins a shape to nodes."""


DEAD_CLASSES = 65_536
"""Classes without nodes that are kept, beyond four per node, before the table is compacted."""

DEAD_MOVES = 1_000_000
"""Length of the list of moves at which it is started anew."""


class ClusterState:
    """Nodes, pods and what is free.

    Arrays by row: `node_class` int32 (-1: no node), `gpu_free` int32 [nodes, devices] in micro-GPU, `kind_count` int32
    [nodes, kinds]. `generation` rises with every delta. `caches` belongs to higher layers: whatever they derive from
    this state and keep as long as it lives; it is no part of the state's value. `layout` rises when nodes come, go or
    change. `leaving` holds the pods that are terminating: they take their room until they are gone; the value says
    whether that room may be counted on (False: they have been at it for too long).
    """

    def __init__(self, nodes: Iterable[Node] = ()) -> None:
        self.generation = 0
        self.epoch = 0
        self.returns = 0
        self.layout = 0
        self.resources: list[str] = list(BASE_RESOURCES)
        self.nodes: list[Node | None] = []
        self.rows: dict[str, int] = {}
        self.shapes: list[Shape] = []
        self.pods: dict[str, Assignment] = {}
        self.leaving: dict[str, bool] = {}
        self.accounts: list[tuple[str, bool]] = []
        self.held: list[dict[str, int]] = []
        self.caches: dict[Hashable, Any] = {}
        self.node_class = np.zeros(0, dtype=np.int32)
        self.gpu_free = np.zeros((0, 0), dtype=np.int32)
        self.kind_count = np.zeros((0, MAX_KIND + 1), dtype=np.int32)
        self.affinity = AffinityIndex()
        self._shape_ids: dict[PodSpec, int] = {}
        self._account_ids: dict[tuple[str, bool], int] = {}
        self._charges: dict[tuple[int, int], tuple[tuple[str, int], ...]] = {}
        self._free_rows: list[int] = []
        self._label_keys: set[str] = set()
        self.classes = ClassTable(resources=len(self.resources), devices=0)
        self._forget_members()
        self.add_nodes(nodes)

    # ---- nodes

    def add_nodes(self, nodes: Iterable[Node]) -> None:
        """Add nodes in order; raises `InvalidInput` on a name that is there already."""
        for node in nodes:
            if node.name in self.rows:
                raise InvalidInput(f"node '{node.name}'", "is there already", "give each node a name of its own")
            new = [name for name in node.extended if name not in self.resources]
            if new or node.gpus > self.gpu_free.shape[1]:
                self._widen(new, node.gpus)
            row = self._new_row()
            self.nodes[row] = node
            self.rows[node.name] = row
            self.gpu_free[row, : node.gpus] = DEVICE
            profile = profile_of(node, resources=self.resources, label_keys=self._label_keys)
            key = (self.classes.profile_id(profile), profile.allocatable, (DEVICE,) * node.gpus, 0, frozenset[Any]())
            inside = None if node.locality is None else empty(node.locality, node.gpus)
            self._move(row, self.classes.intern(key, inside))
            self.returns += 1
        self.layout += 1
        self.generation += 1

    def remove_node(self, name: str) -> list[str]:
        """Remove a node; returns the pods that were on it, which are forgotten."""
        row = self.row(name)
        lost = [pod for pod, assignment in self.pods.items() if assignment.row == row]
        for pod in lost:
            self.forget(pod)
        self._move(row, -1)
        self.gpu_free[row] = 0
        self.nodes[row] = None
        del self.rows[name]
        heappush(self._free_rows, row)
        self.affinity.invalidate()
        self.layout += 1
        self.generation += 1
        return lost

    def update_node(self, node: Node) -> None:
        """Replace what is known of a node of that name; its pods stay, and so does its row."""
        row = self.row(node.name)
        old = self.nodes[row]
        assert old is not None
        new = [name for name in node.extended if name not in self.resources]
        if new or node.gpus > self.gpu_free.shape[1]:
            self._widen(new, node.gpus)
        self.gpu_free[row, old.gpus : node.gpus] = DEVICE
        self.gpu_free[row, node.gpus :] = 0
        self.nodes[row] = node
        self._reclassify([row])
        if node.locality != old.locality or (node.locality is not None and node.gpus != old.gpus):
            self._settle_anew(row)
        self.affinity.invalidate()
        self.layout += 1
        self.generation += 1

    def _settle_anew(self, row: int) -> None:
        """Zones are others than they were: what the pods of a node hold in them is worked out again."""
        there = sorted(pod for pod, at in self.pods.items() if at.row == row)
        for pod in there:
            at = self.pods[pod]
            shape, devices = self.shapes[at.shape], at.devices & DEVICE_BITS
            word = self._believed(row, shape, devices)
            self.pods[pod] = at._replace(devices=word)
            key, inside = self.classes.keys[self.class_at[row]], self.classes.inside[self.class_at[row]]
            if inside is not None:
                self._move(row, self.classes.intern(key, self._inside(row, inside, word, 1)))

    def _believed(self, row: int, shape: Shape, devices: int) -> int:
        inside, locality = self.classes.inside[self.class_at[row]], self.node(row).locality
        if inside is None or locality is None:
            return devices
        return pack(devices, believed(shape.spec, locality, inside.zones, devices))

    def row(self, name: str) -> int:
        """The row of a node; raises `InvalidInput` when there is none of that name."""
        try:
            return self.rows[name]
        except KeyError:
            raise InvalidInput(f"node '{name}'", "does not exist", "name a node of this cluster") from None

    def node(self, row: int) -> Node:
        """The node in a row."""
        node = self.nodes[row]
        assert node is not None, "rows of nodes that are gone are never handed out"
        return node

    def profile(self, row: int) -> Profile:
        """The profile of the node in a row."""
        return self.classes.profiles[self.classes.keys[self.class_at[row]][0]]

    # ---- shapes and accounts

    def shape(self, spec: PodSpec) -> Shape:
        """The shape of a spec against this state's columns, given out on first sight."""
        number = self._shape_ids.get(spec)
        if number is not None:
            return self.shapes[number]
        new = [name for name, _ in spec.extended if name not in self.resources]
        if new:
            self._widen(new, 0)
        pinned = self._learn_labels(selector_keys(spec))
        number = len(self.shapes)
        self._shape_ids[spec] = number
        self.shapes.append(self._make_shape(number, spec, pinned=pinned))
        return self.shapes[number]

    def _make_shape(self, number: int, spec: PodSpec, *, pinned: bool) -> Shape:
        amounts = dict(spec.extended)
        amounts |= {CPU: spec.cpu, MEMORY: spec.memory, "ephemeral-storage": spec.ephemeral_storage, "pods": 1}
        request = tuple(amounts.get(name, 0) for name in self.resources)
        return Shape(
            id=number,
            spec=spec,
            request=request,
            asked=tuple((column, amount) for column, amount in enumerate(request) if amount),
            count=spec.gpu.count,
            share=spec.gpu.share,
            by_memory=spec.gpu.memory > 0,
            whole=spec.gpu.whole,
            kind=kind_of(spec),
            pinned=pinned,
        )

    def _learn_labels(self, keys: set[str]) -> bool:
        """Let labels tell classes apart where they can; whether one of `keys` has too many values for that."""
        pinned = False
        new: set[str] = set()
        for key in keys - self._label_keys:
            values = {node.labels.get(key) for node in self.nodes if node is not None}
            if len(values) > FEW_VALUES:
                pinned = True
            else:
                new.add(key)
        if new:
            self._label_keys |= new
            self._reclassify(list(self.rows.values()))
        return pinned

    def account(self, queue: str, *, preemptible: bool = True) -> int:
        """The number under which a queue's pods are charged, preemptible and other pods apart."""
        key = (queue, preemptible)
        number = self._account_ids.setdefault(key, len(self.accounts))
        if number == len(self.accounts):
            self.accounts.append(key)
            self.held.append({})
        return number

    def charge(self, shape: Shape, row: int) -> tuple[tuple[str, int], ...]:
        """What a pod of `shape` on `row` costs its queue: cpu, memory, GPUs (micro) and GPUs of that model."""
        profile = self.classes.keys[self.class_at[row]][0]
        known = self._charges.get((shape.id, profile))
        if known is None:
            static = self.classes.profiles[profile]
            items = {CPU: shape.spec.cpu, MEMORY: shape.spec.memory}
            if shape.count:
                micro = shape.count * (shape.share_on(static.gpu_memory) or DEVICE)
                items[GPU] = micro
                if static.gpu_model:
                    items[gpu_model_resource(static.gpu_model)] = micro
            known = self._charges[(shape.id, profile)] = tuple((name, n) for name, n in items.items() if n)
        return known

    # ---- pods

    def assume(
        self,
        pod: str,
        spec: PodSpec,
        node: str,
        devices: Sequence[int] = (),
        *,
        queue: str = "",
        preemptible: bool = True,
        zones: Mapping[int, Mapping[str, int]] | None = None,
    ) -> None:
        """Record that a pod is on a node, with the indexes of its GPUs; raises `InvalidInput` if that cannot be.

        `zones` is what it holds in each NUMA zone, by index and resource; not given, that is predicted.
        """
        shape = self.shape(spec)
        row = self.row(node)
        have = self.node(row).gpus
        if pod in self.pods:
            raise InvalidInput(f"pod '{pod}'", "is placed already", "forget it first")
        if len(devices) != shape.count or len(set(devices)) != len(devices) or not all(0 <= d < have for d in devices):
            raise InvalidInput(
                f"pod '{pod}': devices", f"{list(devices)}", f"name {shape.count} different devices of {have}"
            )
        mask = sum(1 << device for device in devices)
        if self.classes.inside[self.class_at[row]] is not None:
            mask = self._believed(row, shape, mask) if zones is None else self._told(pod, row, mask, zones)
        self.place(pod, shape, row, mask, self.account(queue, preemptible=preemptible))

    def _told(self, pod: str, row: int, devices: int, zones: Mapping[int, Mapping[str, int]]) -> int:
        locality = self.node(row).locality
        assert locality is not None, "asked only of nodes that have an inside"
        for zone, amounts in zones.items():
            if not 0 <= zone < len(locality.zones) or any(amount < 0 for amount in amounts.values()):
                raise InvalidInput(
                    f"pod '{pod}': zones",
                    f"{zone}: {dict(amounts)}",
                    f"name amounts in zones 0 to {len(locality.zones)}",
                )
        held = [
            [zones.get(index, {}).get(name, 0) for name in locality.aligned] for index in range(len(locality.zones))
        ]
        return pack(devices, held)

    def place(self, pod: str, shape: Shape, row: int, devices: int, account: int) -> int:
        """`assume` by numbers: `devices` is the place inside. Returns the class that the node had."""
        old = self.class_at[row]
        share = 0
        level = 0
        plain = True
        rest = devices & DEVICE_BITS
        if rest:
            share = shape.share if not shape.by_memory else self._share(shape, old)
            width = self._width
            while rest:
                index = row * width + (rest & -rest).bit_length() - 1
                level = self._gpu_at[index]
                if shape.whole and level != DEVICE:
                    plain = False
                self._gpu_at[index] = level - share
                rest &= rest - 1
            self._kind_at[row * (MAX_KIND + 1) + shape.kind] += 1
            plain = plain and (shape.whole or shape.count == 1)
        self.pods[pod] = Assignment(row, shape.id, devices, share, account)
        held = self.held[account]
        for name, amount in self._charges.get((shape.id, self.classes.keys[old][0])) or self.charge(shape, row):
            held[name] = held.get(name, 0) + amount
        if self.classes.inside[old] is not None:
            new = self.classes.after_at(old, shape, devices, share)
        else:
            new = self.classes.after(old, shape, level) if plain else self._class_from_row(row, shape)
        self._move(row, new)
        if self.affinity.terms or shape.spec.anti_affinity:
            self.affinity.add(self, shape, row, 1)
        self.generation += 1
        return old

    def _share(self, shape: Shape, number: int) -> int:
        return shape.share_on(self.classes.profiles[self.classes.keys[number][0]].gpu_memory) or DEVICE

    def _class_from_row(self, row: int, shape: Shape) -> int:
        profile, free, devices, _, ports = self.classes.keys[self.class_at[row]]
        left = tuple(sorted(self.gpu_free[row, : len(devices)].tolist(), reverse=True))
        free = tuple(have - want for have, want in zip(free, shape.request, strict=True))
        return self.classes.intern((profile, free, left, self._kinds(row), ports | frozenset(shape.spec.host_ports)))

    def _inside(self, row: int, was: Inside, word: int, sign: int) -> Inside:
        """The inside of a node that was like `was` once a pod has come to `word` in it (sign -1: has left)."""
        node = self.node(row)
        assert node.locality is not None, "only nodes with a locality have an inside"
        levels = tuple(self.gpu_free[row, : node.gpus].tolist())
        return Inside(levels, less(was.zones, held_in(word, node.locality), sign))

    def holds(self, row: int, place: int) -> bool:
        """Whether the zones of a node have free what a place in it takes of them."""
        inside, locality = self.classes.inside[self.class_at[row]], self.node(row).locality
        if inside is None or locality is None:
            return True
        left = less(inside.zones, held_in(place, locality))
        return all(
            amount >= min(0, had)
            for zone, was in zip(left, inside.zones, strict=True)
            for amount, had in zip(zone, was, strict=True)
        )

    def _kinds(self, row: int) -> int:
        return sum(1 << kind for kind, count in enumerate(self.kind_count[row].tolist()) if count)

    def leave(self, pod: str, *, frees: bool = True) -> None:
        """Mark a pod as terminating; raises `InvalidInput` if it is nowhere. `frees`: its room may be counted on."""
        if pod not in self.pods:
            raise InvalidInput(f"pod '{pod}'", "is not placed", "only pods on a node can be leaving it")
        self.leaving[pod] = frees
        self.generation += 1

    def stay(self, pod: str) -> None:
        """Take back `leave`; nothing if it is not leaving."""
        if self.leaving.pop(pod, None) is not None:
            self.generation += 1

    def forget(self, pod: str) -> Assignment:
        """Take a pod off its node; returns where it was. Raises `InvalidInput` if it is nowhere."""
        assignment = self.pods.pop(pod, None)
        if assignment is None:
            raise InvalidInput(f"pod '{pod}'", "is not placed", "forget only pods that were assumed")
        self.leaving.pop(pod, None)
        row, number, devices, share, account = assignment
        shape = self.shapes[number]
        self._release(row, shape, devices, share, account)
        left = tuple(sorted(self.gpu_free[row, : self.node(row).gpus].tolist(), reverse=True))
        inside = self.classes.inside[self.class_at[row]]
        if inside is not None:
            inside = self._inside(row, inside, devices, -1)
        self._move(row, self.classes.before(self.class_at[row], shape, left, self._kinds(row), inside))
        if self.affinity.terms:
            self.affinity.add(self, shape, row, -1)
        self.generation += 1
        return assignment

    def forget_many(self, pods: Iterable[str]) -> None:
        """`forget`, where each node changes its class but once; the pods have to be there."""
        rows: dict[int, list[Shape]] = {}
        for pod in pods:
            row, number, devices, share, account = self.pods.pop(pod)
            self.leaving.pop(pod, None)
            shape = self.shapes[number]
            self._release(row, shape, devices, share, account)
            rows.setdefault(row, []).append(shape)
            if self.affinity.terms:
                self.affinity.add(self, shape, row, -1)
        for row, shapes in rows.items():
            profile, free, devices_were, _, ports = self.classes.keys[self.class_at[row]]
            left = tuple(sorted(self.gpu_free[row, : len(devices_were)].tolist(), reverse=True))
            free = tuple(map(sum, zip(free, *(shape.request for shape in shapes), strict=True)))
            ports = ports.difference(*(shape.spec.host_ports for shape in shapes))
            self._move(row, self.classes.intern((profile, free, left, self._kinds(row), ports)))
        self.generation += 1

    def unplace(self, pod: str, old: int) -> None:
        """Undo `place`, given the class that it returned; cheaper than `forget`."""
        row, number, devices, share, account = self.pods.pop(pod)
        shape = self.shapes[number]
        self._release(row, shape, devices, share, account)
        self._move(row, old)
        if self.affinity.terms:
            self.affinity.add(self, shape, row, -1)
        self.generation += 1

    def _release(self, row: int, shape: Shape, devices: int, share: int, account: int) -> None:
        devices &= DEVICE_BITS
        if devices:
            base = row * self._width
            self._kind_at[row * (MAX_KIND + 1) + shape.kind] -= 1
            while devices:
                self._gpu_at[base + (devices & -devices).bit_length() - 1] += share
                devices &= devices - 1
        self.returns += 1
        held = self.held[account]
        for name, amount in self.charge(shape, row):
            left = held[name] - amount
            if left:
                held[name] = left
            else:
                del held[name]

    def place_many(self, batch: Batch) -> None:
        """Record many pods of one shape at once (see `Batch`)."""
        self._apply(batch, 1)
        assign = map(Assignment._make, batch.assignments())
        self.pods.update(zip(batch.pods, assign, strict=True))
        self._move_many(batch.rows, batch.after)

    def unplace_many(self, batch: Batch) -> None:
        """Undo `place_many`."""
        self.returns += 1
        self._apply(batch, -1)
        for pod in batch.pods:
            del self.pods[pod]
        self._move_many(batch.rows, batch.before)

    def _apply(self, batch: Batch, sign: int) -> None:
        shape, rows = batch.shape, batch.rows
        held = self.held[batch.account]
        for name, amount in self.charge(shape, int(rows[0])):
            left = held.get(name, 0) + sign * amount * len(batch.pods)
            if left:
                held[name] = left
            else:
                del held[name]
        if shape.count:
            self.gpu_free[rows] -= sign * batch.taken
            self.kind_count[rows, shape.kind] += sign * batch.per_row
        if self.affinity.terms or shape.spec.anti_affinity:
            for row in rows.tolist():
                self.affinity.add(self, shape, row, sign * batch.per_row)
        self.generation += 1

    # ---- which nodes are in which class

    def count(self, number: int) -> int:
        """How many nodes are in a class."""
        return self._count[number] if number < len(self._count) else 0

    def first(self, number: int) -> int:
        """The lowest row in a class that has a node."""
        members = self._members[number]
        while self.class_at[members[0]] != number:
            heappop(members)
        return members[0]

    def rows_of(self, number: int) -> NDArray[np.int64]:
        """All rows in a class, ascending."""
        return np.flatnonzero(self.node_class == number)

    def live_classes(self) -> NDArray[np.int64]:
        """The classes that have nodes, ascending."""
        used = self.node_class[self.node_class >= 0]
        return np.flatnonzero(np.bincount(used, minlength=1)) if len(used) else np.zeros(0, dtype=np.int64)

    @property
    def moved(self) -> list[int]:
        """Rows that changed class since the epoch began, oldest first, repetitions and all (see `Frontier`)."""
        return self._moved

    def _move(self, row: int, number: int) -> None:
        old = self.class_at[row]
        self.class_at[row] = number
        if old >= 0:
            self._count[old] -= 1
        if number >= 0:
            self._join(row, number)

    def _join(self, row: int, number: int) -> None:
        while number >= len(self._count):
            self._count.append(0)
            self._members.append([])
        members = self._members[number]
        count = self._count[number] = self._count[number] + 1
        if count == 1:
            members.clear()
        if len(members) > 2 * count + 16:
            members[:] = self.rows_of(number).tolist()
        else:
            heappush(members, row)
        self._moved.append(row)

    def _move_many(self, rows: NDArray[np.int64], number: int) -> None:
        for old, leaving in zip(*np.unique(self.node_class[rows], return_counts=True), strict=True):
            self._count[old] -= int(leaving)
        self.node_class[rows] = number
        while number >= len(self._count):
            self._count.append(0)
            self._members.append([])
        self._count[number] += len(rows)
        members = self._members[number]
        if self._count[number] == len(rows):
            members.clear()
        members.extend(rows.tolist())
        heapify(members)
        self._moved.extend(rows.tolist())

    def _forget_members(self) -> None:
        """Start the class index anew from `node_class`; derived caches of higher layers are void with the epoch."""
        self._width = self.gpu_free.shape[1]
        self.class_at = self.node_class.data
        self._gpu_at = self.gpu_free.reshape(-1).data
        self._kind_at = self.kind_count.reshape(-1).data
        self._count: list[int] = [0] * len(self.classes)
        self._members: list[list[int]] = [[] for _ in range(len(self.classes))]
        for row, number in enumerate(self.node_class.tolist()):
            if number >= 0:
                self._count[number] += 1
                self._members[number].append(row)
        self._moved: list[int] = []
        self.caches.clear()
        self.epoch += 1

    # ---- growing and shrinking

    def _new_row(self) -> int:
        if self._free_rows:
            return heappop(self._free_rows)
        row = len(self.nodes)
        self.nodes.append(None)
        if row == len(self.node_class):
            size = max(16, 2 * row)
            for name, fill in (("node_class", -1), ("gpu_free", 0), ("kind_count", 0)):
                old = getattr(self, name)
                new = np.full((size, *old.shape[1:]), fill, dtype=np.int32)
                new[:row] = old[:row]
                setattr(self, name, new)
            self.class_at = self.node_class.data
            self._gpu_at = self.gpu_free.reshape(-1).data
            self._kind_at = self.kind_count.reshape(-1).data
        return row

    def _widen(self, resources: list[str], devices: int) -> None:
        """Make room for new resources or for nodes with more devices; all classes and shapes get wider."""
        self.resources.extend(resources)
        if devices > self.gpu_free.shape[1]:
            wider = np.zeros((len(self.gpu_free), devices), dtype=np.int32)
            wider[:, : self.gpu_free.shape[1]] = self.gpu_free
            self.gpu_free = wider
        self.shapes = [self._make_shape(shape.id, shape.spec, pinned=shape.pinned) for shape in self.shapes]
        self.compact()

    def compact(self) -> None:
        """Drop the classes that no node is in. Everything derived from class numbers is void afterwards."""
        table = ClassTable(resources=len(self.resources), devices=self.gpu_free.shape[1])
        self._reclassify(list(self.rows.values()), table)

    def _reclassify(self, rows: list[int], table: ClassTable | None = None) -> None:
        """Give rows the class that fits their node, labels and columns now; in a new table, all rows."""
        old_table = self.classes
        fresh = self.node_class.copy()
        table = old_table if table is None else table
        for row in rows:
            node = self.node(row)
            profile = profile_of(node, resources=self.resources, label_keys=self._label_keys)
            old_profile, free, _, kinds, ports = old_table.keys[self.class_at[row]]
            had = old_table.profiles[old_profile].allocatable
            used = [total - left for total, left in zip(had, free, strict=True)]
            used += [0] * (len(profile.allocatable) - len(used))
            left = tuple(total - taken for total, taken in zip(profile.allocatable, used, strict=True))
            devices = tuple(sorted(self.gpu_free[row, : node.gpus].tolist(), reverse=True))
            key = (table.profile_id(profile), left, devices, kinds, ports)
            fresh[row] = table.intern(key, self._inside_again(row, old_table))
        self.classes = table
        self.node_class = fresh
        self._charges.clear()
        self._forget_members()

    def _inside_again(self, row: int, table: ClassTable) -> Inside | None:
        """The inside of a node as it is, or of an empty one if its zones are not those that it had."""
        node, number = self.node(row), self.class_at[row]
        if node.locality is None:
            return None
        was, fresh = table.inside[number], empty(node.locality, node.gpus)
        levels = tuple(self.gpu_free[row, : node.gpus].tolist())
        same = was is not None and table.profiles[table.keys[number][0]].locality == node.locality
        return Inside(levels, was.zones if was is not None and same else fresh.zones)

    # ---- looking at it as a whole

    def snapshot(self) -> Snapshot:
        """A copy that later deltas do not touch. Costs a few array copies; classes and shapes are shared."""
        copy = object.__new__(ClusterState)
        copy.__dict__.update(self.__dict__)
        copy.nodes = self.nodes.copy()
        copy.rows = self.rows.copy()
        copy.pods = self.pods.copy()
        copy.leaving = self.leaving.copy()
        copy.held = [held.copy() for held in self.held]
        copy.accounts = self.accounts.copy()
        copy.resources = self.resources.copy()
        copy.shapes = self.shapes.copy()
        for name in ("_shape_ids", "_account_ids", "_charges", "_free_rows", "_label_keys"):
            setattr(copy, name, getattr(self, name).copy())
        copy.node_class = self.node_class.copy()
        copy.gpu_free = self.gpu_free.copy()
        copy.kind_count = self.kind_count.copy()
        copy.affinity = AffinityIndex()
        copy.affinity.terms.update(dict.fromkeys(self.affinity.terms))
        copy.caches = {}
        copy._forget_members()  # its own class
        return Snapshot(copy)

    def borrow(self) -> Snapshot:
        """A snapshot without the copy, for the one owner of this state: void with the owner's next delta.

        Keeps what earlier cycles derived from this state.
        """
        return Snapshot(self)

    def tidy(self) -> bool:
        """Drop dead classes and moves when there are many; whether it did, which voids all class numbers."""
        if len(self.classes) > 4 * len(self.rows) + DEAD_CLASSES:
            self.compact()
        elif len(self._moved) > DEAD_MOVES:
            self._forget_members()
        else:
            return False
        return True

    def to_bytes(self) -> bytes:
        """The state's value in canonical form: equal bytes, equal state. Numbers given out internally are resolved."""
        nodes = [(node.name, self._describe(row)) for row, node in enumerate(self.nodes) if node is not None]
        pods = sorted(
            (pod, a.row, hash(self.shapes[a.shape].spec), a.devices, a.share, self.accounts[a.account])
            for pod, a in self.pods.items()
        )
        held = sorted((key, sorted(held.items())) for key, held in zip(self.accounts, self.held, strict=True) if held)
        leaving = sorted(self.leaving.items())
        return (
            repr((self.resources, nodes, pods, held, leaving)).encode()
            + self.gpu_free.tobytes()
            + self.kind_count.tobytes()
        )

    def _describe(self, row: int) -> tuple[object, ...]:
        number = self.class_at[row]
        _, free, devices, kinds, ports = self.classes.keys[number]
        return free, devices, kinds, sorted(ports), self.classes.inside[number]
