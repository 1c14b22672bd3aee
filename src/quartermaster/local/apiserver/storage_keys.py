"""What the real server says of its storage: the key of an object in etcd, which some of its messages quote."""

from __future__ import annotations

from quartermaster.local.apiserver.kinds import Kind
from quartermaster.local.apiserver.store import Key

_PREFIXES = {
    "replicationcontrollers": "controllers",
    "endpoints": "services/endpoints",
    "services": "services/specs",
    "nodes": "minions",
    "ingresses.networking.k8s.io": "ingress",
    "customresourcedefinitions.apiextensions.k8s.io": "apiextensions.k8s.io/customresourcedefinitions",
    "apiservices.apiregistration.k8s.io": "apiregistration.k8s.io/apiservices",
}
"""Tables that are kept under another name than their own."""


def storage_key(kind: Kind, key: Key) -> str:
    """``/registry/configmaps/default/a``."""
    own = f"{kind.group}/{kind.plural}" if kind.custom is not None else kind.plural
    namespace, name = key
    return "/".join(["/registry", _PREFIXES.get(kind.table, own), *([namespace] if namespace else []), name])


def uid_mismatch(kind: Kind, key: Key, said: str, found: str) -> str:
    """Why a write for one object is refused when another has its name."""
    return (
        f"StorageError: invalid object, Code: 4, Key: {storage_key(kind, key)}, ResourceVersion: 0, "
        f"AdditionalErrorMsg: Precondition failed: UID in precondition: {said}, UID in object meta: {found}"
    )
