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
from typing import TYPE_CHECKING

from quartermaster.local.apiserver.cluster import Cluster
from quartermaster.local.apiserver.codec import load
from quartermaster.local.apiserver.errors import ApiError, Json
from quartermaster.local.apiserver.kinds import Kind
from quartermaster.local.apiserver.store import Change
from quartermaster.local.apiserver.transport import Handler

if TYPE_CHECKING:
    from quartermaster.local.apiserver.writing import Written

TABLE = "apiservices.apiregistration.k8s.io"

Service = tuple[str, str]
"""Namespace and name."""
GroupVersion = tuple[str, str]


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
        self._wanted: dict[str, tuple[GroupVersion, Service]] = {}
        self._served: dict[str, list[tuple[str, str, str]]] = {}
        cluster.store.listeners.append(self._changed)

    def offer(self, service: Service, handler: Handler, kinds: Sequence[Kind]) -> None:
        """From now on `handler` answers as `service`."""
        self._backends[service] = Backend(handler, tuple(replace(kind, backend=handler) for kind in kinds))
        for name, (_, wanted) in list(self._wanted.items()):
            if wanted == service:
                self._serve(name)
                self._judge(name)

    def check(self, parts: list[str]) -> None:
        """Raises ApiError 503 for a path of a group version that is registered and not served."""
        if len(parts) < 3 or parts[0] != "apis" or len(self._served) == len(self._wanted):
            return
        for name, (served, _) in self._wanted.items():
            if name not in self._served and served == (parts[1], parts[2]):
                raise ApiError(503, "ServiceUnavailable", "service unavailable")

    def registered(self, kind: Kind, written: Written) -> None:
        """A new APIService hears at once whether it is available."""
        if kind.table == TABLE and written.record is not None:
            self._judge(written.record.key[1])

    def _changed(self, table: str, change: Change) -> None:
        if table != TABLE:
            return
        name = change.record.key[1]
        spec = load(change.record.raw).get("spec") or {}
        service = spec.get("service")
        self._wanted.pop(name, None)
        if not change.deleted and service:
            self._wanted[name] = (spec["group"], spec["version"]), (service["namespace"], service["name"])
        self._serve(name)

    def _serve(self, name: str) -> None:
        """Serve what an APIService stands for now, and no longer what it stood for."""
        for served in self._served.pop(name, ()):
            self._cluster.registry.remove(*served)
        if name not in self._wanted:
            return
        (group, version), service = self._wanted[name]
        backend = self._backends.get(service)
        kinds = [kind for kind in backend.kinds if (kind.group, kind.version) == (group, version)] if backend else []
        for kind in kinds:
            self._cluster.registry.add(kind)
            self._served.setdefault(name, []).append((kind.group, kind.version, kind.plural))

    def _judge(self, name: str) -> None:
        """Write whether it is available."""
        kind, record = self._cluster.registry.stored(TABLE), self._cluster.find(TABLE, ("", name))
        assert kind is not None, "APIServices are built in"
        if record is None or name not in self._wanted:
            return
        value = load(record.raw)
        _, (namespace, service) = self._wanted[name]
        told: Json = {"type": "Available", "status": "True", "reason": "Passed", "message": "all checks passed"}
        if name not in self._served:
            missing = f'service/{service} in "{namespace}" is not present'
            told |= {"status": "False", "reason": "ServiceNotFound", "message": missing}
        conditions = (value.get("status") or {}).get("conditions") or []
        before: Json = next((item for item in conditions if item["type"] == "Available"), {})
        if any(before.get(key) != text for key, text in told.items()):
            told["lastTransitionTime"] = self._cluster.now()
            rest = [item for item in conditions if item["type"] != "Available"]
            value["status"] = {"conditions": [*rest, told]}
            self._cluster.put(kind, value, record)
