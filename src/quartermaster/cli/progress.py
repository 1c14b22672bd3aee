"""How far a long command is: a bar on a terminal, a line now and then elsewhere; always on standard error."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn

from quartermaster.simulation import experiment
from quartermaster.simulation.results import Task

LINES = 10
"""How many lines a run that is not watched on a terminal may print."""


@contextmanager
def progress(name: str) -> Iterator[experiment.Progress]:
    """What an experiment reports its progress to."""
    console = Console(stderr=True)
    if console.is_terminal:
        columns = (
            TextColumn("{task.description}"),
            BarColumn(),
            MofNCompleteColumn(),
            TimeElapsedColumn(),
            TimeRemainingColumn(),
        )
        with Progress(*columns, console=console, transient=True) as bar:
            task = bar.add_task(name, total=None)

            def show(done: int, total: int, last: Task | None) -> None:
                said = name if last is None else f"{name} {last.policy}"
                bar.update(task, completed=done, total=total, description=said)

            yield show
        return

    def tell(done: int, total: int, last: Task | None) -> None:
        del last
        if done and total > 1 and (done == total or done % max(1, total // LINES) == 0):
            sys.stderr.write(f"{name}: {done} of {total} runs\n")

    yield tell
