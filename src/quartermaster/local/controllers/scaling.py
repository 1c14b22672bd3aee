"""The arithmetic of rollouts: how many replicas a new set may have and old ones must lose. Integers in, integers out.

Formulas: kubernetes/pkg/controller/deployment/{rolling.go,sync.go} and util/deployment_util.go.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass


def resolve(value: int | str | None, total: int, *, up: bool, default: int | str = 0) -> int:
    """An IntOrString as a number: a percentage is of `total`, rounded `up` or down."""
    value = default if value is None else value
    if isinstance(value, int):
        return value
    text = value.strip().removesuffix("%")
    if not text.isdecimal():
        return 0
    share = total * int(text)
    return -(-share // 100) if up else share // 100


def fenceposts(surge: int | str | None, unavailable: int | str | None, replicas: int) -> tuple[int, int]:
    """(maxSurge, maxUnavailable) as numbers, at least one of which is not 0: else nothing could move."""
    above = resolve(surge, replicas, up=True, default="25%")
    below = resolve(unavailable, replicas, up=False, default="25%")
    return (above, 1) if above == 0 and below == 0 else (above, below)


@dataclass(frozen=True, slots=True)
class Size:
    """One replica set of a rollout: what it should have, and what of it is available."""

    replicas: int
    available: int = 0
    largest: int = 0
    """How many the whole deployment could have had when this one was last scaled; 0 if nobody wrote it down."""


def of_new(new: Size, others: int, *, replicas: int, surge: int) -> int:
    """How many the newest set should have: it grows as far as the total of `replicas` + `surge` permits."""
    if new.replicas >= replicas:
        return replicas
    room = replicas + surge - others - new.replicas
    return new.replicas if room <= 0 else new.replicas + min(room, replicas - new.replicas)


def of_old(old: Sequence[Size], new: Size, *, replicas: int, unavailable: int) -> list[int]:
    """How many each old set should have, oldest first. First goes what is not available anyway, then what may be."""
    least = replicas - unavailable
    sizes = [size.replicas for size in old]
    room = sum(sizes) + new.replicas - least - (new.replicas - new.available)
    if room <= 0:
        return sizes
    for index, size in enumerate(old):
        broken = max(0, min(room, size.replicas - size.available))
        sizes[index] -= broken
        room -= broken
    spare = sum(size.available for size in old) + new.available - least
    for index, left in enumerate(sizes):
        gone = max(0, min(spare, left))
        sizes[index] -= gone
        spare -= gone
    return sizes


def proportional(sets: Sequence[Size], *, replicas: int, surge: int, current: int) -> list[int]:
    """Sizes after a scale in the middle of a rollout, each set its share; `sets` in the order that remainders go.

    `current` is what the deployment's status says it has, the base where a set says nothing.
    """
    allowed = replicas + surge if replicas > 0 else 0
    change = allowed - sum(size.replicas for size in sets)
    sizes, given = [], 0
    for size in sets:
        part = 0
        if change and size.replicas and replicas == 0:
            part = -size.replicas
        elif change and size.replicas:
            share = _rounded(size.replicas * (replicas + surge) / (size.largest or current or 1)) - size.replicas
            part = min(share, change - given) if change > 0 else max(share, change - given)
        sizes.append(size.replicas + part)
        given += part
    if sizes and change:
        sizes[0] = max(0, sizes[0] + change - given)
    return sizes


def _rounded(value: float) -> int:
    """Half away from zero."""
    return math.floor(value + 0.5)
