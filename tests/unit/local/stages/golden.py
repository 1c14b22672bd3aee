"""What the shipped stages do to an object, as text: the output of a golden case. ``python -m`` this writes them all."""

from datetime import datetime
from pathlib import Path
from typing import Any

import yaml

from quartermaster.local.stages.engine import Transition, change, due, matching
from quartermaster.local.stages.facts import Facts
from quartermaster.local.stages.table import everything

FOLDER = Path(__file__).parent / "golden"


def inputs() -> list[Path]:
    return sorted(FOLDER.glob("*.input.yaml"))


def output_of(path: Path) -> Path:
    return path.with_name(path.name.replace(".input.", ".output."))


def outcome(path: Path) -> str:
    """The stages that compete, with the earliest and the latest second from now, and what each would do."""
    case: dict[str, Any] = yaml.safe_load(path.read_text())
    now = datetime.fromisoformat(case["now"]).timestamp()
    facts = Facts(case["resource"], case["object"], now, case.get("node"), tuple(case.get("pods", ())))
    found = []
    for stage in matching(everything(), facts):
        first, last = (round(due(Transition(stage, now, luck), facts) - now, 3) for luck in (0.0, 1.0))
        doing = change(stage, facts)
        said: dict[str, Any] = {"stage": stage.name, "after": [first, last]}
        said |= {f"patch {where or 'object'}": patch for where, patch in doing.patches}
        if doing.event is not None:
            said["event"] = f"{doing.event.type} {doing.event.reason}: {doing.event.message}"
        said |= {what: True for what in ("delete", "evict") if getattr(doing, what)}
        found.append(said)
    return yaml.safe_dump(found, sort_keys=False, default_flow_style=None, width=110)


if __name__ == "__main__":
    for case in inputs():
        output_of(case).write_text(outcome(case))
