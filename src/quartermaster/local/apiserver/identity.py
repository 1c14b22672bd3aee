"""Who the server is and how to reach it: a certificate authority for loopback, a token, a kubeconfig.

Made once and kept in the data directory if there is one. The authority signs this server's certificate and nothing
else.
"""

from __future__ import annotations

import base64
import contextlib
import os
import secrets
import ssl
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from quartermaster.kube.certificates import AUTHORITY_DAYS, authority, pem, serving
from quartermaster.model.errors import InvalidInput

NAME = "quartermaster"
_NAMES = (
    "localhost",
    "kubernetes",
    "kubernetes.default",
    "kubernetes.default.svc",
    "127.0.0.1",
    "::1",
    "10.96.0.1",
)


@dataclass(frozen=True, slots=True)
class Identity:
    """PEM texts and the administrator's token."""

    authority: bytes
    certificate: bytes
    key: bytes
    token: str

    def server_tls(self) -> ssl.SSLContext:
        """For the listening side."""
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.minimum_version = ssl.TLSVersion.TLSv1_2
        with tempfile.TemporaryDirectory() as folder:
            # The ssl module reads certificates from files only.
            chain, key = Path(folder, "chain.pem"), Path(folder, "key.pem")
            chain.write_bytes(self.certificate)
            key.touch(mode=0o600)
            key.write_bytes(self.key)
            context.load_cert_chain(chain, key)
        return context

    def client_tls(self) -> ssl.SSLContext:
        """For the asking side."""
        return ssl.create_default_context(cadata=self.authority.decode())


def identity(folder: Path | None) -> Identity:
    """The identity kept in `folder`, made if it is not there; a passing one without a folder."""
    if folder is None:
        return _made()
    names = ("ca.crt", "server.crt", "server.key", "token")
    if all((folder / name).exists() for name in names):
        authority, certificate, key, token = ((folder / name).read_bytes() for name in names)
        return Identity(authority, certificate, key, token.decode().strip())
    made = _made()
    folder.mkdir(parents=True, exist_ok=True)
    for name, content in zip(names, (made.authority, made.certificate, made.key, made.token.encode()), strict=True):
        path = folder / name
        path.touch(mode=0o600)
        path.write_bytes(content)
    return made


def _made() -> Identity:
    from cryptography.hazmat.primitives import serialization  # noqa: PLC0415  # only to make certificates

    now = time.time()
    root, signing = authority(f"{NAME}-ca", now=now, days=AUTHORITY_DAYS)
    server, key = serving("kube-apiserver", root, signing, names=_NAMES, now=now, days=AUTHORITY_DAYS)
    # The form that a kube-apiserver also takes as the key of its tokens.
    form = serialization.PrivateFormat.TraditionalOpenSSL
    return Identity(
        authority=pem(root),
        certificate=pem(server),
        key=key.private_bytes(serialization.Encoding.PEM, form, serialization.NoEncryption()),
        token=secrets.token_urlsafe(32),
    )


def kubeconfig(url: str, who: Identity) -> dict[str, Any]:
    """A kubeconfig of one cluster, one user, one context."""
    return {
        "apiVersion": "v1",
        "kind": "Config",
        "clusters": [
            {
                "name": NAME,
                "cluster": {"server": url, "certificate-authority-data": base64.b64encode(who.authority).decode()},
            }
        ],
        "users": [{"name": NAME, "user": {"token": who.token}}],
        "contexts": [{"name": NAME, "context": {"cluster": NAME, "user": NAME, "namespace": "default"}}],
        "current-context": NAME,
    }


def write_kubeconfig(path: Path, url: str, who: Identity) -> None:
    """Write a kubeconfig for this server, or put it into one that is there and make it current.

    Raises InvalidInput if the file is there and is no kubeconfig, or cannot be written.
    """
    import yaml  # noqa: PLC0415  # only here

    made = kubeconfig(url, who)
    try:
        known = yaml.safe_load(path.read_text()) if path.exists() else None
    except (OSError, ValueError, yaml.YAMLError) as wrong:
        raise InvalidInput(f"--kubeconfig {path}", f"cannot be read ({wrong})", "name another file") from None
    if known is not None:
        if not isinstance(known, dict) or known.get("kind", "Config") != "Config":
            raise InvalidInput(f"--kubeconfig {path}", "is not a kubeconfig", "name another file")
        for group in ("clusters", "users", "contexts"):
            others = [item for item in known.get(group) or () if item.get("name") != NAME]
            made[group] = others + made[group]
        made = known | made
    text = yaml.safe_dump(made, sort_keys=False)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        part = path.with_name(f".{path.name}.{os.getpid()}")
        part.touch(mode=0o600)
        part.write_text(text)
        part.replace(path)
    except OSError as wrong:
        with contextlib.suppress(OSError, NameError):
            part.unlink()
        raise InvalidInput(
            f"--kubeconfig {path}", f"cannot be written ({wrong.strerror})", "name another file"
        ) from None
