"""The part of JSONPath that printer columns use: ``.a.b``, ``['a.b']``, ``[0]``, ``[*]``, ``[?(@.type=="Ready")]``."""

from __future__ import annotations

import re
from functools import lru_cache
from typing import Any

_PART = re.compile(
    r"\.?(?:"
    r"(?P<name>[A-Za-z0-9_\-/$]+(?:\\\.[A-Za-z0-9_\-/]+)*)"
    r"|\[(?P<index>-?\d+|\*)\]"
    r"|\[['\"](?P<quoted>[^'\"]+)['\"]\]"
    r"|\[\?\(\s*@(?P<path>[.\w\-\[\]'\"/\\]+?)\s*(?P<operator>==|!=)\s*(?P<value>'[^']*'|\"[^\"]*\"|[\w.\-]+)\s*\)\])"
)


class Malformed(ValueError):
    """Not a path that we know."""


@lru_cache(maxsize=4096)
def compiled(path: str) -> tuple[tuple[str, Any], ...]:
    """Steps of a path; raises Malformed."""
    text = path.strip()
    if text.startswith("{") and text.endswith("}"):
        text = text[1:-1]
    text = text.removeprefix("$")
    steps: list[tuple[str, Any]] = []
    position = 0
    while position < len(text):
        match = _PART.match(text, position)
        if not match or match.end() == position:
            raise Malformed(path)
        position = match.end()
        if match["name"] is not None:
            steps.append(("key", match["name"].replace("\\.", ".")))
        elif match["quoted"] is not None:
            steps.append(("key", match["quoted"]))
        elif match["index"] is not None:
            steps.append(("all", None) if match["index"] == "*" else ("index", int(match["index"])))
        else:
            steps.append(("filter", (compiled(match["path"]), match["operator"] == "==", match["value"].strip("'\""))))
    return tuple(steps)


def values(value: Any, path: str) -> list[Any]:
    """All that a path leads to."""
    return _follow([value], compiled(path))


def first(value: Any, path: str) -> Any:
    """What a path leads to, or None; a malformed path leads nowhere."""
    try:
        found = values(value, path)
    except Malformed:
        return None
    return found[0] if found else None


def _follow(values_: list[Any], steps: tuple[tuple[str, Any], ...]) -> list[Any]:
    for kind, argument in steps:
        found: list[Any] = []
        for value in values_:
            if (kind == "key" and isinstance(value, dict) and argument in value) or (
                kind == "index" and isinstance(value, list) and -len(value) <= argument < len(value)
            ):
                found.append(value[argument])
            elif kind == "all" and isinstance(value, list | dict):
                found += value if isinstance(value, list) else list(value.values())
            elif kind == "filter" and isinstance(value, list):
                inner, equal, wanted = argument
                for item in value:
                    got = _follow([item], inner)
                    if got and (_text(got[0]) == wanted) is equal:
                        found.append(item)
        values_ = found
    return values_


def _text(value: Any) -> str:
    return ("true" if value else "false") if isinstance(value, bool) else str(value)
