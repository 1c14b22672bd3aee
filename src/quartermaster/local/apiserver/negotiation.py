"""What form of answer a client wants: plain objects, tables, or metadata alone."""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache

from quartermaster.local.apiserver.errors import no_representation, not_acceptable

OFFERED = ("application/json", "application/yaml", "application/vnd.kubernetes.protobuf")
PROTOBUF = "application/vnd.kubernetes.protobuf"


@dataclass(frozen=True, slots=True)
class Form:
    """`shape`: object, table, metadata. Media type JSON or YAML; never protobuf: all clients take JSON."""

    shape: str = "object"
    media: str = "application/json"
    parameters: tuple[tuple[str, str], ...] = ()


PLAIN = Form()


@lru_cache(maxsize=1024)
def accepted(header: str) -> Form:
    """The first offer that the header names. Raises ApiError 406 if we have none of them."""
    if not header:
        return PLAIN
    for offer in header.split(","):
        media, *parameters = (part.strip() for part in offer.split(";"))
        named = dict(part.split("=", 1) for part in parameters if "=" in part)
        if media in ("*/*", "application/*"):
            media = "application/json"
        if media not in ("application/json", "application/yaml"):
            continue
        wanted = named.get("as", "")
        if wanted == "Table" and named.get("v") in ("v1", "v1beta1"):
            return Form("table", media, tuple(named.items()))
        if wanted in ("PartialObjectMetadata", "PartialObjectMetadataList") and named.get("v") in ("v1", "v1beta1"):
            return Form("metadata", media, tuple(named.items()))
        if not wanted:
            return Form("object", media, tuple(named.items()))
    if "protobuf" in header and "as=" not in header:
        # A client that names nothing but protobuf still says what it reads in the content type of the answer.
        return PLAIN
    served = ("application/json", "application/yaml", "application/*", "*/*")
    known = any(offer.partition(";")[0].strip() in served for offer in header.split(","))
    raise not_acceptable(OFFERED) if known else no_representation(OFFERED)
