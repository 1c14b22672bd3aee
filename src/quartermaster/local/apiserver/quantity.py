"""Quantities in the one form in which Kubernetes keeps them (k8s.io/apimachinery/pkg/api/resource).

``1000m`` is ``1``, ``0.5`` is ``500m``, ``1024Mi`` is ``1Gi``; what is finer than a nano is rounded up.
"""

from __future__ import annotations

import re
from fractions import Fraction
from functools import lru_cache

_FORM = re.compile(r"([+-]?(?:\d+\.?\d*|\.\d+))(?:(m|u|n|k|M|G|T|P|E|Ki|Mi|Gi|Ti|Pi|Ei)|[eE]([+-]?\d{1,3}))?")
_DECIMAL = {"n": -9, "u": -6, "m": -3, "": 0, "k": 3, "M": 6, "G": 9, "T": 12, "P": 15, "E": 18}
_BINARY = {"Ki": 10, "Mi": 20, "Gi": 30, "Ti": 40, "Pi": 50, "Ei": 60}
_NANO = 10**9

MALFORMED = "quantities must match the regular expression '^([+-]?[0-9.]+)([eEinumkKMGTP]*[-+]?[0-9]*)$'"


@lru_cache(maxsize=4096)
def parse(text: str) -> Fraction:
    """The value; raises ValueError if `text` is no quantity."""
    match = _FORM.fullmatch(text)
    if not match:
        raise ValueError(MALFORMED)
    number = Fraction(match[1])
    if match[3]:
        return number * Fraction(10) ** int(match[3])
    suffix = match[2] or ""
    return number * 2 ** _BINARY[suffix] if suffix in _BINARY else number * Fraction(10) ** _DECIMAL[suffix]


@lru_cache(maxsize=4096)
def canonical(text: str) -> str:
    """The kept form; raises ValueError if `text` is no quantity."""
    match = _FORM.fullmatch(text)
    if not match:
        raise ValueError(MALFORMED)
    if text.isdecimal():
        return text  # kept as it was written, leading zeros and all
    value = parse(text)
    nanos = (
        -(-value.numerator * _NANO // value.denominator) if value >= 0 else value.numerator * _NANO // value.denominator
    )
    if (match[2] or "") in _BINARY and nanos % _NANO == 0 and abs(nanos) >= 1024 * _NANO:
        whole = nanos // _NANO
        for suffix in reversed(_BINARY):
            if whole % (1 << _BINARY[suffix]) == 0:
                return f"{whole >> _BINARY[suffix]}{suffix}"
        return str(whole)
    return _exponent(nanos) if match[3] else _decimal(nanos)


def _decimal(nanos: int) -> str:
    if nanos == 0:
        return "0"
    for suffix in reversed(_DECIMAL):
        unit = 10 ** (_DECIMAL[suffix] + 9)
        if nanos % unit == 0:
            return f"{nanos // unit}{suffix}"
    raise AssertionError("every whole number of nanos is a multiple of one nano")


def _exponent(nanos: int) -> str:
    if nanos == 0:
        return "0"
    exponent = -9
    while nanos % 1000 == 0:
        nanos //= 1000
        exponent += 3
    return f"{nanos}e{exponent}" if exponent else str(nanos)
