"""The webhook of a cluster: its certificate in a Secret, the trust in it in the configuration, its answers over HTTPS.

Every replica serves, leader or not, with the certificate that is in the Secret. Whoever finds it due makes a new one;
two that do so at once are told apart by the resource version, and the later one takes what the earlier one wrote.
Refuses to be needed: the configuration lets objects pass when nobody answers.
"""

from __future__ import annotations

import asyncio
import base64
from collections.abc import Callable
from typing import Final

from quartermaster.api.admission import Known, review
from quartermaster.kube.api import STRATEGIC, Api, Json, Refused
from quartermaster.kube.certificates import Material, renewed
from quartermaster.kube.clock import Clock
from quartermaster.kube.reviewing import Tls, serving

PATH: Final = "/validate"
LOOK_EVERY: Final = 600.0
"""Seconds between looks at the Secret: another replica may have renewed it."""
RETRY_AFTER: Final = 5.0

_FIELDS: Final = {"authorities": "ca.crt", "authority_key": "ca.key", "certificate": "tls.crt", "key": "tls.key"}
_CONFIGURATIONS: Final = "/apis/admissionregistration.k8s.io/v1/validatingwebhookconfigurations"


class Admission:
    """Runs until cancelled. `service` is ``namespace/name`` of the Service, and the configuration has its name.

    `known` gives what is in the cluster when a review comes. `ready` is set once a certificate is in use, with the port
    in `port`.
    """

    def __init__(self, api: Api, *, clock: Clock, service: str, known: Callable[[], Known], port: int) -> None:
        self._api, self._clock, self._known = api, clock, known
        self._namespace, _, self._name = service.partition("/")
        self._tls = Tls()
        self.port = port
        self.ready = asyncio.Event()

    @property
    def names(self) -> list[str]:
        """What the certificate is for: the names of the Service, as the API server asks for it."""
        short = f"{self._name}.{self._namespace}"
        return [f"{short}.svc", f"{short}.svc.cluster.local"]

    async def run(self, *, host: str | None = None) -> None:
        """Serve, and keep the certificate fresh."""
        while not await self.refresh():
            await self._clock.until(self._clock() + RETRY_AFTER)
        handle = lambda body: review(body, self._known())  # noqa: E731  # InvalidInput is a ValueError
        async with serving(handle, self._tls, path=PATH, port=self.port, host=host) as port:
            self.port = port
            self.ready.set()
            while True:
                fresh = await self.refresh()
                await self._clock.until(self._clock() + (LOOK_EVERY if fresh else RETRY_AFTER))

    async def refresh(self) -> bool:
        """Use what is in the Secret, made anew if it is due, and have it trusted; False if the API is away."""
        try:
            material = await self._material()
            self._tls.load(material.certificate, material.key)
            await self._trust(material.authorities)
        except (Refused, OSError):
            return False
        return True

    async def _material(self) -> Material:
        path = f"/api/v1/namespaces/{self._namespace}/secrets"
        secret: Json | None
        try:
            secret = await self._api.send("GET", f"{path}/{self._name}-webhook-tls")
        except Refused as no:
            if no.code != 404:
                raise
            secret = None
        there = None if secret is None else _read(secret)
        due = renewed(there, names=self.names, now=self._clock())
        if due is None:
            assert there is not None
            return there
        body = self._secret(due)
        if secret is None:
            await self._api.send("POST", path, body)
        else:
            body["metadata"]["resourceVersion"] = secret["metadata"]["resourceVersion"]
            body["metadata"]["labels"] = secret["metadata"].get("labels") or {}
            await self._api.send("PUT", f"{path}/{self._name}-webhook-tls", body)
        return due

    def _secret(self, material: Material) -> Json:
        data = {key: base64.b64encode(getattr(material, field)).decode() for field, key in _FIELDS.items()}
        metadata: Json = {"name": f"{self._name}-webhook-tls", "namespace": self._namespace}
        return {"apiVersion": "v1", "kind": "Secret", "type": "kubernetes.io/tls", "metadata": metadata, "data": data}

    async def _trust(self, authorities: bytes) -> None:
        """Write the authorities into the configuration, if there is one and it does not have them."""
        path = f"{_CONFIGURATIONS}/{self._name}"
        try:
            configuration = await self._api.send("GET", path)
        except Refused as no:
            if no.code != 404:
                raise
            return
        bundle = base64.b64encode(authorities).decode()
        stale = [
            {"name": hook["name"], "clientConfig": {"caBundle": bundle}}
            for hook in configuration.get("webhooks") or ()
            if hook["clientConfig"].get("caBundle") != bundle
        ]
        if stale:
            await self._api.send("PATCH", path, {"webhooks": stale}, media=STRATEGIC)


def _read(secret: Json) -> Material | None:
    """What is in a Secret; None if it is not all there."""
    try:
        data = secret.get("data") or {}
        return Material(**{field: base64.b64decode(data[key], validate=True) for field, key in _FIELDS.items()})
    except (KeyError, ValueError):
        return None
