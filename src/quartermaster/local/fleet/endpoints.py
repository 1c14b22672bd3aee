"""The exporters on a socket: ``/nodes/NAME/metrics`` each, and ``/targets`` for Prometheus' HTTP service discovery."""

from __future__ import annotations

from quartermaster.local.apiserver.codec import encode
from quartermaster.local.apiserver.transport import Request, Response
from quartermaster.local.fleet.dcgm import Exporter


class Endpoints:
    """A `Handler`; `address` (host:port) is what targets are told."""

    def __init__(self, exporter: Exporter) -> None:
        self._exporter = exporter
        self.address = ""

    async def handle(self, request: Request) -> Response:
        """Answer a GET."""
        if request.method not in ("GET", "HEAD"):
            return Response(405, b"only GET\n", "text/plain; charset=utf-8")
        match request.segments():
            case ["nodes", name, "metrics"]:
                text = self._exporter.text(name)
                if text is not None:
                    return Response(200, text.encode(), "text/plain; version=0.0.4; charset=utf-8")
            case ["targets"]:
                return Response(200, encode([self._target(name) for name in self._exporter.names()]))
        return Response(404, b"ask for /targets or /nodes/NAME/metrics of a node with GPUs that is up\n", "text/plain")

    def _target(self, name: str) -> dict[str, object]:
        labels = {"__metrics_path__": f"/nodes/{name}/metrics", "instance": name, "job": "dcgm-exporter"}
        return {"targets": [self.address], "labels": labels}
