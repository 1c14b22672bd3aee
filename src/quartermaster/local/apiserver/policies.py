"""ValidatingAdmissionPolicy: rules in CEL that bindings put in force."""

from __future__ import annotations

from typing import Any

from quartermaster.local.apiserver.admission import Operation
from quartermaster.local.apiserver.cel import CelError, evaluate
from quartermaster.local.apiserver.cluster import Cluster
from quartermaster.local.apiserver.codec import load
from quartermaster.local.apiserver.errors import ApiError, Json
from quartermaster.local.apiserver.matching import concerns, conditions_hold, selects, variables_of

_GROUP = "admissionregistration.k8s.io"
_REASONS = {"Unauthorized": 401, "Forbidden": 403, "Invalid": 422, "RequestEntityTooLarge": 413}


class Policies:
    """A validating plugin."""

    def __init__(self, cluster: Cluster) -> None:
        self._cluster = cluster

    def check(self, operation: Operation) -> None:
        """Refuse, or warn of, what a policy in force does not allow; raises ApiError."""
        bindings = self._cluster.store.table(f"validatingadmissionpolicybindings.{_GROUP}")
        if not len(bindings):
            return
        for record in list(bindings.records()):
            binding = load(record.raw)
            spec = binding.get("spec", {})
            policy = self._cluster.object(f"validatingadmissionpolicies.{_GROUP}", ("", spec.get("policyName", "")))
            if policy is not None:
                self._bound(operation, policy, binding)

    def _bound(self, operation: Operation, policy: Json, binding: Json) -> None:
        spec, bound = policy.get("spec", {}), binding.get("spec", {})
        constraints, narrowed = spec.get("matchConstraints") or {}, bound.get("matchResources") or {}
        if not self._about(operation, constraints, whole=False) or not self._about(operation, narrowed, whole=True):
            return
        variables = variables_of(self._cluster, operation)
        for params in self._params(operation, spec, bound):
            self._evaluate(operation, policy, binding, variables | {"params": params})

    def _about(self, operation: Operation, match: Json, *, whole: bool) -> bool:
        rules = match.get("resourceRules")
        if rules is None and whole:
            pass
        elif not concerns(rules or [], operation):
            return False
        if match.get("excludeResourceRules") and concerns(match["excludeResourceRules"], operation):
            return False
        return selects(self._cluster, operation, match.get("namespaceSelector"), match.get("objectSelector"))

    def _params(self, operation: Operation, spec: Json, bound: Json) -> list[Any]:
        kind, reference = spec.get("paramKind"), bound.get("paramRef")
        if not kind or not reference:
            return [None]
        group, _, version = kind["apiVersion"].rpartition("/")
        found = self._cluster.registry.of_kind(group, version, kind["kind"])
        namespace = (reference.get("namespace") or operation.key[0]) if found is not None and found.namespaced else ""
        value = self._cluster.object(found.table, (namespace, reference.get("name", ""))) if found is not None else None
        if value is None:
            if reference.get("parameterNotFoundAction", "Deny") == "Allow":
                return []
            raise self._denied(
                operation, "", "", "no params found for policy binding with `Deny` parameterNotFoundAction", "Invalid"
            )
        return [value]

    def _evaluate(self, operation: Operation, policy: Json, binding: Json, variables: Json) -> None:
        spec, names = policy["spec"], (policy["metadata"]["name"], binding["metadata"]["name"])
        lenient = spec.get("failurePolicy", "Fail") == "Ignore"
        try:
            if not conditions_hold(spec.get("matchConditions") or [], variables):
                return
            composed: Json = {}
            for variable in spec.get("variables") or ():
                composed[variable["name"]] = evaluate(variable["expression"], variables | {"variables": composed})
        except CelError as wrong:
            if lenient:
                return
            raise self._denied(operation, *names, str(wrong), "Invalid") from None
        scope = variables | {"variables": composed}
        for validation in spec.get("validations") or ():
            try:
                if evaluate(validation["expression"], scope) is True:
                    continue
                message = validation.get("message") or f"failed expression: {validation['expression'].strip()}"
                if validation.get("messageExpression"):
                    message = str(evaluate(validation["messageExpression"], scope))
            except CelError as wrong:
                if lenient:
                    continue
                message = f"expression '{validation['expression']}' resulted in error: {wrong}"
            actions = binding.get("spec", {}).get("validationActions") or ["Deny"]
            if "Warn" in actions:
                operation.warnings.append(
                    f"Validation failed for ValidatingAdmissionPolicy '{names[0]}' with binding '{names[1]}': {message}"
                )
            if "Deny" in actions:
                raise self._denied(operation, *names, message, validation.get("reason") or "Invalid")

    def _denied(self, operation: Operation, policy: str, binding: str, message: str, reason: str) -> ApiError:
        kind = operation.kind
        resource = f"{kind.plural}.{kind.group}" if kind.group else kind.plural
        text = (
            f"{resource} \"{operation.key[1]}\" is forbidden: ValidatingAdmissionPolicy '{policy}' with binding "
            f"'{binding}' denied request: {message}"
        )
        details: Json = {"name": operation.key[1]} | ({"group": kind.group} if kind.group else {})
        details |= {"kind": kind.plural, "causes": [{"message": text.partition("is forbidden: ")[2]}]}
        return ApiError(_REASONS.get(reason, 422), reason, text, details=details)
