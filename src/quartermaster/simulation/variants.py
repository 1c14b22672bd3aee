"""Placement policies with more of the cycle on: ``quartermaster+backfill``, ``quartermaster+preempt``, or both.

A placement policy alone starts jobs by queue and age, lets everybody pass who fits, and stops nobody; that is what all
of them are compared by. ``+backfill`` reserves room for the first that finds none, and lets those pass that do not
delay it; run times are those of the trace, as if declared. ``+preempt`` makes room for those that wait: it reclaims
between queues, preempts by the priorities that the trace has, and moves jobs together. Job policies have an order of
their own, and take neither.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from quartermaster.model.errors import InvalidInput
from quartermaster.scheduling.policies.catalogue import Kind, find

BACKFILL: Final = "backfill"
PREEMPT: Final = "preempt"
SWITCHES: Final = (BACKFILL, PREEMPT)


@dataclass(frozen=True, slots=True, kw_only=True)
class Variant:
    """A policy of the catalogue, and what is switched on beside it."""

    policy: str
    kind: Kind
    backfill: bool = False
    preempt: bool = False

    @property
    def plain(self) -> bool:
        """Whether it is the policy as it is."""
        return not (self.backfill or self.preempt)


def variant(name: str) -> Variant:
    """``POLICY[+SWITCH...]``; raises `InvalidInput` for what does not exist or does not go together."""
    policy, *switches = name.split("+")
    entry = find(policy)
    for switch in switches:
        if switch not in SWITCHES:
            raise InvalidInput(f"policy '{name}'", f"there is no '+{switch}'", f"choose from +{', +'.join(SWITCHES)}")
        if switches.count(switch) > 1:
            raise InvalidInput(f"policy '{name}'", f"has '+{switch}' twice", "say it once")
    if switches and entry.kind == "job":
        problem = f"'{policy}' has its own rules on who passes or stops"
        raise InvalidInput(f"policy '{name}'", problem, "leave the + away, or give a placement policy")
    return Variant(policy=policy, kind=entry.kind, backfill=BACKFILL in switches, preempt=PREEMPT in switches)
