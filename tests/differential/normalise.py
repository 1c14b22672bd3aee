"""Takes out of a story's answers what differs between two runs of the same server, and nothing else.

What is left out keeps its identity, so that equal stays equal and different stays different:

* uids, generated names and service addresses become numbered in order of appearance: `<uid 2>`, `<job-* 1>`, `<ip 1>`;
* resource versions of objects become their rank within the story, `<rv 3>`: their order is part of the answer. That of
  a list, table or bookmark is the version of a moment; it becomes the newest object of the story that it may contain,
  `<from rv 3>`;
* times near now become `<time>` with their number of decimals; times that the table sent stay;
* ages in tables, node ports, continue tokens and what the server was built with are masked;
* managedFields are put in one order, because the server's depends on the second in which each was written;
* rules of who may do what, which have no order, are sorted;
* lists of API groups do not show the groups of other stories (all under `.example.dev`).
"""

import datetime as dt
import json
import re
from bisect import bisect_right
from collections.abc import Callable, Iterator, Mapping
from typing import Any

from tests.differential.client import Answer
from tests.differential.table import Story

_UID = re.compile(r"\b[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}\b")
_TIME = re.compile(r"\b(\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d)(\.\d+)?(?:Z|\+00:00)")
_ADDRESS = re.compile(r"\b10\.96\.\d{1,3}\.\d{1,3}\b(?!/)")
_SUFFIX = "[bcdfghjklmnpqrstvwxz2456789]{5}"
_OTHERS = [
    (re.compile(r"(current: |ResourceVersion in record \()\d+"), r"\1<n>"),
    (re.compile(r"(too old resource version: \d+ )\(\d+\)"), r"\1(<n>)"),
    (re.compile(r"(resourceVersion(?:\\*\")?: ?\\*\")\d+"), r"\1<n>"),  # objects quoted in messages, YAML
    (re.compile(r":3[0-2]\d{3}/"), ":<port>/"),
    (re.compile(r"^127\.0\.0\.1:\d+$"), "<address>"),
]
_PORTS = ("nodePort", "healthCheckNodePort")
_AGES = ("Age", "Last Schedule", "Duration", "Last Seen", "First Seen")
_GROUP = re.compile(r"(?:apis/)?([a-z-]+)\.example\.dev(?:/.*)?")
_BUILT = ("buildDate", "compiler", "gitCommit", "gitTreeState", "goVersion", "platform")
_DAY = dt.timedelta(days=1)


def normalise(answers: Mapping[str, Answer], *, story: Story, now: dt.datetime) -> dict[str, Any]:
    """The answers of one whole story as JSON values that two servers can be compared by. `now` is aware."""
    plain = {
        name: {key: value for key, value in vars(answer).items() if value is not None and value != {}}
        for name, answer in answers.items()
    }
    masks = _Masks(
        story=story.name,
        prefixes={prefix for request in story.requests for prefix in _prefixes(request.body)},
        ranks=sorted({version for version, moment in _versions(plain) if not moment}),
        now=now,
    )
    return {name: masks.value(answer) for name, answer in plain.items()}


def _prefixes(value: Any) -> Iterator[str]:
    """Every prefix that the story asks names to be generated from."""
    if isinstance(value, dict):
        if isinstance(value.get("generateName"), str):
            yield value["generateName"]
        for item in value.values():
            yield from _prefixes(item)


def _versions(value: Any) -> Iterator[tuple[int, bool]]:
    """Every resource version below `value`, and whether it is one of a moment."""
    if isinstance(value, dict):
        version = _own_version(value)
        if version is not None:
            yield version, _is_moment(value)
        for item in value.values():
            yield from _versions(item)
    elif isinstance(value, list):
        for item in value:
            yield from _versions(item)


def _own_version(value: dict[str, Any]) -> int | None:
    metadata = value.get("metadata")
    version = metadata.get("resourceVersion") if isinstance(metadata, dict) else None
    return int(version) if isinstance(version, str) and version.isdigit() else None


def _is_moment(value: dict[str, Any]) -> bool:
    bookmark = "creationTimestamp" not in value["metadata"] or value["metadata"]["creationTimestamp"] is None
    return "items" in value or "rows" in value or bookmark


class _Masks:
    """One story's replacements, handed out in order of appearance (keys sorted, so that it is the same everywhere)."""

    def __init__(self, *, story: str, prefixes: set[str], ranks: list[int], now: dt.datetime) -> None:
        self._story = story
        self._generated = [
            (prefix, re.compile(rf"(?<![\w-]){re.escape(prefix)}{_SUFFIX}\b")) for prefix in sorted(prefixes)
        ]
        self._ranks = ranks
        self._now = now
        self._numbers: dict[str, dict[str, int]] = {}
        self._columns: list[dict[str, Any]] = []

    def value(self, value: Any) -> Any:
        if isinstance(value, str):
            return self._text(value)
        if isinstance(value, list):
            return [self.value(item) for item in value if not self._is_foreign(item)]
        if isinstance(value, dict):
            return self._mapping(value)
        return value

    def _is_foreign(self, entry: Any) -> bool:
        """Whether an entry of a list of API groups belongs to another story."""
        name = entry.get("name") or (entry.get("metadata") or {}).get("name") if isinstance(entry, dict) else None
        return "versions" in entry and self._is_foreign_group(name) if isinstance(name, str) else False

    def _is_foreign_group(self, name: str) -> bool:
        found = _GROUP.fullmatch(name)
        return found is not None and found[1] != self._story

    def _mapping(self, value: dict[str, Any]) -> dict[str, Any]:
        metadata = value.get("metadata")
        if isinstance(metadata, dict):
            value = value | {"metadata": self._metadata(value, metadata)}
        if isinstance(value.get("rows"), list) and "columnDefinitions" in value:
            value = self._ages(value)
        if "gitVersion" in value:
            value = value | {key: "<build>" for key in _BUILT if key in value}
        for rules in ("resourceRules", "nonResourceRules"):
            if isinstance(value.get(rules), list):
                value = value | {rules: sorted(value[rules], key=json.dumps)}
        return {
            key: "<port>" if key in _PORTS and value[key] and isinstance(value[key], int) else self.value(value[key])
            for key in sorted(value)
            if not (key.startswith("apis/") and self._is_foreign_group(key))
        }

    def _metadata(self, owner: dict[str, Any], metadata: dict[str, Any]) -> dict[str, Any]:
        changed = dict(metadata)
        version = _own_version(owner)
        if version is not None:
            rank = bisect_right(self._ranks, version)
            changed["resourceVersion"] = f"<from rv {rank}>" if _is_moment(owner) else f"<rv {rank}>"
        if changed.get("continue"):
            changed["continue"] = "<continue>"
        if isinstance(changed.get("managedFields"), list):
            changed["managedFields"] = sorted(changed["managedFields"], key=_manager)
        return changed

    def _ages(self, table: dict[str, Any]) -> dict[str, Any]:
        self._columns = table["columnDefinitions"] or self._columns  # later tables of a stream do not repeat them
        aged = [column.get("name") in _AGES for column in self._columns]
        rows = [
            row
            | {
                "cells": [
                    "<age>" if old and cell != "<unknown>" else cell
                    for cell, old in zip(row["cells"], aged, strict=True)
                ]
            }
            for row in table["rows"]
        ]
        return table | {"rows": rows}

    def _text(self, text: str) -> str:
        for prefix, name in self._generated:
            text = name.sub(self._numbered(f"{prefix}*"), text)
        text = _UID.sub(self._numbered("uid"), text)
        text = _ADDRESS.sub(self._numbered("ip"), text)
        text = _TIME.sub(self._time, text)
        for pattern, replacement in _OTHERS:
            text = pattern.sub(replacement, text)
        return text

    def _numbered(self, kind: str) -> Callable[[re.Match[str]], str]:
        known = self._numbers.setdefault(kind, {})
        return lambda found: f"<{kind} {known.setdefault(found[0], len(known) + 1)}>"

    def _time(self, found: re.Match[str]) -> str:
        moment = dt.datetime.fromisoformat(found[1]).replace(tzinfo=dt.UTC)
        if abs(moment - self._now) > _DAY:
            return found[0]
        return f"<time.{len(found[2]) - 1}>" if found[2] else "<time>"


def _manager(entry: dict[str, Any]) -> tuple[str, ...]:
    return tuple(str(entry.get(key, "")) for key in ("manager", "operation", "apiVersion", "subresource"))
