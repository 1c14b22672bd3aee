"""OpenAPI documents: the published ones for built-in groups, made ones for custom resources.

Version 3 has an index and a document per group version, each under a hash so that clients may keep it; version 2 is
one document, in JSON or, its types only, in protobuf (openapi_protobuf.py).
"""

from __future__ import annotations

import hashlib
from typing import Any

from quartermaster.local.apiserver import openapi_protobuf
from quartermaster.local.apiserver.codec import encode, load
from quartermaster.local.apiserver.errors import Json
from quartermaster.local.apiserver.kinds import Kind, Registry
from quartermaster.local.apiserver.shipped import kubernetes_version, shipped

_META = "io.k8s.apimachinery.pkg.apis.meta.v1"
_PARAMETERS = ("dryRun", "fieldManager", "fieldValidation")


class OpenApi:
    """Documents for one registry, made once for each of its generations."""

    def __init__(self, registry: Registry) -> None:
        self._registry = registry
        self._generation = -1
        self._documents: dict[str, bytes] = {}
        self._builtin: dict[str, Any] | None = None
        self._v2: tuple[int, bytes] | None = None
        self._v2_protobuf: tuple[int, bytes] | None = None

    def index(self) -> Json:
        """``GET /openapi/v3``."""
        paths = {}
        for path, document in self._current().items():
            digest = hashlib.sha512(document).hexdigest().upper()
            paths[path] = {"serverRelativeURL": f"/openapi/v3/{path}?hash={digest}"}
        return {"paths": paths}

    def document(self, path: str) -> bytes | None:
        """``GET /openapi/v3/PATH``; None if there is none."""
        return self._current().get(path)

    def _current(self) -> dict[str, bytes]:
        if self._generation != self._registry.generation:
            served = {
                f"apis/{kind.group}/{kind.version}" if kind.group else f"api/{kind.version}": kind.group
                for kind in self._registry
            }
            if self._builtin is None:
                self._builtin = shipped("openapi-v3")
                self._documents = {path: encode(document) for path, document in self._builtin.items()}
            self._documents = {path: raw for path, raw in self._documents.items() if path in self._builtin}
            for path in served:
                if path not in self._documents:
                    self._documents[path] = encode(self._custom(path))
            self._generation = self._registry.generation
        return self._documents

    def _kinds(self, path: str) -> list[Kind]:
        return [
            kind for kind in self._registry if kind.custom is not None and path == f"apis/{kind.group}/{kind.version}"
        ]

    def _custom(self, path: str) -> Json:
        schemas: Json = {}
        paths: Json = {}
        assert self._builtin is not None, "loaded before custom documents are made"
        shared = self._builtin["apis/apps/v1"]["components"]["schemas"]
        for kind in self._kinds(path):
            name = definition_name(kind)
            schemas[name] = _schema(kind, "#/components/schemas/")
            schemas[name + "List"] = _list_schema(kind, name, "#/components/schemas/")
            paths |= _paths(path, kind, name)
        for name, schema in shared.items():
            if name.startswith((_META, "io.k8s.apimachinery")):
                schemas[name] = schema
        return {
            "openapi": "3.0.0",
            "info": {"title": "Kubernetes CRD Swagger", "version": "v0.1.0"},
            "paths": paths,
            "components": {"schemas": schemas},
        }

    def v2(self) -> bytes:
        """``GET /openapi/v2``."""
        if self._v2 is None or self._v2[0] != self._registry.generation:
            document = shipped("openapi-v2")
            document["info"]["version"] = f"v{kubernetes_version()}"
            for kind in self._registry:
                if kind.custom is not None:
                    name = definition_name(kind)
                    document["definitions"][name] = _schema(kind, "#/definitions/")
                    document["definitions"][name + "List"] = _list_schema(kind, name, "#/definitions/")
            self._v2 = (self._registry.generation, encode(document))
        return self._v2[1]

    def v2_protobuf(self) -> bytes:
        """The types of version 2 for client-go."""
        if self._v2_protobuf is None or self._v2_protobuf[0] != self._registry.generation:
            self._v2_protobuf = (self._registry.generation, openapi_protobuf.document(load(self.v2())))
        return self._v2_protobuf[1]


def definition_name(kind: Kind) -> str:
    """``com.example.stable.v1.CronTab`` for a custom resource."""
    return ".".join([*reversed(kind.group.split(".")), kind.version, kind.kind])


def _gvk(kind: Kind, name: str) -> list[Json]:
    return [{"group": kind.group, "kind": name, "version": kind.version}]


def _schema(kind: Kind, prefix: str) -> Json:
    schema = dict(kind.custom.published)
    properties = dict(schema.get("properties") or {})
    properties["apiVersion"] = {
        "type": "string",
        "description": "APIVersion defines the versioned schema of this representation of an object.",
    }
    properties["kind"] = {
        "type": "string",
        "description": "Kind is a string value representing the REST resource this object represents.",
    }
    meta = {"$ref": f"{prefix}{_META}.ObjectMeta"}
    properties["metadata"] = (
        {"allOf": [meta], "description": "Standard object's metadata."} if "components" in prefix else meta
    )
    schema |= {"type": "object", "properties": properties, "x-kubernetes-group-version-kind": _gvk(kind, kind.kind)}
    return schema


def _list_schema(kind: Kind, name: str, prefix: str) -> Json:
    return {
        "type": "object",
        "description": f"{kind.kind}List is a list of {kind.kind}",
        "required": ["items"],
        "properties": {
            "apiVersion": {"type": "string"},
            "kind": {"type": "string"},
            "metadata": {"$ref": f"{prefix}{_META}.ListMeta"},
            "items": {"type": "array", "items": {"$ref": f"{prefix}{name}"}},
        },
        "x-kubernetes-group-version-kind": _gvk(kind, kind.listed_as),
    }


def _paths(path: str, kind: Kind, name: str) -> Json:
    base = f"/{path}/namespaces/{{namespace}}/{kind.plural}" if kind.namespaced else f"/{path}/{kind.plural}"
    gvk = _gvk(kind, kind.kind)[0]
    parameters = [
        {"name": item, "in": "query", "schema": {"type": "string", "uniqueItems": True}} for item in _PARAMETERS
    ]
    body = {"content": {"application/json": {"schema": {"$ref": f"#/components/schemas/{name}"}}}}

    def operation(action: str, *, writes: bool) -> Json:
        made: Json = {
            "responses": {"200": {"description": "OK", **body}},
            "x-kubernetes-action": action,
            "x-kubernetes-group-version-kind": gvk,
        }
        if writes:
            made |= {"parameters": parameters, "requestBody": body}
        return made

    return {
        base: {"get": operation("list", writes=False), "post": operation("post", writes=True)},
        base + "/{name}": {
            "get": operation("get", writes=False),
            "put": operation("put", writes=True),
            "patch": operation("patch", writes=True),
            "delete": operation("delete", writes=True),
        },
    }
