"""What is created and never kept: reviews, tokens, and bindings posted by themselves."""

from __future__ import annotations

from quartermaster.local.apiserver import bodies, managers, pods
from quartermaster.local.apiserver.access import Access
from quartermaster.local.apiserver.admission import Admission
from quartermaster.local.apiserver.answering import Answers
from quartermaster.local.apiserver.calls import Call
from quartermaster.local.apiserver.cluster import Cluster
from quartermaster.local.apiserver.codec import encode, timestamp
from quartermaster.local.apiserver.errors import Json, method_not_allowed, not_found
from quartermaster.local.apiserver.protobuf import Protobuf
from quartermaster.local.apiserver.reviews import REVIEWS, review
from quartermaster.local.apiserver.routes import Route
from quartermaster.local.apiserver.transport import Response, User


class Questions:
    """Answers them for one server."""

    def __init__(
        self, *, cluster: Cluster, admission: Admission, access: Access, answers: Answers, protobuf: Protobuf
    ) -> None:
        self._cluster = cluster
        self._admission = admission
        self._access = access
        self._answers = answers
        self._protobuf = protobuf

    def concern(self, route: Route) -> bool:
        """Whether a path is for them."""
        return route.kind.plural in REVIEWS or route.kind.table == "bindings"

    def act(self, call: Call) -> Response:
        """Answer; raises ApiError 400, 405 or 422."""
        kind = call.route.kind
        if call.request.method != "POST":
            raise method_not_allowed()
        value = bodies.read_object(call.request, self._protobuf, kind)
        type_ = self._cluster.schemas.of(kind.gvk)
        if type_ is not None:
            bodies.to_normal(value, type_, kind.kind, kind.version)
        if kind.table == "bindings":
            return self._bind(call, value)
        if call.route.namespace:
            value.setdefault("metadata", {}).setdefault("namespace", call.route.namespace)
        made = review(kind, value, call.user, self._access.authorizer, self._access.tokens)
        if kind.plural == "selfsubjectreviews":
            made["metadata"] = {"creationTimestamp": self._cluster.now()}
        elif type_ is not None and kind.plural != "selfsubjectrulesreviews":
            asked = {key: item for key, item in made.items() if key != "status"}
            managers.record_update(
                asked,
                None,
                type_=type_,
                manager=call.target().options.manager,
                subresource="",
                now=self._cluster.now(),
                api_version=kind.api_version,
            )
        return self._answers.sent(call, encode(made), status=201)

    def _bind(self, call: Call, value: Json) -> Response:
        pod_kind = self._cluster.registry.find("", "v1", "pods")
        assert pod_kind is not None, "pods are built in"
        name = (value.get("metadata") or {}).get("name", "")
        bound = Call(call.request, call.user, Route(pod_kind, call.route.namespace, name, "binding"), call.verb)
        pods.bind(self._cluster, self._admission, bound.target(), value)
        return self._answers.done(call)

    def token(self, call: Call) -> Response:
        """A token for a service account, good until this server ends."""
        route = call.route
        body = bodies.read(call.request, self._protobuf)
        if self._cluster.find("serviceaccounts", (route.namespace, route.name)) is None:
            raise not_found("serviceaccounts", "", route.name)
        seconds = (body.get("spec") or {}).get("expirationSeconds") or 3600 if isinstance(body, dict) else 3600
        token = f"local.{route.namespace}.{route.name}.{self._cluster.new_uid()}"
        self._access.tokens[token] = User(
            f"system:serviceaccount:{route.namespace}:{route.name}",
            ("system:serviceaccounts", f"system:serviceaccounts:{route.namespace}", "system:authenticated"),
        )
        value: Json = {
            "kind": "TokenRequest",
            "apiVersion": "authentication.k8s.io/v1",
            "metadata": {"name": route.name, "namespace": route.namespace, "creationTimestamp": self._cluster.now()},
            "spec": {"audiences": ["kubernetes"], "expirationSeconds": seconds},
            "status": {"token": token, "expirationTimestamp": timestamp(self._cluster.clock() + int(seconds))},
        }
        return self._answers.sent(call, encode(value), status=201)
