"""Who asks, and whether they may: tokens, impersonation, and the question to the authorizer.

Members of system:masters are asked nothing, as with the real server.
"""

from __future__ import annotations

from urllib.parse import unquote

from quartermaster.local.apiserver.errors import ApiError, forbidden
from quartermaster.local.apiserver.reviews import Authorizer
from quartermaster.local.apiserver.routes import Route
from quartermaster.local.apiserver.transport import Request, User

MASTER = User("system:admin", ("system:masters", "system:authenticated"))
"""Who calls in process and says nothing else."""

ANONYMOUS = User("system:anonymous", ("system:unauthenticated",))

_EXTRA = "impersonate-extra-"
_OPEN = frozenset(("healthz", "readyz", "livez", "version"))


class Access:
    """`tokens` is looked at with each request: it may change."""

    def __init__(self, tokens: dict[str, User], authorizer: Authorizer) -> None:
        self.tokens = tokens
        self.authorizer = authorizer

    def user(self, request: Request) -> User:
        """Who asks; raises ApiError 401 for a token that nobody has."""
        if request.user is not None:
            user = request.user
        elif not request.remote:
            user = MASTER
        else:
            scheme, _, token = request.headers.get("authorization", "").partition(" ")
            if scheme.lower() != "bearer":
                return ANONYMOUS
            known = self.tokens.get(token.strip())
            if known is None:
                raise ApiError(401, "Unauthorized", "Unauthorized")
            user = known
        return self._impersonated(request, user)

    def _impersonated(self, request: Request, user: User) -> User:
        name = request.headers.get("impersonate-user")
        if not name:
            return user
        allowed, why = self.authorizer.allows(user, {"verb": "impersonate", "resource": "users", "name": name})
        if not allowed:
            raise forbidden(
                "users",
                "",
                name,
                f'User "{user.name}" cannot impersonate resource "users" in API group "" at the cluster scope{why}',
            )
        groups = [item.strip() for item in request.headers.get("impersonate-group", "").split(",") if item.strip()]
        if "system:authenticated" not in groups and name != ANONYMOUS.name:
            groups.append("system:authenticated")
        extra = {
            unquote(header.removeprefix(_EXTRA)): tuple(item.strip() for item in value.split(","))
            for header, value in request.headers.items()
            if header.startswith(_EXTRA)
        }
        return User(name, tuple(groups), request.headers.get("impersonate-uid", ""), extra)

    def check_path(self, request: Request, user: User, verb: str) -> None:
        """Raises ApiError 403 for a path without objects that the user may not read."""
        if request.path.strip("/").split("/", 1)[0] in _OPEN:
            return
        allowed, _ = self.authorizer.allows(user, {"path": request.path, "verb": verb})
        if not allowed:
            raise ApiError(
                403,
                "Forbidden",
                details={},
                message=f'forbidden: User "{user.name}" cannot {verb} path "{request.path}"',
            )

    def check(self, user: User, route: Route, verb: str) -> None:
        """Raises ApiError 403 for objects that the user may not touch in this way."""
        if "system:masters" in user.groups:
            return
        kind = route.kind
        attributes = {
            "verb": verb,
            "group": kind.group,
            "version": kind.version,
            "resource": kind.plural,
            "subresource": route.subresource,
            "namespace": route.namespace,
            "name": route.name,
        }
        allowed, why = self.authorizer.allows(user, attributes)
        if not allowed:
            resource = f"{kind.plural}/{route.subresource}" if route.subresource else kind.plural
            where = f'in the namespace "{route.namespace}"' if route.namespace else "at the cluster scope"
            text = f'User "{user.name}" cannot {verb} resource "{resource}" in API group "{kind.group}" {where}'
            raise forbidden(kind.plural, kind.group, route.name, text + (f": {why}" if why else ""))
