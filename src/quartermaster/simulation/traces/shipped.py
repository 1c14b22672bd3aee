"""Where the traces inside the package are."""

from __future__ import annotations

from importlib.resources import files
from importlib.resources.abc import Traversable


def shipped(path: str) -> Traversable:
    """A shipped data file by its path below ``simulation/data``; works from a source tree, a wheel and a zip."""
    return files("quartermaster.simulation").joinpath("data", *path.split("/"))
