"""From bytes at rest to a response: the client's form, media type, status and warnings.

Objects are JSON at rest. A client that wants nothing else gets them as they lie; tables and metadata are views.py's
business, YAML and protobuf are made here, at the very end.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence

import msgspec

from quartermaster.local.apiserver.calls import Call
from quartermaster.local.apiserver.cluster import Cluster
from quartermaster.local.apiserver.codec import encode, encode_yaml, load
from quartermaster.local.apiserver.errors import PAGE, ApiError, Json
from quartermaster.local.apiserver.kinds import deprecated
from quartermaster.local.apiserver.negotiation import JSON, PROTOBUF, YAML, Form, error_form
from quartermaster.local.apiserver.protobuf import Protobuf
from quartermaster.local.apiserver.transport import Request, Response
from quartermaster.local.apiserver.views import View
from quartermaster.local.apiserver.writing import Written

_PEOPLE = ("curl", "Wget", "Mozilla/5.0")
"""Whose JSON is indented without asking."""


class Answers:
    """Makes the responses of one server."""

    def __init__(self, cluster: Cluster, protobuf: Protobuf) -> None:
        self._cluster = cluster
        self._protobuf = protobuf

    def view(self, call: Call) -> View:
        """How this client sees objects of the kind it asks about; raises ApiError 406."""
        include = call.request.query.get("includeObject", "Metadata") or "Metadata"
        binary = self._protobuf if call.verb == "watch" and call.form.media == PROTOBUF else None
        return View(self._cluster, call.route.kind, call.form, include, binary)

    def stream(self, call: Call, parts: AsyncIterator[bytes]) -> Response:
        """A watch."""
        media = f"{PROTOBUF};stream=watch" if call.form.media == PROTOBUF else JSON
        return Response(200, content_type=media, stream=parts, warnings=_warnings(call, ()))

    def sent(self, call: Call, body: bytes, *, status: int = 200, warnings: list[str] | None = None) -> Response:
        """An answer of objects: `body` is JSON, already a table or metadata if the client wants that."""
        response = self._formed(call.request, call.form, body, status)
        response.warnings = _warnings(call, warnings or ())
        return response

    def written(self, call: Call, written: Written) -> Response:
        """The answer to a write: the object as it is now."""
        view = self.view(call)
        status = 201 if written.created else 200
        if written.record is not None:
            body = view.bytes_of(written.record.raw)
        else:
            assert written.value is not None, "a write gives a record or, when dry, a value"
            body = encode(view.present(written.value))
        return self.sent(call, body, status=status, warnings=written.warnings)

    def done(self, call: Call) -> Response:
        """201 for what makes nothing to show: a binding, an eviction."""
        value: Json = {"kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Success", "code": 201}
        return self._formed(call.request, call.form, encode(value), 201)

    def failure(self, request: Request, error: ApiError) -> Response:
        """A Status, or the line of text that the real server's outer layer says."""
        if error.reason == PAGE:
            return Response(404, b"404 page not found\n", "text/plain; charset=utf-8")
        form = error_form(request.headers.get("accept", ""))
        response = self._formed(request, form, encode(error.status()), error.code)
        response.warnings = [warning(item) for item in error.warnings]
        if error.retry_after is not None:
            response.headers["Retry-After"] = str(error.retry_after)
        if error.code == 401:
            response.headers["WWW-Authenticate"] = "Bearer"
        return response

    def _formed(self, request: Request, form: Form, body: bytes, status: int) -> Response:
        if form.media == PROTOBUF:
            return Response(status, self._protobuf.encode(load(body)), PROTOBUF)
        if form.media == YAML:
            return Response(status, encode_yaml(load(body)), YAML)
        if form.pretty or _for_people(request):
            body = msgspec.json.format(body, indent=2)
        return Response(status, body)


def _warnings(call: Call, more: Sequence[str]) -> list[str]:
    return [warning(item) for item in (*deprecated(call.route.kind), *more)]


def warning(text: str) -> str:
    """As the value of a ``Warning`` header."""
    return '299 - "' + text.replace("\\", "\\\\").replace('"', '\\"') + '"'


def _for_people(request: Request) -> bool:
    said = request.query.get("pretty", "") if request.query else ""
    if said:
        return said in ("1", "t", "T", "true", "TRUE", "True")
    return request.headers.get("user-agent", "").startswith(_PEOPLE)
