"""``/metrics``: requests, watches and objects, under the real server's names."""

from __future__ import annotations

from collections import Counter

from quartermaster.local.apiserver.cluster import Cluster
from quartermaster.local.apiserver.transport import Request, Response


class Metrics:
    """Counters of one server."""

    def __init__(self, cluster: Cluster) -> None:
        self._cluster = cluster
        self._requests: Counter[tuple[str, int]] = Counter()
        self.watching = 0

    def observe(self, request: Request, response: Response) -> None:
        """Count one request."""
        verb = "WATCH" if response.stream is not None else request.method
        self._requests[verb, response.status] += 1

    def text(self) -> bytes:
        """In the Prometheus text format."""
        lines = [
            "# HELP apiserver_request_total Counter of apiserver requests.",
            "# TYPE apiserver_request_total counter",
        ]
        lines += [
            f'apiserver_request_total{{verb="{verb}",code="{code}"}} {count}'
            for (verb, code), count in sorted(self._requests.items())
        ]
        lines += [
            "# HELP apiserver_longrunning_requests Number of active watches.",
            "# TYPE apiserver_longrunning_requests gauge",
            f'apiserver_longrunning_requests{{verb="WATCH"}} {self.watching}',
            "# HELP apiserver_storage_objects Number of stored objects.",
            "# TYPE apiserver_storage_objects gauge",
        ]
        lines += [
            f'apiserver_storage_objects{{resource="{name}"}} {len(table)}'
            for name, table in sorted(self._cluster.store.tables.items())
        ]
        return ("\n".join(lines) + "\n").encode()
