"""What a pod has to satisfy, alone and in a template, and what of it may change (k8s.io/kubernetes/pkg/apis/core)."""

from __future__ import annotations

from collections.abc import Iterable

from quartermaster.local.apiserver.errors import (
    Cause,
    Json,
    duplicate_value,
    forbidden_value,
    invalid_value,
    required,
    unsupported_value,
)
from quartermaster.local.apiserver.names import key_problems, label_problems, subdomain_problems
from quartermaster.local.apiserver.quantity import parse
from quartermaster.local.apiserver.validation_metadata import Causes, difference, labels_causes

_MUTABLE = (
    "`spec.containers[*].image`,`spec.initContainers[*].image`,`spec.activeDeadlineSeconds`,`spec.tolerations` (only "
    "additions to existing tolerations),`spec.terminationGracePeriodSeconds` (allow it to be set to 1 if it was "
    "previously negative)"
)


def pod_spec(spec: Json, path: str) -> Causes:
    """Of pods and of templates."""
    causes = _volumes(spec.get("volumes") or (), f"{path}.volumes")
    if not spec.get("containers"):
        causes.append(required(f"{path}.containers"))
    names: set[str] = set()
    volumes = {volume.get("name", "") for volume in spec.get("volumes") or ()}
    for group in ("containers", "initContainers"):
        for index, container in enumerate(spec.get(group) or ()):
            causes += _container(container, f"{path}.{group}[{index}]", names, volumes)
    policy = spec.get("restartPolicy", "Always")
    if policy not in ("Always", "OnFailure", "Never"):
        causes.append(unsupported_value(f"{path}.restartPolicy", policy, ("Always", "OnFailure", "Never")))
    dns = spec.get("dnsPolicy", "ClusterFirst")
    known = ("ClusterFirstWithHostNet", "ClusterFirst", "Default", "None")
    if dns not in known:
        causes.append(unsupported_value(f"{path}.dnsPolicy", dns, known))
    if spec.get("nodeSelector"):
        causes += labels_causes(spec["nodeSelector"], f"{path}.nodeSelector")
    if spec.get("affinity"):
        causes += _affinity(spec["affinity"], f"{path}.affinity")
    for name in ("serviceAccountName", "nodeName", "priorityClassName"):
        text = spec.get(name) or ""
        causes += [invalid_value(f"{path}.{name}", text, why) for why in (subdomain_problems(text) if text else ())]
    deadline = spec.get("activeDeadlineSeconds")
    if deadline is not None and not 1 <= deadline <= 2147483647:
        causes.append(
            invalid_value(f"{path}.activeDeadlineSeconds", deadline, "must be between 1 and 2147483647, inclusive")
        )
    for name in ("hostname", "subdomain"):
        text = spec.get(name) or ""
        causes += [invalid_value(f"{path}.{name}", text, why) for why in (label_problems(text) if text else ())]
    for index, toleration in enumerate(spec.get("tolerations") or ()):
        causes += _toleration(toleration, f"{path}.tolerations[{index}]")
    return causes


def _volumes(volumes: Iterable[Json], path: str) -> Causes:
    causes: Causes = []
    seen: set[str] = set()
    for index, volume in enumerate(volumes):
        name, at = volume.get("name", ""), f"{path}[{index}].name"
        if not name:
            causes.append(required(at))
        elif problems := label_problems(name):
            causes += [invalid_value(at, name, text) for text in problems]
        elif name in seen:
            causes.append(duplicate_value(at, name))
        seen.add(name)
    return causes


def _container(container: Json, path: str, names: set[str], volumes: set[str]) -> Causes:
    causes: Causes = []
    name = container.get("name", "")
    if not name:
        causes.append(required(f"{path}.name"))
    causes += [invalid_value(f"{path}.name", name, text) for text in (label_problems(name) if name else ())]
    if not container.get("image"):
        causes.append(required(f"{path}.image"))
    for index, port in enumerate(container.get("ports") or ()):
        number, at = port.get("containerPort", 0), f"{path}.ports[{index}].containerPort"
        if not number:
            causes.append(required(at))
        elif not 0 < number < 65536:
            causes.append(invalid_value(at, number, "must be between 1 and 65535, inclusive"))
        if port.get("protocol") not in ("TCP", "UDP", "SCTP"):
            at = f"{path}.ports[{index}].protocol"
            causes.append(unsupported_value(at, port.get("protocol"), ("SCTP", "TCP", "UDP")))
    for index, variable in enumerate(container.get("env") or ()):
        if not variable.get("name"):
            causes.append(required(f"{path}.env[{index}].name"))
    for index, mount in enumerate(container.get("volumeMounts") or ()):
        at, which = f"{path}.volumeMounts[{index}]", mount.get("name", "")
        if not which:
            causes.append(required(f"{at}.name"))
        elif which not in volumes:
            causes.append(Cause("FieldValueNotFound", f'Not found: "{which}"', f"{at}.name"))
        if not mount.get("mountPath"):
            causes.append(required(f"{at}.mountPath"))
    pull = container.get("imagePullPolicy", "Always")
    if pull not in ("Always", "IfNotPresent", "Never"):
        causes.append(unsupported_value(f"{path}.imagePullPolicy", pull, ("Always", "IfNotPresent", "Never")))
    causes += _resources(container.get("resources") or {}, f"{path}.resources")
    if name and name in names:
        causes.append(duplicate_value(f"{path}.name", name))
    names.add(name)
    return causes


def _resources(resources: Json, path: str) -> Causes:
    causes: Causes = []
    limits = resources.get("limits") or {}
    for group in ("limits", "requests"):
        for name, amount in (resources.get(group) or {}).items():
            at = f"{path}.{group}[{name}]"
            causes += _resource_name(name, at)
            causes += quantity_causes(name, str(amount), at)
    for name, amount in (resources.get("requests") or {}).items():
        limit = limits.get(name)
        if limit is None:
            if _extended(name):
                causes.append(required(f"{path}.limits", "Limit must be set for non overcommitable resources"))
        elif _extended(name) and parse(str(amount)) != parse(str(limit)):
            causes.append(invalid_value(f"{path}.requests", str(amount), f"must be equal to {name} limit of {limit}"))
        elif parse(str(amount)) > parse(str(limit)):
            causes.append(
                invalid_value(f"{path}.requests", str(amount), f"must be less than or equal to {name} limit of {limit}")
            )
    return causes


_NATIVE = frozenset(("cpu", "memory", "ephemeral-storage", "storage"))


def _resource_name(name: str, at: str) -> Causes:
    problems = key_problems(name)
    if not problems and "/" not in name and name not in _NATIVE and not name.startswith("hugepages-"):
        problems = ("must be a standard resource type or fully qualified", "must be a standard resource for containers")
    return [invalid_value(at, name, text) for text in problems]


def quantity_causes(name: str, amount: str, at: str) -> Causes:
    """Amounts of a resource are not negative, and those of devices are whole."""
    value = parse(amount)
    if value < 0:
        return [invalid_value(at, amount, "must be greater than or equal to 0")]
    if _whole(name) and value.denominator != 1:
        return [invalid_value(at, amount, "must be an integer")]
    return []


def _extended(name: str) -> bool:
    return ("/" in name and "kubernetes.io/" not in name) or name.startswith("hugepages-")


def _whole(name: str) -> bool:
    return "/" in name and "kubernetes.io/" not in name


_OPERATORS = ("In", "NotIn", "Exists", "DoesNotExist", "Gt", "Lt")


def _affinity(affinity: Json, path: str) -> Causes:
    causes: Causes = []
    path = f"{path}.nodeAffinity.requiredDuringSchedulingIgnoredDuringExecution"
    needed = (affinity.get("nodeAffinity") or {}).get("requiredDuringSchedulingIgnoredDuringExecution")
    if needed is None:
        return causes
    terms = needed.get("nodeSelectorTerms") or ()
    if not terms:
        causes.append(required(f"{path}.nodeSelectorTerms", "must have at least one node selector term"))
    for index, term in enumerate(terms):
        for number, expression in enumerate(term.get("matchExpressions") or ()):
            at = f"{path}.nodeSelectorTerms[{index}].matchExpressions[{number}]"
            operator, values = expression.get("operator", ""), expression.get("values") or ()
            if operator not in _OPERATORS:
                causes.append(invalid_value(f"{at}.operator", operator, "not a valid selector operator"))
            elif operator in ("In", "NotIn") and not values:
                causes.append(required(f"{at}.values", "must be specified when `operator` is 'In' or 'NotIn'"))
            elif operator in ("Exists", "DoesNotExist") and values:
                why = "may not be specified when `operator` is 'Exists' or 'DoesNotExist'"
                causes.append(forbidden_value(f"{at}.values", why))
    return causes


def _toleration(toleration: Json, path: str) -> Causes:
    causes: Causes = []
    operator = toleration.get("operator", "Equal")
    if not toleration.get("key") and operator != "Exists":
        causes.append(
            invalid_value(
                f"{path}.operator",
                operator,
                'operator must be Exists when `key` is empty, which means "match all values and all keys"',
            )
        )
    if operator not in ("Equal", "Exists", "Lt", "Gt"):
        causes.append(unsupported_value(f"{path}.operator", operator, ("Equal", "Exists")))
    if operator == "Exists" and toleration.get("value"):
        why = "value must be empty when `operator` is 'Exists'"
        causes.append(invalid_value(f"{path}.operator", toleration["value"], why))
    effect = toleration.get("effect", "")
    if effect not in ("", "NoSchedule", "PreferNoSchedule", "NoExecute"):
        causes.append(unsupported_value(f"{path}.effect", effect, ("NoSchedule", "PreferNoSchedule", "NoExecute")))
    return causes


def template_causes(template: Json, path: str) -> Causes:
    """A template of pods, with its labels."""
    labels = template.get("metadata", {}).get("labels") or {}
    return labels_causes(labels, f"{path}.labels") + pod_spec(template.get("spec", {}), f"{path}.spec")


def new_pod(value: Json) -> Causes:
    """A pod that is made."""
    return pod_spec(value.get("spec", {}), "spec")


def changed_pod(value: Json, old: Json) -> Causes:
    """A pod that was there before: little of it may change."""
    new_spec, old_spec = value.get("spec", {}), old.get("spec", {})
    if new_spec == old_spec:
        return []
    causes = pod_spec(new_spec, "spec")
    for group in ("containers", "initContainers"):
        if len(new_spec.get(group) or ()) != len(old_spec.get(group) or ()):
            causes.append(forbidden_value(f"spec.{group}", "pod updates may not add or remove containers"))
            return causes
    wrong = _deadline(new_spec.get("activeDeadlineSeconds"), old_spec.get("activeDeadlineSeconds"))
    if wrong:
        return causes + wrong
    causes += _only_added_tolerations(new_spec.get("tolerations") or [], old_spec.get("tolerations") or [])
    gates = {gate["name"] for gate in old_spec.get("schedulingGates") or ()}
    causes += [
        forbidden_value(
            f"spec.schedulingGates[{index}].name",
            f"only deletion is allowed, but found new scheduling gate '{gate['name']}'",
        )
        for index, gate in enumerate(new_spec.get("schedulingGates") or ())
        if gate["name"] not in gates
    ]
    before = old_spec.get("nodeSelector") or {}
    if gates and any((new_spec.get("nodeSelector") or {}).get(key) != text for key, text in before.items()):
        why = "only additions to spec.nodeSelector are allowed (no mutations or deletions)"
        causes.append(invalid_value("spec.nodeSelector", new_spec.get("nodeSelector"), why))
    fixed, wanted = (_fixed(spec, gated=bool(gates)) for spec in (old_spec, new_spec))
    if wanted != fixed:
        said = f"pod updates may not change fields other than {_MUTABLE}\n{difference(fixed, wanted)}"
        causes.append(forbidden_value("spec", said))
    return causes


def pod_status(value: Json, old: Json) -> Causes:
    """How well a pod is to be served is settled with its spec."""
    now, before = (item.get("status", {}).get("qosClass", "") for item in (value, old))
    return [] if now == before else [invalid_value("status.qosClass", now, "field is immutable")]


def _deadline(new: int | None, old: int | None) -> Causes:
    at = "spec.activeDeadlineSeconds"
    if new is None and old is not None:
        return [invalid_value(at, None, "must not update from a positive integer to nil value")]
    if new is not None and old is not None and old < new:
        return [invalid_value(at, new, "must be less than or equal to previous value")]
    return []


def _only_added_tolerations(new: list[Json], old: list[Json]) -> Causes:
    def lasting(toleration: Json) -> Json:
        return {key: item for key, item in toleration.items() if key != "tolerationSeconds"}

    kept = [lasting(toleration) for toleration in new]
    if all(lasting(toleration) in kept for toleration in old):
        return []
    why = "existing toleration can not be modified except its tolerationSeconds"
    return [forbidden_value("spec.tolerations", why)]


def _fixed(spec: Json, *, gated: bool) -> Json:
    """What of a pod's spec may not change: of one that is held back, where it may run can still be narrowed."""
    free = {"tolerations", "activeDeadlineSeconds", "terminationGracePeriodSeconds", "schedulingGates"}
    if gated:
        free |= {"nodeSelector", "affinity"}
    found = {key: item for key, item in sorted(spec.items()) if key not in free}
    for group in ("containers", "initContainers"):
        if group in found:
            found[group] = [{key: item for key, item in part.items() if key != "image"} for part in found[group]]
    return found
