"""Where two normalised answers differ, and which of the differences somebody has agreed to.

A place is written like `body.spec.containers[main].image`. Lists whose entries all have a name of their own (`name`,
`metadata.name`, or `type` for conditions) are compared by it, and their order once, as `[order]`; so one missing entry
is one difference. Agreed differences are data (accepted.yaml), each with its reason:

    - stories: [discovery-*]            # glob over `story/request`, or over the story
      places: ["body.resources[componentstatuses]**"]
      reason: deprecated since 1.19, and nothing that we run asks for it

In `places`, `*` stops at a dot or bracket and `**` does not. An entry that fits no difference is reported as stale.
"""

import fnmatch
import json
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from tests.differential.client import dig

ABSENT = "<absent>"


@dataclass(frozen=True, kw_only=True)
class Difference:
    """One place where the answers differ."""

    where: str
    """`story/request`"""
    place: str
    expected: Any
    got: Any

    def __str__(self) -> str:
        return f"{self.where}: {self.place}: expected {_short(self.expected)}, got {_short(self.got)}"


@dataclass(frozen=True, kw_only=True)
class Accepted:
    """An agreed difference: where it may be, and why."""

    stories: tuple[str, ...]
    places: tuple[str, ...]
    reason: str

    def covers(self, difference: Difference) -> bool:
        """Whether this is one that was agreed to."""
        story = difference.where.partition("/")[0]
        return any(
            fnmatch.fnmatchcase(difference.where, glob) or fnmatch.fnmatchcase(story, glob) for glob in self.stories
        ) and any(_fits(difference.place, pattern) for pattern in self.places)


def load_accepted(path: Path) -> tuple[Accepted, ...]:
    """Read the data file. Raises `ValueError` for an entry without a reason."""
    rows = yaml.safe_load(path.read_text(encoding="utf-8")) or []
    for row in rows:
        if row.keys() != {"stories", "places", "reason"} or not row["reason"]:
            raise ValueError(f"{path.name}: {row}: wants stories, places and a reason")
    return tuple(
        Accepted(stories=tuple(row["stories"]), places=tuple(row["places"]), reason=row["reason"]) for row in rows
    )


def split(
    differences: Iterable[Difference], accepted: Sequence[Accepted]
) -> tuple[list[Difference], dict[Accepted, int]]:
    """Those that nobody agreed to, and for each entry how many it covered."""
    counts = dict.fromkeys(accepted, 0)
    rest = []
    for difference in differences:
        covering = [entry for entry in accepted if entry.covers(difference)]
        for entry in covering:
            counts[entry] += 1
        if not covering:
            rest.append(difference)
    return rest, counts


def compare(story: str, expected: Mapping[str, Any], got: Mapping[str, Any]) -> list[Difference]:
    """All differences between two normalised runs of a story."""
    return [
        Difference(where=f"{story}/{name}", place=place, expected=left, got=right)
        for name in [*expected, *(name for name in got if name not in expected)]
        for place, left, right in _differences("", expected.get(name, ABSENT), got.get(name, ABSENT))
    ]


def _differences(place: str, left: Any, right: Any) -> Iterator[tuple[str, Any, Any]]:
    if isinstance(left, dict) and isinstance(right, dict):
        for key in [*left, *(key for key in right if key not in left)]:
            inner = f"{place}.{key}" if place else key
            yield from _differences(inner, left.get(key, ABSENT), right.get(key, ABSENT))
    elif isinstance(left, list) and isinstance(right, list):
        names = _names(left), _names(right)
        if names[0] is not None and names[1] is not None and (left or right):
            by_name = dict(zip(names[0], left, strict=True)), dict(zip(names[1], right, strict=True))
            for name in [*by_name[0], *(name for name in by_name[1] if name not in by_name[0])]:
                yield from _differences(f"{place}[{name}]", by_name[0].get(name, ABSENT), by_name[1].get(name, ABSENT))
            both = [name for name in names[0] if name in by_name[1]], [name for name in names[1] if name in by_name[0]]
            if both[0] != both[1]:
                yield f"{place}[order]", both[0], both[1]
        else:
            for index in range(max(len(left), len(right))):
                sides = [side[index] if index < len(side) else ABSENT for side in (left, right)]
                yield from _differences(f"{place}[{index}]", sides[0], sides[1])
    elif left != right or type(left) is not type(right):
        yield place or "answer", left, right


def _names(entries: list[Any]) -> list[str] | None:
    """What the entries are called, or None if they have no names of their own."""
    for path in ("name", "metadata.name", "type"):
        names = [name for entry in entries if isinstance(name := dig(entry, path), str)]
        if len(names) == len(entries) == len({*names}):
            return names
    return None


def _fits(place: str, pattern: str) -> bool:
    parts = re.split(r"(\*\*|\*)", pattern)
    return (
        re.fullmatch("".join({"**": ".*", "*": r"[^.\[\]]*"}.get(part, re.escape(part)) for part in parts), place)
        is not None
    )


def _short(value: Any) -> str:
    text = value if isinstance(value, str) and value == ABSENT else json.dumps(value, ensure_ascii=False)
    return text if len(text) <= 300 else f"{text[:300]}…"
