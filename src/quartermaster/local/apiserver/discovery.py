"""Discovery: what is served, as legacy lists and in the aggregated form that saves a request per group."""

from __future__ import annotations

from typing import Any

from quartermaster.local.apiserver.errors import ApiError, Json, no_such_path, page_not_found
from quartermaster.local.apiserver.kinds import Kind, Registry, Subresource

AGGREGATED = "apidiscovery.k8s.io"


def api_versions(address: str) -> Json:
    """``GET /api``, asked at `address`."""
    return {
        "kind": "APIVersions",
        "versions": ["v1"],
        "serverAddressByClientCIDRs": [{"clientCIDR": "0.0.0.0/0", "serverAddress": address}],
    }


def group(registry: Registry, name: str) -> Json:
    """``GET /apis/NAME``; raises ApiError 404."""
    versions = registry.groups().get(name)
    if not versions:
        raise page_not_found()
    return {"kind": "APIGroup", "apiVersion": "v1"} | _group(name, versions)


def groups(registry: Registry) -> Json:
    """``GET /apis``."""
    found = [_group(name, versions) for name, versions in registry.groups().items() if name]
    return {"kind": "APIGroupList", "apiVersion": "v1", "groups": found}


def _group(name: str, versions: list[str]) -> Json:
    listed = [{"groupVersion": f"{name}/{version}", "version": version} for version in versions]
    return {"name": name, "versions": listed, "preferredVersion": listed[0]}


def resources(registry: Registry, name: str, version: str) -> Json:
    """``GET /api/v1`` and ``GET /apis/NAME/VERSION``; raises ApiError 404."""
    kinds = [kind for kind in registry if kind.group == name and kind.version == version]
    if not kinds:
        raise unknown_version(registry, name)
    found: list[Json] = []
    for kind in sorted(kinds, key=lambda kind: kind.plural):
        entry: Json = {
            "name": kind.plural,
            "singularName": kind.singular,
            "namespaced": kind.namespaced,
            "kind": kind.kind,
        }
        entry["verbs"] = list(kind.verbs)
        if kind.short_names:
            entry["shortNames"] = list(kind.short_names)
        if kind.categories:
            entry["categories"] = list(kind.categories)
        if kind.storage_hash:
            entry["storageVersionHash"] = kind.storage_hash
        found.append(entry)
        for sub in _parts(kind):
            entry = {"name": f"{kind.plural}/{sub.name}", "singularName": "", "namespaced": kind.namespaced}
            if (sub.group, sub.version) != (kind.group, kind.version):
                entry |= {"group": sub.group, "version": sub.version}
            found.append(entry | {"kind": sub.kind, "verbs": list(sub.verbs)})
    api_version = f"{name}/{version}" if name else version
    kind_only = {"kind": "APIResourceList"} | ({"apiVersion": "v1"} if name else {})
    return kind_only | {"groupVersion": api_version, "resources": found}


def unknown_version(registry: Registry, group: str) -> ApiError:
    """404 for a version that a group has not: whose the group is says it."""
    return no_such_path() if registry.is_builtin(group) else page_not_found()


def aggregated(registry: Registry, *, core: bool, version: str) -> Json:
    """Everything of ``/api`` (`core`) or of ``/apis`` in one APIGroupDiscoveryList of `version` (v2 or v2beta1)."""
    items = []
    for name, versions in registry.groups().items():
        if (name == "") is not core:
            continue
        listed = [
            {
                "version": served,
                "resources": [_resource(kind) for kind in registry if kind.group == name and kind.version == served],
                "freshness": "Current",
            }
            for served in versions
        ]
        items.append({"metadata": {"name": name} if name else {}, "versions": listed})
    return {
        "kind": "APIGroupDiscoveryList",
        "apiVersion": f"{AGGREGATED}/{version}",
        "metadata": {},
        "items": items,
    }


def _resource(kind: Kind) -> Json:
    found: dict[str, Any] = {
        "resource": kind.plural,
        "responseKind": {"group": "", "version": "", "kind": kind.kind},
        "scope": "Namespaced" if kind.namespaced else "Cluster",
        "singularResource": kind.singular,
        "verbs": list(kind.verbs),
    }
    if kind.short_names:
        found["shortNames"] = list(kind.short_names)
    if kind.categories:
        found["categories"] = list(kind.categories)
    if kind.subresources:
        found["subresources"] = [
            {
                "subresource": sub.name,
                "responseKind": _response_kind(kind, sub),
                "verbs": list(sub.verbs),
            }
            for sub in _parts(kind)
        ]
    return found


def _parts(kind: Kind) -> list[Subresource]:
    """By name, but those of custom resources as they are made: status, then scale."""
    found = list(kind.subresources.values())
    return found if kind.custom is not None else sorted(found, key=lambda sub: sub.name)


def _response_kind(kind: Kind, sub: Subresource) -> Json:
    """Group and version only where they are not those of the list."""
    if (sub.group, sub.version) == (kind.group, kind.version):
        return {"group": "", "version": "", "kind": sub.kind}
    return {"group": sub.group, "version": sub.version, "kind": sub.kind}
