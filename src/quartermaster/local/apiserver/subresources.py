"""What is below an object and is not the object: status, scale, binding, eviction, finalize, token.

Logs, commands and proxies are for kubelets to answer.
"""

from __future__ import annotations

from collections.abc import Callable

from quartermaster.local.apiserver import bodies, kubelets, pods
from quartermaster.local.apiserver.admission import Admission
from quartermaster.local.apiserver.answering import Answers
from quartermaster.local.apiserver.calls import Call
from quartermaster.local.apiserver.cluster import Cluster
from quartermaster.local.apiserver.codec import encode, load
from quartermaster.local.apiserver.deleting import Deleter
from quartermaster.local.apiserver.errors import ApiError, Json, bad_request, method_not_allowed, not_found
from quartermaster.local.apiserver.objects import Objects
from quartermaster.local.apiserver.patching import APPLY_PATCH
from quartermaster.local.apiserver.protobuf import Protobuf
from quartermaster.local.apiserver.questions import Questions
from quartermaster.local.apiserver.scale import SCALE, checked_scale_of, owned_scale_of, scale_of, set_scale
from quartermaster.local.apiserver.transport import Response
from quartermaster.local.apiserver.writing import Writer

_PARTS = frozenset(("status", "ephemeralcontainers", "resize", "approval", "finalize"))
"""Those that are read and written as the whole object."""


class Subresources:
    """Acts on the parts of the objects of one cluster. `nodes` says who plays them at the moment."""

    def __init__(
        self,
        *,
        cluster: Cluster,
        admission: Admission,
        writer: Writer,
        deleter: Deleter,
        objects: Objects,
        questions: Questions,
        answers: Answers,
        protobuf: Protobuf,
        nodes: Callable[[], kubelets.Kubelets],
    ) -> None:
        self._cluster = cluster
        self._admission = admission
        self._writer = writer
        self._deleter = deleter
        self._objects = objects
        self._questions = questions
        self._answers = answers
        self._protobuf = protobuf
        self._nodes = nodes

    async def act(self, call: Call) -> Response:
        """Do what the verb says with the part that the path names; raises ApiError 405 or 501 if it cannot."""
        kind, sub = call.route.kind, call.route.sub
        assert sub is not None, "the caller has looked"
        if call.verb not in sub.verbs:
            raise method_not_allowed()
        if sub.name in _PARTS:
            if call.verb == "get":
                return self._objects.get(call)
            act = self._objects.update if call.verb == "update" else self._objects.patch
            return await act(call, sub.name)
        if sub.name == "scale":
            return await self._scale(call)
        if kind.table == "pods" and sub.name in ("binding", "eviction"):
            return await self._pod(call, sub.name)
        if sub.name == "token":
            return self._questions.token(call)
        if sub.name == "proxy":
            return await kubelets.proxy(self._cluster, self._nodes(), call.route, call.request)
        if kind.table == "pods":
            return await self._kubelet(call, sub.name)
        raise ApiError(501, "NotImplemented", f"{kind.plural}/{sub.name} is not served by the local API")

    async def _pod(self, call: Call, name: str) -> Response:
        target = call.target()
        body = bodies.read(call.request, self._protobuf)
        if not isinstance(body, dict):
            raise bad_request(f"the body of pods/{name} is an object")
        if name == "binding":
            pods.bind(self._cluster, self._admission, target, body)
        else:
            await pods.evict(self._cluster, self._admission, self._deleter, target, body)
        return self._answers.done(call)

    async def _kubelet(self, call: Call, name: str) -> Response:
        """What the pod's kubelet answers."""
        value = self._cluster.object("pods", (call.route.namespace, call.route.name))
        if value is None:
            raise not_found("pods", "", call.route.name)
        if name == "log":
            return await kubelets.logs(self._cluster, self._nodes(), value, call.request.query)
        return await kubelets.converse(self._cluster, self._nodes(), value, name, call.request)

    async def _scale(self, call: Call) -> Response:
        kind = call.route.kind
        value = self._cluster.object(kind.table, (call.route.namespace, call.route.name))
        if value is None:
            raise not_found(kind.plural, kind.group, call.route.name)
        if call.verb == "get":
            return self._answers.sent(call, encode(checked_scale_of(kind, value)))
        target = call.target("scale")
        applied, uid = bodies.media_type(call.request) == APPLY_PATCH, ""
        if applied:
            change: Callable[[Json], Json] = self._objects.applied(call, target, SCALE)
        elif call.verb == "update":
            sent = bodies.read_object(call.request, self._protobuf, SCALE)
            self._writer.decode(SCALE, sent, bodies.repeated_fields(call.request), target.options.validation)
            change = lambda _: load(encode(sent))  # noqa: E731  # one of three
            uid = str((sent.get("metadata") or {}).get("uid") or "")
        else:
            change = self._objects.patch_of(call, target, SCALE)

        def scaled(live: Json) -> Json:
            before = owned_scale_of(kind, live)
            wanted = change(load(encode(before)))
            if not applied:
                self._writer.own(target, SCALE, wanted, before, self._cluster.now())
            return set_scale(kind, live, wanted)

        written = await self._writer.update(target, scaled, applied=True, uid=uid)
        after = load(written.record.raw) if written.record is not None else written.value
        assert after is not None, "a write gives a record or, when dry, a value"
        return self._answers.sent(call, encode(scale_of(kind, after)))
