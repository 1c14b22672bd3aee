"""Admission webhooks: an AdmissionReview over HTTP, with the answers that change, refuse or warn.

A webhook by URL is called as it is; one by service is called where `resolve` says that the service is (a local cluster
has no service network). Failures follow failurePolicy; time limits are the webhook's own.
"""

from __future__ import annotations

import asyncio
import base64
import ssl
from collections.abc import Callable
from typing import Any

from quartermaster.local.apiserver.admission import Operation
from quartermaster.local.apiserver.cel import CelError
from quartermaster.local.apiserver.cluster import Cluster
from quartermaster.local.apiserver.codec import decode, encode, load
from quartermaster.local.apiserver.defaults import set_defaults
from quartermaster.local.apiserver.errors import ApiError, Json
from quartermaster.local.apiserver.matching import concerns, conditions_hold, request_of, selects, variables_of
from quartermaster.local.apiserver.patches import json_patch

_GROUP = "admissionregistration.k8s.io"

Resolve = Callable[[str, str, int], str | None]
"""From namespace, name and port of a service to ``https://host:port``; None if it is not known."""


class Webhooks:
    """Both plugins."""

    def __init__(self, cluster: Cluster, resolve: Resolve | None = None) -> None:
        self._cluster = cluster
        self._resolve = resolve or (lambda *_: None)

    async def mutate(self, operation: Operation) -> None:
        """Let mutating webhooks change the object, one after the other."""
        for hook in self._hooks("mutatingwebhookconfigurations", operation):
            answer = await self._ask(hook, operation)
            if answer is None or not answer.get("patch"):
                continue
            try:
                operation.value = json_patch(operation.value, decode(base64.b64decode(answer["patch"])))
            except (ApiError, ValueError) as wrong:
                raise _failed(hook, f"the patch cannot be applied: {wrong}") from None
            kind = self._cluster.registry.stored(operation.kind.table) or operation.kind
            set_defaults(kind, operation.value)

    async def validate(self, operation: Operation) -> None:
        """Let validating webhooks refuse the object, all at once."""
        hooks = self._hooks("validatingwebhookconfigurations", operation)
        if hooks:
            await asyncio.gather(*(self._ask(hook, operation) for hook in hooks))

    def _hooks(self, plural: str, operation: Operation) -> list[Json]:
        table = self._cluster.store.table(f"{plural}.{_GROUP}")
        if not len(table):
            return []
        found = []
        for record in table.records():
            for hook in load(record.raw).get("webhooks") or ():
                if not concerns(hook.get("rules") or [], operation):
                    continue
                if not selects(self._cluster, operation, hook.get("namespaceSelector"), hook.get("objectSelector")):
                    continue
                conditions = hook.get("matchConditions") or []
                try:
                    if conditions and not conditions_hold(conditions, variables_of(self._cluster, operation)):
                        continue
                except CelError as wrong:
                    if hook.get("failurePolicy") == "Ignore":
                        continue
                    raise _failed(hook, str(wrong)) from None
                found.append(hook)
        return found

    async def _ask(self, hook: Json, operation: Operation) -> Json | None:
        """The response of a webhook that allowed it; None if it failed and may. Raises ApiError."""
        request = request_of(operation, self._cluster.new_uid())
        deleted = operation.verb == "DELETE"
        request |= {"object": None if deleted else operation.value, "oldObject": operation.old}
        review = {"kind": "AdmissionReview", "apiVersion": "admission.k8s.io/v1", "request": request}
        try:
            answer = await self._post(hook, encode(review))
            response = answer["response"]
            allowed = bool(response["allowed"]) and _answers(response, request)
        except Exception as wrong:  # noqa: BLE001  # whatever a webhook does, failurePolicy decides
            if hook.get("failurePolicy", "Fail") == "Ignore":
                return None
            raise _failed(hook, str(wrong) or type(wrong).__name__) from None
        operation.warnings += [str(item) for item in response.get("warnings") or ()]
        if not allowed:
            status = response.get("status") or {}
            code = status.get("code") or 403
            message = status.get("message") or status.get("reason")
            text = f'admission webhook "{hook["name"]}" denied the request' + (
                f": {message}" if message else " without explanation"
            )
            raise ApiError(code, status.get("reason") or "Forbidden", text)
        found: Json = response
        return found

    async def _post(self, hook: Json, body: bytes) -> Any:
        import aiohttp  # noqa: PLC0415  # in process, without webhooks, no HTTP is needed

        config = hook.get("clientConfig") or {}
        url, service = config.get("url"), config.get("service")
        if service:
            base = self._resolve(service["namespace"], service["name"], service.get("port", 443))
            if base is None:
                raise ValueError(f'service "{service["name"]}" not found')
            url = base + (service.get("path") or "")
        tls: ssl.SSLContext | bool = True
        if config.get("caBundle"):
            tls = ssl.create_default_context(cadata=base64.b64decode(config["caBundle"]).decode())
        limit = aiohttp.ClientTimeout(total=hook.get("timeoutSeconds", 10))
        async with (
            aiohttp.ClientSession(timeout=limit) as session,
            session.post(str(url), data=body, headers={"Content-Type": "application/json"}, ssl=tls) as reply,
        ):
            raw = await reply.read()
            if reply.status != 200:
                raise ValueError(f"unexpected status {reply.status}")
            return decode(raw)


def _answers(response: Json, request: Json) -> bool:
    """True; raises ValueError if the response is to another request."""
    if response.get("uid") != request["uid"]:
        raise ValueError("the uid of the response is not that of the request")
    return True


def _failed(hook: Json, why: str) -> ApiError:
    return ApiError(
        500, "InternalError", f'Internal error occurred: failed calling webhook "{hook.get("name", "")}": {why}'
    )
