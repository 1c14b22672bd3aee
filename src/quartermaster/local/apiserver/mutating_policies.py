"""MutatingAdmissionPolicy: changes in CEL that bindings put in force.

An expression gives an object to be merged as server-side apply merges, or a JSON patch. Both are data by the time that
they come here: ``Object{...}`` and ``JSONPatch{...}`` are maps (cel_syntax.py). Policies run once, in the order of
their bindings' names, and those that may be asked again once more if another one changed the object after them.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from quartermaster.local.apiserver.admission import Operation
from quartermaster.local.apiserver.cel import CelError, evaluate
from quartermaster.local.apiserver.cluster import Cluster
from quartermaster.local.apiserver.codec import encode, load
from quartermaster.local.apiserver.defaults import set_defaults
from quartermaster.local.apiserver.errors import ApiError, Json
from quartermaster.local.apiserver.fieldsets import child, effective
from quartermaster.local.apiserver.kinds import Kind
from quartermaster.local.apiserver.managers import merge
from quartermaster.local.apiserver.patches import json_patch
from quartermaster.local.apiserver.policy_bindings import Bound, NoParams, in_force
from quartermaster.local.apiserver.schemas import ANY, Type


class MutatingPolicies:
    """A mutating plugin."""

    def __init__(self, cluster: Cluster) -> None:
        self._cluster = cluster

    def mutate(self, operation: Operation) -> None:
        """Change the object as the policies in force say; raises ApiError if one of them fails."""
        if operation.verb == "DELETE":
            return
        try:
            bounds = list(in_force(self._cluster, operation, "mutating"))
        except NoParams as wrong:
            raise _failed(operation, ("", ""), str(wrong)) from None
        ran: list[Bound] = []
        again: list[Bound] = []
        for bound in bounds:
            if self._apply(operation, bound):
                again = list(ran)
            if bound.policy["spec"].get("reinvocationPolicy") == "IfNeeded":
                ran.append(bound)
        for bound in again:
            self._apply(operation, bound)

    def _apply(self, operation: Operation, bound: Bound) -> bool:
        """Whether it changed the object."""
        before = encode(operation.value)
        try:
            scope = bound.scope(self._cluster, operation)
            for mutation in bound.policy["spec"].get("mutations") or () if scope is not None else ():
                operation.value = self._changed(operation, mutation, {**(scope or {}), "object": operation.value})
                set_defaults(self._stored(operation), operation.value)
        except (CelError, ValueError) as wrong:
            operation.value = load(before)
            if not bound.lenient:
                raise _failed(operation, bound.names, str(wrong)) from None
        return encode(operation.value) != before

    def _changed(self, operation: Operation, mutation: Json, scope: Json) -> Json:
        if mutation.get("patchType") == "JSONPatch":
            return _patched(load(encode(operation.value)), evaluate(mutation["jsonPatch"]["expression"], scope))
        config = evaluate(mutation["applyConfiguration"]["expression"], scope)
        if not isinstance(config, dict):
            raise CelError("the expression gives no object")
        type_ = self._type(operation)
        atomic = ", ".join(_atomic(config, type_, ""))
        if atomic:
            why = f"may not mutate atomic arrays, maps or structs: {atomic}"
            raise CelError(f"error applying patch: invalid ApplyConfiguration: {why}")
        merged: Json = merge(operation.value, config, type_)
        return merged

    def _stored(self, operation: Operation) -> Kind:
        return self._cluster.registry.stored(operation.kind.table) or operation.kind

    def _type(self, operation: Operation) -> Type:
        kind = self._stored(operation)
        if kind.custom is not None:
            custom: Type = kind.custom.type
            return custom
        return self._cluster.schemas.of(kind.gvk) or ANY


def _patched(value: Json, operations: Any) -> Json:
    """The patched object; as it was if a test in the patch does not hold."""
    result: Any = load(encode(value))
    for step in operations if isinstance(operations, list) else [operations]:
        try:
            result = json_patch(result, [step])
        except ApiError as wrong:
            if isinstance(step, dict) and step.get("op") == "test":
                path = str(step.get("path", ""))
                if _there(result, path):
                    return value
                why = f"test operation does not apply: is missing path: {path}: missing value"
                raise CelError(f"JSON Patch: {why}") from None
            raise CelError(f"JSON Patch: {wrong.message}") from None
    if not isinstance(result, dict):
        raise CelError("JSON Patch: the result is no object")
    return result


def _there(value: Any, path: str) -> bool:
    try:
        json_patch({"value": value}, [{"op": "copy", "from": f"/value{path}", "path": "/copy"}])
    except ApiError:
        return False
    return True


def _atomic(config: Any, type_: Type, path: str) -> Iterator[str]:
    """Where a configuration would replace something whole, though it may mean to change a part."""
    type_ = effective(type_, config)
    if isinstance(config, dict):
        if path and (type_.atomic or type_.shape == "any"):
            yield path
            return
        for key, item in config.items():
            yield from _atomic(item, child(type_, key)[0], f"{path}.{key}")
    elif isinstance(config, list):
        if type_.atomic:
            yield path
            return
        for index, item in enumerate(config):
            yield from _atomic(item, type_.element or ANY, f"{path}[{index}]")


def _failed(operation: Operation, names: tuple[str, str], why: str) -> ApiError:
    policy, binding = names
    kind, message = operation.kind, f"policy '{policy}' with binding '{binding}' denied request: {why}"
    details: Json = {"name": operation.key[1]} | ({"group": kind.group} if kind.group else {})
    details |= {"kind": kind.plural, "causes": [{"message": message}]}
    return ApiError(403, "Invalid", message, details=details)
