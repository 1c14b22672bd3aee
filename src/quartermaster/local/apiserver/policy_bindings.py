"""Which admission policies are about an operation: what mutating and validating policies have in common."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from quartermaster.local.apiserver.admission import Operation
from quartermaster.local.apiserver.cel import evaluate
from quartermaster.local.apiserver.cluster import Cluster
from quartermaster.local.apiserver.codec import load
from quartermaster.local.apiserver.errors import Json
from quartermaster.local.apiserver.matching import concerns, conditions_hold, selects, variables_of

_GROUP = "admissionregistration.k8s.io"


class NoParams(ValueError):
    """The parameters that a binding names are not there, and it wants them."""


@dataclass(frozen=True, slots=True)
class Bound:
    """A policy that a binding puts in force, with one of its parameters."""

    policy: Json
    binding: Json
    params: Any

    @property
    def names(self) -> tuple[str, str]:
        """Of the policy and of the binding."""
        return self.policy["metadata"]["name"], self.binding["metadata"]["name"]

    @property
    def lenient(self) -> bool:
        """Whether its failures are passed over."""
        found: bool = self.policy["spec"].get("failurePolicy", "Fail") == "Ignore"
        return found

    def scope(self, cluster: Cluster, operation: Operation) -> Json | None:
        """What its expressions may speak of; None if its conditions do not hold. Raises CelError."""
        spec = self.policy["spec"]
        variables = variables_of(cluster, operation) | {"params": self.params}
        if not conditions_hold(spec.get("matchConditions") or [], variables):
            return None
        composed: Json = {}
        for variable in spec.get("variables") or ():
            composed[variable["name"]] = evaluate(variable["expression"], variables | {"variables": composed})
        return variables | {"variables": composed}


def in_force(cluster: Cluster, operation: Operation, kind: str) -> Iterator[Bound]:
    """The policies of a `kind`, ``mutating`` or ``validating``, that are about an operation; raises NoParams."""
    if operation.kind.group == _GROUP and "admissionpolic" in operation.kind.plural:
        return  # nobody is locked out of the policies themselves
    bindings = cluster.store.table(f"{kind}admissionpolicybindings.{_GROUP}")
    if not len(bindings):
        return
    for record in list(bindings.records()):
        binding = load(record.raw)
        spec = binding.get("spec", {})
        policy = cluster.object(f"{kind}admissionpolicies.{_GROUP}", ("", spec.get("policyName", "")))
        if policy is None:
            continue
        constraints, narrowed = policy["spec"].get("matchConstraints") or {}, spec.get("matchResources") or {}
        if _about(cluster, operation, constraints, whole=False) and _about(cluster, operation, narrowed, whole=True):
            for params in _params(cluster, operation, policy["spec"], spec):
                yield Bound(policy, binding, params)


def _about(cluster: Cluster, operation: Operation, match: Json, *, whole: bool) -> bool:
    rules = match.get("resourceRules")
    if not (rules is None and whole) and not concerns(rules or [], operation):
        return False
    if match.get("excludeResourceRules") and concerns(match["excludeResourceRules"], operation):
        return False
    return selects(cluster, operation, match.get("namespaceSelector"), match.get("objectSelector"))


def _params(cluster: Cluster, operation: Operation, spec: Json, bound: Json) -> list[Any]:
    kind, reference = spec.get("paramKind"), bound.get("paramRef")
    if not kind or not reference:
        return [None]
    group, _, version = kind["apiVersion"].rpartition("/")
    found = cluster.registry.of_kind(group, version, kind["kind"])
    namespace = (reference.get("namespace") or operation.key[0]) if found is not None and found.namespaced else ""
    value = cluster.object(found.table, (namespace, reference.get("name", ""))) if found is not None else None
    if value is not None:
        return [value]
    if reference.get("parameterNotFoundAction", "Deny") == "Allow":
        return []
    raise NoParams("no params found for policy binding with `Deny` parameterNotFoundAction")
