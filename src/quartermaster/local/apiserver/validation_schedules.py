"""Whether a cron job has a schedule: the grammar and the words of github.com/robfig/cron/v3, which Kubernetes uses.

When it is due is another matter, and that of controllers/schedules.py.
"""

from __future__ import annotations

import re
import zoneinfo

from quartermaster.local.apiserver.errors import Json, invalid_value, required
from quartermaster.local.apiserver.validation_metadata import Causes

_MONTHS = ("jan", "feb", "mar", "apr", "may", "jun", "jul", "aug", "sep", "oct", "nov", "dec")
_DAYS = ("sun", "mon", "tue", "wed", "thu", "fri", "sat")
_Bounds = tuple[int, int, dict[str, int]]
_FIELDS: tuple[_Bounds, ...] = (
    (0, 59, {}),
    (0, 23, {}),
    (1, 31, {}),
    (1, 12, {name: number for number, name in enumerate(_MONTHS, 1)}),
    (0, 6, {name: number for number, name in enumerate(_DAYS)}),
)
_DESCRIPTORS = ("@yearly", "@annually", "@monthly", "@weekly", "@daily", "@midnight", "@hourly")
_DURATION = re.compile(r"[-+]?(?:\d+(?:\.\d*)?(?:ns|us|µs|ms|s|m|h))+")
_EVERY = "@every "
_ZONED = ("TZ=", "CRON_TZ=")


def schedule(spec: Json) -> Causes:
    """When a cron job is due, and where the clock hangs that says so."""
    text, zone = spec.get("schedule", ""), spec.get("timeZone")
    causes: Causes = []
    if not text:
        causes.append(required("spec.schedule"))
    elif why := problem(text):
        causes.append(invalid_value("spec.schedule", text, why))
    if "TZ" in text:
        why = "cannot use TZ or CRON_TZ in schedule, use timeZone field instead"
        causes.append(invalid_value("spec.schedule", text, why))
    late = spec.get("startingDeadlineSeconds", 0)
    if late < 0:
        causes.append(invalid_value("spec.startingDeadlineSeconds", late, "must be greater than or equal to 0"))
    if zone is not None:
        causes += [invalid_value("spec.timeZone", zone, why) for why in _zone_problems(zone)]
    return causes


def problem(text: str) -> str:
    """Why it is no schedule; empty if it is one."""
    if text.startswith(_ZONED):
        text = text.partition(" ")[2]
    if text.startswith("@"):
        if text.startswith(_EVERY):
            fits = _DURATION.fullmatch(text.removeprefix(_EVERY))
            return "" if fits else f'failed to parse duration {text}: time: invalid duration "{text[len(_EVERY) :]}"'
        return "" if text in _DESCRIPTORS else f"unrecognized descriptor: {text}"
    words = text.split()
    if len(words) != len(_FIELDS):
        return f"expected exactly 5 fields, found {len(words)}: [{' '.join(words)}]"
    try:
        for word, bounds in zip(words, _FIELDS, strict=True):
            for part in filter(None, word.split(",")):
                _check(part, bounds)
    except ValueError as wrong:
        return str(wrong)
    return ""


def _check(text: str, bounds: _Bounds) -> None:
    """One range of a field; raises ValueError with what is wrong with it."""
    least, most, names = bounds
    within, *steps = text.split("/")
    low, *high = within.split("-")
    if low in ("*", "?"):
        start, end = least, most
    else:
        start = end = _number(low, names)
        if len(high) > 1:
            raise ValueError(f"too many hyphens: {text}")
        if high:
            end = _number(high[0], names)
    if len(steps) > 1:
        raise ValueError(f"too many slashes: {text}")
    step = _number(steps[0], {}) if steps else 1
    if steps and not high:
        end = most
    if start < least:
        raise ValueError(f"beginning of range ({start}) below minimum ({least}): {text}")
    if end > most:
        raise ValueError(f"end of range ({end}) above maximum ({most}): {text}")
    if start > end:
        raise ValueError(f"beginning of range ({start}) beyond end of range ({end}): {text}")
    if step == 0:
        raise ValueError(f"step of range should be a positive number: {text}")


def _number(text: str, names: dict[str, int]) -> int:
    known = names.get(text.lower())
    if known is not None:
        return known
    if not re.fullmatch(r"[-+]?[0-9]+", text):
        raise ValueError(f'failed to parse int from {text}: strconv.Atoi: parsing "{text}": invalid syntax')
    if int(text) < 0:
        raise ValueError(f"negative number ({int(text)}) not allowed: {text}")
    return int(text)


def _zone_problems(zone: str) -> list[str]:
    if not zone:
        return ["timeZone must be nil or non-empty string"]
    if zone.lower() == "local":
        return ["timeZone must be an explicit time zone as defined in https://www.iana.org/time-zones"]
    try:
        zoneinfo.ZoneInfo(zone)
    except (zoneinfo.ZoneInfoNotFoundError, ValueError, OSError):
        return [f"unknown time zone {zone}"]
    return []
