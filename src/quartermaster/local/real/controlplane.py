"""A real control plane on loopback: etcd and kube-apiserver, alive for as long as a `with` block.

`running(...)` gives where it answers and who it is. Beside it runs at most the part of kube-controller-manager that our
embedded server has inside: the collector of dependents and the emptying of namespaces. Whatever else changes in the
cluster, somebody asked for. The ServiceAccount admission is off, as in the embedded server: a pod needs no account.

It is ready when `/readyz` says so, asked again and again while the processes live; there is no fixed waiting time. A
process that dies early (a port taken meanwhile) is tried again on other ports, and reported with the end of its log.
The processes have a session of their own, so Ctrl-C in a terminal reaches us alone and we end them in order; if we are
killed ourselves, the kernel ends them.
"""

from __future__ import annotations

import contextlib
import ctypes
import http.client
import json
import shutil
import signal
import socket
import subprocess
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from quartermaster.local.apiserver.identity import Identity, identity, write_kubeconfig

ATTEMPTS = 3
READY_WITHIN_S = 120.0
PAUSE_S = 0.05
SERVICE_RANGE = "10.96.0.0/16"
MANAGER = "kube-controller-manager"
COLLECTORS = "garbage-collector-controller,namespace-controller"
_LIBC = ctypes.CDLL(None)
_PR_SET_PDEATHSIG = 1


class NotReady(Exception):
    """A component ended or stayed unready; the message has the end of its log."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ControlPlane:
    """A control plane that answers. `processes` by name."""

    url: str
    identity: Identity
    folder: Path
    processes: Mapping[str, subprocess.Popen[bytes]]

    def check(self) -> None:
        """Raises NotReady if one of its processes is no more."""
        for name, process in self.processes.items():
            if process.poll() is not None:
                raise NotReady(f"{name} ended with {process.returncode}\n{_ends(self.folder)}")

    def get(self, path: str, *, timeout: float = 5.0) -> tuple[int, bytes]:
        """Status and body of one request of its administrator, for those who have no event loop; raises OSError."""
        trust = self.identity.client_tls()
        address = self.url.removeprefix("https://")
        with contextlib.closing(http.client.HTTPSConnection(address, timeout=timeout, context=trust)) as connection:
            connection.request("GET", path, headers={"Authorization": f"Bearer {self.identity.token}"})
            answer = connection.getresponse()
            return answer.status, answer.read()

    def version(self) -> tuple[int, int]:
        """Major and minor of the release."""
        told = json.loads(self.get("/version")[1])
        return int(told["major"]), int(str(told["minor"]).rstrip("+"))


@contextlib.contextmanager
def running(
    programs: Mapping[str, Path],
    *,
    folder: Path,
    port: int = 0,
    keep: bool = False,
    flags: Sequence[str] = (),
    controllers: str = COLLECTORS,
) -> Iterator[ControlPlane]:
    """Start etcd and kube-apiserver, wait until ready, stop both.

    `programs` by name; with kube-controller-manager among them, dependents are collected. `folder` takes certificates,
    token, logs and data; the data go at the end, unless `keep`, and then they are also on the disk for certain.
    `port` 0 takes a free one. `flags` go to kube-apiserver after ours, so that they win. Raises NotReady, and OSError
    if `port` is taken. `controllers` are those that kube-controller-manager runs, in the form of its flag.
    """
    folder.mkdir(parents=True, exist_ok=True)
    who = identity(folder)
    for attempt in range(1, ATTEMPTS + 1):
        with contextlib.ExitStack() as stack:
            if not keep:
                stack.callback(shutil.rmtree, folder / "etcd", ignore_errors=True)
            try:
                plane = _start(
                    stack, programs, who=who, folder=folder, port=port, keep=keep, flags=flags, controllers=controllers
                )
            except NotReady:
                if attempt == ATTEMPTS:
                    raise
                continue
            yield plane
            return


def _start(
    stack: contextlib.ExitStack,
    programs: Mapping[str, Path],
    *,
    who: Identity,
    folder: Path,
    port: int,
    keep: bool,
    flags: Sequence[str],
    controllers: str,
) -> ControlPlane:
    client_port, peer_port, port = _free_ports(0, 0, port)
    tokens = folder / "tokens.csv"
    tokens.touch(mode=0o600)
    tokens.write_text(f'{who.token},admin,admin,"system:masters"\n', encoding="utf-8")
    store, peer = f"http://127.0.0.1:{client_port}", f"http://127.0.0.1:{peer_port}"
    key = folder / "server.key"
    commands = {
        "etcd": [
            f"--data-dir={folder / 'etcd'}",
            *([] if keep else ["--unsafe-no-fsync"]),
            f"--listen-client-urls={store}",
            f"--advertise-client-urls={store}",
            f"--listen-peer-urls={peer}",
            f"--initial-advertise-peer-urls={peer}",
            f"--initial-cluster=default={peer}",
        ],
        "kube-apiserver": [
            f"--etcd-servers={store}",
            "--bind-address=127.0.0.1",
            "--advertise-address=127.0.0.1",
            f"--secure-port={port}",
            f"--tls-cert-file={folder / 'server.crt'}",
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
        ],
    }
    processes: dict[str, subprocess.Popen[bytes]] = {}
    plane = ControlPlane(url=f"https://127.0.0.1:{port}", identity=who, folder=folder, processes=processes)
    for name, arguments in commands.items():
        processes[name] = _launch(stack, folder / f"{name}.log", programs[name], arguments)
    _await_ready(plane)
    if MANAGER in programs:
        kubeconfig = folder / "manager.kubeconfig"
        write_kubeconfig(kubeconfig, plane.url, who)
        arguments = [
            f"--kubeconfig={kubeconfig}",
            f"--controllers={controllers}",
            "--kube-api-qps=500",
            "--kube-api-burst=1000",
            "--leader-elect=false",
            "--secure-port=0",
        ]
        processes[MANAGER] = _launch(stack, folder / f"{MANAGER}.log", programs[MANAGER], arguments)
    return plane


def _free_ports(*wanted: int) -> list[int]:
    with contextlib.ExitStack() as stack:
        sockets = [stack.enter_context(socket.socket()) for _ in wanted]
        for each, port in zip(sockets, wanted, strict=True):
            each.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            each.bind(("127.0.0.1", port))
        return [each.getsockname()[1] for each in sockets]


def _launch(stack: contextlib.ExitStack, log: Path, program: Path, arguments: Sequence[str]) -> subprocess.Popen[bytes]:
    with log.open("wb") as output:
        process = subprocess.Popen(  # noqa: S603  # programs that the user named or built
            [str(program), *arguments],
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=output,
            start_new_session=True,
            preexec_fn=_end_with_parent,  # noqa: PLW1509  # one system call; no other thread is needed for it
        )
    stack.callback(_stop, process)
    return process


def _end_with_parent() -> None:
    # Not SIGTERM: a kube-apiserver whose etcd goes at the same moment waits for it for ever.
    _LIBC.prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)


def _stop(process: subprocess.Popen[bytes]) -> None:
    process.terminate()
    try:
        process.wait(10)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()


def _await_ready(plane: ControlPlane) -> None:
    deadline = time.monotonic() + READY_WITHIN_S
    while time.monotonic() < deadline:
        with contextlib.suppress(OSError, http.client.HTTPException):  # not listening yet
            if plane.get("/readyz")[0] == http.HTTPStatus.OK:
                return
        plane.check()
        time.sleep(PAUSE_S)
    raise NotReady(f"not ready within {READY_WITHIN_S:.0f} s\n{_ends(plane.folder)}")


def _ends(folder: Path) -> str:
    return "\n".join(
        f"{log}:\n" + "\n".join(log.read_text(errors="replace").splitlines()[-15:])
        for log in sorted(folder.glob("*.log"))
    )
