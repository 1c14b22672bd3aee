"""Time as controllers have it: an argument, real or moved by hand."""

from __future__ import annotations

from typing import Protocol


class Clock(Protocol):
    """Seconds since 1970, and a way to wait for a moment."""

    def __call__(self) -> float:
        """Now."""

    async def until(self, when: float) -> None:
        """Return at `when` or later."""
