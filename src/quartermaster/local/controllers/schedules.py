"""When a CronJob is due. Fields of a schedule are read by cronsim; wall clocks and ``@every`` are ours.

cronsim has no dependencies and follows Debian's cron in its fields; croniter brings pytz and dateutil, and both move
jobs out of the hour that daylight saving skips, where Kubernetes' own library drops them. So cronsim is only asked for
wall-clock times without a zone, which are then put on the zone's real hours: what does not exist is dropped, what
exists twice is due twice (docs/decisions/0012-cronsim.md).
"""

from __future__ import annotations

import re
from datetime import UTC, datetime, timedelta
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from cronsim import CronSim, CronSimError

_MACROS = {
    "@yearly": "0 0 1 1 *",
    "@annually": "0 0 1 1 *",
    "@monthly": "0 0 1 * *",
    "@weekly": "0 0 * * 0",
    "@daily": "0 0 * * *",
    "@midnight": "0 0 * * *",
    "@hourly": "0 * * * *",
}
_UNITS = {"h": 3600.0, "m": 60.0, "s": 1.0}
_SHIFT = timedelta(hours=3)
"""More than any zone sets its clocks by."""


class Schedule:
    """Moments (seconds since 1970) of a schedule in a time zone. Raises ValueError if either is none."""

    def __init__(self, text: str, zone: str | None = None) -> None:
        self._every: float | None = None
        if text.startswith("@every "):
            self._every = _duration(text.removeprefix("@every ").strip())
        self._fields = _plain(_MACROS.get(text, text)) if self._every is None else ""
        try:
            self._zone = ZoneInfo(zone) if zone else UTC
            if self._every is None:
                CronSim(self._fields, datetime(2026, 1, 1))  # noqa: DTZ001  # a wall clock
        except (CronSimError, ZoneInfoNotFoundError) as wrong:
            raise ValueError(str(wrong)) from None

    def after(self, moment: float, *, since: float) -> float | None:
        """The first after `moment`; ``@every`` counts from `since`."""
        if self._every is not None:
            return since + (max(0, (moment - since) // self._every) + 1) * self._every
        return self._nearest(moment, back=False)

    def before(self, moment: float, *, since: float) -> float | None:
        """The last after `since` and not after `moment`."""
        if self._every is not None:
            steps = (moment - since) // self._every
            return since + steps * self._every if steps >= 1 else None
        due = self._nearest(moment, back=True)
        return due if due is not None and due > since else None

    def _nearest(self, moment: float, *, back: bool) -> float | None:
        """The next after `moment`, or `back`, the last that is not. Around a shift wall clocks are not in order."""
        wall = datetime.fromtimestamp(moment, self._zone).replace(tzinfo=None, microsecond=0)
        best: float | None = None
        edge: datetime | None = None
        for found in CronSim(self._fields, wall + _SHIFT if back else wall - _SHIFT, reverse=back):
            if edge is not None and abs(found - edge) > _SHIFT:
                break
            for due in filter(None, (self._real(found, fold) for fold in (0, 1))):
                if (due <= moment) != back:
                    continue
                edge = edge or found
                if best is None or (due > best if back else due < best):
                    best = due
        return best

    def _real(self, wall: datetime, fold: int) -> float | None:
        due = wall.replace(tzinfo=self._zone, fold=fold)
        back = datetime.fromtimestamp(due.timestamp(), self._zone).replace(tzinfo=None)
        return due.timestamp() if back == wall else None


def _plain(text: str) -> str:
    """Five fields as Kubernetes means them: ``?`` is ``*``, and a step over all days is a choice of days."""
    fields = text.replace("?", "*").split()
    if len(fields) != 5 or not re.fullmatch(r"[\d*,/a-zA-Z\s-]+", " ".join(fields)):
        raise ValueError(f"{text!r} is not a schedule of five fields")
    if re.search(r"\d*[LW]\b", f"{fields[2]} {fields[4]}"):
        raise ValueError(f"{text!r}: L and W are not in a schedule of Kubernetes")
    fields[2] = re.sub(r"^\*/(?!1$)", "1-31/", fields[2])
    fields[4] = re.sub(r"^\*/(?!1$)", "0-6/", fields[4])
    return " ".join(fields)


def _duration(text: str) -> float:
    """Seconds of a Go duration such as ``1h30m``; at least one."""
    parts = re.findall(r"(\d+(?:\.\d+)?)(h|m|s)", text)
    if not parts or "".join(number + unit for number, unit in parts) != text:
        raise ValueError(f"{text!r} is no duration")
    return max(1.0, float(int(sum(float(number) * _UNITS[unit] for number, unit in parts))))
