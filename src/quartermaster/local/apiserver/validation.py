"""What built-in objects have to satisfy (k8s.io/kubernetes/pkg/apis/*/validation), for kinds written here.

Metadata of everything; specs of pods and of what makes pods, services, jobs, budgets, roles and claims. Kinds without
a rule here are held to their published types only, and that is said in docs/local-api.md.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

from quartermaster.local.apiserver.cluster import Cluster
from quartermaster.local.apiserver.errors import (
    Cause,
    Json,
    duplicate_value,
    forbidden_value,
    invalid_value,
    required,
    unsupported_value,
)
from quartermaster.local.apiserver.kinds import Kind
from quartermaster.local.apiserver.names import label_key_problem, label_problem, label_value_problem, name_problem
from quartermaster.local.apiserver.quantity import parse
from quartermaster.local.apiserver.selectors import from_object, matches
from quartermaster.local.apiserver.validation_kinds import RULES, finalizers, schedule

Causes = list[Cause]

_POD_MUTABLE = (
    "`spec.containers[*].image`,`spec.initContainers[*].image`,`spec.activeDeadlineSeconds`,`spec.tolerations` (only "
    "additions to existing tolerations),`spec.terminationGracePeriodSeconds` (allow it to be set to 1 if it was "
    "previously negative)"
)


def validate_metadata(kind: Kind, metadata: Json, old: Json | None = None) -> Causes:
    """Names, labels, annotations, owners and finalizers of any object."""
    causes: Causes = []
    name = metadata.get("name", "")
    if not isinstance(name, str) or not name:
        return [required("metadata.name", "name or generateName is required")]
    if old is None:
        problem = name_problem(kind.plural, name)
        if problem:
            causes.append(invalid_value("metadata.name", name, problem))
        if kind.namespaced and label_problem(metadata.get("namespace", "")):
            causes.append(
                invalid_value(
                    "metadata.namespace", metadata.get("namespace", ""), label_problem(metadata.get("namespace", ""))
                )
            )
    elif metadata.get("deletionTimestamp"):
        before = set(old.get("finalizers") or ())
        added = [item for item in metadata.get("finalizers") or () if item not in before]
        if added:
            shown = "[" + " ".join(f'"{item}"' for item in added) + "]"
            causes.append(
                forbidden_value(
                    "metadata.finalizers",
                    "no new finalizers can be added if the object is being deleted, found new finalizers "
                    f"[]string{{{shown[1:-1]}}}",
                )
            )
    labels = metadata.get("labels")
    if labels and (old is None or labels != old.get("labels")):
        causes += validate_labels(labels, "metadata.labels")
    annotations = metadata.get("annotations")
    if annotations:
        causes += _annotations(annotations)
    if metadata.get("finalizers") and (old is None or metadata["finalizers"] != old.get("finalizers")):
        causes += finalizers(metadata["finalizers"])
    owners = metadata.get("ownerReferences")
    if owners:
        causes += _owners(owners)
    return causes


def validate_labels(labels: Any, path: str) -> Causes:
    """Keys and values of labels."""
    causes: Causes = []
    for key, value in labels.items():
        if problem := label_key_problem(key):
            causes.append(invalid_value(path, key, problem))
        if problem := label_value_problem(value):
            causes.append(invalid_value(path, value, problem))
    return causes


def _annotations(annotations: Json) -> Causes:
    causes = [
        invalid_value("metadata.annotations", key, problem)
        for key in annotations
        if (problem := label_key_problem(key.lower()))
    ]
    size = sum(len(key) + len(value) for key, value in annotations.items())
    if size > 256 * 1024:
        causes.append(Cause("FieldValueTooLong", "Too long: may not be more than 262144 bytes", "metadata.annotations"))
    return causes


def _owners(owners: Iterable[Json]) -> Causes:
    causes: Causes = []
    controllers = 0
    for index, owner in enumerate(owners):
        path = f"metadata.ownerReferences[{index}]" if False else "metadata.ownerReferences"
        for name in ("apiVersion", "kind", "name", "uid"):
            if not owner.get(name):
                causes.append(invalid_value(f"{path}.{name}", owner.get(name, ""), f"{name} must not be empty"))
        controllers += bool(owner.get("controller"))
    if controllers > 1:
        causes.append(
            invalid_value("metadata.ownerReferences", "", "Only one reference can have Controller set to true.")
        )
    return causes


def validate(kind: Kind, value: Json, cluster: Cluster) -> Causes:
    """A new object."""
    if kind.custom is not None:
        found: Causes = kind.custom.validate(value, None)
        return found
    rule, simple = _CREATE.get(kind.table), RULES.get(kind.table)
    return (rule(value, cluster) if rule else []) + (simple(value) if simple else [])


def validate_update(kind: Kind, value: Json, old: Json, cluster: Cluster, *, subresource: str) -> Causes:
    """A changed object."""
    if kind.custom is not None:
        found: Causes = kind.custom.validate(value, old)
        return found
    if subresource == "status":
        return _replicas(value) if kind.table in _REPLICATED else []
    rule = _UPDATE.get(kind.table)
    causes = rule(value, old, subresource) if rule else []
    simple = RULES.get(kind.table)
    if simple is not None:
        causes = causes + simple(value)
    again = _CREATE.get(kind.table)
    if again is not None and not causes and value.get("spec") != old.get("spec") and kind.table != "pods":
        causes = again(value, cluster)
    return causes


_REPLICATED = frozenset(("deployments.apps", "replicasets.apps", "replicationcontrollers"))


def _replicas(value: Json) -> Causes:
    """No more pods are ready, available or up to date than there are."""
    status = value.get("status") or {}
    total = status.get("replicas") or 0
    causes: Causes = []
    for name in ("readyReplicas", "availableReplicas", "updatedReplicas", "fullyLabeledReplicas"):
        if (status.get(name) or 0) > total:
            causes.append(invalid_value(f"status.{name}", status[name], "cannot be greater than status.replicas"))
    return causes


def pod_spec(spec: Json, path: str) -> Causes:
    """Of pods and of templates."""
    causes: Causes = []
    containers = spec.get("containers")
    if not containers:
        causes.append(required(f"{path}.containers"))
    names: set[str] = set()
    volumes = {volume.get("name", "") for volume in spec.get("volumes") or ()}
    for group in ("initContainers", "containers"):
        for index, container in enumerate(spec.get(group) or ()):
            causes += _container(container, f"{path}.{group}[{index}]", names, volumes)
    seen: set[str] = set()
    for index, volume in enumerate(spec.get("volumes") or ()):
        name = volume.get("name", "")
        at = f"{path}.volumes[{index}].name"
        if not name:
            causes.append(required(at))
        elif problem := label_problem(name):
            causes.append(invalid_value(at, name, problem))
        elif name in seen:
            causes.append(duplicate_value(at, name))
        seen.add(name)
    policy = spec.get("restartPolicy", "Always")
    if policy not in ("Always", "OnFailure", "Never"):
        causes.append(unsupported_value(f"{path}.restartPolicy", policy, ("Always", "OnFailure", "Never")))
    dns = spec.get("dnsPolicy", "ClusterFirst")
    known = ("ClusterFirstWithHostNet", "ClusterFirst", "Default", "None")
    if dns not in known:
        causes.append(unsupported_value(f"{path}.dnsPolicy", dns, known))
    grace = spec.get("terminationGracePeriodSeconds", 30)
    if grace < 0:
        causes.append(
            invalid_value(f"{path}.terminationGracePeriodSeconds", grace, "must be greater than or equal to 0")
        )
    deadline = spec.get("activeDeadlineSeconds")
    if deadline is not None and not 1 <= deadline <= 2147483647:
        causes.append(
            invalid_value(f"{path}.activeDeadlineSeconds", deadline, "must be between 1 and 2147483647, inclusive")
        )
    if spec.get("nodeSelector"):
        causes += validate_labels(spec["nodeSelector"], f"{path}.nodeSelector")
    if spec.get("affinity"):
        causes += _affinity(spec["affinity"], f"{path}.affinity")
    for index, toleration in enumerate(spec.get("tolerations") or ()):
        causes += _toleration(toleration, f"{path}.tolerations[{index}]")
    return causes


def _container(container: Json, path: str, names: set[str], volumes: set[str]) -> Causes:
    causes: Causes = []
    name = container.get("name", "")
    if not name:
        causes.append(required(f"{path}.name"))
    elif problem := label_problem(name):
        causes.append(invalid_value(f"{path}.name", name, problem))
    elif name in names:
        causes.append(duplicate_value(f"{path}.name", name))
    names.add(name)
    if not container.get("image"):
        causes.append(required(f"{path}.image"))
    pull = container.get("imagePullPolicy", "Always")
    if pull not in ("Always", "IfNotPresent", "Never"):
        causes.append(unsupported_value(f"{path}.imagePullPolicy", pull, ("Always", "IfNotPresent", "Never")))
    for index, port in enumerate(container.get("ports") or ()):
        number = port.get("containerPort", 0)
        if not 0 < number < 65536:
            causes.append(
                invalid_value(f"{path}.ports[{index}].containerPort", number, "must be between 1 and 65535, inclusive")
            )
    for index, variable in enumerate(container.get("env") or ()):
        if not variable.get("name"):
            causes.append(required(f"{path}.env[{index}].name"))
    for index, mount in enumerate(container.get("volumeMounts") or ()):
        if mount.get("name", "") not in volumes:
            causes.append(
                Cause(
                    "FieldValueNotFound", f'Not found: "{mount.get("name", "")}"', f"{path}.volumeMounts[{index}].name"
                )
            )
        if not mount.get("mountPath"):
            causes.append(required(f"{path}.volumeMounts[{index}].mountPath"))
    resources = container.get("resources")
    if resources:
        causes += _resources(resources, f"{path}.resources")
    return causes


def _resources(resources: Json, path: str) -> Causes:
    causes: Causes = []
    limits = resources.get("limits") or {}
    for group in ("limits", "requests"):
        for name, amount in (resources.get(group) or {}).items():
            at = f"{path}.{group}"
            if label_key_problem(name):
                causes.append(invalid_value(at, name, label_key_problem(name)))
                continue
            if "/" not in name and name not in _NATIVE and not name.startswith("hugepages-"):
                causes.append(invalid_value(at, name, "must be a standard resource type or fully qualified"))
                causes.append(invalid_value(at, name, "must be a standard resource for containers"))
            value = parse(str(amount))
            if value < 0:
                causes.append(invalid_value(f"{at}[{name}]", str(amount), "must be greater than or equal to 0"))
            elif _integral(name) and value.denominator != 1:
                causes.append(invalid_value(f"{at}[{name}]", str(amount), "must be an integer"))
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


def _extended(name: str) -> bool:
    return ("/" in name and "kubernetes.io/" not in name) or name.startswith("hugepages-")


def _integral(name: str) -> bool:
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


def _event(value: Json, cluster: Cluster) -> Causes:
    del cluster
    about = (value.get("involvedObject") or {}).get("namespace", "")
    where = value["metadata"].get("namespace", "")
    if about != where and not (about == "" and where == "default"):
        return [invalid_value("involvedObject.namespace", about, "does not match event.namespace")]
    return []


def _crd_update(value: Json, old: Json, subresource: str) -> Causes:
    del subresource
    spec, before = value.get("spec", {}), old.get("spec", {})
    names, known = spec.get("names") or {}, before.get("names") or {}
    pairs = [(f"spec.{name}", spec.get(name), before.get(name)) for name in ("group", "scope")]
    pairs += [(f"spec.names.{name}", names.get(name), known.get(name)) for name in ("kind", "plural")]
    return [invalid_value(path, now, "field is immutable") for path, now, was in pairs if now != was]


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


def _pod(value: Json, cluster: Cluster) -> Causes:
    del cluster
    return pod_spec(value.get("spec", {}), "spec")


def _pod_update(value: Json, old: Json, subresource: str) -> Causes:
    if subresource in ("ephemeralcontainers", "resize"):
        return []
    new_spec, old_spec = value.get("spec", {}), old.get("spec", {})
    if new_spec == old_spec:
        return []
    causes: Causes = []
    kept = [item for item in old_spec.get("tolerations") or () if item in (new_spec.get("tolerations") or ())]
    if len(kept) != len(old_spec.get("tolerations") or ()):
        causes.append(
            forbidden_value("spec.tolerations", "existing toleration can not be modified except its tolerationSeconds")
        )
    gates = {gate["name"] for gate in old_spec.get("schedulingGates") or ()}
    if {gate["name"] for gate in new_spec.get("schedulingGates") or ()} - gates:
        causes.append(
            forbidden_value("spec.schedulingGates", "only deletion is allowed, but found new scheduling gate")
        )
    before = old_spec.get("nodeSelector") or {}
    if gates and any((new_spec.get("nodeSelector") or {}).get(key) != text for key, text in before.items()):
        why = "only additions to spec.nodeSelector are allowed (no mutations or deletions)"
        causes.append(invalid_value("spec.nodeSelector", new_spec.get("nodeSelector"), why))
    free = {"tolerations", "activeDeadlineSeconds", "terminationGracePeriodSeconds", "schedulingGates"}
    if gates:
        free |= {"nodeSelector", "affinity"}

    def bare(spec: Json) -> Json:
        found = {key: item for key, item in spec.items() if key not in free}
        for group in ("containers", "initContainers"):
            if group in found:
                found[group] = [
                    {key: item for key, item in container.items() if key != "image"} for container in found[group]
                ]
        return found

    if bare(new_spec) != bare(old_spec):
        causes.append(forbidden_value("spec", f"pod updates may not change fields other than {_POD_MUTABLE}"))
    return causes


def _workload(value: Json, cluster: Cluster) -> Causes:
    del cluster
    spec = value.get("spec", {})
    causes: Causes = []
    replicas = spec.get("replicas", 0)
    if replicas < 0:
        causes.append(invalid_value("spec.replicas", replicas, "must be greater than or equal to 0"))
    selector = from_object(spec.get("selector"))
    if selector is None:
        if value.get("kind") != "DaemonSet":
            causes.append(required("spec.selector"))
    elif not selector:
        what = str(value.get("kind", "")).lower()
        causes.append(invalid_value("spec.selector", spec["selector"], f"empty selector is invalid for {what}"))
    labels = spec.get("template", {}).get("metadata", {}).get("labels") or {}
    if selector is None or not matches(selector, labels):
        why = "`selector` does not match template `labels`"
        causes.append(invalid_value("spec.template.metadata.labels", labels or None, why))
    causes += pod_spec(spec.get("template", {}).get("spec", {}), "spec.template.spec")
    policy = spec.get("template", {}).get("spec", {}).get("restartPolicy", "Always")
    if policy in ("OnFailure", "Never"):
        causes.append(unsupported_value("spec.template.spec.restartPolicy", policy, ("Always",)))
    return causes


def _selector_update(value: Json, old: Json, subresource: str) -> Causes:
    del subresource
    new, before = value.get("spec", {}).get("selector"), old.get("spec", {}).get("selector")
    if new != before:
        return [invalid_value("spec.selector", new, "field is immutable")]
    return []


def _job(value: Json, cluster: Cluster) -> Causes:
    del cluster
    spec = value.get("spec", {})
    causes: Causes = []
    for name in ("parallelism", "completions", "backoffLimit", "activeDeadlineSeconds", "ttlSecondsAfterFinished"):
        if spec.get(name, 0) < 0:
            causes.append(invalid_value(f"spec.{name}", spec[name], "must be greater than or equal to 0"))
    if spec.get("completionMode") == "Indexed" and "completions" not in spec:
        causes.append(required("spec.completions", "when completion mode is Indexed"))
    template = spec.get("template", {}).get("spec", {})
    selector = from_object(spec.get("selector"))
    labels = spec.get("template", {}).get("metadata", {}).get("labels") or {}
    if selector is not None and not matches(selector, labels):
        why = "`selector` does not match template `labels`"
        causes.append(invalid_value("spec.template.metadata.labels", labels, why))
    causes += pod_spec(template, "spec.template.spec")
    if template.get("restartPolicy", "Always") not in ("OnFailure", "Never"):
        causes.append(
            Cause(
                "FieldValueRequired",
                'Required value: valid values: "OnFailure", "Never"',
                "spec.template.spec.restartPolicy",
            )
            if not template.get("restartPolicy")
            else unsupported_value(
                "spec.template.spec.restartPolicy", template["restartPolicy"], ("OnFailure", "Never")
            )
        )
    return causes


def _cron_job(value: Json, cluster: Cluster) -> Causes:
    causes = schedule(value.get("spec", {}))
    inner = _job({"spec": value.get("spec", {}).get("jobTemplate", {}).get("spec", {})}, cluster)
    return causes + [Cause(item.reason, item.message, f"spec.jobTemplate.{item.field}") for item in inner]


def _pod_template(value: Json, cluster: Cluster) -> Causes:
    del cluster
    return pod_spec((value.get("template") or {}).get("spec") or {}, "template.spec")


def _replication_controller(value: Json, cluster: Cluster) -> Causes:
    del cluster
    spec = value.get("spec") or {}
    causes = [] if spec.get("selector") else [required("spec.selector")]
    if not spec.get("template"):
        return [*causes, required("spec.template")]
    return causes + pod_spec(spec["template"].get("spec") or {}, "spec.template.spec")


def _job_update(value: Json, old: Json, subresource: str) -> Causes:
    del subresource
    spec, before = value.get("spec", {}), old.get("spec", {})
    causes: Causes = []
    for name in ("completions", "selector", "completionMode", "podFailurePolicy"):
        if spec.get(name) != before.get(name) and not (
            name == "completions" and spec.get("completionMode") == "Indexed"
        ):
            causes.append(invalid_value(f"spec.{name}", spec.get(name), "field is immutable"))
    if spec.get("template") != before.get("template") and not before.get("suspend"):
        causes.append(invalid_value("spec.template", spec.get("template"), "field is immutable"))
    return causes


def _service(value: Json, cluster: Cluster) -> Causes:
    del cluster
    spec = value.get("spec", {})
    causes: Causes = []
    kinds = ("ClusterIP", "ExternalName", "LoadBalancer", "NodePort")
    if spec.get("type") not in kinds:
        causes.append(unsupported_value("spec.type", spec.get("type"), kinds))
    ports = spec.get("ports") or []
    if not ports and spec.get("type") != "ExternalName" and spec.get("clusterIP") != "None":
        causes.append(required("spec.ports"))
    affinity = spec.get("sessionAffinity", "None")
    if affinity not in ("ClientIP", "None"):
        causes.append(unsupported_value("spec.sessionAffinity", affinity, ("ClientIP", "None")))
    names: set[str] = set()
    for index, port in enumerate(ports):
        path = f"spec.ports[{index}]"
        name = port.get("name", "")
        if not name and len(ports) > 1:
            causes.append(required(f"{path}.name"))
        elif name and name in names:
            causes.append(duplicate_value(f"{path}.name", name))
        names.add(name)
        if not 0 < port.get("port", 0) < 65536:
            causes.append(invalid_value(f"{path}.port", port.get("port", 0), "must be between 1 and 65535, inclusive"))
        if port.get("protocol") not in ("TCP", "UDP", "SCTP"):
            causes.append(unsupported_value(f"{path}.protocol", port.get("protocol"), ("SCTP", "TCP", "UDP")))
    return causes


def _service_update(value: Json, old: Json, subresource: str) -> Causes:
    del subresource
    new, before = value.get("spec", {}), old.get("spec", {})
    if before.get("clusterIP") and new.get("type") != "ExternalName" and new.get("clusterIP") != before["clusterIP"]:
        return [invalid_value("spec.clusterIPs[0]", [new.get("clusterIP")], "may not change once set")]
    return []


def _immutable(value: Json, old: Json, subresource: str) -> Causes:
    """ConfigMaps and Secrets that say so."""
    del subresource
    if not old.get("immutable"):
        return []
    causes: Causes = []
    if not value.get("immutable"):
        causes.append(forbidden_value("immutable", "field is immutable when `immutable` is set"))
    causes += [
        forbidden_value(name, "field is immutable when `immutable` is set")
        for name in ("data", "binaryData")
        if value.get(name) != old.get(name)
    ]
    return causes


def _secret_update(value: Json, old: Json, subresource: str) -> Causes:
    if value.get("type") != old.get("type"):
        return [invalid_value("type", value.get("type"), "field is immutable")]
    return _immutable(value, old, subresource)


def _config_map(value: Json, cluster: Cluster) -> Causes:
    del cluster
    causes: Causes = []
    for group in ("data", "binaryData"):
        for key in value.get(group) or ():
            if not key or len(key) > 253 or not all(part.isalnum() or part in "-_." for part in key):
                causes.append(
                    invalid_value(
                        f"{group}[{key}]",
                        key,
                        "a valid config key must consist of alphanumeric characters, '-', '_' or '.' (e.g. 'key.name', "
                        " or 'KEY_NAME',  or 'key-name', regex used for validation is '[-._a-zA-Z0-9]+')",
                    )
                )
    return causes


def _role_update(value: Json, old: Json, subresource: str) -> Causes:
    del subresource
    if value.get("roleRef") != old.get("roleRef"):
        return [invalid_value("roleRef", value.get("roleRef"), "cannot change roleRef")]
    return []


def _priority_class(value: Json, cluster: Cluster) -> Causes:
    del cluster
    name, amount = value["metadata"]["name"], value.get("value", 0)
    causes: Causes = []
    if name.startswith("system-") and name not in ("system-node-critical", "system-cluster-critical"):
        causes.append(
            forbidden_value(
                "metadata.name", "priority class names with 'system-' prefix are reserved for system use only"
            )
        )
    elif amount > 1_000_000_000 and not name.startswith("system-"):
        causes.append(forbidden_value("value", "maximum allowed value of a user defined priority is 1000000000"))
    return causes


def _priority_class_update(value: Json, old: Json, subresource: str) -> Causes:
    del subresource
    causes: Causes = []
    if value.get("value") != old.get("value"):
        causes.append(forbidden_value("value", "may not be changed in an update."))
    if value.get("preemptionPolicy") != old.get("preemptionPolicy"):
        causes.append(invalid_value("preemptionPolicy", value.get("preemptionPolicy"), "field is immutable"))
    return causes


def _budget(value: Json, cluster: Cluster) -> Causes:
    del cluster
    spec = value.get("spec", {})
    if "minAvailable" in spec and "maxUnavailable" in spec:
        return [invalid_value("spec", spec, "minAvailable and maxUnavailable cannot be both set")]
    return []


def _claim(value: Json, cluster: Cluster) -> Causes:
    del cluster
    spec = value.get("spec", {})
    causes: Causes = []
    if not spec.get("accessModes"):
        causes.append(required("spec.accessModes", "at least 1 access mode is required"))
    if not spec.get("resources", {}).get("requests", {}).get("storage"):
        causes.append(required("spec.resources[storage]"))
    return causes


def _claim_update(value: Json, old: Json, subresource: str) -> Causes:
    del subresource
    free = (
        "resources",
        "volumeAttributesClassName",
        *(("volumeName",) if not old.get("spec", {}).get("volumeName") else ()),
    )
    new, before = (
        {key: item for key, item in spec.items() if key not in free}
        for spec in (value.get("spec", {}), old.get("spec", {}))
    )
    if new != before:
        return [
            forbidden_value(
                "spec",
                "spec is immutable after creation except resources.requests and volumeAttributesClassName for bound "
                "claims",
            )
        ]
    return []


def _resource_claim_update(value: Json, old: Json, subresource: str) -> Causes:
    del subresource
    if value.get("spec") != old.get("spec"):
        return [invalid_value("spec", value.get("spec"), "field is immutable")]
    return []


def _crd(value: Json, cluster: Cluster) -> Causes:
    from quartermaster.local.apiserver.crds import validate_definition  # noqa: PLC0415  # crds build on this module's words

    return validate_definition(value, cluster)


_CREATE: dict[str, Callable[[Json, Cluster], Causes]] = {
    "events": _event,
    "pods": _pod,
    "deployments.apps": _workload,
    "replicasets.apps": _workload,
    "statefulsets.apps": _workload,
    "daemonsets.apps": _workload,
    "jobs.batch": _job,
    "cronjobs.batch": _cron_job,
    "podtemplates": _pod_template,
    "replicationcontrollers": _replication_controller,
    "services": _service,
    "configmaps": _config_map,
    "secrets": _config_map,
    "priorityclasses.scheduling.k8s.io": _priority_class,
    "poddisruptionbudgets.policy": _budget,
    "persistentvolumeclaims": _claim,
    "customresourcedefinitions.apiextensions.k8s.io": _crd,
}

_UPDATE: dict[str, Callable[[Json, Json, str], Causes]] = {
    "pods": _pod_update,
    "customresourcedefinitions.apiextensions.k8s.io": _crd_update,
    "deployments.apps": _selector_update,
    "replicasets.apps": _selector_update,
    "statefulsets.apps": _selector_update,
    "daemonsets.apps": _selector_update,
    "jobs.batch": _job_update,
    "services": _service_update,
    "configmaps": _immutable,
    "secrets": _secret_update,
    "rolebindings.rbac.authorization.k8s.io": _role_update,
    "clusterrolebindings.rbac.authorization.k8s.io": _role_update,
    "priorityclasses.scheduling.k8s.io": _priority_class_update,
    "persistentvolumeclaims": _claim_update,
    "resourceclaims.resource.k8s.io": _resource_claim_update,
}
