"""How objects of a list are read: as dictionaries, or as much of them as a reader needs, straight from the bytes.

A pod is 5 KB of JSON and 32 KB of dictionaries, of which a scheduler reads a tenth. A `View` of a msgspec Struct makes
only that tenth; declare it ``gc=False``, and the collector never looks at it. Views are for reading: what is written
back is a patch, so what a view leaves out is never lost.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final, Generic, Protocol, TypeVar

import msgspec

from quartermaster.kube.api import Json, Key, Unreachable, key_of

T = TypeVar("T")


class Meta(msgspec.Struct, rename="camel", frozen=True, gc=False):
    """What is needed of an object to keep it. Views take it as `metadata`, or something that has more."""

    name: str = ""
    namespace: str = ""
    uid: str = ""
    resource_version: str = ""


class Viewed(Protocol):
    """A struct with metadata."""

    @property
    def metadata(self) -> Meta:
        """At least this."""


class _ListMeta(msgspec.Struct, rename="camel", gc=False):
    resource_version: str = ""
    continue_: str = msgspec.field(name="continue", default="")


class Page(msgspec.Struct, Generic[T]):
    """One answer to a list."""

    metadata: _ListMeta
    items: list[T] | None = None


class Event(msgspec.Struct):
    """One line of a watch; the object is still bytes, because its type decides how it is read."""

    type: str
    object: msgspec.Raw = msgspec.Raw()


class _MarkMeta(msgspec.Struct, rename="camel", gc=False):
    name: str = ""
    namespace: str = ""
    resource_version: str = ""
    annotations: dict[str, str] | None = None


class Head(msgspec.Struct, gc=False):
    """Of an object that cannot be read, or of a bookmark, which is none."""

    metadata: _MarkMeta = msgspec.field(default_factory=_MarkMeta)

    @property
    def key(self) -> Key:
        """Namespace and name."""
        return self.metadata.namespace, self.metadata.name


_raw_page = msgspec.json.Decoder(Page[msgspec.Raw])
_event = msgspec.json.Decoder(Event)
_head = msgspec.json.Decoder(Head)


class View(Generic[T]):
    """Reads objects as `type_`, whose values have a key and a version."""

    def __init__(self, type_: type[T], *, key: Callable[[T], Key], version: Callable[[T], str]) -> None:
        self.key = key
        self.version = version
        self._page = msgspec.json.Decoder(Page[type_])  # type: ignore[valid-type]  # a type made at run time
        self._one = msgspec.json.Decoder(type_)

    def page(self, raw: bytes) -> tuple[list[T], list[tuple[Head, str]], str, str]:
        """What can be read, what cannot and why, the revision, and the token of the next page.

        Raises Unreachable if it is no list at all.
        """
        try:
            page = self._page.decode(raw)
        except msgspec.ValidationError:
            return self._piecewise(raw)
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as wrong:
            raise Unreachable(f"the answer is no list ({wrong}): {raw[:80]!r}") from None
        return page.items or [], [], page.metadata.resource_version, page.metadata.continue_

    def _piecewise(self, raw: bytes) -> tuple[list[T], list[tuple[Head, str]], str, str]:
        """One object that is not as it should be must not hide the others."""
        try:
            page = _raw_page.decode(raw)
            good, bad = [], []
            for item in page.items or ():
                read = self.one(item)
                if isinstance(read, Unreadable):
                    bad.append((read.head, read.why))
                else:
                    good.append(read)
        except msgspec.DecodeError as wrong:
            raise Unreachable(f"the answer is no list ({wrong}): {raw[:80]!r}") from None
        return good, bad, page.metadata.resource_version, page.metadata.continue_

    def one(self, raw: msgspec.Raw) -> T | Unreadable:
        """An object, or why it cannot be read."""
        try:
            return self._one.decode(raw)
        except msgspec.ValidationError as wrong:
            return Unreadable(_head.decode(raw), str(wrong))


class Unreadable:
    """An object that does not fit its view."""

    def __init__(self, head: Head, why: str) -> None:
        self.head = head
        self.why = why


def event_of(line: bytes) -> Event:
    """A line of a watch; raises Unreachable if it is torn."""
    try:
        return _event.decode(line)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as wrong:
        raise Unreachable(f"a watch says what is no event ({wrong}): {line[:80]!r}") from None


def head_of(raw: msgspec.Raw) -> Head:
    """Metadata of a bookmark."""
    return _head.decode(raw)


S = TypeVar("S", bound=Viewed)


def view_of(type_: type[S]) -> View[S]:
    """The view of a struct with metadata."""
    return View(
        type_,
        key=lambda value: (value.metadata.namespace, value.metadata.name),
        version=lambda value: value.metadata.resource_version,
    )


def _version_of(value: Json) -> str:
    version: str = value["metadata"].get("resourceVersion", "")
    return version


OBJECTS: Final[View[Json]] = View(dict[str, Any], key=key_of, version=_version_of)
"""Whole objects, as dictionaries."""
