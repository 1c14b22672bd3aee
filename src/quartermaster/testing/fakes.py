"""Stand-ins for what is slow, importable by worker processes."""

from __future__ import annotations

from quartermaster.model.errors import InvalidInput
from quartermaster.simulation.results import Run, Task

REFUSED_SEED = 99
"""The seed that `echo` refuses."""


def echo(task: Task) -> Run:
    """A run that took no time: its only metric is its seed. Raises `InvalidInput` for `REFUSED_SEED`."""
    if task.seed == REFUSED_SEED:
        raise InvalidInput("seed", f"is {REFUSED_SEED}", "take another")
    return Run(policy=task.policy, seed=task.seed, metrics={"average_jct_s": float(task.seed)})
