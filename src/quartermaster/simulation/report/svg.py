"""A plot as inline SVG, made here and not by a library in the page.

Static SVG is there without a script, prints sharp, takes its colours from the page's style (so that one drawing is
right on dark, on light and on paper), can be read out, and is small. A script in the page only adds reading values.
Lines differ in dash as well as in colour, so that they can be told apart without it.

Text grows on narrow screens by the page's style, and every second tick then goes (class `alt`); margins leave room.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from html import escape
from typing import Final

import numpy as np

from quartermaster.simulation.report.axis import Axis
from quartermaster.simulation.report.lines import Floats, Line

WIDTH: Final = 640
HEIGHT: Final = 360
LEFT: Final = 76
RIGHT: Final = 22
TOP: Final = 14
BOTTOM: Final = 62

COLOURS: Final = 8
DASHES: Final = 4


@dataclass(frozen=True, slots=True, kw_only=True)
class Plot:
    """Lines on two axes. `number` of each line is its colour, the same policy having the same in all plots.

    With `stacked`, each line is drawn as the band between it and the one before.
    """

    key: str
    title: str
    text: str
    x: Axis
    y: Axis
    lines: tuple[Line, ...]
    numbers: tuple[int, ...]
    stacked: bool = False

    def svg(self) -> str:
        """The drawing; its description is for those who hear it."""
        parts = [
            f'<svg viewBox="0 0 {WIDTH} {HEIGHT}" role="img" aria-labelledby="{self.key}-t {self.key}-d"'
            f' tabindex="0" data-plot="{self.key}">',
            f'<title id="{self.key}-t">{escape(self.title)}</title>',
            f'<desc id="{self.key}-d">{escape(self.spoken())}</desc>',
            *self._axes(),
            f'<clipPath id="{self.key}-c"><rect x="{LEFT}" y="{TOP}" width="{WIDTH - LEFT - RIGHT}"'
            f' height="{HEIGHT - TOP - BOTTOM}"/></clipPath>',
            f'<g clip-path="url(#{self.key}-c)">',
            *(self._areas() if self.stacked else self._lines()),
            "</g>",
            f'<line class="cursor" x1="0" x2="0" y1="{TOP}" y2="{HEIGHT - BOTTOM}" visibility="hidden"/>',
            "</svg>",
        ]
        return "\n".join(parts)

    def spoken(self) -> str:
        """What is to be seen, in words: axes, and where each line begins and ends."""
        ends = "; ".join(f"{line.label} from {line.y[0]:.4g} to {line.y[-1]:.4g}" for line in self.lines)
        return f"{self.y.title} against {self.x.title}. {ends}."

    def _axes(self) -> Iterable[str]:
        bottom, right = HEIGHT - BOTTOM, WIDTH - RIGHT
        for index, (value, text) in enumerate(self.y.ticks):
            y, alt = self._y(value), " alt" if index % 2 else ""
            yield f'<line class="grid" x1="{LEFT}" x2="{right}" y1="{y}" y2="{y}"/>'
            yield f'<text class="tick y{alt}" x="{LEFT - 8}" y="{y}">{text}</text>'
        for index, (value, text) in enumerate(self.x.ticks):
            x, alt = self._x(value), " alt" if index % 2 else ""
            yield f'<line class="grid" x1="{x}" x2="{x}" y1="{TOP}" y2="{bottom}"/>'
            yield f'<text class="tick x{alt}" x="{x}" y="{bottom + 20}">{text}</text>'
        yield f'<path class="axis" d="M{LEFT} {TOP}V{bottom}H{right}"/>'
        yield f'<text class="name" x="{(LEFT + right) / 2:g}" y="{HEIGHT - 8}">{escape(self.x.title)}</text>'
        middle = (TOP + bottom) / 2
        yield f'<text class="name" transform="translate(18 {middle:g}) rotate(-90)">{escape(self.y.title)}</text>'

    def _lines(self) -> Iterable[str]:
        for line, number in zip(self.lines, self.numbers, strict=True):
            if line.spread.any():
                points = self._points(line.x, line.y + line.spread)
                points += self._points(line.x, line.y - line.spread)[::-1]
                yield f'<path class="band {style(number)}" data-line="{number}" d="M{_path(points)}Z"/>'
        for line, number in zip(self.lines, self.numbers, strict=True):
            path = _path(self._points(line.x, line.y))
            yield f'<path class="line {style(number)}" data-line="{number}" d="M{path}"/>'

    def _areas(self) -> Iterable[str]:
        below = np.zeros(len(self.lines[0].x)) if self.lines else np.zeros(0)
        for line, number in zip(self.lines, self.numbers, strict=True):
            above = below + line.y
            points = self._points(line.x, above) + self._points(line.x, below)[::-1]
            yield f'<path class="area {style(number)}" data-line="{number}" d="M{_path(points)}Z"/>'
            below = above

    def _points(self, x: Floats, y: Floats) -> list[tuple[float, float]]:
        return [(self._x(a), self._y(b)) for a, b in zip(x.tolist(), y.tolist(), strict=True)]

    def _x(self, value: float) -> float:
        return round(LEFT + self.x.at(value) * (WIDTH - LEFT - RIGHT), 1)

    def _y(self, value: float) -> float:
        return round(HEIGHT - BOTTOM - self.y.at(value) * (HEIGHT - TOP - BOTTOM), 1)


def style(number: int) -> str:
    """The classes of a line: eight colours, four dashes; together 16 that differ."""
    return f"c{number % COLOURS} d{(number + number // COLOURS) % DASHES}"


def _path(points: Sequence[tuple[float, float]]) -> str:
    return "L".join(f"{x:g} {y:g}" for x, y in points)
