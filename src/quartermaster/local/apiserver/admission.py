"""What happens between decoding and storing: plugins that change a request, then plugins that may refuse it.

A plugin is a function of an `Operation`. Built-in plugins are in admission_builtin.py; webhooks and policies have
modules of their own. Order is the order of registration, which is the real server's order.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field

from quartermaster.local.apiserver.errors import Json
from quartermaster.local.apiserver.kinds import Kind
from quartermaster.local.apiserver.options import WriteOptions
from quartermaster.local.apiserver.store import Key
from quartermaster.local.apiserver.transport import User


@dataclass(slots=True)
class Operation:
    """One write on its way: `verb` CREATE, UPDATE, DELETE or CONNECT; `value` the object to be, `old` the one there."""

    verb: str
    kind: Kind
    subresource: str
    key: Key
    value: Json
    old: Json | None
    user: User
    options: WriteOptions
    warnings: list[str] = field(default_factory=list)


Plugin = Callable[[Operation], Awaitable[None] | None]


class Admission:
    """The chain. `mutating` plugins may change `Operation.value`; `validating` ones may only raise ApiError."""

    def __init__(self) -> None:
        self.mutating: list[Plugin] = []
        self.validating: list[Plugin] = []

    async def mutate(self, operation: Operation) -> None:
        """Run the plugins that change."""
        for plugin in self.mutating:
            pending = plugin(operation)
            if pending is not None:
                await pending

    async def validate(self, operation: Operation) -> None:
        """Run the plugins that refuse."""
        for plugin in self.validating:
            pending = plugin(operation)
            if pending is not None:
                await pending
