"""``quartermaster groups``: the pod groups that manifests would get. The schema is in docs/workloads.md."""

from __future__ import annotations

import argparse
import json
import sys
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from quartermaster.documents.reading import content, json_document, yaml_documents
from quartermaster.model.errors import InvalidInput
from quartermaster.workloads.catalogue import KINDS, workload
from quartermaster.workloads.external import merged
from quartermaster.workloads.fields import group_kind, name_of, text
from quartermaster.workloads.group import DEFAULT_QUEUE, Closeness, Group, Role
from quartermaster.workloads.grouping import described, each, kind_of
from quartermaster.workloads.owners import controller

Json = dict[str, Any]

SUFFIXES = (".yaml", ".yml", ".json", ".yaml.gz", ".yml.gz", ".json.gz")
STDIN = "-"


@dataclass(frozen=True, slots=True)
class Manifest:
    """One object, and where it was written."""

    where: str
    value: Json

    def into(self, namespace: str) -> Manifest:
        """The same in a namespace, if it names none."""
        metadata = self.value.get("metadata") or {}
        if metadata.get("namespace"):
            return self
        return Manifest(self.where, {**self.value, "metadata": {**metadata, "namespace": namespace}})

    def said(self) -> str:
        """Where it is, and what."""
        return f"{self.where} ({text(self.value, 'kind')} {name_of(self.value)})"


def command(options: argparse.Namespace) -> int:
    """Read all, group all, print."""
    manifests = [manifest.into(options.namespace) for name in options.manifests for manifest in _read(name)]
    found, without = _grouped(manifests)
    if options.output == "json":
        groups = [_as_json(one) for group in found for one in each(group)]
        print(json.dumps({"groups": groups, "without": without}, indent=1))
    else:
        print(_as_text(found, without))
    return 0


# ---- manifests


def _read(name: str) -> Iterator[Manifest]:
    if name == STDIN:
        yield from _documents("standard input", sys.stdin.buffer.read(), is_json=False)
        return
    path = Path(name)
    if not path.exists():
        raise InvalidInput(f"'{name}'", "does not exist", "name a file, a folder, or - for standard input")
    if not path.is_dir():
        yield from _documents(name, content(path), is_json=".json" in path.suffixes)
        return
    files = [file for file in sorted(path.rglob("*")) if file.name.endswith(SUFFIXES) and file.is_file()]
    if not files:
        raise InvalidInput(f"'{name}'", "has no manifests", f"their names end in {', '.join(SUFFIXES[:3])}")
    for file in files:
        yield from _documents(str(file), content(file), is_json=".json" in file.suffixes)


def _documents(name: str, data: bytes, *, is_json: bool) -> Iterator[Manifest]:
    documents = [json_document(data, file=name)] if is_json else yaml_documents(data, file=name)
    documents = _pipelines(documents)
    if not documents:
        raise InvalidInput(name, "is empty", "give Kubernetes objects in YAML or JSON")
    for number, document in enumerate(documents, start=1):
        where = f"{name}: document {number}" if len(documents) > 1 else name
        yield from _objects(where, document)


def _pipelines(documents: list[object]) -> list[object]:
    """A compiled pipeline of KFP, with what is said of its pods in a second document, as the object that it becomes."""
    found: list[object] = []
    for document in documents:
        if isinstance(document, dict) and "kind" not in document:
            if "pipelineInfo" in document and "root" in document:
                info = document["pipelineInfo"]
                name = info.get("name") if isinstance(info, dict) else None
                version = {"apiVersion": "pipelines.kubeflow.org/v2beta1", "kind": "PipelineVersion"}
                spec = {"pipelineSpec": document}
                found.append({**version, "metadata": {"name": name or "pipeline"}, "spec": spec})
                continue
            if "platforms" in document and found and isinstance(found[-1], dict) and "spec" in found[-1]:
                found[-1]["spec"]["platformSpec"] = document
                continue
        found.append(document)
    return found


def _objects(where: str, document: object) -> Iterator[Manifest]:
    """The object, or those that a list has."""
    if not isinstance(document, dict):
        raise InvalidInput(where, "is no object", "give a mapping with apiVersion and kind")
    for field in ("apiVersion", "kind"):
        if not isinstance(document.get(field), str):
            missing = field not in document
            problem = "is missing" if missing else f"is {document[field]!r}"
            raise InvalidInput(f"{where}: {field}", problem, "give that of a Kubernetes object, such as v1 and Pod")
    if not isinstance(document.get("metadata", {}) or {}, dict):
        raise InvalidInput(f"{where}: metadata", "is no mapping", "give a mapping with a name")
    for field in ("name", "generateName", "namespace", "uid"):
        value = (document.get("metadata") or {}).get(field)
        if not isinstance(value, str | None):
            raise InvalidInput(f"{where}: metadata.{field}", f"is {value!r}", "give a text (in quotes, if need be)")
    inside = document.get("items")
    if document["kind"].endswith("List") and isinstance(inside, list):
        for number, item in enumerate(inside):
            yield from _objects(f"{where}: items[{number}]", item)
        return
    yield Manifest(where, document)


# ---- groups


def _grouped(manifests: Sequence[Manifest]) -> tuple[list[Group], list[Json]]:
    found: list[Group] = []
    without: list[Json] = []
    here = _Objects(manifests)
    for manifest in manifests:
        if here.has_owner_of(manifest.value):
            continue
        try:
            groups = described(manifest.value, lookup=here.find, parse=_parsed)
        except InvalidInput as wrong:
            raise InvalidInput(f"{manifest.said()}: {wrong.field}", wrong.problem, wrong.fix) from None
        found += groups
        if not groups:
            named = {"kind": text(manifest.value, "kind"), "name": name_of(manifest.value)}
            without.append({"where": manifest.where, **named, "why": _why_none(manifest.value)})
    return _without_empty(merged(found)), without


class _Objects:
    """What the manifests have, for those that refer to each other."""

    def __init__(self, manifests: Iterable[Manifest]) -> None:
        self._by_name: dict[tuple[str, str, str], list[Json]] = {}
        self._by_uid: dict[str, Json] = {}
        for manifest in manifests:
            value = manifest.value
            self._by_name.setdefault((*group_kind(value), name_of(value)), []).append(value)
            uid = text(value, "metadata.uid")
            if uid:
                self._by_uid[uid] = value

    def find(self, group: str, kind: str, namespace: str, name: str) -> Json | None:
        """By reference."""
        for value in self._by_name.get((group, kind, name), ()):
            if not namespace or text(value, "metadata.namespace") == namespace:
                return value
        return None

    def has_owner_of(self, value: Json) -> bool:
        """Whether what made it is here as well, and speaks for it (as in what a cluster prints)."""
        reference = controller(value)
        owner = self._by_uid.get(reference.uid) if reference else None
        if owner is None:
            return False
        kind, child = workload(group_kind(owner)), group_kind(value)
        return kind is not None and (child == ("", "Pod") or kind.made(child))


def _parsed(manifest: str) -> Json | None:
    """A manifest inside a manifest; one with placeholders in it may not be YAML yet."""
    try:
        documents = yaml_documents(manifest.encode(), file="")
    except InvalidInput:
        return None
    return documents[0] if len(documents) == 1 and isinstance(documents[0], dict) else None


def _why_none(value: Json) -> str:
    kind = kind_of(value)
    if kind is not None:
        return "has no pods as it is"
    if group_kind(value) in KINDS:
        return "is referred to by others"
    return "not a kind that makes pods, as far as is known; pods of an unknown kind are grouped by their owner"


def _without_empty(groups: Iterable[Group]) -> list[Group]:
    return [group for group in groups if group.desired or group.max != 0]


# ---- output


def _as_json(group: Group) -> Json:
    return {
        "name": group.name,
        "namespace": group.namespace,
        "kind": group.kind,
        "phase": group.phase,
        "after": group.after,
        "min": group.min,
        "desired": group.desired,
        "max": group.max,
        "roles": [_role(role) for role in group.roles],
        "any_role": group.pooled,
        "open": group.open,
        "per": group.per,
        "at_once": group.at_once,
        "suspended": group.suspended,
        "queue": group.queue or DEFAULT_QUEUE,
        "priority": group.priority_class,
        "priority_value": group.priority,
        "preemptible": group.preemptible,
        "topology": _near(group.topology),
        "runtime": group.runtime,
        "min_runtime": group.min_runtime,
        "max_runtime": group.max_runtime,
        "why": "; ".join(group.why),
    }


def _role(role: Role) -> Json:
    found: Json = {"name": role.name, "min": role.min, "desired": role.desired, "max": role.max}
    if role.topology is not None:
        found["topology"] = _near(role.topology)
    if role.parts:
        found |= {"min_parts": role.min_parts, "parts": [_role(part) for part in role.parts]}
    return found


def _near(near: Closeness | None) -> Json | None:
    return None if near is None else asdict(near)


def _as_text(groups: Sequence[Group], without: Sequence[Json]) -> str:
    lines = []
    if groups:
        header = ("group", "kind", "phase", "min", "pods", "roles", "queue", "priority")
        rows = [header, *(_row(group) for group in groups)]
        widths = [max(len(row[column]) for row in rows) for column in range(len(header))]
        for row in rows:
            cells = (cell.ljust(width) for cell, width in zip(row, widths, strict=True))
            lines.append("  ".join(cells).rstrip())
        lines += [line for group in groups for line in ("", _title(group), *(f"  {why}" for why in group.why))]
    else:
        lines.append("no pod groups")
    kinds = Counter((one["kind"], one["why"]) for one in without)
    if kinds:
        lines.append("")
    lines += [f"{kind}{f' ({number})' if number > 1 else ''}: {why}" for (kind, why), number in kinds.items()]
    return "\n".join(lines)


def _row(group: Group) -> tuple[str, ...]:
    names = _title(group)
    roles = ", ".join(f"{role.name} {_count(role)}" for role in group.roles)
    pods = str(group.desired) if group.max == group.desired else f"{group.desired} (to {group.max or 'any'})"
    priority = group.priority_class or ("" if group.priority is None else str(group.priority))
    kind = f"{group.kind} (stopped)" if group.suspended else group.kind
    return names, kind, str(group.phase), str(group.min), pods, roles, group.queue or DEFAULT_QUEUE, priority


def _title(group: Group) -> str:
    if not group.each:
        title = group.name
    else:
        first, last = each(group)[0].name, each(group)[-1].name
        title = first if group.copies == 1 else f"{first} to {last} ({group.copies})"
    per = f" for each {group.per}" if group.per else ""
    return f"{title}{per}"


def _count(role: Role) -> str:
    return str(role.desired) if role.min == role.desired else f"{role.min} of {role.desired}"
