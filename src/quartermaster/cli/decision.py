"""What one cycle decided, as a table for people and as JSON with a stable schema (docs/operating.md)."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from datetime import UTC, datetime
from typing import Any

from quartermaster.controllers.scheduler.recording import Recording
from quartermaster.controllers.scheduler.replaying import Decision, Start

NODES_TOLD = 4
"""So many nodes of a group are named; of more, how many there are."""


def as_text(found: Decision, recording: Recording) -> str:
    """The whole report."""
    taken = datetime.fromtimestamp(recording.taken, UTC).strftime("%Y-%m-%d %H:%M:%S UTC")
    lines = [
        f"taken {taken} by quartermaster {recording.quartermaster}: "
        f"{found.nodes} nodes, {found.gpus} GPUs, {found.pods} pods, {found.running} groups that run"
    ]
    lines += [f"not read: {path}: {why}" for path, why in sorted(recording.unread.items())]
    starting = [one for one in found.starts if not one.nominated]
    later = [one for one in found.starts if one.nominated]
    if starting:
        lines += ["", "STARTS", *_table([_started(one) for one in starting])]
    if later:
        lines += ["", "STARTS WHEN OTHERS HAVE LEFT", *_table([_started(one) for one in later])]
    if found.evictions:
        rows = [(evict.pod, group, evict.node, evict.reason) for group, evict in found.evictions]
        lines += ["", "HAS TO LEAVE", *_table(rows)]
    if found.waits:
        lines += ["", "WAITS"]
        for one in found.waits:
            lines.append(f"  {one.group}" + (f" (queue {one.queue})" if one.queue else ""))
            lines += [f"      {part}" for part in one.why.split("; ")]
    if len(lines) == 1 + len(recording.unread):
        lines.append("nothing waits, and nothing changes")
    return "".join(f"{line}\n" for line in lines)


def _started(one: Start) -> Sequence[str]:
    nodes = Counter(bind.node for bind in one.pods)
    if len(nodes) > NODES_TOLD:
        where = f"{len(nodes)} nodes"
    else:
        where = ", ".join(f"{count} on {node}" for node, count in sorted(nodes.items()))
    return one.group, f"queue {one.queue}", f"{len(one.pods)} {'pod' if len(one.pods) == 1 else 'pods'}", where


def _table(rows: Iterable[Sequence[str]]) -> list[str]:
    rows = list(rows)
    widths = [max(len(row[column]) for row in rows) for column in range(len(rows[0]) - 1)]
    return ["  " + "  ".join([*(c.ljust(w) for c, w in zip(row, widths, strict=False)), row[-1]]) for row in rows]


def as_json(found: Decision, recording: Recording) -> dict[str, Any]:
    """The same for machines."""
    return {
        "taken": recording.taken,
        "quartermaster": recording.quartermaster,
        "unread": recording.unread,
        "cluster": {"nodes": found.nodes, "gpus": found.gpus, "pods": found.pods, "runningGroups": found.running},
        "starts": [
            {
                "group": one.group,
                "queue": one.queue,
                "nominated": one.nominated,
                "pods": [{"pod": bind.pod, "node": bind.node, "devices": list(bind.devices)} for bind in one.pods],
            }
            for one in found.starts
        ],
        "evictions": [
            {
                "pod": evict.pod,
                "group": group,
                "node": evict.node,
                "action": str(evict.action),
                "reason": evict.reason,
                "for": evict.beneficiary,
            }
            for group, evict in found.evictions
        ],
        "waits": [
            {"group": one.group, "queue": one.queue, "undecidable": one.undecidable, "why": one.why.split("; ")}
            for one in found.waits
        ],
    }
