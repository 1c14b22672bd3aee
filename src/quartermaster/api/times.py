"""Spans and moments as Kubernetes writes them: ``1h30m``, ``2026-11-28T06:00:00Z``, to seconds and back."""

from __future__ import annotations

import math
import re
from datetime import UTC, datetime
from typing import Final

from quartermaster.model.errors import InvalidInput

_UNITS: Final = {"d": 86400.0, "h": 3600.0, "m": 60.0, "s": 1.0, "ms": 0.001, "us": 1e-6, "µs": 1e-6, "ns": 1e-9}
_PART: Final = re.compile(r"([0-9]+(?:\.[0-9]*)?|\.[0-9]+)(ms|us|µs|ns|d|h|m|s)")
NEVER: Final = "never"


def seconds(text: str) -> float:
    """A span in Go's notation, days allowed too, or ``never``; raises InvalidInput for anything else."""
    if text == NEVER:
        return math.inf
    if text == "0":
        return 0.0
    if not text or _PART.sub("", text):
        raise InvalidInput("duration", f"'{text}' is none", "write it as 90s, 5m or 1h30m")
    return sum(float(count) * _UNITS[unit] for count, unit in _PART.findall(text))


def span(value: float) -> str:
    """Seconds in the largest units, zero ones left out."""
    if math.isinf(value):
        return NEVER
    rest, parts = round(value, 3), []
    for unit in ("d", "h", "m"):
        count, rest = divmod(rest, _UNITS[unit])
        if count:
            parts.append(f"{count:.0f}{unit}")
    return "".join(parts) + (f"{round(rest, 3):g}s" if rest or not parts else "")


def moment(text: str | None) -> float:
    """Seconds since 1970 of a timestamp; 0 for an object that has none."""
    if not text:
        return 0.0
    try:
        return datetime.fromisoformat(text).timestamp()
    except ValueError:
        raise InvalidInput("time", f"'{text}' is none", "write it as 2026-11-28T06:00:00Z") from None


def stamp(value: float) -> str:
    """The timestamp of a moment, to the second."""
    return datetime.fromtimestamp(value, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
