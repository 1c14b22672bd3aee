"""Where an API server answers and as whom to ask: what fixtures give and suites take, and its form as a kubeconfig."""

import base64
import http.client
import json
import ssl
import urllib.parse
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from quartermaster.local.real.controlplane import ControlPlane


@dataclass(frozen=True, kw_only=True)
class Server:
    """An API server, real or not. Its administrator is a member of `system:masters`."""

    url: str
    """`http(s)://host:port`, without a path."""
    token: str
    """Bearer token of the administrator."""
    ca: str | None = None
    """PEM text that the server's certificate is checked against; None for plain http."""

    def kubeconfig(self) -> str:
        """The same for kubectl, helm and every other client: the text of a kubeconfig file."""
        cluster = {"server": self.url}
        if self.ca is not None:
            cluster["certificate-authority-data"] = base64.b64encode(self.ca.encode()).decode()
        return json.dumps(
            {
                "apiVersion": "v1",
                "kind": "Config",
                "clusters": [{"name": "server", "cluster": cluster}],
                "users": [{"name": "admin", "user": {"token": self.token}}],
                "contexts": [{"name": "server", "context": {"cluster": "server", "user": "admin"}}],
                "current-context": "server",
            }
        )


def of(plane: ControlPlane) -> Server:
    """A control plane of this process."""
    return Server(url=plane.url, token=plane.identity.token, ca=plane.identity.authority.decode())


def from_kubeconfig(path: Path) -> Server:
    """The current context of a kubeconfig file. Raises `ValueError` if it does not authenticate by a token."""
    config = yaml.safe_load(path.read_text(encoding="utf-8"))

    def named(kind: str, name: str) -> dict[str, Any]:
        return next(entry[kind] for entry in config[f"{kind}s"] if entry["name"] == name)

    context = named("context", config["current-context"])
    cluster, user = named("cluster", context["cluster"]), named("user", context["user"])
    if "token" not in user:
        raise ValueError(f"{path}: user {context['user']}: has no token; the suite knows no other way to authenticate")
    data = cluster.get("certificate-authority-data")
    return Server(
        url=cluster["server"], token=user["token"], ca=None if data is None else base64.b64decode(data).decode()
    )


def ask(server: Server, path: str, *, token: str | None = None) -> tuple[int, Any]:
    """Status and body of a GET; `token` is another than the administrator's."""
    address = urllib.parse.urlsplit(server.url)
    trust = ssl.create_default_context(cadata=server.ca)
    connection = http.client.HTTPSConnection(str(address.hostname), address.port, context=trust, timeout=10)
    try:
        connection.request("GET", path, headers={"Authorization": f"Bearer {token or server.token}"})
        answer = connection.getresponse()
        return answer.status, json.loads(answer.read())
    finally:
        connection.close()
