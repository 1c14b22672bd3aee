"""The functions that Kubernetes adds to CEL (k8s.io/apiserver/pkg/cel/library), as far as they are used here.

The receiver of a call comes first. Quantities are texts. A function that fails has no value, and whoever asked says so.
"""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Callable
from fractions import Fraction
from functools import cache
from typing import Any
from urllib.parse import urlsplit

from quartermaster.local.apiserver.codec import encode
from quartermaster.local.apiserver.quantity import canonical, parse

Functions = dict[str, Callable[..., Any]]


@cache
def functions() -> Functions:
    """All of them, by name."""
    return _STRINGS | _LISTS | _SETS | _NUMBERS | _QUANTITIES | _ADDRESSES | _optionals()


def _optionals() -> Functions:
    """What cel_syntax.py makes of ``a.?b`` and its kin."""
    import cel  # noqa: PLC0415  # a native library, only for those who write rules

    optional = cel.OptionalValue

    def inner(value: Any) -> tuple[bool, Any]:
        if not isinstance(value, optional):
            return True, value
        return (True, value.value()) if value.has_value() else (False, None)

    def select(receiver: Any, name: Any) -> Any:
        there, value = inner(receiver)
        if there and isinstance(value, dict) and name in value:
            return optional.of(value[name])
        if there and isinstance(value, list) and isinstance(name, int) and 0 <= name < len(value):
            return optional.of(value[name])
        return optional.none()

    def first(items: Any) -> Any:
        return optional.of(items[0]) if items else optional.none()

    def flat(items: Any) -> Any:
        return first(items[0] if items else [])

    def listed(value: Any) -> list[Any]:
        there, found = inner(value)
        return [found] if there else []

    return {"optSelect": select, "optIndex": select, "optList": listed, "optFirst": first, "optFlat": flat}


def _substring(text: str, start: int, end: int | None = None) -> str:
    if not 0 <= start <= len(text) or (end is not None and not start <= end <= len(text)):
        raise ValueError(f"index out of range: {start if end is None else end}")
    return text[start:end]


def _formatted(text: str, items: list[Any]) -> str:
    values = iter(items)

    def shown(match: re.Match[str]) -> str:
        if match[2] == "%":
            return "%"
        value = next(values)
        if match[2] == "s":
            return value if isinstance(value, str) else encode(value).decode()
        if match[2] == "f":
            return f"{float(value):.{match[1][1:] or 6}f}"
        if match[2] == "e":
            return f"{float(value):.{match[1][1:] or 6}e}"
        return format(int(value), match[2])

    return re.sub(r"%(\.\d+)?([sdfexXob%])", shown, text)


_STRINGS: Functions = {
    "lowerAscii": lambda text: text.lower(),
    "upperAscii": lambda text: text.upper(),
    "trim": lambda text: text.strip(),
    "split": lambda text, mark, most=-1: text.split(mark) if most < 0 else text.split(mark, most - 1),
    "join": lambda items, mark="": mark.join(items),
    "replace": lambda text, old, new, most=-1: text.replace(old, new, most),
    "substring": _substring,
    "charAt": lambda text, at: text[at] if at < len(text) else "",
    "reverse": lambda value: value[::-1],
    "format": _formatted,
    "find": lambda text, pattern: match[0] if (match := re.search(pattern, text)) else "",
    "findAll": lambda text, pattern, most=-1: [
        match[0] for match in list(re.finditer(pattern, text))[: None if most < 0 else most]
    ],
    "jsonpatch_escapeKey": lambda text: text.replace("~", "~0").replace("/", "~1"),
    "strings_quote": lambda text: encode(text).decode(),
}


def _index(value: Any, part: Any) -> int:
    return value.index(part) if part in value else -1


def _last_index(value: Any, part: Any) -> int:
    if isinstance(value, str):
        return value.rfind(part)
    return len(value) - 1 - value[::-1].index(part) if part in value else -1


_LISTS: Functions = {
    "indexOf": _index,
    "lastIndexOf": _last_index,
    "sum": sum,
    "min": min,
    "max": max,
    "isSorted": lambda items: items == sorted(items),
}

_SETS: Functions = {
    "sets_contains": lambda one, other: all(item in one for item in other),
    "sets_equivalent": lambda one, other: all(item in one for item in other) and all(item in other for item in one),
    "sets_intersects": lambda one, other: any(item in one for item in other),
}


def _numbers(*items: Any) -> list[Any]:
    return list(items[0]) if len(items) == 1 and isinstance(items[0], list) else list(items)


_NUMBERS: Functions = {
    "math_greatest": lambda *items: max(_numbers(*items)),
    "math_least": lambda *items: min(_numbers(*items)),
}


def _quantity(text: Any) -> Fraction:
    return parse(str(text))


def _is_quantity(text: Any) -> bool:
    try:
        parse(str(text))
    except ValueError:
        return False
    return True


def _whole(text: Any) -> int:
    amount = _quantity(text)
    if amount.denominator != 1:
        raise ValueError(f"cannot convert value to integer: {text}")
    return int(amount)


def _shown(amount: Fraction) -> str:
    if amount.denominator == 1:
        return canonical(str(amount.numerator))
    return canonical(f"{-(-amount.numerator * 1_000_000_000 // amount.denominator)}n")


_QUANTITIES: Functions = {
    "quantity": lambda text: _shown(_quantity(text)),
    "isQuantity": _is_quantity,
    "isGreaterThan": lambda left, right: _quantity(left) > _quantity(right),
    "isLessThan": lambda left, right: _quantity(left) < _quantity(right),
    "compareTo": lambda left, right: (_quantity(left) > _quantity(right)) - (_quantity(left) < _quantity(right)),
    "asInteger": _whole,
    "isInteger": lambda text: _quantity(text).denominator == 1,
    "asApproximateFloat": lambda text: float(_quantity(text)),
    "sign": lambda text: (_quantity(text) > 0) - (_quantity(text) < 0),
    "add": lambda left, right: _shown(_quantity(left) + _quantity(right)),
    "sub": lambda left, right: _shown(_quantity(left) - _quantity(right)),
}


def _reads(read: Callable[[str], Any]) -> Callable[[Any], bool]:
    def reads(text: Any) -> bool:
        try:
            return bool(read(str(text)))
        except ValueError:
            return False

    return reads


_ADDRESSES: Functions = {
    "isIP": _reads(lambda text: str(ipaddress.ip_address(text)) != ""),
    "isCIDR": _reads(lambda text: "/" in text and str(ipaddress.ip_network(text, strict=False)) != ""),
    "isURL": _reads(lambda text: urlsplit(text).scheme != "" or text.startswith("/")),
}
