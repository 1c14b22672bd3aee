"""The API server: one request in, one response out.

`ApiServer.handle` is the whole of it: who asks (access.py), about what (routes.py), do it (objects.py, subresources.py,
questions.py, documents.py), and say failures as a Status. It knows no sockets; http.py puts it on one, and callers in
the same process call it directly.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

from quartermaster.local.apiserver import kubelets
from quartermaster.local.apiserver.access import ANONYMOUS, Access
from quartermaster.local.apiserver.admission import Admission
from quartermaster.local.apiserver.admission_builtin import install as install_builtin
from quartermaster.local.apiserver.aggregation import Aggregation
from quartermaster.local.apiserver.answering import Answers
from quartermaster.local.apiserver.calls import Call
from quartermaster.local.apiserver.cluster import Cluster
from quartermaster.local.apiserver.deleting import Deleter
from quartermaster.local.apiserver.documents import Documents
from quartermaster.local.apiserver.errors import ApiError, method_not_allowed
from quartermaster.local.apiserver.garbage import Garbage
from quartermaster.local.apiserver.kinds import deprecated
from quartermaster.local.apiserver.metrics import Metrics
from quartermaster.local.apiserver.objects import Objects
from quartermaster.local.apiserver.protobuf import Protobuf
from quartermaster.local.apiserver.questions import Questions
from quartermaster.local.apiserver.reviews import AllowAll, Authorizer
from quartermaster.local.apiserver.routes import Route, route_of
from quartermaster.local.apiserver.subresources import Subresources
from quartermaster.local.apiserver.transport import Request, Response, User
from quartermaster.local.apiserver.writing import Writer

log = logging.getLogger(__name__)

_VERBS = {"GET": "get", "HEAD": "get", "POST": "create", "PUT": "update", "PATCH": "patch", "DELETE": "delete"}
_OF_MANY = {"get": "list", "delete": "deletecollection"}


@dataclass(slots=True)
class Settings:
    """How a server behaves. Times are seconds."""

    tokens: Mapping[str, User] = field(default_factory=dict)
    bookmark_period: float = 60.0
    watch_timeout: float = 1800.0
    authorizer: Authorizer | None = None
    """Who may do what; None: everyone everything (`LocalApi` puts roles and bindings in its place)."""
    kubelets: kubelets.Kubelets = kubelets.nobody
    """Who plays the nodes."""
    version: str = ""


class ApiServer:
    """A Kubernetes API over one cluster."""

    def __init__(self, cluster: Cluster | None = None, settings: Settings | None = None) -> None:
        self.settings = settings = settings or Settings()
        self.cluster = cluster = cluster or Cluster()
        self.access = Access(dict(settings.tokens), settings.authorizer or AllowAll())
        self.admission = Admission()
        install_builtin(self.admission, cluster)
        self.writer = Writer(cluster, self.admission)
        self.deleter = Deleter(cluster, self.admission)
        self.garbage = Garbage(cluster, self.deleter, self.writer)
        self.metrics = Metrics(cluster)
        protobuf = Protobuf()
        self._answers = answers = Answers(cluster, protobuf)
        self._documents = Documents(cluster, self.metrics, release=settings.version)
        self.aggregation = Aggregation(cluster)
        self.admission.mutating.append(self.aggregation.admit)
        self.objects = Objects(
            cluster=cluster,
            writer=self.writer,
            deleter=self.deleter,
            answers=answers,
            protobuf=protobuf,
            metrics=self.metrics,
            bookmark_period=settings.bookmark_period,
            watch_timeout=settings.watch_timeout,
        )
        self._questions = Questions(
            cluster=cluster, admission=self.admission, access=self.access, answers=answers, protobuf=protobuf
        )
        self._subresources = Subresources(
            cluster=cluster,
            admission=self.admission,
            writer=self.writer,
            deleter=self.deleter,
            objects=self.objects,
            questions=self._questions,
            answers=answers,
            protobuf=protobuf,
            nodes=lambda: settings.kubelets,
        )
        self.audit: Callable[[Request, User, Response, float], None] | None = None

    async def handle(self, request: Request) -> Response:
        """Answer a request; never raises but for cancellation."""
        started = self.cluster.clock()
        user = request.user or ANONYMOUS
        try:
            user = self.access.user(request)
            response = await self._dispatch(request, user)
        except ApiError as error:
            response = self._answers.failure(request, error)
        except asyncio.CancelledError:
            raise
        except Exception:
            log.exception("%s %s failed", request.method, request.path)
            message = "an error on the server has prevented the request from succeeding"
            response = self._answers.failure(request, ApiError(500, "InternalError", message))
        self.metrics.observe(request, response)
        if self.audit is not None:
            self.audit(request, user, response, started)
        return response

    async def _dispatch(self, request: Request, user: User) -> Response:
        parts = request.segments()
        verb = _VERBS.get(request.method)
        if verb is None:
            raise method_not_allowed()
        if self.aggregation.missing(parts):
            return Response(503, b"service unavailable\n", "text/plain; charset=utf-8")
        route = route_of(self.cluster.registry, parts)
        if route is None:
            self.access.check_path(request, user, verb)
            return self._documents.answer(request, parts)
        if request.method == "HEAD":
            raise method_not_allowed()
        try:
            return await self._resource(Call(request, user, route, _verb(request, route, verb)))
        except ApiError as error:
            error.warnings = (*deprecated(route.kind), *error.warnings)
            raise

    async def _resource(self, call: Call) -> Response:
        self.access.check(call.user, call.route, call.verb)
        backend = call.route.kind.backend
        if backend is not None:
            response: Response = await backend(call.request)
            return response
        if call.route.subresource not in kubelets.THEIRS:  # a log is text, whatever its client reads
            call.negotiate()
        if self._questions.concern(call.route):
            return self._questions.act(call)
        if call.route.sub is not None:
            return await self._subresources.act(call)
        return await self.objects.act(call)


def _verb(request: Request, route: Route, verb: str) -> str:
    """The verb by which rights are given: `verb` of the method, seen with what the path names."""
    if not route.name:
        verb = _OF_MANY.get(verb, verb)
    asked = verb == "list" and request.query.get("watch", "") in ("true", "1")
    return "watch" if asked or (route.watch and verb in ("list", "get")) else verb
