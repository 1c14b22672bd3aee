"""What nodes have to satisfy: taints, amounts of devices, and what is given to them once."""

from __future__ import annotations

from quartermaster.local.apiserver.errors import (
    Cause,
    Json,
    duplicate_value,
    forbidden_value,
    invalid_value,
    required,
    unsupported_value,
)
from quartermaster.local.apiserver.names import key_problems, value_problems
from quartermaster.local.apiserver.validation_metadata import Causes
from quartermaster.local.apiserver.validation_pods import quantity_causes

_EFFECTS = ("NoSchedule", "PreferNoSchedule", "NoExecute")
_ONCE = {"podCIDRs": ("podCIDRs", "podCIDR"), "providerID": ("providerID", "providerID")}
"""Fields that are given once: what the real server calls them."""


def node(value: Json) -> Causes:
    """A node as it is to be."""
    return _taints(value.get("spec", {}).get("taints") or ()) + _amounts(value)


def changed_node(value: Json, old: Json) -> Causes:
    """What of a node may change."""
    causes = _amounts(value) + _addresses(value)
    new, before = value.get("spec", {}), old.get("spec", {})
    for name, (field, called) in _ONCE.items():
        if before.get(name) and new.get(name) != before[name]:
            why = f'node updates may not change {called} except from "" to valid'
            causes.append(forbidden_value(f"spec.{field}", why))
    return causes + _taints(new.get("taints") or ())


def changed_whole_node(value: Json, old: Json) -> Causes:
    """The node itself, and then what changes: what both see is said twice."""
    return node(value) + changed_node(value, old)


def _amounts(value: Json) -> Causes:
    causes: Causes = []
    for group in ("capacity", "allocatable"):
        for name, amount in (value.get("status", {}).get(group) or {}).items():
            causes += quantity_causes(name, str(amount), f"status.{group}.{name}")
    return causes


def _addresses(value: Json) -> Causes:
    seen: list[Json] = []
    causes: Causes = []
    for index, address in enumerate(value.get("status", {}).get("addresses") or ()):
        shown = {"Type": address.get("type", ""), "Address": address.get("address", "")}
        if shown in seen:
            causes.append(duplicate_value(f"status.addresses[{index}]", shown))
        seen.append(shown)
    return causes


def _taints(taints: list[Json] | tuple[()]) -> Causes:
    causes: Causes = []
    seen: set[tuple[str, str]] = set()
    for index, taint in enumerate(taints):
        path = f"metadata.taints[{index}]"  # sic
        key, text, effect = (taint.get(name, "") for name in ("key", "value", "effect"))
        causes += [invalid_value(f"{path}.key", key, problem) for problem in key_problems(key)]
        if problems := value_problems(text):
            causes.append(invalid_value(f"{path}.value", text, ";".join(problems)))
        if not effect:
            causes.append(required(f"{path}.effect"))
        elif effect not in _EFFECTS:
            causes.append(unsupported_value(f"{path}.effect", effect, _EFFECTS))
        if (key, effect) in seen:
            shown = {"Key": key, "Value": text, "Effect": effect, "TimeAdded": taint.get("timeAdded")}
            twice = duplicate_value(path, shown)
            why = f"{twice.message}: taints must be unique by key and effect pair"
            causes.append(Cause(twice.reason, why, path))
        seen.add((key, effect))
    return causes
