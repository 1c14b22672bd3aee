"""What there is in a story's namespace, without what chance and time gave it.

Names that the server made up, hashes of templates, uids, times and versions are masked; equal stays equal where it
matters: the hash of each template has a number of its own, in the order of revisions. Objects that are alike but for
that are told apart by number alone, as `Pod web-<template 1>-* 2`. Left out: managedFields, service
accounts of pods (the real server runs without that admission), and everything about events but what they say, of what,
and how often.
"""

import json
import re
from typing import TYPE_CHECKING, Any

from quartermaster.local.controllers import objects as kinds
from quartermaster.local.controllers.objects import Resource

if TYPE_CHECKING:
    from tests.controllers.sides import Json, Side
    from tests.controllers.story import Story

EVENTS = Resource("Event", "v1", "events")
LOOKED_AT = (
    kinds.DEPLOYMENTS,
    kinds.REPLICA_SETS,
    kinds.STATEFUL_SETS,
    kinds.DAEMON_SETS,
    kinds.REVISIONS,
    kinds.JOBS,
    kinds.CRON_JOBS,
    kinds.BUDGETS,
    kinds.CLAIMS,
    kinds.SLICES,
    kinds.PODS,
    EVENTS,
)
_SUFFIX = "[bcdfghjklmnpqrstvwxz2456789]{5}"
_UID = re.compile(r"\b[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}\b")
_TIME = re.compile(r"\b\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d+)?Z")
_MINUTE = re.compile(r"-\d{8}\b")
_LOST = ("uid", "resourceVersion", "creationTimestamp", "managedFields", "selfLink")
_NOISE = ("NoPods", "UnmanagedPods")
"""Told by the controller of budgets at every look, and nobody can say how often it looks."""
_KEPT_OF_EVENTS = ("reason", "message", "type", "count", "source")


class Eyes:
    """Looks at one story's namespace, and remembers what things are called."""

    def __init__(self, side: "Side", story: "Story") -> None:
        self._side, self._story = side, story
        self._hashes: dict[str, str] = {}
        self._prefixes: set[str] = set()
        self._owners: dict[str, str] = {}

    async def look(self) -> dict[str, Any]:
        """Everything by kind and masked name, in one order."""
        found: list[tuple[Resource, Json]] = []
        for resource in LOOKED_AT:
            listed = await self._side.ask("GET", resource.path(self._story.namespace))
            found += [(resource, value) for value in listed["items"] if value.get("reason") not in _NOISE]
        nodes = (await self._side.ask("GET", kinds.NODES.path()))["items"]
        found += [(kinds.NODES, node) for node in nodes if node["metadata"]["name"] in self._story.nodes]
        self._learn(found)
        masked = [(resource.kind, self._masked(resource, value)) for resource, value in found]
        masked.sort(key=lambda item: (item[0], json.dumps(item[1], sort_keys=True)))
        seen: dict[str, Any] = {}
        for kind, value in masked:
            name = f"{kind} {value['metadata']['name']}" if kind != "Event" else f"Event {value['reason']}"
            number = 1 + sum(key.rpartition(" ")[0] == name for key in seen)
            seen[f"{name} {number}"] = value
        return seen

    def _learn(self, found: list[tuple[Resource, "Json"]]) -> None:
        hashed = sorted(
            (_revision(value), value["metadata"]["name"], label)
            for resource, value in found
            if resource in (kinds.REPLICA_SETS, kinds.REVISIONS)
            and (label := _hash(value["metadata"].get("labels", {}))) is not None
        )
        for _, _, label in hashed:
            self._hashes.setdefault(label, f"<template {len(self._hashes) + 1}>")
        for resource, value in found:
            about = value["metadata"]
            if resource is not EVENTS:
                prefix = about.get("generateName", "")
                made_up = bool(prefix) and re.fullmatch(re.escape(prefix) + _SUFFIX, about["name"]) is not None
                self._owners[about["uid"]] = "<uid>" if made_up else f"<uid of {about['name']}>"
                self._prefixes |= {prefix} if made_up else set()

    def _masked(self, resource: Resource, value: "Json") -> "Json":
        if resource is EVENTS:
            about = value["involvedObject"]
            kept = {key: value[key] for key in _KEPT_OF_EVENTS if value.get(key)}
            kept |= {"of": f"{about['kind']} {about['name']}", "metadata": {"name": ""}}
            return dict(self._mask(kept))
        metadata = {key: item for key, item in value["metadata"].items() if key not in _LOST}
        kept = {key: item for key, item in value.items() if key not in ("apiVersion", "kind")} | {"metadata": metadata}
        if resource is kinds.PODS:
            kept["spec"] = {key: item for key, item in kept["spec"].items() if not key.startswith("serviceAccount")}
        masked = dict(self._mask(kept))
        if resource is kinds.CRON_JOBS:
            for item in masked.get("status", {}).get("active", ()):
                item.pop("resourceVersion", None)
        return masked

    def _mask(self, value: Any) -> Any:
        if isinstance(value, dict):
            return {self._text(key): self._mask(value[key]) for key in sorted(value)}
        if isinstance(value, list):
            return [self._mask(item) for item in value]
        return self._text(value) if isinstance(value, str) else value

    def _text(self, text: str) -> str:
        for prefix in sorted(self._prefixes, key=len, reverse=True):
            text = re.sub(rf"(?<![\w-]){re.escape(prefix)}{_SUFFIX}\b", f"{prefix}*", text)
        text = _UID.sub(lambda found: self._owners.get(found[0], "<uid>"), text)
        for label, name in self._hashes.items():
            text = text.replace(label, name)
        return _MINUTE.sub("-<minute>", _TIME.sub("<time>", text))


def _hash(labels: "Json") -> str | None:
    names = ("pod-template-hash", "controller.kubernetes.io/hash", "controller-revision-hash")
    return next((str(labels[name]) for name in names if name in labels), None)


def _revision(value: "Json") -> int:
    annotated = value["metadata"].get("annotations", {}).get("deployment.kubernetes.io/revision", 0)
    return int(value.get("revision", annotated))
