"""What a chaos set does to some nodes, as text: the output of a golden case. ``python`` this file writes them all."""

from itertools import takewhile
from pathlib import Path
from typing import Any

import yaml

from quartermaster.local.fleet import chaos

FOLDER = Path(__file__).parent / "golden"


def inputs() -> list[Path]:
    return sorted(FOLDER.glob("*.input.yaml"))


def output_of(path: Path) -> Path:
    return path.with_name(path.name.replace(".input.", ".output."))


def found(case: dict[str, Any]) -> list[chaos.Strike]:
    """All strikes in time, in order."""
    set_, end = chaos.read(case["chaos"]), 3600.0 * case["hours"]
    return sorted(
        (
            strike
            for node in case["nodes"]
            for number, rule in enumerate(set_.spec.rules)
            if chaos.befalls(rule, node["labels"])
            for strike in takewhile(
                lambda strike: strike.when < end,
                chaos.strikes(
                    set_, number, node["name"], int(node["labels"].get("nvidia.com/gpu.count", "0")), since=0.0
                ),
            )
        ),
        key=lambda strike: (strike.when, strike.node),
    )


def outcome(path: Path) -> str:
    """One line a strike: hour, node, what, for how many minutes."""
    lines = []
    for strike in found(yaml.safe_load(path.read_text())):
        fault = strike.fault
        more = {
            "xid": f" {fault.code} on GPU {fault.gpus}",
            "straggler": f" x{fault.factor:g}",
            "mig": f" {fault.config}",
        }.get(fault.kind, "")
        minutes = (strike.until - strike.when) / 60
        lines.append(f"{strike.when / 3600:9.3f} h  {strike.node}  {fault.kind}{more}, {minutes:.1f} min")
    return "\n".join([*lines, ""])


if __name__ == "__main__":
    for case in inputs():
        output_of(case).write_text(outcome(case))
