"""API aggregation: groups that somebody else serves, behind this server's door.

An APIService object says that a group version is served by a service. As with webhooks, a local cluster has no service
network, so `Aggregation.offer` says who answers as a service: a handler in this process, and the kinds it serves. While
object and offer are both there, the kinds are discovered and authorized like all others and their requests go to the
handler; an APIService whose service nobody offers is Unavailable and its paths answer 503, as with a real aggregator.
Refused: handlers that change their kinds while they serve.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

from quartermaster.local.apiserver.admission import Operation
from quartermaster.local.apiserver.cluster import Cluster
from quartermaster.local.apiserver.codec import load
from quartermaster.local.apiserver.errors import Json
from quartermaster.local.apiserver.kinds import Kind
from quartermaster.local.apiserver.store import Change
from quartermaster.local.apiserver.transport import Handler

TABLE = "apiservices.apiregistration.k8s.io"

Service = tuple[str, str]
"""Namespace and name."""


@dataclass(frozen=True, slots=True)
class Backend:
    """Who answers as a service, and for what."""

    handler: Handler
    kinds: tuple[Kind, ...]


class Aggregation:
    """The APIServices of one server and those who answer for them."""

    def __init__(self, cluster: Cluster) -> None:
        self._cluster = cluster
        self._backends: dict[Service, Backend] = {}
        self._missing: dict[str, tuple[str, str]] = {}
        self._served: dict[str, list[tuple[str, str, str]]] = {}
        cluster.store.listeners.append(self._changed)

    def offer(self, service: Service, handler: Handler, kinds: Sequence[Kind]) -> None:
        """From now on `handler` answers as `service`."""
        self._backends[service] = Backend(handler, tuple(replace(kind, backend=handler) for kind in kinds))
        self.review()

    def review(self) -> None:
        """Look at every APIService anew: who answers may be another than when it was written."""
        kind = self._cluster.registry.stored(TABLE)
        assert kind is not None, "APIServices are built in"
        for record in list(self._cluster.store.table(TABLE).records()):
            value, before = load(record.raw), load(record.raw)
            self._serve(record.key[1], value.get("spec") or {})
            self._judge(value)
            if value != before:
                self._cluster.put(kind, value, record)

    def missing(self, parts: list[str]) -> bool:
        """Whether a path is of a group version that is registered and that nobody serves."""
        return bool(self._missing) and parts[:1] == ["apis"] and tuple(parts[1:3]) in self._missing.values()

    def admit(self, operation: Operation) -> None:
        """An APIService hears at once whether it is available."""
        if operation.kind.table == TABLE and operation.verb != "DELETE":
            self._judge(operation.value)

    def _changed(self, table: str, change: Change) -> None:
        if table == TABLE:
            self._serve(change.record.key[1], {} if change.deleted else load(change.record.raw).get("spec") or {})

    def _serve(self, name: str, spec: Json) -> None:
        """Serve what an APIService stands for now, and no longer what it stood for."""
        for served in self._served.pop(name, ()):
            self._cluster.registry.remove(*served)
        self._missing.pop(name, None)
        if not spec.get("service"):
            return
        for kind in self._kinds(spec):
            self._cluster.registry.add(kind)
            self._served.setdefault(name, []).append((kind.group, kind.version, kind.plural))
        if name not in self._served:
            self._missing[name] = (spec.get("group", ""), spec.get("version", ""))

    def _kinds(self, spec: Json) -> list[Kind]:
        """What is served for an APIService of this spec."""
        service = spec.get("service") or {}
        backend = self._backends.get((service.get("namespace", ""), service.get("name", "")))
        served = (spec.get("group"), spec.get("version"))
        return [kind for kind in backend.kinds if (kind.group, kind.version) == served] if backend else []

    def _judge(self, value: Json) -> None:
        """Say in an APIService whether it is available."""
        spec = value.get("spec") or {}
        service = spec.get("service")
        if not service:
            return
        told: Json = {"type": "Available", "status": "True", "reason": "Passed", "message": "all checks passed"}
        if not self._kinds(spec):
            missing = f'service/{service.get("name")} in "{service.get("namespace")}" is not present'
            told |= {"status": "False", "reason": "ServiceNotFound", "message": missing}
        conditions = (value.get("status") or {}).get("conditions") or []
        before: Json = next((item for item in conditions if item.get("type") == "Available"), {})
        moved = before.get("status") != told["status"]
        told["lastTransitionTime"] = self._cluster.now() if moved else before.get("lastTransitionTime")
        value["status"] = {"conditions": [*(item for item in conditions if item.get("type") != "Available"), told]}
