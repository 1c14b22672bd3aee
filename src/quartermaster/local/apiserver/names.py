"""What names, labels and keys may look like (k8s.io/apimachinery/pkg/util/validation)."""

from __future__ import annotations

import re

_QUALIFIED = re.compile(r"[A-Za-z0-9](?:[-A-Za-z0-9_.]*[A-Za-z0-9])?")
_LABEL_1123 = re.compile(r"[a-z0-9](?:[-a-z0-9]*[a-z0-9])?")
_SUBDOMAIN_1123 = re.compile(r"[a-z0-9](?:[-a-z0-9]*[a-z0-9])?(?:\.[a-z0-9](?:[-a-z0-9]*[a-z0-9])?)*")
_LABEL_1035 = re.compile(r"[a-z](?:[-a-z0-9]*[a-z0-9])?")

_LABEL_1123_TEXT = (
    "a lowercase RFC 1123 label must consist of lower case alphanumeric characters or '-', and must start and end with "
    "an alphanumeric character (e.g. 'my-name',  or '123-abc', regex used for validation is "
    "'[a-z0-9]([-a-z0-9]*[a-z0-9])?')"
)
_SUBDOMAIN_1123_TEXT = (
    "a lowercase RFC 1123 subdomain must consist of lower case alphanumeric characters, '-' or '.', and must start and "
    "end with an alphanumeric character (e.g. 'example.com', regex used for validation is "
    "'[a-z0-9]([-a-z0-9]*[a-z0-9])?(\\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*')"
)
_LABEL_1035_TEXT = (
    "a DNS-1035 label must consist of lower case alphanumeric characters or '-', start with an alphabetic character, "
    "and end with an alphanumeric character (e.g. 'my-name',  or 'abc-123', regex used for validation is "
    "'[a-z]([-a-z0-9]*[a-z0-9])?')"
)
_QUALIFIED_TEXT = (
    "name part must consist of alphanumeric characters, '-', '_' or '.', and must start and end with an alphanumeric "
    "character (e.g. 'MyName',  or 'my.name',  or '123-abc', regex used for validation is "
    "'([A-Za-z0-9][-A-Za-z0-9_.]*)?[A-Za-z0-9]')"
)
_VALUE_TEXT = (
    "a valid label must be an empty string or consist of alphanumeric characters, '-', '_' or '.', and must start and "
    "end with an alphanumeric character (e.g. 'MyValue',  or 'my_value',  or '12345', regex used for validation is "
    "'(([A-Za-z0-9][-A-Za-z0-9_.]*)?[A-Za-z0-9])?')"
)

_KEY_TEXT = (
    "a valid label key must "
    + _QUALIFIED_TEXT.removeprefix("name part must ")
    + (" with an optional DNS subdomain prefix and '/' (e.g. 'example.com/MyName')")
)
"""Keys of more than two parts are told what a whole key looks like."""

_RBAC = ("roles", "clusterroles", "rolebindings", "clusterrolebindings")
_PATH_NAMES = frozenset(
    (*(f"{name}.rbac.authorization.k8s.io" for name in _RBAC), "events", "poddisruptionbudgets.policy")
)
"""Tables whose names may be anything that fits in a path (``system:node``)."""

_LABEL_NAMES = frozenset(("namespaces", "services", "statefulsets.apps"))
"""Tables whose names are labels: they become host names, or parts of them."""

Problems = tuple[str, ...]


def name_problems(table: str, name: str, *, prefix: bool = False) -> Problems:
    """What is wrong with an object's name, or with the `prefix` that it is generated from."""
    if table in _PATH_NAMES:
        return path_segment_problems(name, prefix=prefix)
    if prefix and len(name) > 1 and name.endswith("-"):
        name = name[:-2] + "a"  # more will follow
    return label_problems(name) if table in _LABEL_NAMES else subdomain_problems(name)


def path_segment_problems(name: str, *, prefix: bool = False) -> Problems:
    """Names that only have to fit in a path."""
    if name in (".", "..") and not prefix:
        return (f"may not be '{name}'",)
    return tuple(f"may not contain '{part}'" for part in "/%" if part in name)


def label_problems(name: str) -> Problems:
    """RFC 1123 label, at most 63 characters."""
    found = _too_long(name, 63)
    if _LABEL_1123.fullmatch(name):
        return found
    return (*found, "must not contain dots" if _SUBDOMAIN_1123.fullmatch(name) else _LABEL_1123_TEXT)


def label_1035_problem(name: str) -> str:
    """RFC 1035 label, at most 63 characters."""
    if len(name) > 63:
        return "must be no more than 63 characters"
    return "" if _LABEL_1035.fullmatch(name) else _LABEL_1035_TEXT


def subdomain_problems(name: str) -> Problems:
    """RFC 1123 subdomain, at most 253 characters."""
    found = _too_long(name, 253)
    return found if _SUBDOMAIN_1123.fullmatch(name) else (*found, _SUBDOMAIN_1123_TEXT)


def key_problems(key: str) -> Problems:
    """``prefix/name``: keys of labels, annotations and finalizers, and resource names."""
    *prefixes, name = key.split("/")
    if len(prefixes) > 1:
        return (_KEY_TEXT,)
    found: Problems = ()
    if prefixes:
        found = subdomain_problems(prefixes[0]) if prefixes[0] else ("must be non-empty",)
        found = tuple(f"prefix part {problem}" for problem in found)
    if not name:
        found += ("name part must be non-empty",)
    found += tuple(f"name part {problem}" for problem in _too_long(name, 63))
    return found if _QUALIFIED.fullmatch(name) else (*found, _QUALIFIED_TEXT)


def value_problems(value: str) -> Problems:
    """Values of labels."""
    found = _too_long(value, 63)
    return found if not value or _QUALIFIED.fullmatch(value) else (*found, _VALUE_TEXT)


def _too_long(name: str, most: int) -> Problems:
    return (f"must be no more than {most} characters",) if len(name) > most else ()


def subdomain_problem(name: str) -> str:
    """The first thing that is wrong with a subdomain."""
    return next(iter(subdomain_problems(name)), "")


def port_problems(name: str) -> Problems:
    """Why a port may not be called so (IsValidPortName)."""
    found: tuple[str, ...] = ()
    if len(name) > 15:
        found += ("must be no more than 15 characters",)
    if not re.fullmatch("[-a-z0-9]+", name):
        found += ("must contain only alpha-numeric characters (a-z, 0-9), and hyphens (-)",)
    if not re.search("[a-z]", name):
        found += ("must contain at least one letter (a-z)",)
    if "--" in name:
        found += ("must not contain consecutive hyphens",)
    if name.startswith("-") or name.endswith("-"):
        found += ("must not begin or end with a hyphen",)
    return found
