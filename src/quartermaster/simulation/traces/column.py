"""What a trace format says of one column: its type, its range, and what stands for an empty cell.

A column is data, so that a format is a list to read and not code to follow; the sentence that tells the user what
was expected is made from the same declaration that does the checking, so the two cannot disagree. Numbers are taken
in plain ASCII notation only: Python's own `int` also reads ``1_000`` and digits of other scripts, which in a CSV file
are accidents.
"""

from __future__ import annotations

import math
import re
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Final, Generic, TypeVar

T = TypeVar("T")

_INTEGER: Final = re.compile(r"[+-]?[0-9]{1,18}")
_DIGITS: Final = re.compile(r"[+-]?[0-9]+")
_NUMBER: Final = re.compile(r"[+-]?([0-9]+\.?[0-9]*|\.[0-9]+)([eE][+-]?[0-9]+)?")
_MOMENT: Final = re.compile(r"[0-9]{4}-[0-9]{2}-[0-9]{2}[ T][0-9]{2}:[0-9]{2}:[0-9]{2}")
_NOT_FINITE: Final = {"nan", "inf", "infinity"}

LARGEST: Final = 10**15
"""Bound of every number that has none of its own: an integer below it is exact as a float, and sums stay in 64 bits."""


class BadCell(ValueError):
    """A cell that cannot be used; the message is the problem, in words."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Column(Generic[T]):
    """One column of a format.

    `wanted` is what the column holds, in words, for the error's advice and the list of formats. With a `default` the
    column may be absent and its cells may be empty; without one neither may. `parse` turns a cell into a value or
    raises `BadCell`. `unique` refuses a value that was seen before.
    """

    name: str
    wanted: str
    parse: Callable[[str], T]
    default: T | None = None
    unique: bool = False

    @property
    def required(self) -> bool:
        """Whether the column must be there."""
        return self.default is None

    def values(self, cells: Sequence[str]) -> list[T]:
        """The cells as values; the position of a bad one is found by `table`, which calls `value` on each again."""
        return [self.value(cell) for cell in cells]

    def value(self, cell: str) -> T:
        """One cell as a value, or `BadCell`."""
        if not cell:
            if self.default is None:
                raise BadCell("is empty")
            return self.default
        return self.parse(cell)


def text(*, name: str, wanted: str, default: str | None = None, unique: bool = False) -> Column[str]:
    """Any text. Equal cells give the same string object: a trace repeats a few names thousands of times."""
    return Column(name=name, wanted=wanted, parse=_word, default=default, unique=unique)


def integer(
    *,
    name: str,
    wanted: str,
    low: int = 0,
    high: int = LARGEST,
    default: int | None = None,
    unique: bool = False,
) -> Column[int]:
    """A whole number from `low` to `high`."""

    def parse(cell: str) -> int:
        if not _INTEGER.fullmatch(cell):
            raise BadCell(_not_an_integer(cell))
        value = int(cell)
        if not low <= value <= high:
            raise BadCell(_out_of_range(cell, value, low, high))
        return value

    wanted = f"{wanted}: a whole number, {_range(low, high)}"
    return Column(name=name, wanted=wanted, parse=parse, default=default, unique=unique)


def number(
    *,
    name: str,
    wanted: str,
    low: float = 0,
    high: float = LARGEST,
    positive: bool = False,
    default: float | None = None,
) -> Column[float]:
    """A finite number from `low` to `high`, and more than zero if `positive`."""

    def parse(cell: str) -> float:
        if not _NUMBER.fullmatch(cell):
            raise BadCell(_not_a_number(cell))
        value = float(cell)
        if positive and value == 0:
            raise BadCell(f"'{cell}' is zero")
        if not low <= value <= high:
            raise BadCell(_out_of_range(cell, value, low, high))
        return value

    wanted = f"{wanted}: a number, {'more than 0' if positive else _range(low, high)}"
    return Column(name=name, wanted=wanted, parse=parse, default=default)


def moment(*, name: str, wanted: str) -> Column[datetime]:
    """A date and time of day without a zone."""
    return Column(name=name, wanted=f"{wanted}, as YYYY-MM-DD HH:MM:SS", parse=_moment)


def _word(cell: str) -> str:
    if cell != cell.strip():
        raise BadCell(f"'{cell}' has space around it")
    return sys.intern(cell)


def _moment(cell: str) -> datetime:
    try:
        if _MOMENT.fullmatch(cell):
            return datetime.fromisoformat(cell)
    except ValueError:
        pass
    raise BadCell(f"'{cell}' is not a date and time")


def _not_an_integer(cell: str) -> str:
    if _DIGITS.fullmatch(cell):
        return f"'{_short(cell)}' is too large" if not cell.startswith("-") else f"'{_short(cell)}' is negative"
    return f"'{_short(cell)}' is not a whole number" if _NUMBER.fullmatch(cell) else _not_a_number(cell)


def _not_a_number(cell: str) -> str:
    if cell.lower().lstrip("+-") in _NOT_FINITE:
        return f"'{cell}' is not a finite number"
    return f"'{_short(cell)}' is not a number"


def _out_of_range(cell: str, value: float, low: float, high: float) -> str:
    if value < 0 <= low:
        return f"'{cell}' is negative"
    if math.isinf(value):
        return f"'{cell}' is too large"
    return f"'{cell}' is less than {low}" if value < low else f"'{cell}' is more than {high}"


def _range(low: float, high: float) -> str:
    return f"{low} or more" if high == LARGEST else f"{low} to {high}"


def _short(cell: str) -> str:
    return cell if len(cell) <= 40 else f"{cell[:37]}..."
