"""Times as Kubernetes reads them: metav1.Time to the second, metav1.MicroTime to the microsecond, both in UTC.

What is wrong with one is said as Go's parser says it: by the part of its layout that does not fit.
"""

from __future__ import annotations

import re
from datetime import UTC, datetime

_DATE = ("2006", "-", "01", "-", "02", "T", "15", ":", "04", ":", "05")
_MICRO = ".000000"
_ZONE = "Z07:00"
_RANGES = {"01": ("month", 1, 12), "15": ("hour", 0, 23), "04": ("minute", 0, 59), "05": ("second", 0, 59)}
_FRACTION = re.compile(r"\.\d+")
_OFFSET = re.compile(r"Z|[+-]\d\d:\d\d")


def read_time(text: str, *, micro: bool) -> str:
    """A time in its one form; raises ValueError with Go's words."""
    if not micro and len(text) == 20 and text[-1] == "Z":
        try:
            datetime.fromisoformat(text)
        except ValueError:
            pass
        else:
            if text[10] == "T":
                return text
    layout = "".join((*_DATE, _MICRO if micro else "", _ZONE))
    rest = _after_date(text, layout)
    if micro:
        if not re.match(r"\.\d{6}", rest):
            raise _unfit(text, layout, rest, _MICRO)
        rest = rest[len(_MICRO) :]
    else:
        fraction = _FRACTION.match(rest)
        rest = rest[fraction.end() :] if fraction else rest
    zone = _OFFSET.match(rest)
    if zone is None:
        raise _unfit(text, layout, rest, _ZONE)
    if zone.end() < len(rest):
        raise ValueError(f'parsing time "{text}": extra text: "{rest[zone.end() :]}"')
    try:
        moment = datetime.fromisoformat(text)
    except ValueError:
        raise ValueError(f'parsing time "{text}": day out of range') from None
    try:
        moment = moment.astimezone(UTC).replace(tzinfo=None)
    except OverflowError:
        raise ValueError(f'parsing time "{text}": year out of range') from None
    return moment.isoformat(timespec="microseconds" if micro else "seconds") + "Z"


def _after_date(text: str, layout: str) -> str:
    rest = text
    for part in _DATE:
        if not part.isdecimal():
            if not rest.startswith(part):
                raise _unfit(text, layout, rest, part)
            rest = rest[1:]
            continue
        number = rest[: len(part)]
        if len(number) < len(part) or not (number.isascii() and number.isdecimal()):
            raise _unfit(text, layout, rest, part)
        if part in _RANGES:
            name, least, most = _RANGES[part]
            if not least <= int(number) <= most:
                raise ValueError(f'parsing time "{text}": {name} out of range')
        rest = rest[len(part) :]
    return rest


def _unfit(text: str, layout: str, rest: str, part: str) -> ValueError:
    return ValueError(f'parsing time "{text}" as "{layout}": cannot parse "{rest}" as "{part}"')
