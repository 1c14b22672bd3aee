"""Questions that are asked by creating an object: who am I, may I, may they, whose token is this."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Protocol

from quartermaster.local.apiserver.errors import Cause, Json, invalid, invalid_value
from quartermaster.local.apiserver.kinds import Kind
from quartermaster.local.apiserver.transport import User


class Authorizer(Protocol):
    """Says who may do what."""

    def allows(self, user: User, attributes: Json) -> tuple[bool, str]:
        """(whether, why). `attributes` as resourceAttributes or nonResourceAttributes of a SubjectAccessReview."""

    def rules(self, user: User, namespace: str) -> tuple[list[Json], list[Json]]:
        """Resource rules and non-resource rules of a user in a namespace."""


class AllowAll:
    """No questions asked: the default of a local cluster."""

    def allows(self, user: User, attributes: Json) -> tuple[bool, str]:
        """Always."""
        del user, attributes
        return True, ""

    def rules(self, user: User, namespace: str) -> tuple[list[Json], list[Json]]:
        """Everything."""
        del user, namespace
        return (
            [{"verbs": ["*"], "apiGroups": ["*"], "resources": ["*"]}],
            [{"verbs": ["*"], "nonResourceURLs": ["*"]}],
        )


REVIEWS = frozenset(
    (
        "selfsubjectreviews",
        "tokenreviews",
        "localsubjectaccessreviews",
        "selfsubjectaccessreviews",
        "selfsubjectrulesreviews",
        "subjectaccessreviews",
    )
)


def user_info(user: User) -> Json:
    """A UserInfo."""
    found: Json = {"username": user.name}
    if user.uid:
        found["uid"] = user.uid
    if user.groups:
        found["groups"] = list(user.groups)
    if user.extra:
        found["extra"] = {key: list(items) for key, items in user.extra.items()}
    return found


def review(kind: Kind, value: Json, user: User, authorizer: Authorizer, tokens: Mapping[str, User]) -> Json:
    """The review with its status filled in; raises ApiError 422 for a question without a subject."""
    spec = value.get("spec") or {}
    if kind.plural == "selfsubjectreviews":
        value["status"] = {"userInfo": user_info(user)}
    elif kind.plural == "tokenreviews":
        known = tokens.get(spec.get("token", ""))
        value["status"] = (
            {"authenticated": True, "user": user_info(known), "audiences": spec.get("audiences") or ["kubernetes"]}
            if known is not None
            else {"error": "invalid bearer token", "user": {}}
        )
    elif kind.plural == "selfsubjectrulesreviews":
        resource, other = authorizer.rules(user, spec.get("namespace", ""))
        value["status"] = {"resourceRules": resource, "nonResourceRules": other, "incomplete": False}
        value["spec"] = {}
    else:
        subject = user
        causes = _problems(kind, value, spec)
        if causes:
            raise invalid("", kind.group, "", causes)
        if kind.plural != "selfsubjectaccessreviews":
            subject = User(spec.get("user", ""), tuple(spec.get("groups") or ()), spec.get("uid", ""))
        attributes = spec.get("resourceAttributes") or spec.get("nonResourceAttributes")
        allowed, why = authorizer.allows(subject, attributes or {})
        value["status"] = {"allowed": allowed} | ({"reason": why} if why else {})
    return value


def _problems(kind: Kind, value: Json, spec: Json) -> list[Cause]:
    resource, other = spec.get("resourceAttributes"), spec.get("nonResourceAttributes")
    causes: list[Cause] = []
    if resource is None and other is None:
        why = "exactly one of nonResourceAttributes or resourceAttributes must be specified"
        causes.append(invalid_value("spec.resourceAttributes", None, why))
    elif resource is not None and other is not None:
        shown = {"Path": other.get("path", ""), "Verb": other.get("verb", "")}
        why = "cannot be specified in combination with resourceAttributes"
        causes.append(invalid_value("spec.nonResourceAttributes", shown, why))
    if kind.plural != "selfsubjectaccessreviews" and not spec.get("user") and not spec.get("groups"):
        causes.append(invalid_value("spec.user", "", "at least one of user or group must be specified"))
    namespace = (value.get("metadata") or {}).get("namespace", "")
    if kind.plural == "localsubjectaccessreviews" and resource and resource.get("namespace", "") != namespace:
        why = "must match metadata.namespace"
        causes.append(invalid_value("spec.resourceAttributes.namespace", resource.get("namespace", ""), why))
    return causes
