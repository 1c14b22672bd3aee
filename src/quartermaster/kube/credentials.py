"""Who we say we are, per request: a fixed header, a token in a file, or what a plugin gave.

A credential may be refused at any time (401). Then `refused` says whether asking again can help; of a thousand requests
that are refused together only the first discards what they all used.
"""

from __future__ import annotations

import logging
from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol

from quartermaster.kube.clock import Clock
from quartermaster.kube.tls import Pair
from quartermaster.model.errors import InvalidInput

_log = logging.getLogger(__name__)
LOOK_AGAIN_S = 60.0
"""How old a token may be before its file is read again: kubelets write a new one long before the old one ends."""


@dataclass(frozen=True, slots=True)
class Credential:
    """What goes with a request: an Authorization header or a certificate, or nothing."""

    authorization: str = field(default="", repr=False)
    pair: Pair | None = field(default=None, repr=False)


class Credentials(Protocol):
    """A source of credentials."""

    async def current(self) -> Credential:
        """What to use now; raises Unreachable or InvalidInput if there is none."""

    def refused(self, used: Credential) -> bool:
        """`used` was answered with 401; whether `current` may give something better now."""


@dataclass(frozen=True, slots=True)
class Fixed:
    """Always the same: a token, a name and password, or nobody."""

    credential: Credential = Credential()

    async def current(self) -> Credential:
        """The one there is."""
        return self.credential

    def refused(self, used: Credential) -> bool:
        """There is no other."""
        del used
        return False


@dataclass(slots=True)
class TokenFile:
    """A token that somebody else renews in a file; the last one that could be read is used on.

    `first` is used while the file cannot be read; without it that raises InvalidInput.
    """

    name: str
    path: Path
    clock: Clock
    first: str = field(default="", repr=False)
    _read: Credential | None = field(default=None, init=False)
    _due: float = field(default=float("-inf"), init=False)

    async def current(self) -> Credential:
        """What the file said when last looked at."""
        if self._read is None or self.clock() >= self._due:
            self._due = self.clock() + LOOK_AGAIN_S
            try:
                token = self.path.read_text(encoding="utf-8").strip()  # a line: not worth a thread
            except OSError as wrong:
                self._read = self._read or (bearer(self.first) if self.first else None)
                if self._read is None:
                    problem = f"{self.path} cannot be read ({wrong.strerror})"
                    raise InvalidInput(self.name, problem, "name a file with a bearer token") from None
                _log.warning("%s: %s cannot be read (%s), the last token stays", self.name, self.path, wrong.strerror)
            else:
                if not token and self._read is None:
                    raise InvalidInput(self.name, f"{self.path} is empty", "name a file with a bearer token")
                self._read = bearer(token) if token else self._read
        assert self._read is not None, "nothing was raised"
        return self._read

    def refused(self, used: Credential) -> bool:
        """The file may have a newer one."""
        if used == self._read:
            self._due = float("-inf")
        return True


def bearer(token: str) -> Credential:
    """A bearer token."""
    return Credential(f"Bearer {token}")
