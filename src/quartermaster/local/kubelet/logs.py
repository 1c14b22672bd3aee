"""What a simulated container has written, as a function of what happened to it. Pure.

A log is a sequence of lines that is never stored: line k follows from the pod alone (image, start, declared run time,
uid, end), so asking twice gives the same text, a longer run only adds lines, and the last ten of a million cost ten.
Nothing that may change later is in a line: the moment of readiness is the declared one, and a straggler's factor does
not show. Refused: any claim to be a measurement; losses and rates are noise around a curve.
"""

from __future__ import annotations

import zlib
from bisect import bisect_left
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Final, overload

from quartermaster.kube.api import Json
from quartermaster.local.fleet import marks
from quartermaster.local.stages.facts import Facts, compute, devices_of
from quartermaster.local.stages.paths import look

PERIOD_S: Final = 10.0
"""Between two lines of progress."""
READY_S: Final = 0.2
"""From the running process to readiness when nothing is declared."""
_KILLED: Final = 137


@dataclass(frozen=True, slots=True)
class Line:
    """One line: when (seconds since 1970) and what."""

    at: float
    text: str


@dataclass(frozen=True, slots=True)
class Run:
    """One life of a container. `ended` is None while it runs."""

    began: float
    ended: float | None = None
    exit_code: int = 0
    reason: str = ""
    message: str = ""


def runs(pod: Json, container: str) -> tuple[Run | None, Run | None]:
    """The run whose log is the container's log now, and the one before it."""
    for key in ("initContainerStatuses", "containerStatuses", "ephemeralContainerStatuses"):
        for status in look(pod, f".status.{key}") or ():
            if status["name"] == container:
                before = _run(look(status, ".lastState.terminated"))
                now = _run(look(status, ".state.running")) or _run(look(status, ".state.terminated"))
                return now or before, before
    return None, None


def _run(state: Json | None) -> Run | None:
    began = seconds(state.get("startedAt")) if state else None
    if state is None or began is None:
        return None
    return Run(
        began,
        seconds(state.get("finishedAt")),
        state.get("exitCode", 0),
        state.get("reason", ""),
        state.get("message", ""),
    )


def seconds(text: str | None) -> float | None:
    """A time stamp as seconds since 1970; None if it cannot be read."""
    try:
        return datetime.fromisoformat(text).timestamp() if text else None
    except ValueError:
        return None


class Log(Sequence[Line]):
    """All that one run has written by `now`."""

    def __init__(self, pod: Json, container: str, run: Run, *, now: float) -> None:
        self._pod, self._run = pod, run
        self._seed = f"{pod['metadata']['uid']}/{container}/{run.began:.0f}"
        self._facts = Facts("pods", pod, run.began)
        ready = self._facts.seconds(marks.READY_SECONDS)
        self._ready = run.began + (READY_S if ready is None else ready)
        self._lasts: float | None = compute("run-seconds", self._facts, {})
        self._training = bool(devices_of(pod)) and self._lasts is not None
        until = now if run.ended is None else min(now, run.ended)
        self._first = [line for line in self._beginning(container) if line.at <= until]
        self._steps = max(0, int((until - self._ready) / PERIOD_S))
        self._last = self._end() if run.ended is not None and run.ended <= now else []

    @property
    def due(self) -> float:
        """When the next line comes, if the run goes on."""
        return self._ready if len(self._first) < 2 else self._ready + (self._steps + 1) * PERIOD_S

    @overload
    def __getitem__(self, index: int) -> Line: ...
    @overload
    def __getitem__(self, index: slice) -> list[Line]: ...
    def __getitem__(self, index: int | slice) -> Line | list[Line]:
        if isinstance(index, slice):
            return [self[number] for number in range(*index.indices(len(self)))]
        if not 0 <= index < len(self):
            raise IndexError(index)
        if index < len(self._first):
            return self._first[index]
        step = index - len(self._first) + 1
        return self._step(step) if step <= self._steps else self._last[step - self._steps - 1]

    def __len__(self) -> int:
        return len(self._first) + self._steps + len(self._last)

    def since(self, when: float) -> int:
        """The index of the first line at `when` or later."""
        return bisect_left(self, when, key=lambda line: line.at)

    def _beginning(self, container: str) -> list[Line]:
        spec = self._pod["spec"]
        image = next(
            (
                item.get("image", "")
                for group in ("containers", "initContainers")
                for item in spec.get(group) or ()
                if item["name"] == container
            ),
            "",
        )
        pulled = compute("pull-seconds", self._facts, {})
        devices = ", ".join(map(str, devices_of(self._pod)))
        on = f" on {spec.get('nodeName', '')}" + (f", GPU {devices}" if devices else "")
        return [
            Line(self._run.began, f"INFO image {image} pulled in {pulled:.1f} s; {container} starts{on}"),
            Line(self._ready, f"INFO ready after {self._ready - self._run.began:.1f} s"),
        ]

    def _step(self, number: int) -> Line:
        at = self._ready + number * PERIOD_S
        noise = zlib.crc32(f"{self._seed}/{number}".encode()) % 1000 / 1000
        if self._lasts is None:
            return Line(at, f"INFO {80 + int(40 * noise)} requests in {PERIOD_S:.0f} s, p50 {20 + 30 * noise:.0f} ms")
        done = min(99.0, 100 * (number * PERIOD_S) / max(self._lasts, PERIOD_S))
        if not self._training:
            return Line(at, f"INFO {done:.0f} % done")
        loss = 1.7 + 9.0 * (10 * number) ** -0.5 + 0.05 * noise
        return Line(
            at, f"INFO step {10 * number} loss {loss:.4f} ({0.95 + 0.1 * noise:.2f} s a step), {done:.0f} % done"
        )

    def _end(self) -> list[Line]:
        run = self._run
        assert run.ended is not None, "only what has ended has an end"
        if run.exit_code == 0:
            return [Line(run.ended, f"INFO done after {run.ended - run.began:.0f} s")]
        if run.exit_code == _KILLED:
            # The kernel kills without a word from the process; the shell that started it says this.
            return [Line(run.ended, "Killed")]
        return [Line(run.ended, f"ERROR {run.message or 'unexpected end'}; exit code {run.exit_code}")]
