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
from quartermaster.local.apiserver.codec import decode, decode_yaml, encode, load
from quartermaster.local.apiserver.conversion import convert
from quartermaster.local.apiserver.deleting import DeleteOptions, Deleter, success
from quartermaster.local.apiserver.errors import (
    ApiError,
    Json,
    bad_request,
    forbidden_value,
    invalid,
    method_not_allowed,
    required,
    unsupported_media,
    unsupported_patch,
)
from quartermaster.local.apiserver.kinds import Kind
from quartermaster.local.apiserver.metrics import Metrics
from quartermaster.local.apiserver.options import ListOptions, revision_of
from quartermaster.local.apiserver.patches import json_patch, merge_patch, strategic_patch
from quartermaster.local.apiserver.protobuf import Protobuf
from quartermaster.local.apiserver.routes import Route
from quartermaster.local.apiserver.transport import Response
from quartermaster.local.apiserver.writing import Target, Writer, Written

_ORPHANED = (
    "child pods are preserved by default when jobs are deleted; set propagationPolicy=Background to remove them or set "
    "propagationPolicy=Orphan to suppress this warning"
)
_PATCHES = (
    "application/json-patch+json",
    "application/merge-patch+json",
    "application/strategic-merge-patch+json",
    "application/apply-patch+yaml",
)
_CUSTOM_PATCHES = (*_PATCHES[:2], _PATCHES[3])


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

    def _repeated(self, call: Call, target: Target) -> list[str]:
        return bodies.repeated_fields(call.request) if target.options.validation == "Strict" else []

    async def _create(self, call: Call) -> Response:
        kind, target = call.route.kind, call.target()
        if kind.namespaced and not call.route.namespace:
            raise method_not_allowed()
        value = bodies.read_object(call.request, self._protobuf, kind)
        written = await self._writer.create(target, value, unknown=self._repeated(call, target))
        for hook in self.created:
            hook(kind, written)
        return self._answers.written(call, written)

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
            unknown=self._repeated(call, target),
            unconditional=kind.custom is None and kind.table != "leases.coordination.k8s.io",
        )
        return self._answers.written(call, written)

    async def patch(self, call: Call, subresource: str = "") -> Response:
        """Change an object, or the part of it that `subresource` names, by a patch or by applying."""
        target = call.target(subresource)
        media = bodies.media_type(call.request)
        if media == "application/apply-patch+yaml":
            return await self._apply(call, target)
        if target.options.force:
            cause = forbidden_value("force", "may not be specified for non-apply patch")
            raise invalid("PatchOptions", "meta.k8s.io", "", [cause])
        patch = patch_of(call.route.kind, media, call.request.body, self._writer)
        return self._answers.written(call, await self._writer.update(target, patch))

    async def _apply(self, call: Call, target: Target) -> Response:
        kind, body = call.route.kind, call.request.body
        config = decode_yaml(body) if not body.lstrip().startswith(b"{") else decode(body)
        if not isinstance(config, dict):
            raise bad_request("error decoding YAML: an object is required")
        if not call.request.query.get("fieldManager"):
            cause = required("fieldManager", "is required for apply patch")
            raise invalid("PatchOptions", "meta.k8s.io", "", [cause])
        if not config.get("apiVersion") or not config.get("kind"):
            raise bad_request("couldn't get version/kind; the object has no apiVersion or kind")
        bodies.typed(config, kind.kind, kind.api_version)
        metadata = config.setdefault("metadata", {})
        if not isinstance(metadata, dict):
            raise bad_request("metadata: an object is required")
        if metadata.get("managedFields"):
            raise bad_request("metadata.managedFields must be nil")
        said = metadata.get("name") or call.route.name
        if said != call.route.name:
            raise bad_request(f"the name of the object ({said}) does not match the name on the URL ({call.route.name})")
        metadata["name"] = call.route.name
        raw = encode(config)
        type_ = self._writer.type_of(kind)

        def merged(live: Json | None) -> Json:
            wanted = load(raw)
            bodies.to_normal_if_builtin(self._cluster, kind, wanted, target.options.validation)
            revision = wanted["metadata"].pop("resourceVersion", None)
            made = managers.apply(
                live,
                wanted,
                type_=type_,
                manager=target.options.manager,
                subresource=target.subresource,
                force=target.options.force,
                now=self._cluster.now(),
                api_version=kind.api_version,
            )
            if revision:
                made["metadata"]["resourceVersion"] = revision
            return made

        create = None if target.subresource else (lambda: merged(None))
        return self._answers.written(call, await self._writer.update(target, merged, create=create, applied=True))

    def _delete_options(self, call: Call) -> DeleteOptions:
        body = bodies.read(call.request, self._protobuf) if call.request.body else {}
        if not isinstance(body, dict):
            raise bad_request("DeleteOptions: an object is required")
        return DeleteOptions.of(body, dict(call.request.query))

    async def _delete(self, call: Call) -> Response:
        kind, target, options = call.route.kind, call.target(), self._delete_options(call)
        deleted = await self._deleter.delete(target, options)
        warnings = [_ORPHANED] if kind.table == "jobs.batch" and not options.propagation else []
        value = deleted.value if not deleted.gone else success(kind, deleted.value)
        if value.get("kind") != "Status":
            stored = self._cluster.registry.stored(kind.table) or kind
            value = self._answers.view(call).present(convert(value, stored, kind))
        return self._answers.sent(call, encode(value), warnings=warnings)

    async def _delete_collection(self, call: Call) -> Response:
        kind, options = call.route.kind, self._delete_options(call)
        query = {
            key: text
            for key, text in call.request.query.items()
            if key in ("labelSelector", "fieldSelector", "limit", "continue")
        }
        chosen = reading.Filter.of(kind, call.route.namespace, ListOptions.of(query))
        found = [
            record
            for record in self._cluster.store.table(kind.table).records(chosen.namespace)
            if chosen.matches(record)
        ]
        for record in found:
            one = Call(call.request, call.user, Route(kind, record.key[0], record.key[1], ""), "delete")
            try:
                await self._deleter.delete(one.target(), options)
            except ApiError as error:
                if error.code != 404:
                    raise
        listing = self._answers.view(call).listing(found, {"resourceVersion": str(self._cluster.store.revision)})
        return self._answers.sent(call, listing)


def patch_of(kind: Kind, media: str, raw: bytes, writer: Writer, *, scale: bool = False) -> Callable[[Json], Json]:
    """A patch as a function of the live object; raises ApiError 400 or 415."""
    if kind.custom is not None and media not in _CUSTOM_PATCHES:
        raise unsupported_media(_CUSTOM_PATCHES)
    if media not in _PATCHES:
        raise unsupported_patch()
    body = decode(raw) if raw else {}

    def patched(live: Json) -> Json:
        # Patches are applied to the caller's copy, and may be tried again on another: the body is decoded afresh.
        patch = decode(raw) if raw else {}
        if media == "application/json-patch+json":
            result = json_patch(live, patch)
        elif media == "application/merge-patch+json" or scale:
            result = merge_patch(live, patch)
        else:
            result = strategic_patch(live, patch, writer.type_of(kind))
        if not isinstance(result, dict):
            raise bad_request("the patched object is not an object")
        return result

    if media != "application/json-patch+json" and not isinstance(body, dict):
        raise bad_request(
            "error decoding patch: json: cannot unmarshal array into Go value of type map[string]interface {}"
        )
    return patched
