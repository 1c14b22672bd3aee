"""What form of answer a client wants: plain objects, tables, or metadata alone; as JSON, YAML or protobuf.

A header is read as the real server reads it: clauses by quality, and the first that can be had. One rule is ours: of a
client that reads protobuf and JSON alike we take JSON, because objects are JSON at rest and go out as they lie.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import lru_cache

from quartermaster.local.apiserver.errors import not_acceptable, unavailable

JSON = "application/json"
YAML = "application/yaml"
PROTOBUF = "application/vnd.kubernetes.protobuf"
OFFERED = (JSON, YAML, PROTOBUF)
STREAMED = (JSON, YAML, PROTOBUF, f"{JSON};stream=watch", f"{PROTOBUF};stream=watch")
_METADATA = ("PartialObjectMetadata", "PartialObjectMetadataList")


@dataclass(frozen=True, slots=True)
class Form:
    """`shape`: object, table, metadata; the last two in a `version` of meta.k8s.io. `pretty`: for people."""

    shape: str = "object"
    media: str = JSON
    version: str = "v1"
    pretty: bool = False


PLAIN = Form()


@lru_cache(maxsize=1024)
def clauses(header: str) -> tuple[tuple[str, dict[str, str], float], ...]:
    """(media type, parameters, quality) of an Accept header, the most wanted first."""
    found: list[tuple[float, bool, bool, str, dict[str, str]]] = []
    for clause in header.split(","):
        media, *parameters = (part.strip() for part in clause.split(";"))
        media = "*/*" if media == "*" else media
        named = dict(part.split("=", 1) for part in parameters if "=" in part)
        try:
            quality = float(named.pop("q", "1"))
        except ValueError:
            quality = 1.0
        if media.count("/") == 1:
            found.append((-quality, media.startswith("*"), media.endswith("/*"), media, named))
    found.sort(key=lambda item: item[:3])
    return tuple((media, named, -less) for less, _, _, media, named in found)


@lru_cache(maxsize=1024)
def accepted(header: str, *, custom: bool = False, stream: bool = False, many: bool = False) -> Form:
    """The best form that the header names; raises ApiError 406 if we have none of them.

    `custom`: of a custom resource, which has no protobuf form; `stream`: of a watch; `many`: of a path that can be
    watched, which counts when the real server's router says what there is.
    """
    if not header:
        return PLAIN
    if not custom and not any(media == "*/*" or media in OFFERED for media, _, _ in clauses(header)):
        raise unavailable(STREAMED if many or stream else OFFERED)  # the router knows no "application/*"
    binary: tuple[Form, float] | None = None
    for media, named, quality in clauses(header):
        for offered in OFFERED:
            if media not in (offered, offered.partition("/")[0] + "/*", "*/*"):
                continue
            form = _form(offered, named, custom=custom)
            if form is None:
                continue
            if stream and offered == YAML:
                raise not_acceptable(STREAMED[-2:])
            if form.media != PROTOBUF:
                return form if binary is None or _alike(binary, (form, quality)) else binary[0]
            binary = binary or (form, quality)
    if binary is not None:
        return binary[0]
    raise not_acceptable(STREAMED[-2:] if stream else OFFERED)


def _alike(binary: tuple[Form, float], other: tuple[Form, float]) -> bool:
    """Whether the client wants the other, JSON, as much and in the same shape."""
    return other == (replace(binary[0], media=JSON), binary[1])


def _form(media: str, named: dict[str, str], *, custom: bool) -> Form | None:
    if named.get("stream", "watch") != "watch" or named.get("sv", "v1") != "v1":
        return None
    pretty = named.get("pretty") == "1"
    if not named.keys() & {"as", "g", "v"}:
        return None if custom and media == PROTOBUF else Form("object", media, pretty=pretty)
    wanted, version = named.get("as", ""), named.get("v", "")
    if named.get("g") != "meta.k8s.io" or version not in ("v1", "v1beta1"):
        return None
    if wanted == "Table" and media != PROTOBUF:
        return Form("table", media, version, pretty)
    if wanted in _METADATA:
        return Form("metadata", media, version, pretty)
    return None


def error_form(header: str) -> Form:
    """The form of a failure: what the client reads, else JSON."""
    for media, named, _ in clauses(header) if header else ():
        if named.keys() & {"as", "g", "v"}:
            continue
        if media in OFFERED:
            return Form("object", media)
        if media in ("*/*", "application/*"):
            return PLAIN
    return PLAIN
