"""Whom to trust and with which certificate to speak: TLS contexts from files or texts, made again when files change.

Certificates of clusters are rotated under running programs, so files are looked at again, at most once a minute.
Refuses to guess: a file that cannot be used is an InvalidInput that names its field.
"""

from __future__ import annotations

import ssl
import tempfile
from base64 import b64decode
from binascii import Error as NoBase64
from dataclasses import dataclass, field
from pathlib import Path

from quartermaster.kube.clock import Clock
from quartermaster.model.errors import InvalidInput

LOOK_AGAIN_S = 60.0


@dataclass(frozen=True, slots=True)
class Pem:
    """PEM text, given or in a file. `name` is the field that says so."""

    name: str
    data: bytes = field(default=b"", repr=False)
    path: Path | None = None

    @classmethod
    def of(cls, where: str, key: str, *, data: str, path: str) -> Pem | None:
        """From the two fields of a kubeconfig, of which the text wins."""
        if data:
            name = f"{where}: {key}-data"
            try:
                return cls(name, b64decode(data, validate=True))
            except NoBase64:
                raise InvalidInput(name, "is not base64", "encode the PEM text, or name a file instead") from None
        return cls(f"{where}: {key}", path=Path(path)) if path else None

    def read(self) -> bytes:
        """The text now; raises InvalidInput."""
        if self.path is None:
            return self.data
        try:
            return self.path.read_bytes()
        except OSError as wrong:
            problem = f"{self.path} cannot be read ({wrong.strerror})"
            raise InvalidInput(self.name, problem, "name a PEM file that can be read") from None


@dataclass(frozen=True, slots=True)
class Pair:
    """A certificate and its key as PEM text."""

    certificate: bytes = field(repr=False)
    key: bytes = field(repr=False)


@dataclass(slots=True)
class Trust:
    """TLS contexts for one cluster. Without `authority` the system's authorities are trusted."""

    clock: Clock
    authority: Pem | None = None
    certificate: Pem | None = None
    key: Pem | None = None
    insecure: bool = False
    _made: tuple[tuple[bytes, Pair | None], ssl.SSLContext] | None = field(default=None, init=False, repr=False)
    _asked: Pair | None = field(default=None, init=False)
    _looked: float = field(default=float("-inf"), init=False)

    def context(self, pair: Pair | None = None) -> ssl.SSLContext:
        """For the next connection; `pair`, from a plugin, takes the place of the configured certificate."""
        if self._made is not None and self._asked == pair and self.clock() < self._looked + LOOK_AGAIN_S:
            return self._made[1]
        authority = self.authority.read() if self.authority is not None else b""
        ours = pair
        if ours is None and self.certificate is not None and self.key is not None:
            ours = Pair(self.certificate.read(), self.key.read())
        content = (authority, ours)
        if self._made is None or self._made[0] != content:
            self._made = (content, self._context(authority, ours))
        self._asked, self._looked = pair, self.clock()
        return self._made[1]

    def _context(self, authority: bytes, pair: Pair | None) -> ssl.SSLContext:
        if self.authority is None:
            context = ssl.create_default_context()
        else:
            try:
                context = ssl.create_default_context(cadata=authority.decode())
            except (ssl.SSLError, ValueError):
                raise InvalidInput(self.authority.name, "is no PEM certificate", "give the cluster's CA") from None
        context.minimum_version = ssl.TLSVersion.TLSv1_2
        if self.insecure:
            context.check_hostname = False
            context.verify_mode = ssl.CERT_NONE
        if pair is not None:
            with tempfile.TemporaryDirectory() as folder:
                # The ssl module reads certificates from files only.
                chain, key = Path(folder, "chain.pem"), Path(folder, "key.pem")
                chain.write_bytes(pair.certificate)
                key.touch(mode=0o600)
                key.write_bytes(pair.key)
                try:
                    context.load_cert_chain(chain, key)
                except (ssl.SSLError, OSError) as wrong:
                    name = self.certificate.name if self.certificate is not None else "exec: clientCertificateData"
                    problem = f"cannot be used ({wrong.args[-1]})"
                    raise InvalidInput(
                        name, problem, "give a PEM certificate with the key that belongs to it"
                    ) from None
        return context
