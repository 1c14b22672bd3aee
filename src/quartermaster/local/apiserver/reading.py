"""GET, LIST and WATCH.

Lists are joins of stored bytes. Pages of a list all come from one revision, as with the real server, because the log
of a table can undo what happened since. A watch is a place in that log: it sends what is there in one piece, and
waits when there is nothing.
"""

from __future__ import annotations

import asyncio
import base64
import binascii
import math
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass

from quartermaster.local.apiserver.cluster import Cluster
from quartermaster.local.apiserver.codec import decode, encode, load
from quartermaster.local.apiserver.errors import ApiError, Json, bad_request, expired, not_found
from quartermaster.local.apiserver.fields import FieldMatch
from quartermaster.local.apiserver.kinds import Kind
from quartermaster.local.apiserver.options import ListOptions
from quartermaster.local.apiserver.selectors import matches, parse_fields, parse_labels
from quartermaster.local.apiserver.store import Change, Key, Record, Table
from quartermaster.local.apiserver.views import View

INITIAL_EVENTS_END = "k8s.io/initial-events-end"
_BATCH = 512
_BEFORE_END = 2.0
"""Seconds before the end of a watch at which it gets a last bookmark, if it lasts that long."""


@dataclass(slots=True)
class Filter:
    """What of a table a request is about."""

    namespace: str | None
    accepts: Callable[[Record], bool] | None
    after: int = 0
    """For a watch from a revision that has not been yet."""

    @classmethod
    def of(cls, kind: Kind, namespace: str, options: ListOptions) -> Filter:
        """Raises ApiError 400 for selectors that cannot be understood."""
        labels = parse_labels(options.labels) if options.labels else ()
        fields = FieldMatch(kind, parse_fields(options.fields)) if options.fields else None

        def accepts(record: Record) -> bool:
            return matches(labels, record.labels) and (fields is None or fields.matches(record))

        return cls(namespace or None, accepts if labels or fields is not None else None)

    def matches(self, record: Record) -> bool:
        """Whether it is about this object."""
        if self.namespace is not None and record.key[0] != self.namespace:
            return False
        return self.accepts is None or self.accepts(record)


def get(cluster: Cluster, view: View, key: Key, revision: int | None = None) -> bytes:
    """One object, not older than `revision`; raises ApiError 404, or 504 if nothing is as new."""
    kind = view.kind
    if revision is not None and revision > cluster.store.revision:
        raise _too_new(revision, cluster.store.revision)
    record = cluster.find(kind.table, key)
    if record is None:
        raise not_found(kind.plural, kind.group, key[1])
    return view.bytes_of(record.raw)


def list_(cluster: Cluster, view: View, namespace: str, options: ListOptions) -> bytes:
    """A list, or a page of one."""
    return view.listing(*page(cluster, view.kind, namespace, options))


def page(cluster: Cluster, kind: Kind, namespace: str, options: ListOptions) -> tuple[list[Record], Json]:
    """What a list shows, and its metadata; raises ApiError 400, 410 or 504."""
    wanted = Filter.of(kind, namespace, options)
    table = cluster.store.table(kind.table)
    revision, after = cluster.store.revision, None
    if options.proceed:
        revision, after = _resume(options.proceed, cluster, table)
    elif options.revision:
        if options.revision > revision:
            raise _too_new(options.revision, revision)
        if options.match == "Exact" or (options.limit and not options.match):
            revision = options.revision
            if revision < table.compacted:
                raise expired(f"The resourceVersion for the provided list is too old: {revision} ({table.compacted})")
    found: list[Record] = []
    remaining = 0
    source = (
        table.records(wanted.namespace, after=after)
        if revision == cluster.store.revision
        else table.records_at(revision, wanted.namespace, after=after)
    )
    for record in source:
        if wanted.accepts is not None and not wanted.accepts(record):
            continue
        if options.limit and len(found) == options.limit:
            remaining += 1
            continue
        found.append(record)
    metadata: Json = {"resourceVersion": str(revision)}
    if remaining:
        metadata["continue"] = _token(revision, found[-1].key)
        if wanted.accepts is None:
            metadata["remainingItemCount"] = remaining
    return found, metadata


def _token(revision: int, after: Key) -> str:
    raw = encode({"v": "meta.k8s.io/v1", "rv": revision, "start": f"{after[0]}/{after[1]}\0"})
    return base64.urlsafe_b64encode(raw).decode().rstrip("=")


def _resume(token: str, cluster: Cluster, table: Table) -> tuple[int, Key]:
    try:
        raw = base64.b64decode(token + "=" * (-len(token) % 4), altchars="-_", validate=True)
        if not raw.lstrip().startswith(b"{"):
            raise _bad_token(_not_json(raw))
        value = decode(raw)
        namespace, _, name = value["start"].rstrip("\0").partition("/")
        revision = int(value["rv"])
    except binascii.Error:
        raise _bad_token("illegal base64 data") from None
    except (KeyError, TypeError, AttributeError, ValueError):
        raise _bad_token("wrong content") from None
    after = (namespace, name)
    if revision < 0:
        return cluster.store.revision, after
    if revision > cluster.store.revision:
        raise bad_request("continue key is not valid: resource version is in the future")
    if revision < table.compacted:
        error = expired(
            "The provided continue parameter is too old to display a consistent list result. You can start a new list "
            "without the continue parameter, or use the continue token in this response to retrieve the remainder of "
            "the results. Continuing with the provided token results in an inconsistent list - objects that were "
            "created, modified, or deleted between the time the first chunk was returned and now may show up in the "
            "list."
        )
        error.list_metadata = {"continue": _token(-1, after)}
        raise error
    return revision, after


def _bad_token(why: str) -> ApiError:
    return bad_request(f"invalid continue token: continue key is not valid: {why}")


def _not_json(raw: bytes) -> str:
    """What Go says of the first byte."""
    first = raw.lstrip()[:1].decode("latin-1")
    if not first:
        return "unexpected end of JSON input"
    shown = first if first.isascii() and first.isprintable() else encode(first).decode()[1:-1]
    if first > "\x7e" and not shown.startswith("\\"):
        shown = f"\\u{ord(first):04x}" if ord(first) < 0xA0 else first
    return f"invalid character '{shown}' looking for beginning of value"


def _too_new(asked: int, now: int) -> ApiError:
    return ApiError(
        504,
        "Timeout",
        f"Timeout: Too large resource version: {asked}, current: {now}",
        details={"causes": [{"reason": "ResourceVersionTooLarge", "message": "Too large resource version"}]},
        retry_after=1,
    )


async def watch(
    cluster: Cluster, view: View, namespace: str, options: ListOptions, *, bookmark_period: float, lasts: float
) -> AsyncIterator[bytes]:
    """Start a watch; raises ApiError at once if it cannot start, and sends errors as events afterwards.

    `bookmark_period` and `lasts` are seconds of the running loop's clock.
    """
    wanted = Filter.of(view.kind, namespace, options)
    table = cluster.store.table(view.kind.table)
    view.check()
    now = cluster.store.revision
    start = options.revision or 0
    wanted.after = start
    fresh = options.initial_events if options.initial_events or options.match else not start
    first = b""
    if fresh:
        first = b"".join(
            view.event(b"ADDED", record, None) for record in table.records(wanted.namespace) if wanted.matches(record)
        )
        start = now
        if options.initial_events and options.bookmarks:
            first += _bookmark(view, now, initial_end=True)
    elif not start:
        start = now
    elif start < max(table.compacted, table.opened):
        return _one(view.line(b"ERROR", encode(_too_old(start, table).status())))
    return _follow(
        cluster,
        view,
        wanted,
        table,
        first=first,
        place=table.place(start),
        bookmark_period=bookmark_period if options.bookmarks else None,
        lasts=lasts,
    )


def _too_old(revision: int, table: Table) -> ApiError:
    return expired(f"too old resource version: {revision} ({max(table.compacted, table.opened)})")


async def _one(line: bytes) -> AsyncIterator[bytes]:
    yield line


async def _follow(
    cluster: Cluster,
    view: View,
    wanted: Filter,
    table: Table,
    *,
    first: bytes,
    place: int,
    bookmark_period: float | None,
    lasts: float,
) -> AsyncIterator[bytes]:
    loop = asyncio.get_running_loop()
    ends = loop.time() + lasts
    bookmark_at = _next_bookmark(loop.time(), bookmark_period, ends)
    if first:
        yield first
    while True:
        if place < table.base:
            yield view.line(b"ERROR", encode(_too_old(place, table).status()))
            return
        start = place - table.base
        batch = table.log[start : start + _BATCH]
        place += len(batch)
        if batch:
            lines = [line for change in batch if (line := _line(view, wanted, change))]
            if lines:
                yield b"".join(lines)
            continue
        time = loop.time()
        if time >= ends:
            return
        if time >= bookmark_at:
            bookmark_at = _next_bookmark(time, bookmark_period, ends)
            yield _bookmark(view, cluster.store.revision)
            continue
        waiter = table.changed()
        timer = loop.call_at(min(ends, bookmark_at), _release, waiter)
        try:
            await waiter
        finally:
            timer.cancel()
            table.forget(waiter)


def _next_bookmark(now: float, period: float | None, ends: float) -> float:
    """Every period, and shortly before the end; never if that is past or nobody asked."""
    if period is None:
        return math.inf
    at = min(now + period, ends - _BEFORE_END)
    return at if at >= now else math.inf


def _release(waiter: asyncio.Future[None]) -> None:
    if not waiter.done():
        waiter.set_result(None)


def _line(view: View, wanted: Filter, change: Change) -> bytes:
    """The event of a change for one watcher; empty if it is none of its business."""
    if change.revision <= wanted.after:
        return b""
    was = change.previous is not None and wanted.matches(change.previous)
    now = not change.deleted and wanted.matches(change.record)
    if not was and not now:
        return b""
    if change.forms is None and not view.stored:
        change.forms = {}
    if now:
        return view.event(b"MODIFIED" if was else b"ADDED", change.record, change.forms)
    if change.deleted:
        return view.event(b"DELETED", change.record, change.forms)
    assert change.previous is not None, "it matched before"
    # It left the selection: the client sees the object as it knew it, at the revision of the change.
    known = load(change.previous.raw)
    known["metadata"]["resourceVersion"] = str(change.revision)
    left = Record(key=change.record.key, revision=-change.revision, raw=encode(known), uid=change.record.uid)
    return view.event(b"DELETED", left, change.forms)


def _bookmark(view: View, revision: int, *, initial_end: bool = False) -> bytes:
    metadata: Json = {"resourceVersion": str(revision)}
    if initial_end:
        metadata["annotations"] = {INITIAL_EVENTS_END: "true"}
    value: Json = {"kind": view.kind.kind, "apiVersion": view.kind.api_version, "metadata": metadata}
    if view.form.shape == "table":
        value = {
            "kind": "Table",
            "apiVersion": "meta.k8s.io/v1",
            "metadata": {"resourceVersion": str(revision)},
            "columnDefinitions": [],
            "rows": [
                {"cells": [], "object": {**value, "kind": "PartialObjectMetadata", "apiVersion": "meta.k8s.io/v1"}}
            ],
        }
    elif view.form.shape == "metadata":
        value |= {"kind": "PartialObjectMetadata", "apiVersion": "meta.k8s.io/v1"}
    return view.line(b"BOOKMARK", encode(value))
