"""JSON objects to protobuf messages: the other direction of protobuf.py, by the same table of field numbers.

A message's fields become a plan once: JSON name to tag and writer. Fields are written in the order of their numbers and
maps in the order of their keys, as Go writes them. What an object does not say is not written; Go reads that as zero.
"""

from __future__ import annotations

import base64
import re
import struct
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from quartermaster.local.apiserver.codec import encode, seconds_of
from quartermaster.local.apiserver.errors import Json

META = "k8s.io.apimachinery.pkg.apis.meta.v1"
VARINTS = frozenset(("int32", "int64", "uint32", "uint64", "bool"))
_STRINGS = frozenset(("Verbs", "ExtraValue", "OptionalNames"))
_FRACTION = re.compile(r"\.(\d{1,9})")
_UNITS = {"h": 3600.0, "m": 60.0, "s": 1.0, "ms": 1e-3, "us": 1e-6, "µs": 1e-6, "ns": 1e-9}

Write = Callable[[Any], bytes]
"""A value to a field with its tag."""


@dataclass(slots=True)
class _Plan:
    fields: dict[str, tuple[int, Write]] = field(default_factory=dict)
    inlined: list[tuple[int, _Plan]] = field(default_factory=list)

    def write(self, value: Json) -> bytes:
        fields = self.fields
        parts = [
            (fields[name][0], fields[name][1](item))
            for name, item in value.items()
            if item is not None and name in fields
        ]
        parts += [
            (number, delimited(number, inner)) for number, plan in self.inlined if (inner := plan.write(value)) != b""
        ]
        parts.sort(key=lambda part: part[0])
        return b"".join([part for _, part in parts])


class Encoder:
    """Plans of messages, made as they are needed. `table` is that of protobuf.py; raises ValueError for others."""

    def __init__(self, table: Callable[[str], Mapping[str, list[str]]]) -> None:
        self._table = table
        self._plans: dict[str, _Plan] = {}

    def message(self, name: str, value: Json) -> bytes:
        """One message, without envelope."""
        return self._plan(name).write(value)

    def _plan(self, name: str) -> _Plan:
        known = self._plans.get(name)
        if known is not None:
            return known
        plan = self._plans[name] = _Plan()  # known before it is whole: schemas contain themselves
        for text, (declared, kind, label, flags) in self._table(name).items():
            number = int(text)
            options, _, renamed = flags.partition("=")
            if "i" in options:
                plan.inlined.append((number, self._plan(kind)))
            else:
                plan.fields[renamed or declared] = (number, self._writer(number, kind, label))
        return plan

    def _writer(self, number: int, kind: str, label: str) -> Write:
        if label == "repeated":
            one = self._single(number, kind)
            return lambda items: b"".join([one(item) for item in items])
        if label:
            key, value = self._single(1, label.removeprefix("map:")), self._single(2, kind)
            return lambda items: b"".join([delimited(number, key(name) + value(items[name])) for name in sorted(items)])
        return self._single(number, kind)

    def _single(self, number: int, kind: str) -> Write:
        if kind in VARINTS:
            lead = varint(number << 3)
            return lambda item: lead + varint(int(item))
        if kind in ("double", "float"):
            lead, code = varint(number << 3 | (1 if kind == "double" else 5)), "<d" if kind == "double" else "<f"
            return lambda item: lead + struct.pack(code, item)
        lead, content = varint(number << 3 | 2), self._content(kind)

        def write(item: Any) -> bytes:
            made = content(item)
            return lead + varint(len(made)) + made

        return write

    def _content(self, kind: str) -> Write:
        if kind == "string":
            return lambda item: str(item).encode()
        if kind == "bytes":
            return base64.b64decode
        short = kind.rpartition(".")[2]
        if short == "Quantity":
            return lambda item: delimited(1, str(item).encode())
        if kind in (f"{META}.Time", f"{META}.MicroTime"):
            return _time
        if short == "IntOrString":
            return _int_or_string
        if short in ("FieldsV1", "RawExtension", "JSON"):
            return lambda item: delimited(1, encode(item))
        if short == "Duration" and kind.startswith(META):
            return lambda item: _number(1, _nanoseconds(item))
        if short in _STRINGS:
            return lambda items: b"".join([delimited(1, item.encode()) for item in items])
        if short.startswith("JSONSchemaPropsOr"):
            return self._either(short, kind)
        plan: _Plan | None = None

        def message(item: Any) -> bytes:
            nonlocal plan
            if plan is None:
                plan = self._plan(kind)
            return plan.write(item)

        return message

    def _either(self, short: str, kind: str) -> Write:
        schema = f"{kind.rpartition('.')[0]}.JSONSchemaProps"

        def write(item: Any) -> bytes:
            if short == "JSONSchemaPropsOrBool":
                if isinstance(item, bool):
                    return _number(1, int(item))
                return _number(1, 1) + delimited(2, self.message(schema, item))
            if isinstance(item, dict):
                return delimited(1, self.message(schema, item))
            if short == "JSONSchemaPropsOrStringArray":
                return b"".join([delimited(2, text.encode()) for text in item])
            return b"".join([delimited(2, self.message(schema, inner)) for inner in item])

        return write


def varint(value: int) -> bytes:
    """A number of any sign: the negative ones take ten bytes."""
    if 0 <= value < 128:
        return _SMALL[value]
    value &= 0xFFFFFFFFFFFFFFFF
    made = bytearray()
    while value > 127:
        made.append(value & 127 | 128)
        value >>= 7
    made.append(value)
    return bytes(made)


_SMALL = [bytes((value,)) for value in range(128)]


def delimited(number: int, content: bytes) -> bytes:
    """A field of bytes, text or message."""
    return varint(number << 3 | 2) + varint(len(content)) + content


def _number(number: int, value: int) -> bytes:
    return varint(number << 3) + varint(value)


def _time(text: Any) -> bytes:
    seconds = seconds_of(text)
    if seconds is None:
        return b""
    fraction = _FRACTION.search(text)
    nanoseconds = int(fraction[1].ljust(9, "0")) if fraction else 0
    return _number(1, int(seconds // 1)) + _number(2, nanoseconds)


def _int_or_string(item: Any) -> bytes:
    if isinstance(item, str):
        return _number(1, 1) + _number(2, 0) + delimited(3, item.encode())
    return _number(1, 0) + _number(2, int(item)) + delimited(3, b"")


def _nanoseconds(text: str) -> int:
    sign = -1 if text.startswith("-") else 1
    parts = re.findall(r"([\d.]+)(h|ms|us|µs|ns|m|s)", text)
    return sign * round(sum(float(number) * _UNITS[unit] for number, unit in parts) * 1e9)
