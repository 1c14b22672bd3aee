"""ValidatingAdmissionPolicy: rules in CEL that bindings put in force."""

from __future__ import annotations

from quartermaster.local.apiserver.admission import Operation
from quartermaster.local.apiserver.cel import CelError, evaluate
from quartermaster.local.apiserver.cluster import Cluster
from quartermaster.local.apiserver.errors import ApiError, Json, qualified
from quartermaster.local.apiserver.policy_bindings import Bound, NoParams, in_force

_REASONS = {"Unauthorized": 401, "Forbidden": 403, "Invalid": 422, "RequestEntityTooLarge": 413}


class Policies:
    """A validating plugin."""

    def __init__(self, cluster: Cluster) -> None:
        self._cluster = cluster

    def check(self, operation: Operation) -> None:
        """Refuse, or warn of, what a policy in force does not allow; raises ApiError."""
        try:
            for bound in in_force(self._cluster, operation, "validating"):
                self._evaluate(operation, bound)
        except NoParams as wrong:
            raise denied(operation, _said("", "", str(wrong)), "Invalid") from None

    def _evaluate(self, operation: Operation, bound: Bound) -> None:
        try:
            scope = bound.scope(self._cluster, operation)
        except CelError as wrong:
            if bound.lenient:
                return
            raise denied(operation, _said(*bound.names, str(wrong)), "Invalid") from None
        if scope is None:
            return
        for validation in bound.policy["spec"].get("validations") or ():
            try:
                if evaluate(validation["expression"], scope) is True:
                    continue
                message = validation.get("message") or f"failed expression: {validation['expression'].strip()}"
                if validation.get("messageExpression"):
                    message = str(evaluate(validation["messageExpression"], scope))
            except CelError as wrong:
                if bound.lenient:
                    continue
                message = f"expression '{validation['expression']}' resulted in error: {wrong}"
            actions = bound.binding.get("spec", {}).get("validationActions") or ["Deny"]
            if "Warn" in actions:
                policy, binding = bound.names
                operation.warnings.append(
                    f"Validation failed for ValidatingAdmissionPolicy '{policy}' with binding '{binding}': {message}"
                )
            if "Deny" in actions:
                raise denied(operation, _said(*bound.names, message), validation.get("reason") or "Invalid")


def _said(policy: str, binding: str, message: str) -> str:
    return f"ValidatingAdmissionPolicy '{policy}' with binding '{binding}' denied request: {message}"


def denied(operation: Operation, why: str, reason: str) -> ApiError:
    """What is answered to who is refused."""
    kind = operation.kind
    details: Json = {"name": operation.key[1]} | ({"group": kind.group} if kind.group else {})
    details |= {"kind": kind.plural, "causes": [{"message": why}]}
    text = f'{qualified(kind.plural, kind.group)} "{operation.key[1]}" is forbidden: {why}'
    return ApiError(_REASONS.get(reason, 422), reason, text, details=details)
