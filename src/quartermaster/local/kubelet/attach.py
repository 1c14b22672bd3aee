"""Joins simulated machines to the server that has their objects: its way to their kubelets, and their metrics.

Objects reach the machines through the API, as everywhere; this is the other direction, from the API to the machines,
which an embedded server has in the same process. A real server would need kubelets that listen on sockets.
"""

from __future__ import annotations

from quartermaster.kube.clock import Clock
from quartermaster.local.apiserver.server import ApiServer
from quartermaster.local.client import LocalClient
from quartermaster.local.fleet.metrics_api import MetricsApi
from quartermaster.local.kubelet.serving import Kubelet, kubelets_of
from quartermaster.local.stages.player import Player


async def attach(server: ApiServer, player: Player, *, clock: Clock) -> None:
    """Let `server` ask the machines that `player` plays."""
    nodes, pods = player.nodes.objects, player.pods.objects
    client = LocalClient(server.handle, agent="kubelet")
    server.settings.kubelets = kubelets_of(nodes, Kubelet(client, nodes, clock=clock))
    metrics = MetricsApi(nodes, pods, player.on, clock)
    await metrics.register(LocalClient(server.handle, agent="kube-addon-manager"), server.aggregation)
