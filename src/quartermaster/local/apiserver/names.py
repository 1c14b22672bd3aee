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
    "must consist of alphanumeric characters, '-', '_' or '.', and must start and end with an alphanumeric "
    "character (e.g. 'MyName',  or 'my.name',  or '123-abc', regex used for validation is "
    "'([A-Za-z0-9][-A-Za-z0-9_.]*)?[A-Za-z0-9]')"
)
_VALUE_TEXT = (
    "a valid label must be an empty string or consist of alphanumeric characters, '-', '_' or '.', and must start and "
    "end with an alphanumeric character (e.g. 'MyValue',  or 'my_value',  or '12345', regex used for validation is "
    "'(([A-Za-z0-9][-A-Za-z0-9_.]*)?[A-Za-z0-9])?')"
)

PATH_NAMES = frozenset(("roles", "clusterroles", "rolebindings", "clusterrolebindings"))
"""Plurals whose names may be anything that fits in a path (``system:node``)."""


def name_problem(plural: str, name: str) -> str:
    """What is wrong with an object's name; empty if nothing is."""
    if plural in PATH_NAMES:
        return path_segment_problem(name)
    if plural == "namespaces":
        return label_problem(name)
    if plural == "services":
        # Services may start with a digit since the 1123 names of 1.34.
        return label_problem(name)
    return subdomain_problem(name)


def path_segment_problem(name: str) -> str:
    """Names that only have to fit in a path."""
    if name in (".", ".."):
        return f"may not be '{name}'"
    for part in ("/", "%"):
        if part in name:
            return f"may not contain '{part}'"
    return ""


def label_problem(name: str) -> str:
    """RFC 1123 label, at most 63 characters."""
    if len(name) > 63:
        return "must be no more than 63 characters"
    return "" if _LABEL_1123.fullmatch(name) else _LABEL_1123_TEXT


def label_1035_problem(name: str) -> str:
    """RFC 1035 label, at most 63 characters."""
    if len(name) > 63:
        return "must be no more than 63 characters"
    return "" if _LABEL_1035.fullmatch(name) else _LABEL_1035_TEXT


def subdomain_problem(name: str) -> str:
    """RFC 1123 subdomain, at most 253 characters."""
    if len(name) > 253:
        return "must be no more than 253 characters"
    return "" if _SUBDOMAIN_1123.fullmatch(name) else _SUBDOMAIN_1123_TEXT


def label_key_problem(key: str) -> str:
    """All that is wrong with a key in one text, as selectors say it."""
    return "; ".join(label_key_problems(key))


def label_key_problems(key: str) -> list[str]:
    """``prefix/name``: keys of labels, annotations and finalizers, and resource names."""
    if key.count("/") > 1:
        optional = " with an optional DNS subdomain prefix and '/' (e.g. 'example.com/MyName')"
        return [f"a valid label key {_QUALIFIED_TEXT}{optional}"]
    prefix, slash, name = key.rpartition("/")
    problems = []
    if slash and not prefix:
        problems.append("prefix part must be non-empty")
    elif prefix and subdomain_problem(prefix):
        problems.append(f"prefix part {subdomain_problem(prefix)}")
    if not name:
        problems.append("name part must be non-empty")
    elif len(name) > 63:
        problems.append("name part must be no more than 63 bytes")
    if not _QUALIFIED.fullmatch(name):
        problems.append(f"name part {_QUALIFIED_TEXT}")
    return problems


def label_value_problem(value: str) -> str:
    """Values of labels."""
    if len(value) > 63:
        return "must be no more than 63 bytes"
    return "" if not value or _QUALIFIED.fullmatch(value) else _VALUE_TEXT
