"""From a kubeconfig, or from inside a pod, to a connection: address, trust, credentials, proxy, impersonation.

The order is kubectl's: the file named, KUBECONFIG, ``~/.kube/config``, and then the service account of the pod that
this program runs in. All that can be found wrong without asking the network is found here, as InvalidInput.
"""

from __future__ import annotations

import ipaddress
import time
from base64 import b64encode
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from urllib.parse import quote, urlsplit

from quartermaster.kube.clock import Clock, SteadyClock
from quartermaster.kube.credentials import Credential, Credentials, Fixed, TokenFile, bearer
from quartermaster.kube.kubeconfig import Chosen, Cluster, User, choose, paths_of
from quartermaster.kube.plugin import Plugin, at_a_terminal
from quartermaster.kube.tls import Pem, Trust
from quartermaster.model.errors import InvalidInput

SERVICE_ACCOUNT = Path("/var/run/secrets/kubernetes.io/serviceaccount")


@dataclass(frozen=True, slots=True, kw_only=True)
class Connection:
    """How to reach one API server, and as whom."""

    server: str
    """`http(s)://host:port`, with a path if a proxy serves it below one."""
    credentials: Credentials = field(default_factory=Fixed)
    trust: Trust | None = None
    """None for plain http."""
    namespace: str = "default"
    server_name: str = ""
    """The name that the server's certificate has to have, if not the host of `server`."""
    proxy: str = ""
    impersonate: tuple[tuple[str, str], ...] = ()
    """Headers that say as whom to act."""


def connect(
    *,
    kubeconfig: Path | None = None,
    context: str = "",
    environment: Mapping[str, str],
    clock: Clock | None = None,
    wall: Callable[[], float] = time.time,
    service_account: Path = SERVICE_ACCOUNT,
) -> Connection:
    """The connection that kubectl would use; raises InvalidInput."""
    clock = clock or SteadyClock()
    paths = paths_of(environment, kubeconfig)
    chosen = choose(paths, context, must_exist=kubeconfig is not None)
    if chosen is not None:
        return _from(chosen, environment, clock, wall)
    if not environment.get("KUBERNETES_SERVICE_HOST"):
        where = ", ".join(map(str, paths))
        fix = "write one with your provider's command, or point KUBECONFIG at it"
        raise InvalidInput("kubeconfig", f"{where} is not there, and this is no pod of a cluster", fix)
    return in_cluster(environment, clock=clock, folder=service_account)


def in_cluster(environment: Mapping[str, str], *, clock: Clock, folder: Path = SERVICE_ACCOUNT) -> Connection:
    """As the service account of the pod; raises InvalidInput outside of one."""
    host, port = environment.get("KUBERNETES_SERVICE_HOST", ""), environment.get("KUBERNETES_SERVICE_PORT", "443")
    if not host:
        raise InvalidInput("KUBERNETES_SERVICE_HOST", "is not set", "run in a pod, or name a kubeconfig")
    if not (folder / "token").exists():
        problem = "is not there"
        fix = "give the pod a service account with automountServiceAccountToken"
        raise InvalidInput(str(folder / "token"), problem, fix)
    server = f"https://[{host}]:{port}" if ":" in host else f"https://{host}:{port}"
    namespace = folder / "namespace"
    return Connection(
        server=server,
        credentials=TokenFile("service account: token", folder / "token", clock),
        trust=Trust(clock, Pem("service account: ca.crt", path=folder / "ca.crt")),
        namespace=namespace.read_text(encoding="utf-8").strip() if namespace.exists() else "default",
        proxy=_proxy(server, environment),
    )


def _from(chosen: Chosen, environment: Mapping[str, str], clock: Clock, wall: Callable[[], float]) -> Connection:
    cluster, user = chosen.cluster, chosen.user
    where = f"{chosen.cluster_field}: server"
    server = cluster.server.rstrip("/")
    if not server:
        raise InvalidInput(where, "is empty", "give the address of the API server, like https://host:6443")
    if "://" not in server:
        server = f"http://{server}"  # as kubectl understands it
    parts = urlsplit(server)
    if parts.scheme not in ("http", "https") or not parts.hostname:
        raise InvalidInput(where, f"is {cluster.server!r}", "give an address like https://host:6443")
    if cluster.insecure_skip_tls_verify and (cluster.certificate_authority or cluster.certificate_authority_data):
        fix = "remove one: with an authority there is no need to skip"
        raise InvalidInput(
            f"{chosen.cluster_field}: insecure-skip-tls-verify", "stands beside a certificate-authority", fix
        )
    trust = _trust(chosen, clock) if parts.scheme == "https" else None
    if trust is not None:
        trust.context()  # what is wrong with certificates is said now
    return Connection(
        server=server,
        credentials=_credentials(chosen, environment, clock, wall),
        trust=trust,
        namespace=chosen.namespace,
        server_name=cluster.tls_server_name,
        proxy=_checked_proxy(chosen, cluster) or _proxy(server, environment),
        impersonate=_impersonation(chosen.user_field, user),
    )


def _trust(chosen: Chosen, clock: Clock) -> Trust:
    cluster, user, whose = chosen.cluster, chosen.user, chosen.user_field
    certificate = Pem.of(whose, "client-certificate", data=user.client_certificate_data, path=user.client_certificate)
    key = Pem.of(whose, "client-key", data=user.client_key_data, path=user.client_key)
    if (certificate is None) != (key is None):
        there, missing = ("client-certificate", "client-key") if key is None else ("client-key", "client-certificate")
        raise InvalidInput(f"{whose}: {missing}", f"is missing beside {there}", "give both or neither")
    return Trust(
        clock,
        Pem.of(
            chosen.cluster_field,
            "certificate-authority",
            data=cluster.certificate_authority_data,
            path=cluster.certificate_authority,
        ),
        certificate,
        key,
        insecure=cluster.insecure_skip_tls_verify,
    )


_PROVIDERS = {
    "gcp": "install gke-gcloud-auth-plugin and run: gcloud container clusters get-credentials CLUSTER",
    "azure": "install kubelogin and run: kubelogin convert-kubeconfig",
    "oidc": "use an exec plugin such as kubelogin: kubectl oidc-login setup",
}


def _credentials(
    chosen: Chosen, environment: Mapping[str, str], clock: Clock, wall: Callable[[], float]
) -> Credentials:
    user, where = chosen.user, chosen.user_field
    if user.auth_provider is not None:
        provider = str(user.auth_provider.get("name", ""))
        fix = _PROVIDERS.get(provider, "use an exec plugin, a token or a certificate")
        raise InvalidInput(f"{where}: auth-provider", f"{provider!r} is gone from Kubernetes since 1.26", fix)
    if (user.token or user.token_file) and user.username:
        raise InvalidInput(f"{where}: username", "stands beside a token", "keep one way to authenticate")
    if user.token_file:
        return TokenFile(f"{where}: tokenFile", Path(user.token_file), clock, first=user.token)
    if user.token:
        return Fixed(bearer(user.token))
    if user.username:
        pair = b64encode(f"{user.username}:{user.password}".encode()).decode()
        return Fixed(Credential(f"Basic {pair}"))
    if user.exec is not None:
        return Plugin(
            name=where,
            exec=user.exec,
            cluster=_told(chosen.cluster),
            folder=chosen.folder,
            wall=wall,
            environment=environment,
            terminal=at_a_terminal(),
        )
    return Fixed()


def _told(cluster: Cluster) -> Cluster:
    """The cluster as a plugin is told of it: with the text of its authority, wherever that is."""
    if cluster.certificate_authority_data or not cluster.certificate_authority:
        return cluster
    text = b64encode(Path(cluster.certificate_authority).read_bytes()).decode()
    return Cluster(
        server=cluster.server,
        tls_server_name=cluster.tls_server_name,
        insecure_skip_tls_verify=cluster.insecure_skip_tls_verify,
        certificate_authority_data=text,
        proxy_url=cluster.proxy_url,
        extensions=cluster.extensions,
    )


def _impersonation(where: str, user: User) -> tuple[tuple[str, str], ...]:
    if not user.as_:
        if user.as_groups or user.as_uid or user.as_user_extra:
            raise InvalidInput(f"{where}: as", "is missing beside as-groups, as-uid or as-user-extra", "name a user")
        return ()
    headers = [("Impersonate-User", user.as_)]
    headers += [("Impersonate-Uid", user.as_uid)] if user.as_uid else []
    headers += [("Impersonate-Group", group) for group in user.as_groups or ()]
    headers += [
        (f"Impersonate-Extra-{quote(key, safe='')}", value)
        for key, values in (user.as_user_extra or {}).items()
        for value in values
    ]
    return tuple(headers)


def _checked_proxy(chosen: Chosen, cluster: Cluster) -> str:
    if cluster.proxy_url and urlsplit(cluster.proxy_url).scheme not in ("http", "https"):
        problem = f"is {cluster.proxy_url!r}"
        fix = "only http and https proxies are spoken to; for socks5 put an http proxy before it"
        raise InvalidInput(f"{chosen.cluster_field}: proxy-url", problem, fix)
    return cluster.proxy_url


def _proxy(server: str, environment: Mapping[str, str]) -> str:
    """The proxy that the environment names for this server, by the rules that Kubernetes' own clients have."""
    parts = urlsplit(server)
    host = parts.hostname or ""
    lower, upper = f"{parts.scheme}_proxy", f"{parts.scheme}_proxy".upper()
    proxy = environment.get(upper) or environment.get(lower) or ""
    if not proxy or host == "localhost" or _address(host, "127.0.0.0/8") or _address(host, "::1/128"):
        return ""
    for rule in (environment.get("NO_PROXY") or environment.get("no_proxy") or "").split(","):
        name = rule.strip().lower().rpartition(":")[0] if rule.count(":") == 1 else rule.strip().lower()
        if name == "*" or (name and (host == name.lstrip(".") or _address(host, name))):
            return ""
        if name and host.endswith("." + name.lstrip("*").lstrip(".")):
            return ""
    return proxy if "://" in proxy else f"http://{proxy}"


def _address(host: str, network: str) -> bool:
    try:
        return ipaddress.ip_address(host) in ipaddress.ip_network(network, strict=False)
    except ValueError:
        return False
