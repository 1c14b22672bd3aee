"""Paths into an object: ``.metadata.labels["a.b/c"]``, ``.status.conditions[type=Ready].status``, ``.spec.list[0]``.

The part of jq that KWOK's own stages use for looking things up; nothing is computed here.
"""

from __future__ import annotations

import re
from functools import lru_cache
from typing import Any

from quartermaster.model.errors import InvalidInput

Step = str | int | tuple[str, str]

_STEP = re.compile(r'\.([A-Za-z_$][\w$-]*)|\["([^"]+)"\]|\[(\d+)\]|\[([A-Za-z]\w*)=([^\]]+)\]')


@lru_cache(maxsize=1024)
def parse(text: str) -> tuple[Step, ...]:
    """The steps of a path; raises InvalidInput."""
    steps: list[Step] = []
    at = 0
    while at < len(text):
        match = _STEP.match(text, at)
        if match is None:
            raise InvalidInput(
                f"path '{text}'", f"cannot be read from '{text[at:]}' on", 'write .a.b["c/d"][0][type=Ready]'
            )
        name, quoted, index, key, value = match.groups()
        steps.append(name or quoted or (int(index) if index is not None else (key, value)))
        at = match.end()
    return tuple(steps)


def look(value: Any, path: str) -> Any:
    """What is at `path`; None if there is nothing."""
    for step in parse(path):
        if isinstance(step, str):
            value = value.get(step) if isinstance(value, dict) else None
        elif isinstance(step, int):
            value = value[step] if isinstance(value, list) and step < len(value) else None
        else:
            found = [item for item in value or () if isinstance(item, dict) and str(item.get(step[0])) == step[1]]
            value = found[0] if found else None
        if value is None:
            return None
    return value
