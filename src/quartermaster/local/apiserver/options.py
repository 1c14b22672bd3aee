"""Query parameters of requests, read once and checked."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from quartermaster.local.apiserver.errors import ApiError, Cause, bad_request, invalid, invalid_value, shown

_TRUE = ("true", "1", "True", "TRUE", "t", "T")


def flag(query: Mapping[str, str], name: str) -> bool:
    """A boolean parameter."""
    return query.get(name, "") in _TRUE


def number(query: Mapping[str, str], name: str) -> int | None:
    """A whole parameter; raises ApiError 400."""
    text = query.get(name, "")
    if not text:
        return None
    try:
        return int(text)
    except ValueError:
        raise bad_request(f'strconv.ParseInt: parsing "{text}": invalid syntax') from None


@dataclass(frozen=True, slots=True)
class ListOptions:
    """Of lists and watches. `revision` None means whatever is latest; `match` as resourceVersionMatch."""

    labels: str = ""
    fields: str = ""
    limit: int = 0
    proceed: str = ""
    revision: int | None = None
    match: str = ""
    watch: bool = False
    bookmarks: bool = False
    initial_events: bool = False
    timeout: float | None = None

    @classmethod
    def of(cls, query: Mapping[str, str]) -> ListOptions:
        """From a query; raises ApiError 400 or 422."""
        if not query:
            return _ANY
        watch = flag(query, "watch")
        match = query.get("resourceVersionMatch", "")
        text = query.get("resourceVersion", "")
        initial = flag(query, "sendInitialEvents")
        _check_match(query, watch=watch, match=match, text=text)
        proceed = "" if watch else query.get("continue", "")
        if proceed and text not in ("", "0"):
            raise bad_request("specifying resource version is not allowed when using continue")
        return cls(
            labels=query.get("labelSelector", ""),
            fields=query.get("fieldSelector", ""),
            limit=max(0, number(query, "limit") or 0),
            proceed=proceed,
            revision=_listed(text) if not watch else revision_of(text),
            match=match,
            watch=watch,
            bookmarks=flag(query, "allowWatchBookmarks"),
            initial_events=initial,
            timeout=number(query, "timeoutSeconds"),
        )


_ANY = ListOptions()


def revision_of(text: str) -> int | None:
    """A resourceVersion; None if none is said. Raises ApiError 500: the real server says no other to GET and WATCH."""
    if not text:
        return None
    if not text.isascii() or not text.isdecimal():
        raise ApiError(500, "", f"resourceVersion: {_unparsed(text)}")
    return int(text)


def _listed(text: str) -> int | None:
    """The same of a LIST, whose code is 400."""
    try:
        return revision_of(text)
    except ApiError as error:
        raise bad_request(f"invalid resource version: {error.message}") from None


def _unparsed(text: str) -> str:
    return f"Invalid value: {shown(text)}: strconv.ParseUint: parsing {shown(text)}: invalid syntax"


def _check_match(query: Mapping[str, str], *, watch: bool, match: str, text: str) -> None:
    causes = []
    if watch:
        if "sendInitialEvents" in query:
            if match != "NotOlderThan":
                detail = "sendInitialEvents requires setting resourceVersionMatch to NotOlderThan"
                causes.append(Cause("FieldValueForbidden", f"Forbidden: {detail}", "resourceVersionMatch"))
        elif match:
            detail = "resourceVersionMatch is forbidden for watch unless sendInitialEvents is provided"
            causes.append(Cause("FieldValueForbidden", f"Forbidden: {detail}", "resourceVersionMatch"))
    else:
        if "sendInitialEvents" in query:
            detail = "sendInitialEvents is forbidden for list"
            causes.append(Cause("FieldValueForbidden", f"Forbidden: {detail}", "sendInitialEvents"))
        if match and not text:
            detail = "resourceVersionMatch is forbidden unless resourceVersion is provided"
            causes.append(Cause("FieldValueForbidden", f"Forbidden: {detail}", "resourceVersionMatch"))
        if match and query.get("continue"):
            detail = "resourceVersionMatch is forbidden when continue is provided"
            causes.append(Cause("FieldValueForbidden", f"Forbidden: {detail}", "resourceVersionMatch"))
        if match and match not in ("Exact", "NotOlderThan"):
            known = 'supported values: "Exact", "NotOlderThan", ""'
            causes.append(
                Cause("FieldValueNotSupported", f'Unsupported value: "{match}": {known}', "resourceVersionMatch")
            )
        if match == "Exact" and text == "0":
            detail = 'resourceVersionMatch "exact" is forbidden for resourceVersion "0"'
            causes.append(Cause("FieldValueForbidden", f"Forbidden: {detail}", "resourceVersionMatch"))
    if causes:
        raise invalid("ListOptions", "meta.k8s.io", "", causes)


@dataclass(frozen=True, slots=True)
class WriteOptions:
    """Of writes. `validation`: Ignore, Warn, Strict. `manager` is empty if the client named none."""

    dry_run: bool = False
    manager: str = ""
    validation: str = "Warn"
    force: bool = False
    pretty: bool = False

    @classmethod
    def of(cls, query: Mapping[str, str], user_agent: str = "", kind: str = "PatchOptions") -> WriteOptions:
        """From a query and the client's name; raises ApiError 400 or 422."""
        dry = query.get("dryRun", "")
        if dry not in ("", "All"):
            raise _unsupported(kind, "dryRun", [dry], ("All",))
        validation = query.get("fieldValidation", "") or "Warn"
        if validation not in ("Ignore", "Warn", "Strict"):
            raise _unsupported(kind, "fieldValidation", validation, ("", "Ignore", "Strict", "Warn"))
        manager = query.get("fieldManager", "")
        if len(manager) > 128:
            cause = Cause("FieldValueTooLong", "Too long: may not be more than 128 bytes", "fieldManager")
            raise invalid(kind, "meta.k8s.io", "", [cause])
        if not manager.isprintable():
            raise invalid(
                kind,
                "meta.k8s.io",
                "",
                [invalid_value("fieldManager", manager, "should only contain printable characters")],
            )
        return cls(
            dry_run=dry == "All",
            manager=manager or user_agent.split("/", 1)[0][:128] or "unknown",
            validation=validation,
            force=flag(query, "force"),
        )


def _unsupported(kind: str, name: str, value: object, known: tuple[str, ...]) -> ApiError:
    text = ", ".join(f'"{item}"' for item in known)
    cause = Cause("FieldValueNotSupported", f"Unsupported value: {shown(value)}: supported values: {text}", name)
    return invalid(kind, "meta.k8s.io", "", [cause])
