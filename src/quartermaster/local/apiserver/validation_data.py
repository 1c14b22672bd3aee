"""What ConfigMaps and Secrets have to satisfy, and what of them may change."""

from __future__ import annotations

import base64
import binascii
import json

from quartermaster.local.apiserver.errors import Json, forbidden_value, invalid_value, required
from quartermaster.local.apiserver.validation_metadata import Causes

_NEEDED = {
    "kubernetes.io/dockercfg": (".dockercfg",),
    "kubernetes.io/dockerconfigjson": (".dockerconfigjson",),
    "kubernetes.io/basic-auth": ("username", "password"),
    "kubernetes.io/ssh-auth": ("ssh-privatekey",),
    "kubernetes.io/tls": ("tls.crt", "tls.key"),
}
"""By type of Secret: the keys it is of no use without."""

_ONE_OF = frozenset(("kubernetes.io/basic-auth",))
"""Types for which one of the keys will do."""

_JSON = frozenset(("kubernetes.io/dockercfg", "kubernetes.io/dockerconfigjson"))
_ACCOUNT = "kubernetes.io/service-account"


def config_map(value: Json) -> Causes:
    """A ConfigMap."""
    return _keys(value) + _data_twice(value)


def secret(value: Json) -> Causes:
    """A Secret has what its type promises."""
    causes, kind, data = _keys(value), value.get("type", ""), value.get("data") or {}
    if kind == f"{_ACCOUNT}-token" and not (value["metadata"].get("annotations") or {}).get(f"{_ACCOUNT}.name"):
        causes.append(required(f"metadata.annotations[{_ACCOUNT}.name]"))
    needed = _NEEDED.get(kind, ())
    absent = [key for key in needed if key not in data or (kind == "kubernetes.io/ssh-auth" and not data[key])]
    if kind not in _ONE_OF or len(absent) == len(needed):
        causes += [required(f"data[{key}]") for key in absent]
    if kind in _JSON and not absent and not _is_object(data[needed[0]]):
        # What Go's parser says of it is not told: the rest of the text is a secret.
        causes.append(invalid_value(f"data[{needed[0]}]", "<secret contents redacted>", "not an object of JSON"))
    return causes


def _is_object(text: str) -> bool:
    try:
        return isinstance(json.loads(base64.b64decode(text)), dict)
    except ValueError:
        return False


def base64_problem(value: Json, names: tuple[str, ...]) -> str:
    """What Go says of bytes that are not base64; empty if all are."""
    for name in names:
        for text in (value.get(name) or {}).values():
            if not isinstance(text, str):
                continue
            try:
                base64.b64decode(text, validate=True)
            except (binascii.Error, ValueError):
                bad = next(
                    (at for at, mark in enumerate(text) if not (mark.isalnum() or mark in "+/=")), len(text) // 4 * 4
                )
                return f"illegal base64 data at input byte {bad}"
    return ""


def _data_twice(value: Json) -> Causes:
    both = sorted(set(value.get("data") or ()) & set(value.get("binaryData") or ()))
    return [invalid_value(f"data[{key}]", key, "duplicate of key present in binaryData") for key in both]


def changed_config_map(value: Json, old: Json) -> Causes:
    """ConfigMaps and Secrets that say so."""
    if not old.get("immutable"):
        return []
    causes: Causes = []
    if not value.get("immutable"):
        causes.append(forbidden_value("immutable", "field is immutable when `immutable` is set"))
    causes += [
        forbidden_value(name, "field is immutable when `immutable` is set")
        for name in ("data", "binaryData")
        if value.get(name) != old.get(name)
    ]
    return causes


def changed_secret(value: Json, old: Json) -> Causes:
    """A Secret stays of its type."""
    if value.get("type") != old.get("type"):
        return [invalid_value("type", value.get("type"), "field is immutable")]
    return changed_config_map(value, old)


def _keys(value: Json) -> Causes:
    causes: Causes = []
    for group in ("data", "binaryData"):
        for key in value.get(group) or ():
            if not key or len(key) > 253 or not all(part.isalnum() or part in "-_." for part in key):
                causes.append(
                    invalid_value(
                        f"{group}[{key}]",
                        key,
                        "a valid config key must consist of alphanumeric characters, '-', '_' or '.' (e.g. 'key.name', "
                        " or 'KEY_NAME',  or 'key-name', regex used for validation is '[-._a-zA-Z0-9]+')",
                    )
                )
    return causes
