"""How often Python looks for garbage that refers to itself: rarely, in a program that makes little of it.

A cycle over 100,000 pods makes a few hundred thousand small objects that live until its plan is used, and none that
only a collector could free. With Python's own thresholds (700 new objects) all of them are looked through again and
again for nothing. The thresholds are a matter of the process: the commands set them and the library never does.
"""

from __future__ import annotations

import gc
from typing import Final

THRESHOLDS: Final = (50_000, 20, 50)
"""New objects before a young collection, young before a middle one, middle ones before a full one."""


def tune_collector() -> None:
    """Set the thresholds for this process."""
    gc.set_threshold(*THRESHOLDS)
