"""Credentials from a program: the exec plugins that cloud providers and single sign-on use.

The protocol is Kubernetes' ExecCredential, v1 and v1beta1: the question in KUBERNETES_EXEC_INFO, the answer as JSON on
standard output. The answer is kept until shortly before it expires or the API refuses it; however many requests wait,
the program runs once. A program that is not there is bad input; one that fails may work the next time.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import shutil
import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import Any, Final

import msgspec

from quartermaster.kube.api import Unreachable
from quartermaster.kube.credentials import Credential, bearer
from quartermaster.kube.kubeconfig import Cluster, Exec
from quartermaster.kube.tls import Pair
from quartermaster.model.errors import InvalidInput

VERSIONS: Final = ("client.authentication.k8s.io/v1", "client.authentication.k8s.io/v1beta1")
EXTENSION: Final = "client.authentication.k8s.io/exec"
EARLY_S: Final = 10.0
"""A credential this close to its end is not used for a new request."""

LONGEST_S: Final = 60.0
"""How long a plugin that nobody can answer may take."""


class _Status(msgspec.Struct, rename="camel"):
    token: str = ""
    client_certificate_data: str = ""
    client_key_data: str = ""
    expiration_timestamp: datetime | None = None


class _Answer(msgspec.Struct, rename="camel"):
    api_version: str = ""
    kind: str = ""
    status: _Status | None = None


@dataclass(slots=True, kw_only=True)
class Plugin:
    """Runs a plugin when it has to. `wall` gives seconds since 1970, which is what expiry is in.

    `terminal`: whether somebody is there to answer questions. Raises InvalidInput if the configuration cannot work.
    """

    name: str
    exec: Exec
    cluster: Cluster
    folder: Path
    wall: Callable[[], float]
    environment: Mapping[str, str]
    terminal: bool
    _command: str = field(init=False)
    _held: Credential | None = field(default=None, init=False)
    _ends: float = field(default=float("inf"), init=False)
    _running: asyncio.Lock = field(default_factory=asyncio.Lock, init=False)

    def __post_init__(self) -> None:
        if self.exec.api_version not in VERSIONS:
            fix = f"set it to one of {', '.join(VERSIONS)}; newer versions of the plugin print these"
            raise InvalidInput(f"{self.name}: exec.apiVersion", f"is {self.exec.api_version!r}", fix)
        mode = self.exec.interactive_mode
        if mode not in ("Never", "IfAvailable", "Always"):
            if mode or self.exec.api_version == VERSIONS[0]:
                fix = "set it to Never, IfAvailable or Always"
                raise InvalidInput(f"{self.name}: exec.interactiveMode", f"is {mode!r}", fix)
            mode = "IfAvailable"  # v1beta1 need not say
        if mode == "Always" and not self.terminal:
            problem = "is Always, and there is no terminal"
            raise InvalidInput(f"{self.name}: exec.interactiveMode", problem, "use a credential that asks no questions")
        self.terminal = self.terminal and mode != "Never"
        self._command = self._found()

    def _found(self) -> str:
        command = self.exec.command
        if not command:
            raise InvalidInput(f"{self.name}: exec.command", "is empty", "name the program that gives the credential")
        if os.sep in command and not Path(command).is_absolute():
            command = str(self.folder / command)
        found = shutil.which(command, path=self.environment.get("PATH", os.defpath))
        if found is None:
            hint = " ".join(self.exec.install_hint.split())
            fix = hint or "install it, or write its full path"
            raise InvalidInput(f"{self.name}: exec.command", f"{self.exec.command!r} is no program here", fix)
        return found

    async def current(self) -> Credential:
        """What the plugin gave last, or gives now; raises Unreachable."""
        async with self._running:
            if self._held is None or self.wall() >= self._ends:
                self._held, self._ends = await self._run()
            return self._held

    def refused(self, used: Credential) -> bool:
        """Ask the plugin again, unless somebody already has."""
        if used is self._held:
            self._held = None
        return True

    async def _run(self) -> tuple[Credential, float]:
        environment = {**self.environment, **{item.name: item.value for item in self.exec.env or ()}}
        environment["KUBERNETES_EXEC_INFO"] = msgspec.json.encode(self._question()).decode()
        try:
            process = await asyncio.create_subprocess_exec(
                self._command,
                *(self.exec.args or ()),
                env=environment,
                stdin=None if self.terminal else asyncio.subprocess.DEVNULL,
                stdout=asyncio.subprocess.PIPE,
                stderr=None if self.terminal else asyncio.subprocess.PIPE,
            )
        except OSError as wrong:
            raise Unreachable(f"{self.name}: exec {self._command}: {wrong.strerror}") from None
        try:
            async with asyncio.timeout(None if self.terminal else LONGEST_S):
                out, err = await process.communicate()
        except TimeoutError:
            raise Unreachable(f"{self.name}: exec {self._command}: no answer in {LONGEST_S:g} s") from None
        finally:
            if process.returncode is None:
                with contextlib.suppress(ProcessLookupError):
                    process.kill()
                await process.wait()
        if process.returncode:
            said = " ".join((err or b"").decode(errors="replace").split())[-300:]
            raise Unreachable(f"{self.name}: exec {self._command}: exit status {process.returncode} {said}".rstrip())
        return self._understood(out)

    def _question(self) -> dict[str, Any]:
        spec: dict[str, Any] = {"interactive": self.terminal}
        if self.exec.provide_cluster_info:
            cluster = self.cluster
            extensions = {item.get("name"): item.get("extension") for item in cluster.extensions or ()}
            told = {
                "server": cluster.server,
                "tls-server-name": cluster.tls_server_name,
                "insecure-skip-tls-verify": cluster.insecure_skip_tls_verify,
                "certificate-authority-data": cluster.certificate_authority_data,
                "proxy-url": cluster.proxy_url,
                "config": extensions.get(EXTENSION),
            }
            spec["cluster"] = {key: value for key, value in told.items() if value}
        return {"apiVersion": self.exec.api_version, "kind": "ExecCredential", "spec": spec}

    def _understood(self, out: bytes) -> tuple[Credential, float]:
        where = f"{self.name}: exec {self._command}"
        try:
            answer = msgspec.json.decode(out, type=_Answer)
        except (msgspec.DecodeError, UnicodeDecodeError) as wrong:
            raise Unreachable(f"{where}: what it prints is no ExecCredential ({wrong})") from None
        if answer.kind != "ExecCredential" or answer.api_version != self.exec.api_version:
            said = f"{answer.api_version} {answer.kind}"
            raise Unreachable(f"{where}: prints {said}, and the kubeconfig says {self.exec.api_version} ExecCredential")
        status = answer.status or _Status()
        if bool(status.client_certificate_data) != bool(status.client_key_data):
            raise Unreachable(f"{where}: gives a certificate or a key without the other")
        pair = None
        if status.client_certificate_data:
            pair = Pair(status.client_certificate_data.encode(), status.client_key_data.encode())
        if pair is None and not status.token:
            raise Unreachable(f"{where}: gives neither token nor certificate")
        ends = status.expiration_timestamp
        credential = Credential(bearer(status.token).authorization if status.token else "", pair)
        return credential, float("inf") if ends is None else ends.timestamp() - EARLY_S


def at_a_terminal() -> bool:
    """Whether somebody can answer a plugin's questions."""
    return sys.stdin is not None and sys.stdin.isatty()
