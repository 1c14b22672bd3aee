"""What came of a scenario, and its stable JSON form."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum


class Outcome(StrEnum):
    """How a case came out; the words are part of the interface.

    `equally-valid`: not as recorded, but nobody is worse off: only nodes, or the choice among like pods, differ.
    `error`: the case could not be played to its end.
    """

    SAME = "same"
    EQUALLY_VALID = "equally-valid"
    DIFFERENT = "different"
    ERROR = "error"

    @property
    def passes(self) -> bool:
        """Whether the command may exit with 0."""
        return self in {Outcome.SAME, Outcome.EQUALLY_VALID}


@dataclass(frozen=True, slots=True, kw_only=True)
class CaseResult:
    """One case. `differences` say what was expected and what came; empty for `same`.

    `beyond` names what the case needs that the comparison leaves out (``mig``, ``dra``); empty for all others.
    """

    id: str
    name: str
    file: str
    outcome: Outcome
    differences: tuple[str, ...]
    seconds: float
    beyond: str = ""

    def as_json(self) -> dict[str, object]:
        """The object of one case."""
        return {
            "id": self.id,
            "name": self.name,
            "file": self.file,
            "outcome": self.outcome.value,
            "differences": list(self.differences),
            "seconds": round(self.seconds, 6),
        }


@dataclass(frozen=True, slots=True)
class Report:
    """All cases of a run, in the order in which they were played."""

    cases: Sequence[CaseResult]

    @property
    def passed(self) -> bool:
        """Whether every case did."""
        return all(case.outcome.passes for case in self.cases)

    def counts(self, *, comparable: bool = False) -> dict[str, int]:
        """Cases per outcome, every outcome named; with `comparable`, of those alone that need nothing left out."""
        seen = Counter(case.outcome.value for case in self.cases if not (comparable and case.beyond))
        return {outcome.value: seen[outcome.value] for outcome in Outcome}

    def as_json(self) -> dict[str, object]:
        """``{"cases": [...], "counts": {...}}``: a stable interface."""
        return {"cases": [case.as_json() for case in self.cases], "counts": self.counts()}
