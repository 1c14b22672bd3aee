"""Kubeconfig files as kubectl reads them: a list of files merged, one context chosen, paths made absolute.

Reading and choosing only; `connecting.py` makes a connection of the choice. Where two files name the same cluster, user
or context, the first one has it, whole. Refuses what cannot be used with the file, the place in it and what to do.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

import msgspec
import yaml

from quartermaster.model.errors import InvalidInput


class Cluster(msgspec.Struct, rename="kebab", frozen=True, kw_only=True):
    """Where to ask."""

    server: str = ""
    tls_server_name: str = ""
    insecure_skip_tls_verify: bool = False
    certificate_authority: str = ""
    certificate_authority_data: str = ""
    proxy_url: str = ""
    extensions: list[dict[str, Any]] | None = None


class Variable(msgspec.Struct, frozen=True):
    """Of a plugin's environment."""

    name: str
    value: str


class Exec(msgspec.Struct, rename="camel", frozen=True, kw_only=True):
    """A program that prints a credential."""

    api_version: str = ""
    command: str = ""
    args: list[str] | None = None
    env: list[Variable] | None = None
    install_hint: str = ""
    provide_cluster_info: bool = False
    interactive_mode: str = ""


class User(msgspec.Struct, rename="kebab", frozen=True, kw_only=True):
    """As whom to ask."""

    client_certificate: str = ""
    client_certificate_data: str = ""
    client_key: str = ""
    client_key_data: str = ""
    token: str = ""
    token_file: str = msgspec.field(name="tokenFile", default="")
    username: str = ""
    password: str = ""
    as_: str = msgspec.field(name="as", default="")
    as_uid: str = ""
    as_groups: list[str] | None = None
    as_user_extra: dict[str, list[str]] | None = None
    auth_provider: dict[str, Any] | None = None
    exec: Exec | None = None


class Context(msgspec.Struct, rename="kebab", frozen=True, kw_only=True):
    """A cluster, a user, and the namespace that is meant if none is named."""

    cluster: str = ""
    user: str = ""
    namespace: str = ""


class _NamedCluster(msgspec.Struct):
    name: str
    cluster: Cluster


class _NamedUser(msgspec.Struct):
    name: str
    user: User


class _NamedContext(msgspec.Struct):
    name: str
    context: Context


class _File(msgspec.Struct, rename="kebab"):
    kind: str | None = None
    clusters: list[_NamedCluster] | None = None
    users: list[_NamedUser] | None = None
    contexts: list[_NamedContext] | None = None
    current_context: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Chosen:
    """One context with all it names. The fields say where each part was found, for errors."""

    context: str
    namespace: str
    cluster: Cluster
    user: User
    cluster_field: str
    user_field: str
    folder: Path
    """Where the user's file lies; a plugin named by a relative path is looked for there."""


def paths_of(environment: Mapping[str, str], explicit: Path | None = None) -> list[Path]:
    """Which files to read: the one named, else those of KUBECONFIG, else ``~/.kube/config``."""
    if explicit is not None:
        return [explicit]
    listed = environment.get("KUBECONFIG", "")
    if listed:
        return [Path(path) for path in dict.fromkeys(listed.split(os.pathsep)) if path]
    home = environment.get("HOME", "")
    return [Path(home or "~").expanduser() / ".kube" / "config"]


T = TypeVar("T", Cluster, User, Context)


@dataclass(slots=True)
class _Merged:
    clusters: dict[str, tuple[Path, Cluster]]
    users: dict[str, tuple[Path, User]]
    contexts: dict[str, tuple[Path, Context]]
    current: str = ""


def choose(paths: Iterable[Path], context: str = "", *, must_exist: bool = False) -> Chosen | None:
    """The context named, else the current one; None if no file is there, or all are empty. Raises InvalidInput."""
    files = [path for path in paths if must_exist or path.exists()]
    if not files:
        return None
    merged = _Merged({}, {}, {})
    for path in files:
        read = _read(path)
        for one in read.clusters or ():
            merged.clusters.setdefault(one.name, (path, _absolute(one.cluster, path)))
        for who in read.users or ():
            merged.users.setdefault(who.name, (path, _absolute(who.user, path)))
        for item in read.contexts or ():
            merged.contexts.setdefault(item.name, (path, item.context))
        merged.current = merged.current or read.current_context or ""
    everywhere = os.pathsep.join(map(str, files))
    name = context or merged.current
    if not (name or must_exist or merged.contexts or merged.clusters or merged.users):
        return None
    if not name:
        raise InvalidInput(
            f"{everywhere}: current-context",
            "is not set",
            f"name a context or run: kubectl config use-context NAME (there are: {_listed(merged.contexts)})",
        )
    where, found = _named(merged.contexts, name, everywhere, "context")
    about = f"{where}: context {name!r}"
    cluster_path, cluster = _named(merged.clusters, found.cluster, about, "cluster")
    if found.user:
        user_path, user = _named(merged.users, found.user, about, "user")
    else:
        user_path, user = where, User()
    return Chosen(
        context=name,
        namespace=found.namespace or "default",
        cluster=cluster,
        user=user,
        cluster_field=f"{cluster_path}: cluster {found.cluster!r}",
        user_field=f"{user_path}: user {found.user!r}",
        folder=user_path.absolute().parent,
    )


def _read(path: Path) -> _File:
    try:
        value = yaml.safe_load(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as wrong:
        reason = wrong.strerror if isinstance(wrong, OSError) else str(wrong)
        raise InvalidInput(str(path), f"cannot be read ({reason})", "name a kubeconfig file that can be read") from None
    except yaml.YAMLError as wrong:
        text = " ".join(str(wrong).split())
        raise InvalidInput(str(path), f"is no YAML ({text})", "mend it or name another file") from None
    try:
        read = msgspec.convert(value if value is not None else {}, _File)
    except msgspec.ValidationError as wrong:
        problem, _, place = str(wrong).partition(" - at ")
        field = f"{path}: {place.strip('`').removeprefix('$.') or 'content'}"
        raise InvalidInput(field, problem[0].lower() + problem[1:], "write it as kubectl config does") from None
    if read.kind not in (None, "Config"):
        raise InvalidInput(f"{path}: kind", f"is {read.kind!r}", "a kubeconfig has kind Config")
    return read


_FILES = ("certificate_authority", "client_certificate", "client_key", "token_file")


def _absolute(value: T, path: Path) -> T:
    """Files named in a kubeconfig lie beside it, wherever the program was started."""
    changes = {
        name: str(path.absolute().parent / there)
        for name in _FILES
        if (there := getattr(value, name, "")) and not Path(there).is_absolute()
    }
    return msgspec.structs.replace(value, **changes) if changes else value


def _named(known: Mapping[str, tuple[Path, T]], name: str, field: str, what: str) -> tuple[Path, T]:
    if name not in known:
        problem = f"names {what} {name!r}, which is not there" if name else f"names no {what}"
        raise InvalidInput(field, problem, f"use one of: {_listed(known)}")
    return known[name]


def _listed(known: Mapping[str, object]) -> str:
    return ", ".join(known) or "none"
