"""Cluster roles made of others: ``admin``, ``edit`` and ``view`` get the rules of the roles that their selectors name.

A controller manager's share, so a server without controllers leaves such roles as they are written.
"""

from __future__ import annotations

from quartermaster.local.apiserver import managers
from quartermaster.local.apiserver.cluster import Cluster
from quartermaster.local.apiserver.codec import load
from quartermaster.local.apiserver.errors import Json
from quartermaster.local.apiserver.selectors import from_object, matches
from quartermaster.local.apiserver.store import Record

_TABLE = "clusterroles.rbac.authorization.k8s.io"
_MANAGER = "clusterrole-aggregation-controller"


class RoleAggregation:
    """Keeps the aggregated roles of one cluster."""

    def __init__(self, cluster: Cluster) -> None:
        self._cluster = cluster

    async def run(self) -> None:
        """Until cancelled."""
        table = self._cluster.store.table(_TABLE)
        while True:
            self.collect()
            await table.changed()

    def collect(self) -> None:
        """Write the rules of every aggregated role that has others now, until none has: they may name each other."""
        changed = True
        while changed:
            changed = False
            records = list(self._cluster.store.table(_TABLE).records())
            for record in records:
                value = load(record.raw)
                selectors = (value.get("aggregationRule") or {}).get("clusterRoleSelectors")
                rules = _rules(record, [from_object(item) for item in selectors or ()], records)
                if selectors and rules != (value.get("rules") or []):
                    self._write(record, value, rules)
                    changed = True

    def _write(self, record: Record, value: Json, rules: list[Json]) -> None:
        kind = self._cluster.registry.stored(_TABLE)
        assert kind is not None, "roles are built in"
        type_ = self._cluster.schemas.of(kind.gvk)
        assert type_ is not None, "roles have a published type"
        made = managers.apply(
            value,
            {"kind": kind.kind, "apiVersion": kind.api_version, "metadata": {"name": record.key[1]}, "rules": rules},
            type_=type_,
            manager=_MANAGER,
            subresource="",
            force=True,
            now=self._cluster.now(),
            api_version=kind.api_version,
        )
        self._cluster.put(kind, made, record)


def _rules(into: Record, selectors: list[object], records: list[Record]) -> list[Json]:
    """The rules of all selected roles, by name, each once."""
    found: list[Json] = []
    for selector in selectors:
        for record in records:
            if record is not into and isinstance(selector, tuple) and matches(selector, record.labels):
                found += [rule for rule in load(record.raw).get("rules") or () if rule not in found]
    return found
