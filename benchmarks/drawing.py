"""Growth as a page: one plot per series over the size of the cluster."""

from __future__ import annotations

import sys
from collections.abc import Mapping, Sequence
from importlib.resources import files
from pathlib import Path

import numpy as np

from quartermaster.simulation.report.axis import linear
from quartermaster.simulation.report.lines import Line
from quartermaster.simulation.report.svg import Plot


def draw(name: str, sizes: Sequence[int], measured: Mapping[str, Sequence[float]]) -> None:
    """Write build/NAME.html: one plot for each title of `measured`, whose values are those at `sizes` nodes."""
    x = np.array(sizes, dtype=np.float64)
    plots = []
    for number, (title, values) in enumerate(measured.items()):
        line = Line(label=title, x=x, y=np.array(values), spread=np.zeros(len(values)))
        plot = Plot(
            key=f"{name}-{number}",
            title=title,
            text="",
            x=linear("nodes", 0, sizes[-1]),
            y=linear(title, 0, max(values), ticks=5, whole=False),
            lines=(line,),
            numbers=(number,),
        )
        plots.append(f"<h2>{title}</h2>{plot.svg()}")
    style = (files("quartermaster.simulation.report") / "page.css").read_text(encoding="utf-8")
    page = Path(f"build/{name}.html")
    page.parent.mkdir(exist_ok=True)
    page.write_text(f"<!doctype html><title>Growth</title><style>{style}</style>{''.join(plots)}", encoding="utf-8")
    sys.stderr.write(f"plots: {page}\n")
