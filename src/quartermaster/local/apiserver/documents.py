"""Everything that is served and is not an object: discovery, OpenAPI, health, version, metrics."""

from __future__ import annotations

from quartermaster.local.apiserver import discovery, openapi_protobuf
from quartermaster.local.apiserver.cluster import Cluster
from quartermaster.local.apiserver.codec import encode
from quartermaster.local.apiserver.errors import ApiError, Json, method_not_allowed, no_such_path, page_not_found
from quartermaster.local.apiserver.metrics import Metrics
from quartermaster.local.apiserver.negotiation import accepted
from quartermaster.local.apiserver.openapi import OpenApi
from quartermaster.local.apiserver.shipped import kubernetes_version
from quartermaster.local.apiserver.transport import Request, Response, answer

_TEXT = "text/plain; charset=utf-8"
_CHECKS = ("ping", "log", "etcd", "poststarthook/start-apiextensions-controllers")
_ANY_METHOD = frozenset(("healthz", "readyz", "livez", "openapi", "metrics"))
"""Where the real server does not look at the method: what it does not serve through its router. So with groups."""


class Documents:
    """Documents about one cluster. `release` is what ``/version`` says, empty for the release of the data."""

    def __init__(self, cluster: Cluster, metrics: Metrics, *, release: str = "") -> None:
        self._cluster = cluster
        self._metrics = metrics
        self._release = release
        self._openapi = OpenApi(cluster.registry)

    def answer(self, request: Request, parts: list[str]) -> Response:
        """What a path says; raises ApiError 404 or 405."""
        head, rest = (parts[0], parts[1:]) if parts else ("", [])
        if request.method != "GET" and head not in _ANY_METHOD and not (head == "apis" and len(rest) < 2):
            raise method_not_allowed()
        registry = self._cluster.registry
        if not head:
            return answer({"paths": self._paths()})
        if head in ("healthz", "readyz", "livez") and (not rest or "/".join(rest) in _CHECKS):
            return self._health(request, head, whole=not rest)
        if head == "version" and not rest:
            return answer(self.version())
        if head == "metrics" and not rest:
            return Response(200, self._metrics.text(), "text/plain; version=0.0.4")
        if head in ("api", "apis"):
            wanted = _aggregated(request.headers.get("accept", "")) if not rest else ""
            if wanted:
                body = encode(discovery.aggregated(registry, core=head == "api", version=wanted))
                return Response(
                    200, body, f"application/json;g=apidiscovery.k8s.io;v={wanted};as=APIGroupDiscoveryList"
                )
            accepted(request.headers.get("accept", ""))
            if head == "api":
                if rest:
                    return answer(discovery.resources(registry, "", rest[0]))
                return answer(discovery.api_versions(request.headers.get("host", "")))
            if len(rest) > 1:
                return answer(discovery.resources(registry, rest[0], rest[1]))
            return answer(discovery.group(registry, rest[0]) if rest else discovery.groups(registry))
        if head == "openapi":
            return self._described(request, rest)
        raise page_not_found()

    def _described(self, request: Request, rest: list[str]) -> Response:
        accept = request.headers.get("accept", "*/*") or "*/*"
        if rest == ["v2"] and any(form in accept for form in openapi_protobuf.ASKED):
            return Response(200, self._openapi.v2_protobuf(), openapi_protobuf.MEDIA)
        if rest != ["v3"] and not ("json" in accept or "*/*" in accept or "application/*" in accept):
            raise ApiError(406, "NotAcceptable", "only application/json is served")
        if rest == ["v2"]:
            return Response(200, self._openapi.v2())
        if rest == ["v3"]:
            return Response(200, encode(self._openapi.index()), _TEXT)
        if rest[:1] == ["v3"]:
            document = self._openapi.document("/".join(rest[1:]))
            if document is None:
                return Response(404, b"", "")
            headers = {"Cache-Control": "public, immutable", "Vary": "Accept"} if "hash" in request.query else {}
            return Response(200, document, headers=headers)
        raise no_such_path()

    def _paths(self) -> list[str]:
        found = {"/api", "/apis", "/healthz", "/livez", "/readyz", "/metrics", "/openapi/v2", "/openapi/v3", "/version"}
        for kind in self._cluster.registry:
            found |= {f"/apis/{kind.group}", f"/apis/{kind.group}/{kind.version}"} if kind.group else {"/api/v1"}
        return sorted(found)

    def _health(self, request: Request, name: str, *, whole: bool) -> Response:
        if whole and "verbose" in request.query:
            lines = [f"[+]{check} ok" for check in _CHECKS] + [f"{name} check passed"]
            return Response(200, ("\n".join(lines) + "\n").encode(), _TEXT)
        return Response(200, b"ok", _TEXT)

    def version(self) -> Json:
        """``GET /version``."""
        release = self._release or kubernetes_version()
        major, minor, *_ = release.split(".")
        return {
            "major": major,
            "minor": minor,
            "emulationMajor": major,
            "emulationMinor": minor,
            "minCompatibilityMajor": major,
            "minCompatibilityMinor": str(int(minor) - 1),
            "gitVersion": f"v{release}",
            "gitCommit": "",
            "gitTreeState": "clean",
            "buildDate": "1970-01-01T00:00:00Z",
            "goVersion": "none",
            "compiler": "quartermaster",
            "platform": "linux/amd64",
        }


def _aggregated(accept: str) -> str:
    """The version of aggregated discovery that a client takes before plain JSON; empty if none."""
    for offer in accept.split(","):
        parts = offer.replace(" ", "").split(";")
        if "as=APIGroupDiscoveryList" in parts and "g=apidiscovery.k8s.io" in parts:
            for version in ("v2", "v2beta1"):
                if f"v={version}" in parts:
                    return version
        elif parts[0] in ("application/json", "*/*"):
            return ""
    return ""
