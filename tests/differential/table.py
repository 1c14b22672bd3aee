"""The request table: stories of requests, written in table/*.yaml.

A story is a sequence that depends on nothing outside itself: it has a namespace of its own (`$ns`, made by the runner)
and names its cluster-wide objects after itself. So any subset of stories, in any order, gets the same answers from a
fresh server. In YAML:

    story: configmaps             # unique over all files
    about: one line
    with:                         # optional: the story once per entry; `id` makes its name, every key is a variable
    - {id: secrets, body: {...}}
    vars: {path: $core/secrets}   # optional: variables for all requests
    requests:
    - {name: create, post: $path, body: {...}, save: {rv: metadata.resourceVersion}}
    - {name: patch, patch: $path/a, as: merge, body: {...}}
    - {name: ready, get: $path/a, until: {status.phase: Active}}
    - {name: changes, watch: "$path?resourceVersion=$rv", events: 2}

One key says what to do: a method in lower case with the path, or `watch` (open a stream, read `events` of them, close
it), `open` (leave it open under this name) and `read` (the name of an open stream). `events: end` reads until the end
of the stream. `body` is sent as JSON, `raw` as it is, `protobuf` names an entry of protobuf.yaml. `as` is the kind of
patch. `save` keeps parts of the answer as variables for later requests, `until` asks again until the answer has these
values. `$name` is replaced in every string; a string that is only `$name` takes the variable as it is, be it a mapping;
the key `...` puts the entries of a mapping among its own.
"""

import base64
import string
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import Any, Literal

import yaml

FOLDER = Path(__file__).parent
METHODS = ("get", "post", "put", "patch", "delete", "options", "head")
STREAMS = ("watch", "open", "read")
PATCHES = {
    "json": "application/json-patch+json",
    "merge": "application/merge-patch+json",
    "strategic": "application/strategic-merge-patch+json",
    "apply": "application/apply-patch+yaml",
}
ACCEPTS = {
    "table": "application/json;as=Table;v=v1;g=meta.k8s.io",
    "partial": "application/json;as=PartialObjectMetadata;v=v1;g=meta.k8s.io",
    "partial-list": "application/json;as=PartialObjectMetadataList;v=v1;g=meta.k8s.io",
    "protobuf": "application/vnd.kubernetes.protobuf",
    "aggregated": "application/json;g=apidiscovery.k8s.io;v=v2;as=APIGroupDiscoveryList",
}
PROTOBUF = "application/vnd.kubernetes.protobuf"
_KEYS = {"name", "body", "raw", "protobuf", "as", "accept", "headers", "save", "until", "events", *METHODS, *STREAMS}

Variables = dict[str, Any]


@dataclass(frozen=True, kw_only=True)
class Request:
    """One row. Strings may still have variables in them: `fill` at the time of sending."""

    name: str
    method: str
    path: str
    """Path and query; for `read` the name of the stream."""
    stream: Literal["watch", "open", "read"] | None = None
    events: int | None = None
    """How many to read from the stream; None: until the server ends it."""
    headers: Mapping[str, str] = field(default_factory=dict)
    body: Any = None
    raw: bytes | None = None
    save: Mapping[str, str] = field(default_factory=dict)
    until: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, kw_only=True)
class Story:
    """Requests in order, and the variables they start with."""

    name: str
    about: str
    variables: Variables
    requests: tuple[Request, ...]


def fill(value: Any, variables: Variables) -> Any:
    """`value` with the variables put in, at any depth. Unknown ones stay: `$patch` is a word of strategic merges."""
    if isinstance(value, str):
        if value.startswith("$") and value[1:] in variables:
            return variables[value[1:]]
        return string.Template(value).safe_substitute(variables)
    if isinstance(value, dict):
        filled = {fill(key, variables): fill(item, variables) for key, item in value.items()}
        spread = filled.pop("...", {})
        return spread | filled
    if isinstance(value, list):
        return [fill(item, variables) for item in value]
    return value


@cache
def stories() -> tuple[Story, ...]:
    """All of them, in the order of files and rows. Raises `ValueError` for a row that is not understood."""
    found = [
        story
        for path in sorted((FOLDER / "table").glob("*.yaml"))
        for document in yaml.safe_load_all(path.read_text(encoding="utf-8"))
        for story in _expand(document)
    ]
    names = [story.name for story in found]
    if len(set(names)) < len(names):
        raise ValueError(f"stories of the same name: {sorted(name for name in names if names.count(name) > 1)}")
    return tuple(found)


def _expand(document: dict[str, Any]) -> Iterator[Story]:
    unknown = document.keys() - {"story", "about", "with", "vars", "requests"}
    if unknown:
        raise ValueError(f"{document.get('story')}: {sorted(unknown)}: not a key of a story")
    for variant in document.get("with", [{}]):
        name = f"{document['story']}-{variant['id']}" if variant else document["story"]
        namespace = f"d-{name}"
        variables: Variables = {"ns": namespace, "core": f"/api/v1/namespaces/{namespace}", "story": name, **variant}
        for key, value in document.get("vars", {}).items():
            variables[key] = fill(value, variables)
        variables = {key: fill(value, variables) for key, value in variables.items()}
        requests = tuple(_request(row, where=name) for row in document["requests"])
        if len({request.name for request in requests}) < len(requests):
            raise ValueError(f"{name}: requests of the same name")
        yield Story(name=name, about=document["about"], variables=variables, requests=requests)


def _request(row: dict[str, Any], *, where: str) -> Request:
    where = f"{where}/{row.get('name')}"
    unknown = row.keys() - _KEYS
    actions = row.keys() & {*METHODS, *STREAMS}
    if unknown or len(actions) != 1:
        raise ValueError(f"{where}: wants one of {METHODS + STREAMS} and no {sorted(unknown)}")
    action = actions.pop()
    events = row.get("events")
    headers = {}
    raw = row["raw"].encode() if "raw" in row else None
    if "body" in row or "raw" in row:
        headers["Content-Type"] = PATCHES[row.get("as", "json")] if action == "patch" else "application/json"
    if "protobuf" in row:
        headers["Content-Type"] = PROTOBUF
        raw = base64.b64decode(_protobuf()[row["protobuf"]])
    if "accept" in row:
        headers["Accept"] = ACCEPTS.get(row["accept"], row["accept"])
    return Request(
        name=row["name"],
        method="GET" if action in STREAMS else action.upper(),
        path=row[action],
        stream=action if action in STREAMS else None,  # type: ignore[arg-type]
        events=None if events == "end" else events,
        headers=headers | row.get("headers", {}),
        body=row.get("body"),
        raw=raw,
        save=row.get("save", {}),
        until=row.get("until", {}),
    )


@cache
def _protobuf() -> dict[str, str]:
    return {key: row["bytes"] for key, row in yaml.safe_load((FOLDER / "protobuf.yaml").read_text("utf-8")).items()}
