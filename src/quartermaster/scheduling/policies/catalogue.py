"""The policies by the names of the command line, each with one line and its source."""

from __future__ import annotations

import difflib
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Final, Literal

from quartermaster.model.errors import InvalidInput
from quartermaster.scheduling.policies.base import PlacementPolicy
from quartermaster.scheduling.policies.fragmentation import FGD, Mix
from quartermaster.scheduling.policies.literature import BestFit, DotProd, GpuClustering, GpuPacking
from quartermaster.scheduling.policies.power import PWR
from quartermaster.scheduling.policies.quartermaster import Quartermaster
from quartermaster.scheduling.policies.simple import BinPack, FirstFit, Random, Spread

Kind = Literal["placement", "job"]


@dataclass(frozen=True, slots=True)
class Entry:
    """A policy's name, what it decides (`placement`: which node; `job`: which job runs), one line, and its source."""

    name: str
    kind: Kind
    summary: str
    citation: str


_OWN: Final = "this project, docs/decisions/0004-own-policy.md"
_ATC23: Final = "Weng et al., Beware of Fragmentation, USENIX ATC'23"

_PLACEMENT: Final[Mapping[str, tuple[Callable[[Mix], PlacementPolicy], str, str]]] = {
    "quartermaster": (Quartermaster, "least loss of what nodes could still be filled with (default)", _OWN),
    "fgd": (FGD, "least rise in fragmentation, integer scores", _ATC23),
    "best-fit": (
        lambda _: BestFit(),
        "least cpu and GPU left over",
        "Hadary et al., Protean, OSDI'20; as run in ATC'23",
    ),
    "dot-prod": (
        lambda _: DotProd(),
        "least alignment of free and asked",
        "Grandl et al., Tetris, SIGCOMM'14; as run in ATC'23",
    ),
    "gpu-packing": (
        lambda _: GpuPacking(),
        "shared devices, then used nodes, then idle ones",
        "Weng et al., MLaaS in the Wild, NSDI'22; as run in ATC'23",
    ),
    "gpu-clustering": (
        lambda _: GpuClustering(),
        "equal GPU requests on the same nodes",
        "Xiao et al., Gandiva, OSDI'18; as run in ATC'23",
    ),
    "pwr": (lambda _: PWR(), "least rise in power draw", "Power- and Fragmentation-aware Online Scheduling, CCGrid'25"),
    "random": (lambda _: Random(), "any node that fits, evenly", "baseline of ATC'23"),
    "bin-pack": (lambda _: BinPack(), "fullest node by cpu, memory and GPU", "kube-scheduler, MostAllocated"),
    "spread": (lambda _: Spread(), "emptiest node by cpu, memory and GPU", "kube-scheduler, LeastAllocated"),
    "first-fit": (lambda _: FirstFit(), "first node that fits", "baseline"),
}

_JOB: Final[Mapping[str, tuple[str, str]]] = {
    "fifo": ("first come first, and whoever fits passes; never preempts", "baseline"),
    "fifo-strict": ("first come first, and nobody passes; never preempts", "baseline"),
    "backfill": (
        "first come first, and who does not delay the first that waits passes; never preempts",
        "EASY: Lifka, JSSPP'95; knows run times",
    ),
    "sjf": ("shortest declared run time first; never preempts", "baseline, knows run times"),
    "srtf": ("shortest remaining time first; preempts", "Zhao et al., Muri, SIGCOMM'22, knows run times"),
    "srsf": ("shortest remaining GPU time first; preempts", "Zhao et al., Muri, SIGCOMM'22, knows run times"),
    "tiresias": ("least attained GPU time first in three levels (2D-LAS); preempts", "Gu et al., Tiresias, NSDI'19"),
}


def catalogue() -> list[Entry]:
    """All policies: placement first."""
    found = [Entry(name, "placement", summary, cite) for name, (_, summary, cite) in _PLACEMENT.items()]
    return found + [Entry(name, "job", summary, cite) for name, (summary, cite) in _JOB.items()]


def find(name: str) -> Entry:
    """The entry of that name; raises `InvalidInput` with the nearest names otherwise."""
    entries = {entry.name: entry for entry in catalogue()}
    if name in entries:
        return entries[name]
    near = difflib.get_close_matches(name, entries, n=3)
    fix = f"did you mean {' or '.join(near)}?" if near else f"choose from {', '.join(entries)}"
    raise InvalidInput("policy", f"there is no '{name}'", fix)


def placement_policy(name: str, mix: Mix) -> PlacementPolicy:
    """The placement policy of that name, for an expected mix of pods."""
    entry = find(name)
    if entry.kind != "placement":
        raise InvalidInput("policy", f"'{name}' orders jobs", "give a placement policy here")
    return _PLACEMENT[name][0](mix)
