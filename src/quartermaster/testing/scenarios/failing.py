"""What is told of a case that could not be played to its end."""

from __future__ import annotations

import traceback
from pathlib import Path

from quartermaster.model.errors import InvalidInput


def told(wrong: Exception) -> str:
    """The sentence of bad input; of a crash, what it was and where, enough to find it."""
    if isinstance(wrong, InvalidInput):
        return str(wrong)
    *_, last = traceback.extract_tb(wrong.__traceback__)
    return f"crashed: {type(wrong).__name__}: {wrong} ({Path(last.filename).name}:{last.lineno})"
