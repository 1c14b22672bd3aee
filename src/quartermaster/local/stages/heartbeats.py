"""The sign of life of simulated kubelets: Leases, renewed for as long as a node is not marked as silent.

Whoever watches over nodes (the node-lifecycle controller) then finds out by itself, as in a real cluster, that one has
fallen silent. A real kubelet renews every 10 s; here all nodes of a process do it together, a third as often, which is
still within any grace; 5,000 renewals are 2 s of CPU (2 shared cores, November 2026). Refuses to heal: that is a
stage's.
"""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime
from typing import Final

from quartermaster.kube.api import MERGE, Api, Json, Refused
from quartermaster.kube.clock import Clock
from quartermaster.kube.reflector import Reflector
from quartermaster.local.fleet import marks
from quartermaster.local.stages.paths import look

RENEWED_EVERY_S: Final = 30.0
LEASE_S: Final = 40
PATH: Final = "/apis/coordination.k8s.io/v1/namespaces/kube-node-lease/leases"


def silent(node: Json | None) -> bool:
    """Whether a node's kubelet no longer says anything."""
    return look(node, f'.metadata.annotations["{marks.FAULT}"]') == "not-ready"


class Heartbeats:
    """Runs until cancelled. `nodes` is somebody's mirror."""

    def __init__(self, api: Api, nodes: Reflector[Json], *, clock: Clock, every: float = RENEWED_EVERY_S) -> None:
        self._api, self._nodes, self._clock, self._every = api, nodes, clock, every

    async def run(self) -> None:
        """Renew all leases, again and again."""
        while True:
            for node in list(self._nodes.objects.values()):
                if not silent(node):
                    await self._renew(node)
            await self._clock.until(self._clock() + self._every)

    async def _renew(self, node: Json) -> None:
        about = node["metadata"]
        now = datetime.fromtimestamp(self._clock(), UTC).strftime("%Y-%m-%dT%H:%M:%S.%fZ")
        renewed = {"holderIdentity": about["name"], "leaseDurationSeconds": LEASE_S, "renewTime": now}
        try:
            await self._api.send("PATCH", f"{PATH}/{about['name']}", {"spec": renewed}, media=MERGE)
        except Refused as wrong:
            if wrong.code != 404:
                return  # the next one comes soon
            owner = {"apiVersion": "v1", "kind": "Node", "name": about["name"], "uid": about["uid"]}
            metadata = {"name": about["name"], "ownerReferences": [owner]}
            await self._create({"metadata": metadata, "spec": renewed})
        except OSError:
            return
        await asyncio.sleep(0)  # a large fleet leaves turns to others

    async def _create(self, lease: Json) -> None:
        try:
            await self._api.send("POST", PATH, lease)
        except (Refused, OSError):
            return
