"""Failures as the Kubernetes API says them: a ``Status`` object with code, reason, message and details.

Clients decide by `reason` and `details`, people read `message`, and both are compared with the real server word for
word, so the words live here once. Anything else that escapes a handler is a bug and becomes 500 InternalError.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

Json = dict[str, Any]


class ApiError(Exception):
    """One failure, ready to be sent. `code` is the HTTP status, `details` the Status details."""

    def __init__(
        self, code: int, reason: str, message: str, *, details: Json | None = None, retry_after: int | None = None
    ) -> None:
        super().__init__(message)
        self.code = code
        self.reason = reason
        self.message = message
        self.details = details
        self.retry_after = retry_after
        self.warnings: tuple[str, ...] = ()
        self.list_metadata: Json = {}
        """Metadata of the Status: how to go on with a list."""

    def status(self) -> Json:
        """The Status object."""
        body: Json = {
            "kind": "Status",
            "apiVersion": "v1",
            "metadata": dict(self.list_metadata),
            "status": "Failure",
            "message": self.message,
        } | ({"reason": self.reason} if self.reason else {})
        details = dict(self.details or {})
        said = self.details is not None
        if self.retry_after is not None:
            details["retryAfterSeconds"] = self.retry_after
        if details or said:
            body["details"] = details
        return body | {"code": self.code}


@dataclass(frozen=True, slots=True)
class Cause:
    """One field at fault: `reason` such as FieldValueRequired, `field` its path."""

    reason: str
    message: str
    field: str


def required(field: str, detail: str = "") -> Cause:
    """A field that has to be there."""
    return Cause("FieldValueRequired", f"Required value{': ' + detail if detail else ''}", field)


def invalid_value(field: str, value: object, detail: str) -> Cause:
    """A field whose value is wrong."""
    return Cause("FieldValueInvalid", f"Invalid value: {shown(value)}: {detail}", field)


def forbidden_value(field: str, detail: str) -> Cause:
    """A field that may not be set or changed."""
    return Cause("FieldValueForbidden", f"Forbidden: {detail}", field)


def unsupported_value(field: str, value: object, supported: Sequence[str]) -> Cause:
    """A field outside its list of values, which are named in their own order."""
    known = ", ".join(f'"{item}"' for item in supported)
    return Cause("FieldValueNotSupported", f"Unsupported value: {shown(value)}: supported values: {known}", field)


def duplicate_value(field: str, value: object) -> Cause:
    """An item that is there twice."""
    return Cause("FieldValueDuplicate", f"Duplicate value: {shown(value)}", field)


def shown(value: object) -> str:
    """A value as the real server shows it: strings in quotes, the rest as JSON."""
    if value is None:
        return "null"
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, int | float):
        return str(value)
    if isinstance(value, str):
        return '"' + value.replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n") + '"'
    from quartermaster.local.apiserver.codec import encode  # noqa: PLC0415  # codec raises these errors

    return encode(value).decode()


def qualified(resource: str, group: str) -> str:
    """``deployments.apps``, ``pods``."""
    return f"{resource}.{group}" if group else resource


_CALLED = {"componentstatuses": "componentstatus"}
"""What the real server calls a resource when there is none, where that is not its name."""


def not_found(resource: str, group: str, name: str) -> ApiError:
    """404 for one object."""
    resource = _CALLED.get(resource, resource)
    return ApiError(
        404, "NotFound", f'{qualified(resource, group)} "{name}" not found', details=_details(resource, group, name)
    )


def no_such_path() -> ApiError:
    """404 for a path that serves nothing."""
    return ApiError(404, "NotFound", "the server could not find the requested resource", details={})


PAGE = "PageNotFound"


def page_not_found() -> ApiError:
    """404 as the real server's outer layer says it: a line of text."""
    return ApiError(404, PAGE, "404 page not found")


def already_exists(resource: str, group: str, name: str) -> ApiError:
    """409 on create."""
    return ApiError(
        409,
        "AlreadyExists",
        f'{qualified(resource, group)} "{name}" already exists',
        details=_details(resource, group, name),
    )


def conflict(resource: str, group: str, name: str, why: str) -> ApiError:
    """409 on update."""
    return ApiError(
        409,
        "Conflict",
        f'Operation cannot be fulfilled on {qualified(resource, group)} "{name}": {why}',
        details=_details(resource, group, name),
    )


MODIFIED = "the object has been modified; please apply your changes to the latest version and try again"


def bad_request(message: str) -> ApiError:
    """400."""
    return ApiError(400, "BadRequest", message)


def expired(message: str) -> ApiError:
    """410: the revision asked for is gone; list again."""
    return ApiError(410, "Expired", message)


def forbidden(resource: str, group: str, name: str, why: str) -> ApiError:
    """403 by policy or admission."""
    what = (
        f'{qualified(resource, group)} "{name}" is forbidden' if name else f"{qualified(resource, group)} is forbidden"
    )
    return ApiError(403, "Forbidden", f"{what}: {why}", details=_details(resource, group, name))


def method_not_allowed() -> ApiError:
    """405."""
    return ApiError(
        405, "MethodNotAllowed", "the server does not allow this method on the requested resource", details={}
    )


def unsupported_media(accepted: Sequence[str]) -> ApiError:
    """415."""
    return ApiError(
        415,
        "UnsupportedMediaType",
        "the body of the request was in an unknown format - accepted media types include: " + ", ".join(accepted),
    )


def unsupported_patch() -> ApiError:
    """415 for a PATCH: refused before anybody looks at what is patched."""
    return ApiError(415, "UnsupportedMediaType", "415: Unsupported Media Type", details={})


def not_acceptable(offered: Sequence[str]) -> ApiError:
    """406 for a form of an object that there is none of."""
    return ApiError(406, "NotAcceptable", f"only the following media types are accepted: {', '.join(offered)}")


def not_acceptable_kind(kind: str) -> ApiError:
    """406 for protobuf of something that has no message."""
    why = "does not implement the protobuf marshalling interface and cannot be encoded to a protobuf message"
    return ApiError(406, "NotAcceptable", f"object {kind} {why}")


def unavailable(offered: Sequence[str]) -> ApiError:
    """406 as the real server's router says it, before anybody looks at parameters."""
    text = f"406: Not Acceptable\n\nAvailable representations: {', '.join(offered)}"
    return ApiError(406, "NotAcceptable", text, details={})


class Undecodable(ApiError):
    """400 for a body that is no object of its kind.

    `why` is what is wrong with it, without the words around; `conversion` the same if it did not come out of JSON.
    """

    def __init__(self, kind: str, version: str, why: str, *, said: str = "", conversion: str = "") -> None:
        super().__init__(
            400, "BadRequest", f'{said or kind} in version "{version}" cannot be handled as a {kind}: {why}'
        )
        self.why = why
        self.conversion = conversion or why


def unprocessable() -> ApiError:
    """422 without a word on why: for patches that do not apply."""
    text = "the server rejected our request due to an error in our request"
    return ApiError(422, "Invalid", text, details={})


def invalid(kind: str, group: str, name: str, causes: Sequence[Cause]) -> ApiError:
    """422 with every field at fault."""
    messages = list(dict.fromkeys(f"{cause.field}: {cause.message}" for cause in causes))
    text = messages[0] if len(messages) == 1 else "[" + ", ".join(messages) + "]"
    details: Json = {"name": name} if name else {}
    if group:
        details["group"] = group
    if kind:
        details["kind"] = kind
    details |= {
        "causes": [{"reason": cause.reason, "message": cause.message, "field": cause.field} for cause in causes],
    }
    what = f"{kind}.{group}" if group else kind
    return ApiError(422, "Invalid", f'{what} "{name}" is invalid: {text}', details=details)


def _details(resource: str, group: str, name: str) -> Json:
    details: Json = {"name": name} if name else {}
    if group:
        details["group"] = group
    return details | {"kind": resource}
