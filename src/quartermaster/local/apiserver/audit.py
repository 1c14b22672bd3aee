"""The audit log: one audit.k8s.io/v1 Event per request, at level Metadata, as a line of JSON."""

from __future__ import annotations

from pathlib import Path

from quartermaster.local.apiserver.codec import encode, micro_timestamp
from quartermaster.local.apiserver.reviews import user_info
from quartermaster.local.apiserver.transport import Request, Response, User
from quartermaster.model.errors import InvalidInput

_VERBS = {"GET": "get", "HEAD": "get", "POST": "create", "PUT": "update", "PATCH": "patch", "DELETE": "delete"}


class AuditLog:
    """Appends to a file. Raises InvalidInput if it cannot be opened."""

    def __init__(self, path: Path) -> None:
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            self._file = path.open("ab")
        except OSError as wrong:
            raise InvalidInput(
                f"--audit-log {path}", f"cannot be written ({wrong.strerror})", "name another file"
            ) from None
        self._count = 0

    def __call__(self, request: Request, user: User, response: Response, started: float) -> None:
        """Write one event."""
        self._count += 1
        query = "&".join(f"{key}={value}" for key, value in request.query.items())
        event = {
            "kind": "Event",
            "apiVersion": "audit.k8s.io/v1",
            "level": "Metadata",
            "auditID": f"{self._count:032x}",
            "stage": "ResponseStarted" if response.stream is not None else "ResponseComplete",
            "requestURI": request.path + (f"?{query}" if query else ""),
            "verb": "watch" if response.stream is not None else _VERBS.get(request.method, request.method.lower()),
            "user": user_info(user),
            "sourceIPs": ["127.0.0.1"],
            "userAgent": request.headers.get("user-agent", ""),
            "responseStatus": {"metadata": {}, "code": response.status},
            "requestReceivedTimestamp": micro_timestamp(started),
        }
        self._file.write(encode(event) + b"\n")
        self._file.flush()

    def close(self) -> None:
        """Close the file."""
        self._file.close()
