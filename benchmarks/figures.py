"""A figure, and the two ways to print them."""

from __future__ import annotations

import json
import os
import platform
import time
from collections.abc import Callable, Iterable
from dataclasses import asdict, dataclass
from typing import Literal


@dataclass(frozen=True, slots=True, kw_only=True)
class Figure:
    """One measured number, and what it should be at most or at least (None: only told)."""

    name: str
    value: float
    unit: str
    better: Literal["lower", "higher"] = "lower"
    target: float | None = None

    @property
    def met(self) -> bool | None:
        """Whether the target is met."""
        if self.target is None:
            return None
        return self.value <= self.target if self.better == "lower" else self.value >= self.target


def machine() -> dict[str, str | int]:
    """What the figures were measured on."""
    return {
        "cpu": _cpu_model(),
        "cores": len(os.sched_getaffinity(0)),
        "python": platform.python_version(),
        "system": f"{platform.system()} {platform.machine()}",
    }


def _cpu_model() -> str:
    with open("/proc/cpuinfo", encoding="utf-8") as lines:  # noqa: PTH123  # a kernel interface, not a file
        return next((line.partition(":")[2].strip() for line in lines if line.startswith("model name")), "unknown")


def as_json(figures: Iterable[Figure]) -> str:
    """The stable form for programs."""
    return json.dumps({"machine": machine(), "figures": [asdict(figure) for figure in figures]}, indent=1)


def as_table(figures: Iterable[Figure]) -> str:
    """One line per figure."""
    lines = []
    for figure in figures:
        verdict = {None: "", True: "met", False: "MISSED"}[figure.met]
        bound = "" if figure.target is None else f"{'≤' if figure.better == 'lower' else '≥'} {figure.target:g}"
        lines.append(f"{figure.name:44} {figure.value:12.4g} {figure.unit:8} {bound:>12}  {verdict}")
    return "\n".join(lines)


def best_of(times: int, prepare: Callable[[], Callable[[], object]]) -> float:
    """The shortest of several runs, in seconds: on a shared machine the others measure the neighbours.

    `prepare` sets up afresh, unmeasured, and returns what is measured.
    """
    shortest = float("inf")
    for _ in range(times):
        action = prepare()
        start = time.perf_counter()
        action()
        shortest = min(shortest, time.perf_counter() - start)
    return shortest
