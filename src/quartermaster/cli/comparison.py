"""What a comparison looks like: as text for people, and as JSON with a stable schema (docs/what-if.md)."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Mapping, Sequence

from quartermaster.model.units import GPU
from quartermaster.scheduling.quota import per_unit, readable, to_internal
from quartermaster.whatif.comparing import Comparison, Difference, Entitlement, Stand, Verb

NODES_TOLD = 4
"""So many nodes of a group are named; of more, how many there are."""


def as_text(found: Comparison, *, changes: Sequence[str], group: str | None) -> str:
    """The report: what was changed, what becomes of whom, who else waits, and the queues that differ."""
    differences = [one for one in found.differences if group in {None, one.group}]
    lines = [f"what if: {'; '.join(changes)}" if changes else "as it is:"]
    lines += [line for one in differences for line in _told(one)]
    told = {one.group for one in differences}
    others = {name: why for name, why in found.waiting.items() if name not in told and group in {None, name}}
    if not differences:
        lines.append("  nothing changes" if group is None else f"  nothing changes for {group}")
    if others:
        lines += ["", "waiting as before:"]
        for name, why in others.items():
            lines += [f"  {name}", *_indented(why)]
    if group is None:
        lines += _queues(found.entitlements)
    if not found.rested:
        lines += ["", "still changing after the last cycle that was tried: the scheduler would go on from here"]
    return "\n".join(lines)


def _told(one: Difference) -> Iterator[str]:
    yield f"  {one.group} (queue {one.queue}) {one.verb.value}{_where(one)}"
    for reason in one.reasons:
        yield from _indented(reason)


def _where(one: Difference) -> str:
    before, after = one.before, one.after
    if one.verb is Verb.WAITS or after is None:
        return ""
    if one.verb is Verb.STARTS or before is None:
        return f": {_stand(after)}"
    if one.verb is Verb.EVICTED and not after.pods:
        return f" from {_nodes(before)}"
    return f": {_stand(after)}, not {_stand(before)}"


def _stand(stand: Stand) -> str:
    return f"{stand.pods} {'pod' if stand.pods == 1 else 'pods'} on {_nodes(stand)}" if stand.pods else "nowhere"


def _nodes(stand: Stand) -> str:
    names = sorted(stand.nodes)
    return ", ".join(names) if len(names) <= NODES_TOLD else f"{len(names)} nodes"


def _indented(why: str) -> Iterator[str]:
    return (f"      {part}" for part in why.split("; "))


def _queues(entitlements: Iterable[Entitlement]) -> Iterator[str]:
    rows = [one for one in entitlements if one.resource == GPU or _differs(one)]
    if not rows:
        return
    table = [("queue", "resource", "deserved", "limit", "fair share", "in use")]
    for one in rows:
        (q0, q1), (b0, b1) = one.quota, one.books
        table.append(
            (
                one.queue,
                one.resource,
                _arrow(*(_amount(to_internal(q.deserved, one.resource), one.resource) for q in (q0, q1))),
                _arrow(*(_amount(to_internal(q.limit, one.resource), one.resource) for q in (q0, q1))),
                _arrow(*(_amount(b.share.share, one.resource) for b in (b0, b1))),
                _arrow(*(_amount(b.used, one.resource) for b in (b0, b1))),
            )
        )
    widths = [max(len(row[column]) for row in table) for column in range(len(table[0]))]
    yield ""
    for row in table:
        yield "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip()


def _differs(one: Entitlement) -> bool:
    (q0, q1), (b0, b1) = one.quota, one.books
    return (one.resource.startswith(GPU) and (q0 != q1 or b0 != b1)) or q0 != q1


def _amount(value: float, resource: str) -> str:
    return "-" if math.isinf(value) else readable(int(value), resource)


def _arrow(before: str, after: str) -> str:
    return before if before == after else f"{before} -> {after}"


def as_json(found: Comparison, *, changes: Sequence[str], group: str | None) -> Mapping[str, object]:
    """The stable form; GPUs in devices, cpu in millicores, memory in bytes, no limit as null."""
    return {
        "changes": list(changes),
        "groups": [
            {
                "group": one.group,
                "queue": one.queue,
                "becomes": one.verb.value,
                "before": _stand_json(one.before),
                "after": _stand_json(one.after),
                "reasons": list(one.reasons),
            }
            for one in found.differences
            if group in {None, one.group}
        ],
        "waiting": [
            {"group": name, "reason": why, "expected_start": found.starts.get(name)}
            for name, why in found.waiting.items()
            if group in {None, name}
        ],
        "queues": [_entitlement_json(one) for one in found.entitlements],
        "rested": found.rested,
    }


def _stand_json(stand: Stand | None) -> Mapping[str, object] | None:
    if stand is None:
        return None
    return {"running": stand.running, "pods": stand.pods, "nodes": dict(sorted(stand.nodes.items()))}


def _entitlement_json(one: Entitlement) -> Mapping[str, object]:
    sides = {}
    for side, quota, books in zip(("before", "after"), one.quota, one.books, strict=True):
        unit = per_unit(one.resource)
        sides[side] = {
            "deserved": _number(quota.deserved),
            "limit": _number(quota.limit),
            "fair_share": _number(books.share.share / unit),
            "used": _number(books.used / unit),
        }
    return {"queue": one.queue, "resource": one.resource, **sides}


def _number(value: float) -> float | None:
    return None if math.isinf(value) else value
