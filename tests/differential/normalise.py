"""Takes out of a story's answers what differs between two runs of the same server, and nothing else.

What is left out keeps its identity, so that equal stays equal and different stays different:

* generated names and service addresses are numbered in order of appearance, `<job-* 1>`, `<ip 1>`, and uids within
  their object's name, `<uid a 2>`: one that is too many does not shift those of other objects;
* the resource version of an object becomes its rank among those of the same name, `<rv a 3>`: their order is part of
  the answer. That of a list, table or bookmark is the version of a moment; it becomes the newest version of an object
  that it can show, `<from rv a 3>`;
* times near now become `<time>` with their number of decimals; times that the table sent stay;
* ages in tables, node ports, continue tokens and what the server was built with are masked;
* managedFields are put in one order, because the server's depends on the second in which each was written;
* rules of who may do what, which have no order, are sorted;
* lists of API groups do not show the groups of other stories (all under `.example.dev`).
"""

import datetime as dt
import json
import re
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
        versions=sorted({(version, name) for version, name in _versions(plain) if name is not None}),
        owners=dict(reversed([*_uids(plain)])),
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


def _objects(value: Any) -> Iterator[dict[str, Any]]:
    """Everything with metadata below `value`, by sorted keys, so that the order is the same everywhere."""
    if isinstance(value, dict):
        if isinstance(value.get("metadata"), dict):
            yield value
        for key in sorted(value):
            yield from _objects(value[key])
    elif isinstance(value, list):
        for item in value:
            yield from _objects(item)


def _versions(value: Any) -> Iterator[tuple[int, str | None]]:
    """Every resource version below `value` with the name of its object, None for one of a moment."""
    for owner in _objects(value):
        version = _own_version(owner)
        if version is not None:
            yield version, None if _is_moment(owner) else str(owner["metadata"].get("name"))


def _uids(value: Any) -> Iterator[tuple[str, str]]:
    """Every uid of an object below `value` with the object's name."""
    for owner in _objects(value):
        if isinstance(owner["metadata"].get("uid"), str):
            yield owner["metadata"]["uid"], str(owner["metadata"].get("name"))


def _own_version(value: dict[str, Any]) -> int | None:
    metadata = value.get("metadata")
    version = metadata.get("resourceVersion") if isinstance(metadata, dict) else None
    return int(version) if isinstance(version, str) and version.isdigit() else None


def _is_moment(value: dict[str, Any]) -> bool:
    bookmark = "creationTimestamp" not in value["metadata"] or value["metadata"]["creationTimestamp"] is None
    return "items" in value or "rows" in value or bookmark


class _Masks:
    """One story's replacements, handed out in order of appearance."""

    def __init__(
        self,
        *,
        story: str,
        prefixes: set[str],
        versions: list[tuple[int, str]],
        owners: Mapping[str, str],
        now: dt.datetime,
    ) -> None:
        self._story = story
        self._generated = [
            (prefix, re.compile(rf"(?<![\w-]){re.escape(prefix)}{_SUFFIX}\b")) for prefix in sorted(prefixes)
        ]
        self._versions = versions
        self._owners = owners
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
            changed["resourceVersion"] = self._version(version, moment=_is_moment(owner))
        if changed.get("continue"):
            changed["continue"] = "<continue>"
        if isinstance(changed.get("managedFields"), list):
            changed["managedFields"] = sorted(changed["managedFields"], key=_manager)
        return changed

    def _version(self, version: int, *, moment: bool) -> str:
        """The newest version up to this one, by the name of its object and its rank among those of that name."""
        known = [pair for pair in self._versions if pair[0] <= version]
        if not known:
            return "<from the start>"
        name = known[-1][1]
        return self._text(f"<{'from rv' if moment else 'rv'} {name} {sum(pair[1] == name for pair in known)}>")

    def _ages(self, table: dict[str, Any]) -> dict[str, Any]:
        self._columns = table["columnDefinitions"] or self._columns  # later tables of a stream do not repeat them
        aged = {at for at, column in enumerate(self._columns) if column.get("name") in _AGES}
        rows = [
            row | {"cells": ["<age>" if at in aged and cell != "<unknown>" else cell for at, cell in enumerate(cells)]}
            for row in table["rows"]
            for cells in [row.get("cells") or []]
        ]
        return table | {"rows": rows}

    def _text(self, text: str) -> str:
        for prefix, name in self._generated:
            text = name.sub(self._numbered(f"{prefix}*"), text)
        text = _UID.sub(self._uid, text)
        text = _ADDRESS.sub(self._numbered("ip"), text)
        text = _TIME.sub(self._time, text)
        for pattern, replacement in _OTHERS:
            text = pattern.sub(replacement, text)
        return text

    def _uid(self, found: re.Match[str]) -> str:
        kind = self._text(f"uid {self._owners.get(found[0], 'of nothing')}")
        return self._numbered(kind)(found)

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
