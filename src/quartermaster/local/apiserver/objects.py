"""The verbs on objects: get, list, watch, create, update, patch, delete.

Each takes a call apart, has reading.py, writing.py or deleting.py do it, and puts the answer together. What is the
same for all kinds is here; subresources.py has what is not.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable

from quartermaster.local.apiserver import bodies, managers, reading
from quartermaster.local.apiserver.answering import Answers
from quartermaster.local.apiserver.calls import Call
from quartermaster.local.apiserver.cluster import Cluster
from quartermaster.local.apiserver.codec import encode, load
from quartermaster.local.apiserver.configurations import check_configuration, check_named, configuration
from quartermaster.local.apiserver.conversion import convert
from quartermaster.local.apiserver.deleting import DeleteOptions, Deleter, success, warnings_of
from quartermaster.local.apiserver.errors import (
    ApiError,
    Json,
    bad_request,
    forbidden_value,
    invalid,
    method_not_allowed,
    required,
)
from quartermaster.local.apiserver.kinds import Kind, group_version
from quartermaster.local.apiserver.metrics import Metrics
from quartermaster.local.apiserver.options import ListOptions, revision_of
from quartermaster.local.apiserver.patching import APPLY_PATCH, Patch
from quartermaster.local.apiserver.protobuf import Protobuf
from quartermaster.local.apiserver.routes import Route
from quartermaster.local.apiserver.strategy import own_status
from quartermaster.local.apiserver.transport import Response
from quartermaster.local.apiserver.writing import Target, Writer, Written


class Objects:
    """Acts on the objects of one cluster. `bookmark_period` and `watch_timeout` are seconds."""

    def __init__(
        self,
        *,
        cluster: Cluster,
        writer: Writer,
        deleter: Deleter,
        answers: Answers,
        protobuf: Protobuf,
        metrics: Metrics,
        bookmark_period: float,
        watch_timeout: float,
    ) -> None:
        self._cluster = cluster
        self._writer = writer
        self._deleter = deleter
        self._answers = answers
        self._protobuf = protobuf
        self._metrics = metrics
        self._bookmark_period = bookmark_period
        self._watch_timeout = watch_timeout
        self.created: list[Callable[[Kind, Written], None]] = []
        """Called after an object was made, before the answer is sent."""

    async def act(self, call: Call) -> Response:
        """Do what the verb says; raises ApiError 405 for a verb that the kind has not."""
        verb, kind, named = call.verb, call.route.kind, bool(call.route.name)
        if verb not in kind.verbs or (not named and verb in ("update", "patch")) or (named and verb == "create"):
            raise method_not_allowed()
        if verb == "get":
            return self.get(call)
        if verb == "list":
            options = ListOptions.of(call.request.query)
            return self._answers.sent(
                call, reading.list_(self._cluster, self._answers.view(call), call.route.namespace, options)
            )
        if verb == "watch":
            return await self._watch(call)
        if verb == "create":
            return await self._create(call)
        if verb == "update":
            return await self.update(call)
        if verb == "patch":
            return await self.patch(call)
        if verb == "deletecollection":
            return await self._delete_collection(call)
        return await self._delete(call)

    def get(self, call: Call) -> Response:
        """One object."""
        key = (call.route.namespace, call.route.name)
        revision = revision_of(call.request.query.get("resourceVersion", "")) if call.request.query else None
        return self._answers.sent(call, reading.get(self._cluster, self._answers.view(call), key, revision))

    async def _watch(self, call: Call) -> Response:
        query = dict(call.request.query)
        query["watch"] = "true"
        if call.route.name:
            query["fieldSelector"] = f"metadata.name={call.route.name}"
        options = ListOptions.of(query)
        stream = await reading.watch(
            self._cluster,
            self._answers.view(call),
            call.route.namespace,
            options,
            bookmark_period=self._bookmark_period,
            lasts=options.timeout or self._watch_timeout,
        )
        self._metrics.watching += 1
        return self._answers.stream(call, self._counted(stream))

    async def _counted(self, stream: AsyncIterator[bytes]) -> AsyncIterator[bytes]:
        try:
            async for part in stream:
                yield part
        finally:
            self._metrics.watching -= 1

    async def _create(self, call: Call) -> Response:
        kind, target = call.route.kind, call.target()
        if kind.namespaced and not call.route.namespace:
            raise method_not_allowed()
        value = bodies.read_object(call.request, self._protobuf, kind)
        written = await self._writer.create(target, value, unknown=bodies.repeated_fields(call.request))
        self._tell(kind, written)
        return self._answers.written(call, written)

    def _tell(self, kind: Kind, written: Written) -> None:
        for hook in self.created:
            hook(kind, written)

    async def update(self, call: Call, subresource: str = "") -> Response:
        """Replace an object, or the part of it that `subresource` names."""
        kind, target = call.route.kind, call.target(subresource)
        body = bodies.read_object(call.request, self._protobuf, kind)
        metadata = body.get("metadata")
        said = metadata.get("name") if isinstance(metadata, dict) else None
        if said != call.route.name:
            shown = said or '""'
            url = call.route.name if said else f'"{call.route.name}"'
            raise bad_request(f"the name of the object ({shown}) does not match the name on the URL ({url})")
        raw = encode(body)

        def replaced(_: Json) -> Json:
            return load(raw)

        written = await self._writer.update(
            target,
            replaced,
            unknown=bodies.repeated_fields(call.request),
            uid=str(metadata.get("uid") or "") if isinstance(metadata, dict) else "",
            unconditional=kind.custom is None and kind.table != "leases.coordination.k8s.io",
        )
        return self._answers.written(call, written)

    async def patch(self, call: Call, subresource: str = "") -> Response:
        """Change an object, or the part of it that `subresource` names, by a patch or by applying."""
        kind, target = call.route.kind, call.target(subresource)
        if bodies.media_type(call.request) == APPLY_PATCH:
            applied = self.applied(call, target, kind)
            create = None if subresource else (lambda: applied(None))
            written = await self._writer.update(target, applied, create=create, applied=True)
            if written.created:
                self._tell(kind, written)
            return self._answers.written(call, written)
        patch = self.patch_of(call, target, kind)
        written = await self._writer.update(target, patch, decoded=True)
        written.warnings[:0] = patch.warnings
        return self._answers.written(call, written)

    def patch_of(self, call: Call, target: Target, kind: Kind) -> Patch:
        """The patch that a request sends for an object of `kind`; raises ApiError 400, 415 or 422."""
        if target.options.force:
            cause = forbidden_value("force", "may not be specified for non-apply patch")
            raise invalid("PatchOptions", "meta.k8s.io", "", [cause])
        return Patch(
            media=bodies.media_type(call.request),
            raw=call.request.body,
            kind=kind,
            type=self._writer.type_of(kind),
            decode=lambda of, value, repeated: self._writer.decode(of, value, repeated, target.options.validation),
            other=lambda api_version, name: self._cluster.registry.of_kind(*group_version(api_version), name),
        )

    def applied(self, call: Call, target: Target, kind: Kind) -> Callable[[Json | None], Json]:
        """What an apply makes of the live object, or of none; raises ApiError 400 or 422."""
        if not call.request.query.get("fieldManager"):
            cause = required("fieldManager", "is required for apply patch")
            raise invalid("PatchOptions", "meta.k8s.io", "", [cause])
        raw = encode(configuration(call.request.body, kind, target.key[1]))
        type_ = self._writer.type_of(kind)
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
                now=self._cluster.now(),
                api_version=kind.api_version,
                own_status=own_status(kind),
            )
            if revision:
                made["metadata"]["resourceVersion"] = revision
            return made

        return merged

    def _delete_options(self, call: Call) -> DeleteOptions:
        body = bodies.read(call.request, self._protobuf) if call.request.body else {}
        if not isinstance(body, dict):
            raise bad_request("DeleteOptions: an object is required")
        return DeleteOptions.of(body, dict(call.request.query))

    async def _delete(self, call: Call) -> Response:
        kind, target, options = call.route.kind, call.target(), self._delete_options(call)
        warnings = warnings_of(kind, options)
        try:
            deleted = await self._deleter.delete(target, options)
        except ApiError as error:
            error.warnings = tuple(warnings)
            raise
        value = deleted.value if not deleted.gone else success(kind, deleted.value)
        if value.get("kind") != "Status":
            stored = self._cluster.registry.stored(kind.table) or kind
            value = self._answers.view(call).present(convert(value, stored, kind))
        return self._answers.sent(call, encode(value), warnings=warnings)

    async def _delete_collection(self, call: Call) -> Response:
        kind, options = call.route.kind, self._delete_options(call)
        found, metadata = reading.page(self._cluster, kind, call.route.namespace, ListOptions.of(call.request.query))
        for record in found:
            one = Call(call.request, call.user, Route(kind, record.key[0], record.key[1], ""), "delete")
            try:
                await self._deleter.delete(one.target(), options)
            except ApiError as error:
                if error.code != 404:
                    raise
        listing = self._answers.view(call).listing(found, metadata)
        return self._answers.sent(call, listing, warnings=warnings_of(kind, options))
