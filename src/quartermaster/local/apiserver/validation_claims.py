"""What claims of storage have to satisfy, and how they may change."""

from __future__ import annotations

from quartermaster.local.apiserver.errors import Json, forbidden_value, invalid_value, required, unsupported_value
from quartermaster.local.apiserver.names import subdomain_problems
from quartermaster.local.apiserver.quantity import parse
from quartermaster.local.apiserver.validation_metadata import Causes, difference, selector_causes

_MODES = ("ReadOnlyMany", "ReadWriteMany", "ReadWriteOnce", "ReadWriteOncePod")
_ALONE = "ReadWriteOncePod"
_VOLUMES = ("Block", "Filesystem")


def claim(value: Json) -> Causes:
    """A claim says how it is used and how much it is."""
    spec = value.get("spec", {})
    modes = spec.get("accessModes") or ()
    causes = [] if modes else [required("spec.accessModes", "at least 1 access mode is required")]
    causes += selector_causes(spec.get("selector"), "spec.selector")
    causes += [unsupported_value("spec.accessModes", mode, _MODES) for mode in modes if mode not in _MODES]
    if _ALONE in modes and any(mode in _MODES and mode != _ALONE for mode in modes):
        causes.append(forbidden_value("spec.accessModes", "may not use ReadWriteOncePod with other access modes"))
    size = spec.get("resources", {}).get("requests", {}).get("storage")
    if size is None:
        causes.append(required("spec.resources[storage]"))
    elif parse(str(size)) <= 0:
        causes.append(invalid_value("spec.resources[storage]", str(size), "must be greater than zero"))
    causes += _class(spec.get("storageClassName"), "spec.storageClassName")
    if spec.get("volumeMode", "Filesystem") not in _VOLUMES:
        causes.append(unsupported_value("spec.volumeMode", spec["volumeMode"], _VOLUMES))
    return causes + _class(spec.get("volumeAttributesClassName"), "spec.volumeAttributesClassName")


def _class(name: str | None, path: str) -> Causes:
    return [invalid_value(path, name, why) for why in subdomain_problems(name)] if name else []


def changed_claim(value: Json, old: Json) -> Causes:
    """A claim is for what it said; one that is bound may ask for more."""
    new, before = dict(value.get("spec", {})), dict(old.get("spec", {}))
    if not before.get("volumeName"):
        before["volumeName"] = new.get("volumeName")
    if before.get("storageClassName") is None:
        before["storageClassName"] = new.get("storageClassName")
    size, known = (spec.get("resources", {}).get("requests", {}).get("storage", "0") for spec in (new, before))
    if value.get("status", {}).get("phase") == "Bound":
        for spec in (new, before):
            spec.pop("volumeAttributesClassName", None)
            resources = spec.get("resources", {})
            spec["resources"] = resources | {"requests": resources.get("requests", {}) | {"storage": None}}
    causes: Causes = []
    if {name: item for name, item in new.items() if item is not None} != {
        name: item for name, item in before.items() if item is not None
    }:
        why = "resources.requests and volumeAttributesClassName for bound claims"
        shown = difference(_shown(before), _shown(new))
        causes.append(forbidden_value("spec", f"spec is immutable after creation except {why}\n{shown}"))
    at_hand = old.get("status", {}).get("capacity", {}).get("storage", "0")
    if parse(str(size)) < parse(str(known)) and parse(str(size)) <= parse(str(at_hand)):
        at = "spec.resources.requests.storage"
        causes.append(forbidden_value(at, "field can not be less than status.capacity"))
    return causes


def _shown(spec: Json) -> Json:
    """What a claim says, as the server's own type has it."""
    names = ("volumeName", "storageClassName", "volumeMode", "dataSource", "dataSourceRef", "volumeAttributesClassName")
    resources = spec.get("resources", {})
    return {
        "AccessModes": spec.get("accessModes"),
        "Selector": spec.get("selector"),
        "Resources": {name.capitalize(): resources.get(name) for name in ("limits", "requests")},
        **{f"{name[0].upper()}{name[1:]}": spec.get(name) for name in names},
        "VolumeName": spec.get("volumeName") or "",
    }
