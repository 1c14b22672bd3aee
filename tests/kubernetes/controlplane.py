"""A real control plane on loopback: etcd and kube-apiserver, alive for as long as a `with` block.

`running(...)` gives the `Server` to talk to: address, bearer token of a cluster administrator, certificate authority.
Nothing else runs: no controller, no scheduler, no kubelet, so every change in the cluster is one that a test asked for
(therefore the ServiceAccount admission is off: nobody would make the default accounts it waits for).

It is ready when `/readyz` says so, asked again and again while the processes live; there is no fixed waiting time. A
process that dies early (a port taken meanwhile) is tried again on other ports, and reported with the end of its log.
"""

import contextlib
import http.client
import secrets
import shutil
import socket
import ssl
import subprocess
import time
from collections.abc import Iterator, Sequence
from pathlib import Path

import trustme

from tests.kubernetes.server import Server

ATTEMPTS = 3
READY_WITHIN_S = 120.0
PAUSE_S = 0.05
SERVICE_RANGE = "10.96.0.0/16"


class NotReady(Exception):
    """A component ended or stayed unready; the message has the end of its log."""


@contextlib.contextmanager
def running(*, kube_apiserver: Path, etcd: Path, folder: Path, flags: Sequence[str] = ()) -> Iterator[Server]:
    """Start both, wait until ready, give the address, stop both and drop their data.

    `folder` is empty or absent and takes certificates, data and logs; the logs stay. `flags` go to kube-apiserver after
    ours, so that they win. Raises `NotReady`.
    """
    for attempt in range(1, ATTEMPTS + 1):
        place = folder / str(attempt)
        place.mkdir(parents=True)
        with contextlib.ExitStack() as stack:
            try:
                server = _start(stack, kube_apiserver=kube_apiserver, etcd=etcd, place=place, flags=flags)
            except NotReady:
                if attempt == ATTEMPTS:
                    raise
                continue
            yield server
            return


def _start(
    stack: contextlib.ExitStack, *, kube_apiserver: Path, etcd: Path, place: Path, flags: Sequence[str]
) -> Server:
    client_port, peer_port, port = _free_ports(3)
    authority = trustme.CA()
    certificate = authority.issue_cert("127.0.0.1", "localhost")
    tls, key, tokens = (place / name for name in ("tls.pem", "key.pem", "tokens.csv"))
    certificate.private_key_pem.write_to_path(key)
    tls.write_bytes(b"".join(blob.bytes() for blob in certificate.cert_chain_pems))
    token = secrets.token_hex(16)
    tokens.write_text(f'{token},admin,admin,"system:masters"\n', encoding="utf-8")

    stack.callback(shutil.rmtree, place / "data", ignore_errors=True)
    store = f"http://127.0.0.1:{client_port}"
    peer = f"http://127.0.0.1:{peer_port}"
    processes = [
        _launch(
            stack,
            place / "etcd.log",
            str(etcd),
            f"--data-dir={place / 'data'}",
            "--unsafe-no-fsync",
            f"--listen-client-urls={store}",
            f"--advertise-client-urls={store}",
            f"--listen-peer-urls={peer}",
            f"--initial-advertise-peer-urls={peer}",
            f"--initial-cluster=default={peer}",
        ),
        _launch(
            stack,
            place / "kube-apiserver.log",
            str(kube_apiserver),
            f"--etcd-servers={store}",
            "--bind-address=127.0.0.1",
            "--advertise-address=127.0.0.1",
            f"--secure-port={port}",
            f"--tls-cert-file={tls}",
            f"--tls-private-key-file={key}",
            f"--token-auth-file={tokens}",
            f"--service-account-key-file={key}",
            f"--service-account-signing-key-file={key}",
            "--service-account-issuer=https://kubernetes.default.svc",
            f"--service-cluster-ip-range={SERVICE_RANGE}",
            "--authorization-mode=RBAC",
            "--endpoint-reconciler-type=none",
            "--disable-admission-plugins=ServiceAccount",
            *flags,
        ),
    ]
    server = Server(url=f"https://127.0.0.1:{port}", token=token, ca=authority.cert_pem.bytes().decode())
    _await_ready(server, port=port, processes=processes, place=place)
    return server


def _free_ports(count: int) -> list[int]:
    with contextlib.ExitStack() as stack:
        sockets = [stack.enter_context(socket.socket()) for _ in range(count)]
        for each in sockets:
            each.bind(("127.0.0.1", 0))
        return [each.getsockname()[1] for each in sockets]


def _launch(stack: contextlib.ExitStack, log: Path, *command: str) -> subprocess.Popen[bytes]:
    with log.open("wb") as output:
        process = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=output, stderr=output)
    stack.callback(_stop, process)
    return process


def _stop(process: subprocess.Popen[bytes]) -> None:
    process.terminate()
    try:
        process.wait(10)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()


def _await_ready(server: Server, *, port: int, processes: Sequence[subprocess.Popen[bytes]], place: Path) -> None:
    trust = ssl.create_default_context(cadata=server.ca)
    deadline = time.monotonic() + READY_WITHIN_S
    while time.monotonic() < deadline:
        with contextlib.closing(http.client.HTTPSConnection("127.0.0.1", port, timeout=5, context=trust)) as connection:
            try:
                connection.request("GET", "/readyz", headers={"Authorization": f"Bearer {server.token}"})
                if connection.getresponse().status == http.HTTPStatus.OK:
                    return
            except (OSError, http.client.HTTPException):
                pass  # not listening yet
        for process in processes:
            with contextlib.suppress(subprocess.TimeoutExpired):
                process.wait(PAUSE_S)
                raise NotReady(f"{process.args!r} ended with {process.returncode}\n{_ends(place)}")
    raise NotReady(f"not ready within {READY_WITHIN_S:.0f} s\n{_ends(place)}")


def _ends(place: Path) -> str:
    return "\n".join(
        f"{log}:\n" + "\n".join(log.read_text(errors="replace").splitlines()[-15:])
        for log in sorted(place.glob("*.log"))
    )


@contextlib.contextmanager
def controller_manager(server: Server, *, program: Path, folder: Path) -> Iterator[None]:
    """A kube-controller-manager for `server`, for as long as the `with` block.

    All its controllers run, at their defaults, but those that need a cloud or volumes.
    """
    config = folder / "controller-manager.json"
    config.write_text(server.kubeconfig(), encoding="utf-8")
    with contextlib.ExitStack() as stack:
        _launch(
            stack,
            folder / "kube-controller-manager.log",
            str(program),
            f"--kubeconfig={config}",
            "--leader-elect=false",
            "--secure-port=0",
            "--controllers=*,-persistentvolume-binder-controller,-ttl-controller",
            "--kube-api-qps=500",
            "--kube-api-burst=1000",
        )
        yield
