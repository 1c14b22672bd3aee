"""Role-based access control: roles and bindings, read from the store when they changed.

Nobody is known here by name but system:masters, whose members may do everything: what others may from the start is
said by the roles and bindings that every cluster has (bootstrap.py).
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from quartermaster.local.apiserver.cluster import Cluster
from quartermaster.local.apiserver.codec import load
from quartermaster.local.apiserver.errors import Json
from quartermaster.local.apiserver.transport import User

_GROUP = "rbac.authorization.k8s.io"
_TABLES = ("roles", "clusterroles", "rolebindings", "clusterrolebindings")
_ACCOUNT = "system:serviceaccount:"
_RULE = ("verbs", "apiGroups", "resources", "resourceNames", "nonResourceURLs")


@dataclass(frozen=True, slots=True)
class _Grant:
    """What one binding gives one subject, in a namespace or (empty) everywhere; `source` says which it is."""

    namespace: str
    rules: list[Json]
    source: str


class Rbac:
    """The authorizer of a cluster."""

    def __init__(self, cluster: Cluster) -> None:
        self._cluster = cluster
        self._version: tuple[int, ...] = ()
        self._grants: dict[tuple[str, str], list[_Grant]] = {}

    def allows(self, user: User, attributes: Json) -> tuple[bool, str]:
        """(whether, why). `attributes` as in a SubjectAccessReview."""
        if "system:masters" in user.groups:
            return True, ""
        for grant in self._of(user, attributes.get("namespace", "")):
            if any(_permits(rule, attributes) for rule in grant.rules):
                return True, f"RBAC: allowed by {grant.source}"
        return False, ""

    def rules(self, user: User, namespace: str) -> tuple[list[Json], list[Json]]:
        """Resource rules and non-resource rules of a user in a namespace."""
        resource: list[Json] = []
        other: list[Json] = []
        for grant in self._of(user, namespace):
            for rule in grant.rules:
                said = {name: rule[name] for name in _RULE if rule.get(name)}
                into = other if rule.get("nonResourceURLs") else resource
                if said not in into:
                    into.append(said)
        return resource, other

    def covers(self, user: User, namespace: str, rule: Json) -> bool:
        """Whether a user has all that a rule grants: nobody may grant more than he has."""
        if "system:masters" in user.groups:
            return True
        for path in rule.get("nonResourceURLs") or ():
            if not all(self.allows(user, {"path": path, "verb": verb})[0] for verb in rule.get("verbs") or ()):
                return False
        for group in rule.get("apiGroups") or ():
            for resource in rule.get("resources") or ():
                for verb in rule.get("verbs") or ():
                    plural, _, sub = resource.partition("/")
                    names = rule.get("resourceNames") or [""]
                    for name in names:
                        wanted = {"group": group, "resource": plural, "subresource": sub, "verb": verb, "name": name}
                        if not self.allows(user, wanted | {"namespace": namespace})[0]:
                            return False
        return True

    def _of(self, user: User, namespace: str) -> Iterator[_Grant]:
        self._refresh()
        for subject in (("User", user.name), *(("Group", group) for group in user.groups)):
            for grant in self._grants.get(subject, ()):
                if grant.namespace in ("", namespace):
                    yield grant

    def _refresh(self) -> None:
        tables = [self._cluster.store.table(f"{name}.{_GROUP}") for name in _TABLES]
        version = tuple(table.base + len(table.log) for table in tables)
        if version == self._version:
            return
        roles, cluster_roles, bindings, cluster_bindings = tables
        rules = {
            record.key: load(record.raw).get("rules") or [] for record in [*roles.records(), *cluster_roles.records()]
        }
        self._grants = {}
        for record in [*cluster_bindings.records(), *bindings.records()]:
            binding, (where, name) = load(record.raw), record.key
            reference = binding.get("roleRef") or {}
            place = "" if reference.get("kind") == "ClusterRole" else where
            granted = rules.get((place, reference.get("name", "")))
            if granted is None:
                continue
            kind, full = ("RoleBinding", f"{name}/{where}") if where else ("ClusterRoleBinding", name)
            role = f'{kind} "{full}" of {reference.get("kind")} "{reference.get("name")}"'
            for subject in binding.get("subjects") or ():
                key, said = _subject(subject, where)
                self._grants.setdefault(key, []).append(_Grant(where, granted, f"{role} to {said}"))
        self._version = version


def _subject(subject: Json, namespace: str) -> tuple[tuple[str, str], str]:
    """Under which kind and name a subject asks, and how it is shown."""
    kind, name = subject.get("kind", ""), subject.get("name", "")
    if kind != "ServiceAccount":
        return (kind, name), f'{kind} "{name}"'
    where = subject.get("namespace") or namespace
    return ("User", f"{_ACCOUNT}{where}:{name}"), f'{kind} "{name}/{where}"'


def _has(items: Any, value: str) -> bool:
    return "*" in (items or ()) or value in (items or ())


def _permits(rule: Json, attributes: Json) -> bool:
    if not _has(rule.get("verbs"), attributes.get("verb", "")):
        return False
    path = attributes.get("path")
    if path is not None:
        return any(
            pattern in ("*", path) or (pattern.endswith("*") and path.startswith(pattern[:-1]))
            for pattern in rule.get("nonResourceURLs") or ()
        )
    resource, sub = attributes.get("resource", ""), attributes.get("subresource", "")
    resources = rule.get("resources") or ()
    whole = f"{resource}/{sub}" if sub else resource
    named = "*" in resources or whole in resources or (bool(sub) and f"*/{sub}" in resources)
    names = rule.get("resourceNames")
    return (
        named
        and _has(rule.get("apiGroups"), attributes.get("group", ""))
        and (not names or attributes.get("name") in names)
    )
