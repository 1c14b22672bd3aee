"""How long to wait after a failure: longer each time, never in step with others, never shorter than one is told."""

from __future__ import annotations

import random
from dataclasses import dataclass, field


@dataclass(slots=True, kw_only=True)
class Backoff:
    """Waits that double from `first` to `longest` seconds. A wait is drawn between the half and the whole of that."""

    rng: random.Random
    first: float = 0.5
    longest: float = 30.0
    failures: int = field(default=0, init=False)

    def next(self, at_least: float | None = None) -> float:
        """Seconds to wait after one more failure; `at_least` is what the other side asked for."""
        whole = min(self.longest, self.first * 2.0 ** min(self.failures, 32))
        self.failures += 1
        drawn = whole * (0.5 + 0.5 * self.rng.random())
        # Who was told to wait is not alone: without a spread all come back in the same moment.
        return drawn if at_least is None else max(drawn, at_least * (1.0 + 0.2 * self.rng.random()))

    def reset(self) -> None:
        """It works again."""
        self.failures = 0
