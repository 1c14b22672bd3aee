"""Paths of objects: which kind, where, which one, which part of it."""

from __future__ import annotations

from dataclasses import dataclass

from quartermaster.local.apiserver.discovery import unknown_version
from quartermaster.local.apiserver.errors import no_such_path, not_found, page_not_found
from quartermaster.local.apiserver.kinds import Kind, Registry, Subresource, deprecated


@dataclass(slots=True)
class Route:
    """What a path names. `subresource` with all that follows the name."""

    kind: Kind
    namespace: str
    name: str
    subresource: str
    sub: Subresource | None = None
    watch: bool = False
    """Asked for by an old path, ``/watch/...``."""


def route_of(registry: Registry, parts: list[str]) -> Route | None:
    """What the path names, or None if it is not about objects; raises ApiError 404."""
    if len(parts) >= 3 and parts[0] == "api":
        group, version, rest = "", parts[1], parts[2:]
    elif len(parts) >= 4 and parts[0] == "apis":
        group, version, rest = parts[1], parts[2], parts[3:]
    else:
        return None
    watch = rest[0] == "watch" and len(rest) > 1
    if watch:
        rest = rest[1:]
    if not registry.serves(group, version):
        raise unknown_version(registry, group)
    namespace = ""
    if rest[0] == "namespaces" and len(rest) >= 3:
        inner = registry.find(group, version, rest[2])
        if inner is not None and inner.namespaced:
            namespace, rest = rest[1], rest[2:]
        elif group or rest[2] not in ("status", "finalize"):
            raise page_not_found() if _custom(registry, group) else no_such_path()
    kind = registry.find(group, version, rest[0])
    if kind is None or (kind.namespaced and not namespace and len(rest) > 1):
        raise page_not_found() if _custom(registry, group) else no_such_path()
    name = rest[1] if len(rest) > 1 else ""
    subresource = "/".join(rest[2:])
    sub = kind.subresources.get(rest[2]) if len(rest) > 2 else None
    if subresource and sub is None:
        if kind.custom is not None:
            error = not_found(kind.plural, kind.group, name)
            error.warnings = deprecated(kind)
            raise error
        raise no_such_path()
    return Route(kind, namespace, name, subresource, sub, watch)


def _custom(registry: Registry, group: str) -> bool:
    return any(kind.custom is not None for kind in registry if kind.group == group)
