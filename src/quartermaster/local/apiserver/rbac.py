"""Role-based access control: roles and bindings, read from the store when they changed.

Members of system:masters may do everything, as with the real server; everyone else what a role says that is bound to
them.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from quartermaster.local.apiserver.cluster import Cluster
from quartermaster.local.apiserver.codec import load
from quartermaster.local.apiserver.errors import Json
from quartermaster.local.apiserver.transport import User

_GROUP = "rbac.authorization.k8s.io"
_TABLES = ("roles", "clusterroles", "rolebindings", "clusterrolebindings")
_ACCOUNT = "system:serviceaccount:"

DISCOVERY: list[Json] = [
    {
        "verbs": ["get"],
        "nonResourceURLs": [
            *("/api", "/api/*", "/apis", "/apis/*", "/healthz", "/livez", "/openapi", "/openapi/*", "/readyz"),
            *("/version", "/version/"),
        ],
    },
    {
        "verbs": ["create"],
        "apiGroups": ["authorization.k8s.io"],
        "resources": ["selfsubjectaccessreviews", "selfsubjectrulesreviews"],
    },
    {"verbs": ["create"], "apiGroups": ["authentication.k8s.io"], "resources": ["selfsubjectreviews"]},
]
"""What every authenticated user may: system:discovery and system:basic-user."""


class Rbac:
    """The authorizer of a cluster."""

    def __init__(self, cluster: Cluster) -> None:
        self._cluster = cluster
        self._version: tuple[int, ...] = ()
        self._roles: dict[tuple[str, str], list[Json]] = {}
        self._bindings: list[tuple[str, Json]] = []

    def allows(self, user: User, attributes: Json) -> tuple[bool, str]:
        """(whether, why). `attributes` as in a SubjectAccessReview."""
        if "system:masters" in user.groups:
            return True, ""
        for rule, _ in self._rules(user, attributes.get("namespace", "")):
            if _permits(rule, attributes):
                return True, ""
        return False, ""

    def rules(self, user: User, namespace: str) -> tuple[list[Json], list[Json]]:
        """Resource rules and non-resource rules of a user in a namespace."""
        if "system:masters" in user.groups:
            everything = [{"verbs": ["*"], "apiGroups": ["*"], "resources": ["*"]}]
            return everything, [{"verbs": ["*"], "nonResourceURLs": ["*"]}]
        resource: list[Json] = []
        other: list[Json] = []
        for rule, _ in self._rules(user, namespace):
            (other if rule.get("nonResourceURLs") else resource).append(rule)
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

    def _rules(self, user: User, namespace: str) -> Iterator[tuple[Json, str]]:
        self._refresh()
        if "system:authenticated" in user.groups:
            for rule in DISCOVERY:
                yield rule, ""
        for where, binding in self._bindings:
            if where not in ("", namespace) or not any(
                _is(subject, user, where) for subject in binding.get("subjects") or ()
            ):
                continue
            reference = binding.get("roleRef") or {}
            place = "" if reference.get("kind") == "ClusterRole" else where
            for rule in self._roles.get((place, reference.get("name", "")), ()):
                yield rule, where

    def _refresh(self) -> None:
        tables = [self._cluster.store.table(f"{name}.{_GROUP}") for name in _TABLES]
        version = tuple(table.base + len(table.log) for table in tables)
        if version == self._version:
            return
        roles, cluster_roles, bindings, cluster_bindings = tables
        self._roles = {
            record.key: load(record.raw).get("rules") or [] for record in [*roles.records(), *cluster_roles.records()]
        }
        self._bindings = [
            (record.key[0], load(record.raw)) for record in [*cluster_bindings.records(), *bindings.records()]
        ]
        self._version = version


def _is(subject: Json, user: User, namespace: str) -> bool:
    kind, name = subject.get("kind"), subject.get("name", "")
    if kind == "Group":
        return name in user.groups
    if kind == "ServiceAccount":
        return user.name == f"{_ACCOUNT}{subject.get('namespace') or namespace}:{name}"
    return kind == "User" and user.name == name


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
