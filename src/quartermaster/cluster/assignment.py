"""Where pods are: one by one, and many at once."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from quartermaster.cluster.shapes import Shape


class Assignment(NamedTuple):
    """Where a pod is: node row, shape number, place inside, micro-GPU on each device, account that is charged.

    `devices` is a bit mask of devices, with what is held in zones above bit 63 (see `cluster.inside`).
    """

    row: int
    shape: int
    devices: int
    share: int
    account: int


class Batch:
    """Pods of one shape on several nodes of one class, the same number on each.

    `rows` int64 [nodes]; `masks` uint64 [nodes, pods per node]; `taken` int32 [nodes, devices] micro-GPU taken;
    `before` and `after` are the nodes' classes. `pods` are the names, node by node. `places` [pods per node]: in nodes
    that are looked into, all of which are alike, the place of each pod with what it holds in zones.
    """

    __slots__ = ("account", "after", "before", "masks", "per_row", "places", "pods", "rows", "shape", "share", "taken")

    def __init__(
        self,
        *,
        pods: Sequence[str],
        shape: Shape,
        share: int,
        account: int,
        rows: NDArray[np.int64],
        masks: NDArray[np.uint64],
        taken: NDArray[np.int32],
        before: int,
        after: int,
        places: Sequence[int] = (),
    ) -> None:
        self.pods, self.shape, self.share, self.account = pods, shape, share, account
        self.rows, self.masks, self.taken, self.before, self.after = (rows, masks, taken, before, after)
        self.per_row = masks.shape[1]
        self.places = places

    def all_places(self) -> list[int]:
        """The place inside its node of each pod, node by node."""
        if self.places:
            return list(self.places) * len(self.rows)
        places: list[int] = self.masks.reshape(-1).tolist()
        return places

    def assignments(self) -> Iterator[tuple[int, int, int, int, int]]:
        """The fields of each pod's `Assignment`."""
        rows = np.repeat(self.rows, self.per_row).tolist()
        shape, share, account = self.shape.id, self.share, self.account
        for row, mask in zip(rows, self.all_places(), strict=True):
            yield row, shape, mask, share, account
