"""Axes: where the ticks are and what they say, for numbers, for times and for times on a log scale."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Final

_TIMES: Final = (
    (1.0, "1 s"),
    (10.0, "10 s"),
    (60.0, "1 min"),
    (600.0, "10 min"),
    (3600.0, "1 h"),
    (21_600.0, "6 h"),
    (86_400.0, "1 d"),
    (604_800.0, "7 d"),
    (2_592_000.0, "30 d"),
    (15_552_000.0, "180 d"),
    (94_608_000.0, "3 y"),
)

_UNITS: Final = ((2 * 86_400.0, 86_400.0, "days"), (2 * 3600.0, 3600.0, "hours"), (180.0, 60.0, "minutes"))


@dataclass(frozen=True, slots=True, kw_only=True)
class Axis:
    """A range of values, its title with the unit, and ticks as (value, text). Values are drawn at `at`, 0 to 1."""

    title: str
    low: float
    high: float
    ticks: tuple[tuple[float, str], ...]
    log: bool = False

    def at(self, value: float) -> float:
        """Where a value is drawn, from 0 at `low` to 1 at `high`."""
        if self.log:
            return math.log(value / self.low) / math.log(self.high / self.low)
        return (value - self.low) / (self.high - self.low)


def linear(title: str, low: float, high: float, *, ticks: int = 6, whole: bool = True) -> Axis:
    """An axis of numbers; with `whole`, the range is widened to the ticks around it."""
    high = high if high > low else low + 1
    step = _step((high - low) / ticks)
    if whole:
        low, high = math.floor(low / step + 1e-9) * step, math.ceil(high / step - 1e-9) * step
    digits = max(0, -math.floor(math.log10(step) + 1e-9))
    first, last = math.ceil(low / step - 1e-9), math.floor(high / step + 1e-9)
    marks = tuple((n * step, f"{n * step:,.{digits}f}") for n in range(first, last + 1))
    return Axis(title=title, low=low, high=high, ticks=marks)


def _step(rough: float) -> float:
    """The next of 1, 2, 5 times a power of ten."""
    power: float = 10.0 ** math.floor(math.log10(rough))
    return next(factor * power for factor in (1, 2, 5, 10) if factor * power >= rough * (1 - 1e-9))


def log_time(title: str, low: float, high: float) -> Axis:
    """An axis of seconds on a log scale, with the times that people say as ticks."""
    high = max(high, low * 10)
    marks = tuple((value, text) for value, text in _TIMES if low <= value <= high)
    return Axis(title=title, low=low, high=high, ticks=marks, log=True)


def time_unit(seconds: float) -> tuple[float, str]:
    """What to divide seconds by for a time axis of that length, and the name of what comes out."""
    return next(((divisor, name) for least, divisor, name in _UNITS if seconds >= least), (1.0, "seconds"))


def duration(seconds: float) -> str:
    """A time as people say it, to three digits."""
    for least, divisor, name in ((2 * 86_400.0, 86_400.0, "days"), (2 * 3600.0, 3600.0, "h"), (120.0, 60.0, "min")):
        if seconds >= least:
            value = seconds / divisor
            return f"{value:,.{max(0, 2 - math.floor(math.log10(value)))}f} {name}"
    return f"{seconds:.3g} s"
