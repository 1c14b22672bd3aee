"""One request on its way through the server: what was asked, by whom, about what."""

from __future__ import annotations

from dataclasses import dataclass

from quartermaster.local.apiserver.negotiation import PLAIN, Form, accepted
from quartermaster.local.apiserver.options import WriteOptions
from quartermaster.local.apiserver.routes import Route
from quartermaster.local.apiserver.transport import Request, User
from quartermaster.local.apiserver.writing import Target

_OPTIONS = {"POST": "CreateOptions", "PUT": "UpdateOptions", "PATCH": "PatchOptions", "DELETE": "DeleteOptions"}


@dataclass(slots=True)
class Call:
    """A request that was authenticated and routed."""

    request: Request
    user: User
    route: Route
    verb: str
    form: Form = PLAIN
    """How the answer goes back."""

    def negotiate(self) -> None:
        """Settle the form before anything is done; raises ApiError 406."""
        self.form = accepted(
            self.request.headers.get("accept", ""),
            custom=self.route.kind.custom is not None,
            stream=self.verb == "watch",
            many=not self.route.name,
        )

    def target(self, subresource: str = "") -> Target:
        """What is written, by whom and how; raises ApiError 422 for options that say nonsense."""
        options = WriteOptions.of(
            self.request.query,
            self.request.headers.get("user-agent", ""),
            _OPTIONS.get(self.request.method, "PatchOptions"),
        )
        return Target(self.route.kind, (self.route.namespace, self.route.name), self.user, options, subresource)
