"""Completion indexes of an Indexed job, as text (``0-2,4``) and as numbers."""

from __future__ import annotations

from collections.abc import Iterable

from quartermaster.local.controllers.objects import Json

INDEX = "batch.kubernetes.io/job-completion-index"


def parse(text: str | None) -> set[int]:
    """The numbers of ``0-2,4``."""
    found: set[int] = set()
    for part in filter(None, (text or "").split(",")):
        first, _, last = part.partition("-")
        found.update(range(int(first), int(last or first) + 1))
    return found


def text(numbers: Iterable[int]) -> str:
    """Numbers as ``0-2,4``; two in a row are ``0,1``, as the real controller writes them."""
    runs: list[list[int]] = []
    for number in sorted(numbers):
        if runs and number == runs[-1][-1] + 1:
            runs[-1].append(number)
        else:
            runs.append([number])
    return ",".join(f"{run[0]}-{run[-1]}" if len(run) > 2 else ",".join(map(str, run)) for run in runs)


def of(pod: Json) -> int | None:
    """The index of a pod."""
    said = (pod["metadata"].get("annotations") or {}).get(INDEX, "")
    return int(said) if said.isdecimal() else None
