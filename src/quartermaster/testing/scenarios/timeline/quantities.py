"""Amounts as people write them: ``90s``, ``1h30m``, ``80Gi``, ``500m``.

Each type says what it reads, and raises `ValueError` with that for anything else; `document` adds where it was found.
"""

from __future__ import annotations

import math
import re
from typing import Final, Self, TypeGuard

TIME: Final = {"ms": 0.001, "s": 1.0, "m": 60.0, "h": 3600.0, "d": 86400.0}
BYTES: Final = {
    "": 1, "k": 10**3, "M": 10**6, "G": 10**9, "T": 10**12, "Ki": 2**10, "Mi": 2**20, "Gi": 2**30, "Ti": 2**40,
}  # fmt: skip

_SPAN: Final = re.compile(r"(\d+(?:\.\d+)?)(ms|s|m|h|d)")
_AMOUNT: Final = re.compile(r"(\d+(?:\.\d+)?)([A-Za-z]*)")


class Seconds(float):
    """A span or a point of virtual time."""

    __slots__ = ()

    @classmethod
    def read(cls, value: object) -> Self:
        """Seconds as a number, or with units from milliseconds to days, the largest first."""
        if _is_number(value):
            return cls(value)
        if isinstance(value, str) and value and not _SPAN.sub("", value):
            return cls(sum(float(count) * TIME[unit] for count, unit in _SPAN.findall(value)))
        raise ValueError(f"{value!r} is no time: give seconds, or a time such as 90s or 1h30m")

    def __str__(self) -> str:
        """The time in its largest units, zero ones left out."""
        rest, parts = float(self), []
        for unit in ("d", "h", "m"):
            count, rest = divmod(rest, TIME[unit])
            if count:
                parts.append(f"{count:.0f}{unit}")
        return "".join(parts) + (f"{rest:g}s" if rest or not parts else "")


class Bytes(int):
    """An amount of memory."""

    @classmethod
    def read(cls, value: object) -> Self:
        """Bytes as a number, or with a suffix of Kubernetes: k, M, G, T (decimal), Ki, Mi, Gi, Ti (binary)."""
        number, unit = _amount(value)
        if unit not in BYTES:
            raise ValueError(f"{value!r} is no amount of memory: give bytes, or an amount such as 80Gi")
        return cls(number * BYTES[unit])


class Millicores(int):
    """An amount of CPU."""

    @classmethod
    def read(cls, value: object) -> Self:
        """Cores as a number (0.5), or millicores (500m)."""
        number, unit = _amount(value)
        if unit not in {"", "m"}:
            raise ValueError(
                f"{value!r} is no amount of CPU: give cores, such as 4 or 0.5, or millicores, such as 500m"
            )
        return cls(round(number if unit else number * 1000))


def _is_number(value: object) -> TypeGuard[int | float]:
    return isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value) and value >= 0


def _amount(value: object) -> tuple[float, str]:
    if _is_number(value):
        return float(value), ""
    found = _AMOUNT.fullmatch(value) if isinstance(value, str) else None
    return (float(found[1]), found[2]) if found else (0.0, "?")
