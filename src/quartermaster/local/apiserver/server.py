"""The API server: one request in, one response out.

`ApiServer.handle` is the whole of it: authenticate, route, act, and say failures as a Status. It knows no sockets;
http.py puts it on one, and callers in the same process call it directly.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator, Callable, Mapping
from dataclasses import dataclass, field

from quartermaster.local.apiserver import bodies, managers, pods, reading
from quartermaster.local.apiserver.admission import Admission
from quartermaster.local.apiserver.admission_builtin import install as install_builtin
from quartermaster.local.apiserver.cluster import Cluster
from quartermaster.local.apiserver.codec import encode, encode_yaml, load
from quartermaster.local.apiserver.configurations import check_configuration, check_named, configuration
from quartermaster.local.apiserver.conversion import convert
from quartermaster.local.apiserver.deleting import DeleteOptions, Deleter, success, warnings_of
from quartermaster.local.apiserver.documents import Documents
from quartermaster.local.apiserver.errors import (
    PAGE,
    ApiError,
    Json,
    bad_request,
    forbidden,
    forbidden_value,
    invalid,
    method_not_allowed,
    not_found,
    required,
)
from quartermaster.local.apiserver.garbage import Garbage
from quartermaster.local.apiserver.kinds import Kind, deprecated, group_version
from quartermaster.local.apiserver.metrics import Metrics
from quartermaster.local.apiserver.negotiation import Form, accepted
from quartermaster.local.apiserver.options import ListOptions, WriteOptions
from quartermaster.local.apiserver.patching import APPLY_PATCH, Patch
from quartermaster.local.apiserver.protobuf import Protobuf
from quartermaster.local.apiserver.reviews import REVIEWS, AllowAll, Authorizer, review
from quartermaster.local.apiserver.routes import Route, route_of
from quartermaster.local.apiserver.scale import SCALE, owned_scale_of, scale_of, set_scale
from quartermaster.local.apiserver.strategy import own_status
from quartermaster.local.apiserver.transport import Request, Response, User, answer
from quartermaster.local.apiserver.views import View
from quartermaster.local.apiserver.writing import Target, Writer, Written

log = logging.getLogger(__name__)

MASTER = User("system:admin", ("system:masters", "system:authenticated"))
"""Who calls in process and says nothing else."""

ANONYMOUS = User("system:anonymous", ("system:unauthenticated",))

_VERBS = {"GET": "get", "POST": "create", "PUT": "update", "PATCH": "patch", "DELETE": "delete"}
_OPTIONS = {"POST": "CreateOptions", "PUT": "UpdateOptions", "PATCH": "PatchOptions", "DELETE": "DeleteOptions"}
_OPEN = frozenset(("healthz", "readyz", "livez", "version"))


@dataclass(slots=True)
class Settings:
    """How a server behaves. Times are seconds."""

    tokens: Mapping[str, User] = field(default_factory=dict)
    bookmark_period: float = 60.0
    watch_timeout: float = 1800.0
    authorizer: Authorizer | None = None
    """Who may do what; None: everyone everything (`LocalApi` puts roles and bindings in its place)."""
    log_source: pods.LogSource | None = None
    version: str = ""


class ApiServer:
    """A Kubernetes API over one cluster."""

    def __init__(self, cluster: Cluster | None = None, settings: Settings | None = None) -> None:
        self.cluster = cluster or Cluster()
        self.settings = settings or Settings()
        self.authorizer: Authorizer = self.settings.authorizer or AllowAll()
        self.admission = Admission()
        install_builtin(self.admission, self.cluster)
        self.writer = Writer(self.cluster, self.admission)
        self.deleter = Deleter(self.cluster, self.admission)
        self.garbage = Garbage(self.cluster, self.deleter, self.writer)
        self.metrics = Metrics(self.cluster)
        self.protobuf = Protobuf()
        self.documents = Documents(self.cluster, self.metrics, release=self.settings.version)
        self.created: list[Callable[[Kind, Written], None]] = []
        """Called after an object was made, before the answer is sent."""
        self.audit: Callable[[Request, User, Response, float], None] | None = None

    async def handle(self, request: Request) -> Response:
        """Answer a request; never raises but for cancellation."""
        started = self.cluster.clock()
        user = request.user or ANONYMOUS
        try:
            user = self._user(request)
            response = await self._dispatch(request, user)
        except ApiError as error:
            response = _failure(error, request)
        except asyncio.CancelledError:
            raise
        except Exception:
            log.exception("%s %s failed", request.method, request.path)
            failed = "an error on the server has prevented the request from succeeding"
            response = _failure(ApiError(500, "InternalError", failed), request)
        self.metrics.observe(request, response)
        if self.audit is not None:
            self.audit(request, user, response, started)
        return response

    def _user(self, request: Request) -> User:
        """Who asks; raises ApiError 401 for a token that nobody has."""
        if request.user is not None:
            user = request.user
        elif not request.remote:
            user = MASTER
        else:
            scheme, _, token = request.headers.get("authorization", "").partition(" ")
            if scheme.lower() != "bearer":
                return ANONYMOUS
            known = self.settings.tokens.get(token.strip())
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
        return User(name, tuple(groups), request.headers.get("impersonate-uid", ""))

    async def _dispatch(self, request: Request, user: User) -> Response:
        parts = request.segments()
        if request.method not in _VERBS:
            raise method_not_allowed()
        route = route_of(self.cluster.registry, parts)
        if route is None:
            self._authorize_path(request, user)
            return self.documents.answer(request, parts)
        try:
            return await self._resource(request, user, route)
        except ApiError as error:
            error.warnings = (*deprecated(route.kind), *error.warnings)
            raise

    def _authorize_path(self, request: Request, user: User) -> None:
        if request.path.strip("/").split("/", 1)[0] in _OPEN:
            return
        allowed, _ = self.authorizer.allows(user, {"path": request.path, "verb": _VERBS[request.method]})
        if not allowed:
            raise ApiError(
                403,
                "Forbidden",
                details={},
                message=f'forbidden: User "{user.name}" cannot {_VERBS[request.method]} path "{request.path}"',
            )

    async def _resource(self, request: Request, user: User, route: Route) -> Response:
        verb = _VERBS[request.method]
        kind = route.kind
        if not route.name:
            verb = {"get": "list", "delete": "deletecollection"}.get(verb, verb)
        asked = verb == "list" and request.query.get("watch", "") in ("true", "1")
        if asked or (route.watch and verb in ("list", "get")):
            verb = "watch"
        self._authorize(user, route, verb)
        if kind.plural in REVIEWS or kind.table == "bindings":
            return await self._question(request, user, route)
        if route.sub is not None:
            return await self._subresource(request, user, route, verb)
        if (
            verb not in kind.verbs
            or (not route.name and verb in ("update", "patch"))
            or (route.name and verb == "create")
        ):
            raise method_not_allowed()
        if verb == "get":
            return self._sent(
                route, request, reading.get(self.cluster, self._view(request, kind), (route.namespace, route.name))
            )
        if verb == "list":
            options = ListOptions.of(request.query)
            return self._sent(
                route, request, reading.list_(self.cluster, self._view(request, kind), route.namespace, options)
            )
        if verb == "watch":
            return await self._watch(request, route)
        if verb == "create":
            return await self._create(request, user, route)
        if verb == "update":
            return await self._update(request, user, route)
        if verb == "patch":
            return await self._patch(request, user, route)
        if verb == "deletecollection":
            return await self._delete_collection(request, user, route)
        return await self._delete(request, user, route)

    def _authorize(self, user: User, route: Route, verb: str) -> None:
        authorizer = self.authorizer
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
        allowed, why = authorizer.allows(user, attributes)
        if not allowed:
            resource = f"{kind.plural}/{route.subresource}" if route.subresource else kind.plural
            where = f'in the namespace "{route.namespace}"' if route.namespace else "at the cluster scope"
            text = f'User "{user.name}" cannot {verb} resource "{resource}" in API group "{kind.group}" {where}'
            raise forbidden(kind.plural, kind.group, route.name, text + (f": {why}" if why else ""))

    def _view(self, request: Request, kind: Kind) -> View:
        form = accepted(request.headers.get("accept", ""))
        return View(self.cluster, kind, form, request.query.get("includeObject", "Metadata") or "Metadata")

    def _sent(
        self, route: Route, request: Request, body: bytes, *, status: int = 200, warnings: list[str] | None = None
    ) -> Response:
        form = accepted(request.headers.get("accept", ""))
        response = _formed(form, body, status)
        warnings = [*deprecated(route.kind), *(warnings or ())]
        if warnings:
            response.warnings = ['299 - "' + item.replace("\\", "\\\\").replace('"', '\\"') + '"' for item in warnings]
        return response

    async def _watch(self, request: Request, route: Route) -> Response:
        query = dict(request.query)
        query["watch"] = "true"
        if route.name:
            query["fieldSelector"] = f"metadata.name={route.name}"
        options = ListOptions.of(query)
        stream = await reading.watch(
            self.cluster,
            self._view(request, route.kind),
            route.namespace,
            options,
            bookmark_period=self.settings.bookmark_period,
            lasts=options.timeout or self.settings.watch_timeout,
        )
        self.metrics.watching += 1
        response = Response(200, stream=self._counted(stream))
        response.warnings = [f'299 - "{warning}"' for warning in deprecated(route.kind)]
        return response

    async def _counted(self, stream: AsyncIterator[bytes]) -> AsyncIterator[bytes]:
        try:
            async for part in stream:
                yield part
        finally:
            self.metrics.watching -= 1

    def _target(self, request: Request, user: User, route: Route, *, subresource: str = "") -> Target:
        options = WriteOptions.of(
            request.query, request.headers.get("user-agent", ""), _OPTIONS.get(request.method, "PatchOptions")
        )
        return Target(route.kind, (route.namespace, route.name), user, options, subresource)

    def _written(self, request: Request, route: Route, written: Written) -> Response:
        view = self._view(request, route.kind)
        status = 201 if written.created else 200
        if written.record is not None:
            body = view.bytes_of(written.record.raw)
        else:
            assert written.value is not None, "a write gives a record or, when dry, a value"
            body = encode(view.present(written.value))
        return self._sent(route, request, body, status=status, warnings=written.warnings)

    def _repeated(self, request: Request) -> list[str]:
        return bodies.repeated_fields(request)

    async def _create(self, request: Request, user: User, route: Route) -> Response:
        target = self._target(request, user, route)
        if route.kind.namespaced and not route.namespace:
            raise method_not_allowed()
        value = bodies.read_object(request, self.protobuf, route.kind)
        written = await self.writer.create(target, value, unknown=self._repeated(request))
        for hook in self.created:
            hook(route.kind, written)
        return self._written(request, route, written)

    async def _update(self, request: Request, user: User, route: Route, *, subresource: str = "") -> Response:
        target = self._target(request, user, route, subresource=subresource)
        body = bodies.read_object(request, self.protobuf, route.kind)
        metadata = body.get("metadata")
        if not isinstance(metadata, dict) or not metadata.get("name"):
            raise bad_request('the name of the object ("") does not match the name on the URL ("' + route.name + '")')
        if metadata["name"] != route.name:
            raise bad_request(
                f"the name of the object ({metadata['name']}) does not match the name on the URL ({route.name})"
            )
        raw = encode(body)

        def replaced(_: Json) -> Json:
            return load(raw)

        written = await self.writer.update(
            target,
            replaced,
            unknown=self._repeated(request),
            uid=str(metadata.get("uid") or ""),
            unconditional=route.kind.custom is None and route.kind.table != "leases.coordination.k8s.io",
        )
        return self._written(request, route, written)

    async def _patch(self, request: Request, user: User, route: Route, *, subresource: str = "") -> Response:
        target = self._target(request, user, route, subresource=subresource)
        if bodies.media_type(request) == APPLY_PATCH:
            applied = self._applied(request, target, route.kind)
            create = None if subresource else (lambda: applied(None))
            return self._written(request, route, await self.writer.update(target, applied, create=create, applied=True))
        patch = self._patch_of(request, target, route.kind)
        written = await self.writer.update(target, patch, decoded=True)
        written.warnings[:0] = patch.warnings
        return self._written(request, route, written)

    def _patch_of(self, request: Request, target: Target, kind: Kind) -> Patch:
        if target.options.force:
            cause = forbidden_value("force", "may not be specified for non-apply patch")
            raise invalid("PatchOptions", "meta.k8s.io", "", [cause])
        return Patch(
            media=bodies.media_type(request),
            raw=request.body,
            kind=kind,
            type=self.writer.type_of(kind),
            decode=lambda of, value, repeated: self.writer.decode(of, value, repeated, target.options.validation),
            other=lambda api_version, name: self.cluster.registry.of_kind(*group_version(api_version), name),
        )

    def _applied(self, request: Request, target: Target, kind: Kind) -> Callable[[Json | None], Json]:
        """What an apply makes of the live object, or of none; raises ApiError 400 or 422."""
        if not request.query.get("fieldManager"):
            cause = required("fieldManager", "is required for apply patch")
            raise invalid("PatchOptions", "meta.k8s.io", "", [cause])
        raw = encode(configuration(request.body, kind, target.key[1]))
        type_ = self.writer.type_of(kind)
        options = target.options

        def merged(live: Json | None) -> Json:
            wanted = load(raw)
            check_configuration(wanted, kind, type_, strict=options.validation == "Strict")
            if live is None:
                check_named(wanted, target.key[1])
            revision = wanted["metadata"].pop("resourceVersion", None)
            made = managers.apply(
                live,
                wanted,
                type_=type_,
                manager=options.manager,
                subresource=target.subresource,
                force=options.force,
                now=self.cluster.now(),
                api_version=kind.api_version,
                own_status=own_status(kind),
            )
            if revision:
                made["metadata"]["resourceVersion"] = revision
            return made

        return merged

    def _delete_options(self, request: Request) -> DeleteOptions:
        body = bodies.read(request, self.protobuf) if request.body else {}
        if not isinstance(body, dict):
            raise bad_request("DeleteOptions: an object is required")
        return DeleteOptions.of(body, dict(request.query))

    async def _delete(self, request: Request, user: User, route: Route) -> Response:
        target = self._target(request, user, route)
        options = self._delete_options(request)
        warnings = warnings_of(route.kind, options)
        try:
            deleted = await self.deleter.delete(target, options)
        except ApiError as error:
            error.warnings = tuple(warnings)
            raise
        value = deleted.value if not deleted.gone else success(route.kind, deleted.value)
        if value.get("kind") != "Status":
            stored = self.cluster.registry.stored(route.kind.table) or route.kind
            value = self._view(request, route.kind).present(convert(value, stored, route.kind))
        return self._sent(route, request, encode(value), warnings=warnings)

    async def _delete_collection(self, request: Request, user: User, route: Route) -> Response:
        options = self._delete_options(request)
        query = {
            key: text
            for key, text in request.query.items()
            if key in ("labelSelector", "fieldSelector", "limit", "continue")
        }
        revision = self.cluster.store.revision
        chosen = reading.Filter.of(route.kind, route.namespace, ListOptions.of(query))
        found = [
            record
            for record in self.cluster.store.table(route.kind.table).records(chosen.namespace)
            if chosen.matches(record)
        ]
        for record in found:
            target = self._target(request, user, Route(route.kind, record.key[0], record.key[1], ""))
            try:
                await self.deleter.delete(target, options)
            except ApiError as error:
                if error.code != 404:
                    raise
        view = self._view(request, route.kind)
        body = view.listing(found, {"resourceVersion": str(revision)})
        return self._sent(route, request, body, warnings=warnings_of(route.kind, options))

    async def _question(self, request: Request, user: User, route: Route) -> Response:
        kind = route.kind
        if request.method != "POST":
            raise method_not_allowed()
        value = bodies.read_object(request, self.protobuf, kind)
        type_ = self.cluster.schemas.of(kind.gvk)
        if type_ is not None:
            bodies.to_normal(value, type_, kind.kind, kind.version)
        if kind.table == "bindings":
            name = (value.get("metadata") or {}).get("name", "")
            pod_kind = self.cluster.registry.find("", "v1", "pods")
            assert pod_kind is not None, "pods are built in"
            target = self._target(request, user, Route(pod_kind, route.namespace, name, "binding"))
            pods.bind(self.cluster, self.admission, target, value)
            return _created()
        if route.namespace:
            value.setdefault("metadata", {}).setdefault("namespace", route.namespace)
        made = review(kind, value, user, self.authorizer, self.settings.tokens)
        if kind.plural == "selfsubjectreviews":
            made["metadata"] = {"creationTimestamp": self.cluster.now()}
        elif type_ is not None and kind.plural != "selfsubjectrulesreviews":
            asked = {key: item for key, item in made.items() if key != "status"}
            manager = self._target(request, user, route).options.manager
            managers.record_update(
                asked,
                None,
                type_=type_,
                manager=manager,
                subresource="",
                now=self.cluster.now(),
                api_version=kind.api_version,
            )
        return answer(made, 201)

    async def _subresource(self, request: Request, user: User, route: Route, verb: str) -> Response:
        kind, sub = route.kind, route.sub
        assert sub is not None, "the caller has looked"
        if verb not in sub.verbs:
            raise method_not_allowed()
        if sub.name in ("status", "ephemeralcontainers", "resize", "approval", "finalize"):
            if verb == "get":
                return self._sent(
                    route, request, reading.get(self.cluster, self._view(request, kind), (route.namespace, route.name))
                )
            act = self._update if verb == "update" else self._patch
            return await act(request, user, route, subresource=sub.name)
        if sub.name == "scale":
            return await self._scale(request, user, route, verb)
        if kind.table == "pods":
            return await self._pod(request, user, route, sub.name)
        if sub.name == "token":
            return self._token(request, route)
        raise ApiError(501, "NotImplemented", f"{kind.plural}/{sub.name} is not served by the local API")

    async def _pod(self, request: Request, user: User, route: Route, name: str) -> Response:
        target = self._target(request, user, route)
        if name == "log":
            return await self._log(request, route)
        if name not in ("binding", "eviction"):
            raise ApiError(501, "NotImplemented", f"pods/{name} is not served by the local API")
        body = bodies.read(request, self.protobuf)
        if not isinstance(body, dict):
            raise bad_request(f"the body of pods/{name} is an object")
        if name == "binding":
            pods.bind(self.cluster, self.admission, target, body)
        else:
            await pods.evict(self.cluster, self.admission, self.deleter, target, body)
        return _created()

    async def _log(self, request: Request, route: Route) -> Response:
        value = self.cluster.object("pods", (route.namespace, route.name))
        if value is None:
            raise not_found("pods", "", route.name)
        wanted = pods.log_request(value, dict(request.query))
        source = self.settings.log_source
        if source is None or not value["spec"].get("nodeName"):
            if not value["spec"].get("nodeName"):
                return Response(204)
            raise bad_request(
                f'container "{wanted.container}" in pod "{route.name}" is waiting to start: ContainerCreating'
            )
        stream = source(wanted)
        if wanted.follow:
            return Response(200, content_type="text/plain", stream=stream)
        return Response(200, b"".join([part async for part in stream]), "text/plain")

    async def _scale(self, request: Request, user: User, route: Route, verb: str) -> Response:
        kind = route.kind
        key = (route.namespace, route.name)
        value = self.cluster.object(kind.table, key)
        if value is None:
            raise not_found(kind.plural, kind.group, route.name)
        if verb == "get":
            return self._sent(route, request, encode(scale_of(kind, value)))
        target = self._target(request, user, route, subresource="scale")
        applied, uid = bodies.media_type(request) == APPLY_PATCH, ""
        if applied:
            change: Callable[[Json], Json] = self._applied(request, target, SCALE)
        elif verb == "update":
            sent = bodies.read_object(request, self.protobuf, SCALE)
            self.writer.decode(SCALE, sent, self._repeated(request), target.options.validation)
            change = lambda _: load(encode(sent))  # noqa: E731  # one of three
            uid = str((sent.get("metadata") or {}).get("uid") or "")
        else:
            change = self._patch_of(request, target, SCALE)

        def scaled(live: Json) -> Json:
            before = owned_scale_of(kind, live)
            wanted = change(load(encode(before)))
            if not applied:
                self.writer.own(target, SCALE, wanted, before, self.cluster.now())
            return set_scale(kind, live, wanted)

        written = await self.writer.update(target, scaled, applied=True, uid=uid)
        after = load(written.record.raw) if written.record is not None else written.value
        assert after is not None, "a write gives a record or, when dry, a value"
        return self._sent(route, request, encode(scale_of(kind, after)))

    def _token(self, request: Request, route: Route) -> Response:
        body = bodies.read(request, self.protobuf)
        if self.cluster.find("serviceaccounts", (route.namespace, route.name)) is None:
            raise not_found("serviceaccounts", "", route.name)
        seconds = (body.get("spec") or {}).get("expirationSeconds") or 3600 if isinstance(body, dict) else 3600
        token = f"local.{route.namespace}.{route.name}.{self.cluster.new_uid()}"
        user = User(
            f"system:serviceaccount:{route.namespace}:{route.name}",
            ("system:serviceaccounts", f"system:serviceaccounts:{route.namespace}", "system:authenticated"),
        )
        if isinstance(self.settings.tokens, dict):
            self.settings.tokens[token] = user
        from quartermaster.local.apiserver.codec import timestamp  # noqa: PLC0415  # one use

        value: Json = {
            "kind": "TokenRequest",
            "apiVersion": "authentication.k8s.io/v1",
            "metadata": {"name": route.name, "namespace": route.namespace, "creationTimestamp": self.cluster.now()},
            "spec": {"audiences": ["kubernetes"], "expirationSeconds": seconds},
            "status": {"token": token, "expirationTimestamp": timestamp(self.cluster.clock() + int(seconds))},
        }
        return answer(value, 201)


def _created() -> Response:
    return answer({"kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Success", "code": 201}, 201)


def _failure(error: ApiError, request: Request) -> Response:
    if error.reason == PAGE:
        return Response(404, b"404 page not found\n", "text/plain; charset=utf-8")
    response = answer(error.status(), error.code)
    if request.headers.get("accept", "").startswith("application/yaml"):
        response = _formed(Form(media="application/yaml"), response.body, error.code)
    response.warnings = [f'299 - "{warning}"' for warning in error.warnings]
    if error.retry_after is not None:
        response.headers["Retry-After"] = str(error.retry_after)
    if error.code == 401:
        response.headers["WWW-Authenticate"] = "Bearer"
    return response


def _formed(form: Form, body: bytes, status: int) -> Response:
    if form.media == "application/yaml":
        return Response(status, encode_yaml(load(body)), "application/yaml")
    return Response(status, body)
