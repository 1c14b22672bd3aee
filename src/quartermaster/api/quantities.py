"""Kubernetes quantities as the integers of `model.units`; raises InvalidInput for what is none."""

from __future__ import annotations

import math
import re
from fractions import Fraction
from functools import lru_cache
from typing import Any

from quartermaster.api.v1alpha1 import UNLIMITED
from quartermaster.model.errors import InvalidInput
from quartermaster.model.units import CPU, DEVICE, GIB, KIB, MEMORY, MIB

_FORM = re.compile(r"([+-]?(?:\d+\.?\d*|\.\d+))(?:(n|u|m|k|M|G|T|P|E|Ki|Mi|Gi|Ti|Pi|Ei)|[eE]([+-]?\d{1,3}))?")
_FACTOR = {"": Fraction(1)}
_FACTOR |= {
    unit: Fraction(1000) ** power for power, unit in enumerate(("n", "u", "m", "", "k", "M", "G", "T", "P", "E"), -3)
}
_FACTOR |= {unit: Fraction(1024) ** power for power, unit in enumerate(("Ki", "Mi", "Gi", "Ti", "Pi", "Ei"), 1)}


@lru_cache(maxsize=4096)
def _value(text: str) -> Fraction:
    match = _FORM.fullmatch(text)
    if match is None:
        raise InvalidInput("quantity", f"'{text}' is none", "write it as 2, 500m or 16Gi")
    number = Fraction(match[1])
    return number * Fraction(10) ** int(match[3]) if match[3] else number * _FACTOR[match[2] or ""]


def whole(quantity: Any) -> int:
    """In the resource's own unit, rounded up as kube-scheduler does; absent is 0."""
    return 0 if quantity is None else math.ceil(_value(str(quantity)))


def milli(quantity: Any) -> int:
    """In thousandths, rounded up; absent is 0."""
    return 0 if quantity is None else math.ceil(_value(str(quantity)) * 1000)


def exact(quantity: Any) -> Fraction:
    """In the resource's own unit, nothing rounded."""
    return _value(str(quantity))


def number(quantity: Any) -> float:
    """In the resource's own unit, fractions and all; absent is 0."""
    return 0.0 if quantity is None else float(_value(str(quantity)))


def text(amount: float, resource: str) -> str:
    """An amount in the integers of `model.units` as a quantity; memory beyond a GiB to the nearest MiB."""
    if math.isinf(amount):
        return UNLIMITED
    if resource == MEMORY:
        return _bytes(round(amount))
    scale = 1000 if resource == CPU else DEVICE
    return f"{amount / scale:.3f}".rstrip("0").rstrip(".")


def _bytes(amount: int) -> str:
    if amount > GIB:
        amount = round(amount / MIB) * MIB
    for unit, name in ((1024 * GIB, "Ti"), (GIB, "Gi"), (MIB, "Mi"), (KIB, "Ki")):
        if amount and amount % unit == 0:
            return f"{amount // unit}{name}"
    return str(amount)
