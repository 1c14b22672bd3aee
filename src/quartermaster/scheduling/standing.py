"""Where every queue stands: what it holds, what it may hold, what it should hold. Kept up to date during a cycle.

Fair shares are worked out once, from what is held and asked for at the start; what is held follows every decision. Pods
that are leaving are charged to nobody: their queue has given them up.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence

from quartermaster.cluster.state import ClusterState
from quartermaster.model.pod import PodSpec
from quartermaster.model.podgroup import PodGroup
from quartermaster.model.queue import QueueTree
from quartermaster.model.units import CPU, DEVICE, GPU, MEMORY, gpu_model_resource
from quartermaster.scheduling.fairshare import FairShare, fair_shares
from quartermaster.scheduling.presence import Presence
from quartermaster.scheduling.quota import Amounts, QuotaGate, quota_request, quota_resources
from quartermaster.scheduling.rules import Rules


class Standing:
    """The queues of one cycle: `quota` has what they hold, `shares` what they should hold, by queue and resource."""

    def __init__(
        self,
        tree: QueueTree,
        state: ClusterState,
        *,
        groups: Sequence[PodGroup],
        presence: Presence,
        rules: Rules,
        demand: Mapping[str, Mapping[str, int]] | None = None,
    ) -> None:
        self.tree = tree
        self.presence = presence
        self.quota = QuotaGate(tree, state)
        self.resources = quota_resources(tree)
        self._state = state
        self._costs: dict[PodSpec, Amounts] = {}
        self._one: dict[PodSpec, Mapping[str, int]] = {}
        memories = [p.gpu_memory for p in state.classes.profiles]
        self._memory = max(memories, default=0)
        for pod in presence.leaving:
            if pod in state.pods:
                self._release(pod)
        self._held = {account: dict(held) for account, held in zip(state.accounts, state.held, strict=True)}
        self._groups, self._rules, self._demand = groups, rules, demand
        self._shares: dict[str, dict[str, FairShare]] | None = None
        self._requested: dict[str, dict[str, int]] | None = None
        self._capacity: dict[str, int] | None = None

    def _release(self, pod: str) -> None:
        state = self._state
        at = state.pods[pod]
        queue, preemptible = state.accounts[at.account]
        if queue in self.tree:
            self.quota.remove(queue, dict(state.charge(state.shapes[at.shape], at.row)), preemptible=preemptible)

    def move_to(self, state: ClusterState) -> None:
        """Follow another state from here on, in which the same pods are there less those that were leaving."""
        self._state = state
        self.presence = Presence(state.pods, self.presence.leaving)
        self._held = {account: dict(held) for account, held in zip(state.accounts, state.held, strict=True)}

    def settle(self, numbers: Iterable[int]) -> None:
        """Take note of what these accounts hold now."""
        for number in numbers:
            account = self._state.accounts[number]
            now, was = self._state.held[number], self._held.get(account, {})
            change = {name: now.get(name, 0) - was.get(name, 0) for name in now.keys() | was.keys()}
            self._held[account] = dict(now)
            if account[0] in self.tree:
                self.quota.add(account[0], change, preemptible=account[1])

    def cost(self, specs: Iterable[PodSpec]) -> dict[str, int]:
        """What pods of these specs are charged, by resource under quota; GPU memory is read on the largest device."""
        return self._sum(specs, self._costs, self._memory)

    def asked(self, group: PodGroup) -> Mapping[str, int]:
        """What the next part of a group costs: what it lacks to its minimum, else one pod."""
        specs = self.presence.next_part(group)
        if len(specs) != 1:
            return self.cost(specs)
        known = self._one.get(specs[0])
        if known is None:
            known = self._one[specs[0]] = self.cost(specs)
        return known

    @property
    def capacity(self) -> dict[str, int]:
        """What the nodes have together."""
        if self._capacity is None:
            self._capacity = capacity_of(self._state)
        return self._capacity

    @property
    def shares(self) -> Mapping[str, Mapping[str, FairShare]]:
        """The fair share of every queue."""
        if self._shares is None:
            self._shares = self._divide()
        return self._shares

    @property
    def requested(self) -> Mapping[str, Mapping[str, int]]:
        """What every queue, with those below it, holds or waits for, by resource in integer units."""
        if self._requested is None:
            leaves = self._ask()
            total: dict[str, dict[str, int]] = {}
            for queue in reversed(list(self.tree)):
                below = [total[child.name] for child in self.tree.children(queue.name)] or [leaves[queue.name]]
                total[queue.name] = {name: sum(one[name] for one in below) for name in self.resources}
            self._requested = total
        return self._requested

    def _divide(self) -> dict[str, dict[str, FairShare]]:
        return fair_shares(
            self.tree,
            capacity=self.capacity,
            requested=self._ask(),
            k=self._rules.history,
            deserved_in_full=self._rules.deserved_in_full,
        )

    def _ask(self) -> dict[str, dict[str, int]]:
        smallest = min((p.gpu_memory for p in self._state.classes.profiles if p.gpu_memory), default=0)
        waiting: dict[str, Counter[PodSpec]] = {}
        presence = self.presence
        for group in self._groups:
            counts = waiting.setdefault(group.queue, Counter())
            for leaf in group.root.leaves():
                counts.update([pod.spec for pod in presence.waiting(leaf)])
        requested = {}
        costs: dict[PodSpec, Amounts] = {}
        for queue in self.tree:
            if self.tree.is_leaf(queue.name):
                specs = waiting.get(queue.name, Counter[PodSpec]())
                held = self.quota.used(queue.name)
                total: Mapping[str, int] = self._sum(specs, costs, smallest)
                if self._demand is not None:
                    total = self._demand.get(queue.name, {})
                requested[queue.name] = {name: total.get(name, 0) + held.get(name, 0) for name in self.resources}
        return requested

    def _sum(self, specs: Iterable[PodSpec], known: dict[PodSpec, Amounts], gpu_memory: int) -> dict[str, int]:
        resources = self.resources
        total = [0] * len(resources)
        for spec, count in (specs if isinstance(specs, Counter) else Counter(specs)).items():
            cost = known.get(spec)
            if cost is None:
                cost = known[spec] = quota_request(spec, resources=resources, gpu_memory=gpu_memory)
            for column, part in enumerate(cost):
                total[column] += count * part
        return dict(zip(resources, total, strict=True))


def capacity_of(state: ClusterState) -> dict[str, int]:
    """What the nodes have together, in integer units."""
    total = {CPU: 0, MEMORY: 0, GPU: 0}
    profiles = state.classes.profiles
    for number in state.live_classes().tolist():
        profile, nodes = profiles[state.classes.keys[number][0]], state.count(number)
        devices = nodes * profile.gpus * DEVICE
        total[CPU] += nodes * profile.allocatable[0]
        total[MEMORY] += nodes * profile.allocatable[1]
        total[GPU] += devices
        if devices and profile.gpu_model:
            model = gpu_model_resource(profile.gpu_model)
            total[model] = total.get(model, 0) + devices
    return total
