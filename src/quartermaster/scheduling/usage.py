"""What every queue uses, and whether it may use more: limits and guarantees at every ancestor.

A workload counts in its leaf and in all queues above it, so a charge walks the path to the root once and a question
does the same; nothing is summed over children. All amounts are integers, and taking a charge away is the exact inverse
of making it: a rolled-back what-if leaves no trace, however often it is tried.

The non-preemptible part is kept apart because it has a bound of its own: it can never be reclaimed, so it may only
occupy what its queue, and every queue above, is guaranteed. More would turn a neighbour's guarantee into a hope.

What this refuses: to say who goes next (`order`), and what a queue should have (`fairshare`).
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum

from quartermaster.model.queue import QueueTree
from quartermaster.scheduling.quota import Amounts, as_mapping, quota_resources, to_internal

Checkpoint = int
"""A point to which usage can go back."""


class GateKind(StrEnum):
    """Which rule said no."""

    OVER_LIMIT = "OverLimit"
    NON_PREEMPTIBLE_OVER_QUOTA = "NonPreemptibleOverQuota"


@dataclass(frozen=True, slots=True, kw_only=True)
class Gate:
    """Why a request may not be charged: the lowest queue that refuses, and the numbers, in internal units.

    `used` is what counts against the bound before the request: everything for a limit, the non-preemptible part for a
    guarantee.
    """

    kind: GateKind
    queue: str
    resource: str
    used: int
    requested: int
    bound: int

    @property
    def excess(self) -> int:
        """By how much the bound would be passed: what has to be freed, or left out of the request."""
        return self.used + self.requested - self.bound


class _Account:
    """The books of one queue. Bounds are floats only because they may be infinite."""

    __slots__ = ("deserved", "firm", "limit", "limited", "name", "used")

    def __init__(self, name: str, limit: list[float], deserved: list[float]) -> None:
        self.name = name
        self.used = [0] * len(limit)
        self.firm = [0] * len(limit)
        self.limit = limit
        self.deserved = deserved
        self.limited = any(not math.isinf(bound) for bound in limit)


class QueueUsage:
    """Allocated amounts of every queue of a tree, kept by charges and their exact inverses.

    `resources` fixes the order of all amounts given and returned. Charges are logged so that `rollback` can undo them;
    `commit` forgets the log and with it all checkpoints.
    """

    def __init__(self, tree: QueueTree) -> None:
        self.tree = tree
        self.resources: tuple[str, ...] = quota_resources(tree)
        accounts: dict[str, _Account] = {}
        for queue in tree:
            quotas = [(name, queue.quota(name)) for name in self.resources]
            accounts[queue.name] = _Account(
                queue.name,
                [to_internal(quota.limit, name) for name, quota in quotas],
                [to_internal(quota.deserved, name) for name, quota in quotas],
            )
        self._accounts = accounts
        self._paths = {name: tuple(accounts[queue.name] for queue in tree.path(name)) for name in accounts}
        self._log: list[tuple[str, Amounts, bool]] = []
        self._watchers: list[set[str]] = []

    def add(self, queue: str, amounts: Amounts, *, preemptible: bool = True) -> None:
        """Charge `amounts` to a queue and all queues above it."""
        self._charge(queue, amounts, preemptible)
        self._log.append((queue, amounts, preemptible))

    def remove(self, queue: str, amounts: Amounts, *, preemptible: bool = True) -> None:
        """Take a charge away: the exact inverse of `add` with the same arguments."""
        self.add(queue, tuple([-amount for amount in amounts]), preemptible=preemptible)

    def _charge(self, queue: str, amounts: Amounts, preemptible: bool) -> None:
        for account in self._paths[queue]:
            used = account.used
            for column, amount in enumerate(amounts):
                if amount:
                    used[column] += amount
                    if not preemptible:
                        account.firm[column] += amount
        for watcher in self._watchers:
            watcher.add(queue)

    def checkpoint(self) -> Checkpoint:
        """The present point."""
        return len(self._log)

    def rollback(self, to: Checkpoint) -> None:
        """Undo every charge since `to`."""
        log = self._log
        while len(log) > to:
            queue, amounts, preemptible = log.pop()
            self._charge(queue, tuple([-amount for amount in amounts]), preemptible)

    def commit(self) -> None:
        """Keep all charges for good; earlier checkpoints are void."""
        self._log.clear()

    def gate(self, queue: str, amounts: Amounts, *, preemptible: bool = True) -> Gate | None:
        """Why `amounts` may not be charged to `queue`; None if they may.

        A resource not asked for is never the reason, even where its limit was lowered below what is in use. All limits
        are looked at before any guarantee: being preemptible instead would cure the latter, nothing cures the former.
        """
        path = self._paths[queue]
        for account in path:
            if account.limited:
                for column, amount in enumerate(amounts):
                    if amount and account.used[column] + amount > account.limit[column]:
                        return self._refusal(GateKind.OVER_LIMIT, account, column, amount)
        if not preemptible:
            for account in path:
                for column, amount in enumerate(amounts):
                    if amount and account.firm[column] + amount > account.deserved[column]:
                        return self._refusal(GateKind.NON_PREEMPTIBLE_OVER_QUOTA, account, column, amount)
        return None

    def _refusal(self, kind: GateKind, account: _Account, column: int, amount: int) -> Gate:
        limit = kind is GateKind.OVER_LIMIT
        return Gate(
            kind=kind,
            queue=account.name,
            resource=self.resources[column],
            used=(account.used if limit else account.firm)[column],
            requested=amount,
            bound=int((account.limit if limit else account.deserved)[column]),
        )

    def allocated(self, queue: str) -> Amounts:
        """What `queue` and everything below it uses."""
        return tuple(self._accounts[queue].used)

    def non_preemptible(self, queue: str) -> Amounts:
        """The part of `allocated` that cannot be taken back."""
        return tuple(self._accounts[queue].firm)

    def by_name(self, queue: str) -> Mapping[str, float]:
        """`allocated` in the units of quotas (GPUs in devices)."""
        return as_mapping(self.allocated(queue), self.resources)

    def live(self, queue: str) -> list[int]:
        """The amounts of `queue` as the list that is kept up to date: to read in tight loops, never to change."""
        return self._accounts[queue].used

    def watch(self) -> set[str]:
        """A set of its own for each caller, to which the name of every queue charged is added; the caller empties it.

        This is how an order knows which few paths to look at again.
        """
        watcher: set[str] = set()
        self._watchers.append(watcher)
        return watcher

    def unwatch(self, watcher: set[str]) -> None:
        """Stop adding to a set that `watch` gave."""
        self._watchers = [other for other in self._watchers if other is not watcher]
