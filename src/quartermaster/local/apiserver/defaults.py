"""Default values of built-in kinds (k8s.io/kubernetes/pkg/apis/*/v1/defaults.go).

Defaults are written into stored objects, so what a client reads back has them. Custom resources bring theirs in their
schema.
"""

from __future__ import annotations

import base64
from collections.abc import Callable

from quartermaster.local.apiserver.defaults_pods import pod_defaults, pod_spec, template_defaults
from quartermaster.local.apiserver.errors import Json
from quartermaster.local.apiserver.kinds import Kind
from quartermaster.local.apiserver.services import service_defaults


def set_defaults(kind: Kind, value: Json) -> None:
    """Fill in what is not said, in place."""
    if kind.custom is not None:
        kind.custom.default(value)
        return
    step = _STEPS.get(kind.table)
    if step is not None:
        step(value)


def _pod_template(value: Json) -> None:
    pod_spec(value.setdefault("template", {}).setdefault("spec", {}))


def _limit_range(value: Json) -> None:
    for limit in value.get("spec", {}).get("limits") or ():
        if limit.get("type") != "Container":
            continue
        usual = {**limit.get("max", {}), **limit.get("default", {})}
        least = {**usual, **limit.get("min", {}), **limit.get("defaultRequest", {})}
        if usual:
            limit["default"] = usual
        if least:
            limit["defaultRequest"] = least


def _deployment(value: Json) -> None:
    spec = value["spec"]
    template_defaults(value)
    spec.setdefault("replicas", 1)
    strategy = spec.setdefault("strategy", {})
    strategy.setdefault("type", "RollingUpdate")
    if strategy["type"] == "RollingUpdate":
        rolling = strategy.setdefault("rollingUpdate", {})
        rolling.setdefault("maxUnavailable", "25%")
        rolling.setdefault("maxSurge", "25%")
    spec.setdefault("revisionHistoryLimit", 10)
    spec.setdefault("progressDeadlineSeconds", 600)


def _replica_set(value: Json) -> None:
    template_defaults(value)
    value["spec"].setdefault("replicas", 1)


def _replication_controller(value: Json) -> None:
    template_defaults(value)
    spec = value["spec"]
    spec.setdefault("replicas", 1)
    labels = spec.get("template", {}).get("metadata", {}).get("labels")
    if labels:
        spec.setdefault("selector", dict(labels))
        value["metadata"].setdefault("labels", dict(labels))


def _stateful_set(value: Json) -> None:
    spec = value["spec"]
    template_defaults(value)
    spec.setdefault("replicas", 1)
    spec.setdefault("podManagementPolicy", "OrderedReady")
    spec.setdefault("revisionHistoryLimit", 10)
    strategy = spec.setdefault("updateStrategy", {})
    strategy.setdefault("type", "RollingUpdate")
    if strategy["type"] == "RollingUpdate":
        strategy.setdefault("rollingUpdate", {}).setdefault("partition", 0)
    policy = spec.setdefault("persistentVolumeClaimRetentionPolicy", {})
    policy.setdefault("whenDeleted", "Retain")
    policy.setdefault("whenScaled", "Retain")
    for claim in spec.get("volumeClaimTemplates") or ():
        claim.setdefault("kind", "PersistentVolumeClaim")
        claim.setdefault("apiVersion", "v1")
        claim.setdefault("status", {}).setdefault("phase", "Pending")
        _claim(claim)


def _daemon_set(value: Json) -> None:
    spec = value["spec"]
    template_defaults(value)
    annotations = value["metadata"].setdefault("annotations", {})
    annotations.setdefault("deprecated.daemonset.template.generation", "1")
    spec.setdefault("revisionHistoryLimit", 10)
    strategy = spec.setdefault("updateStrategy", {})
    strategy.setdefault("type", "RollingUpdate")
    if strategy["type"] == "RollingUpdate":
        rolling = strategy.setdefault("rollingUpdate", {})
        rolling.setdefault("maxUnavailable", 1)
        rolling.setdefault("maxSurge", 0)


def _job(value: Json) -> None:
    spec, metadata = value["spec"], value["metadata"]
    labels = spec.get("template", {}).get("metadata", {}).get("labels")
    if labels and not metadata.get("labels"):
        metadata["labels"] = labels  # the same thing, until placing.py has added to it
    _job_spec(spec)
    value["spec"].setdefault("manualSelector", False)


def _job_spec(spec: Json) -> None:
    template = spec.get("template", {}).get("spec")
    if template:
        pod_spec(template)
    if "completions" not in spec and "parallelism" not in spec:
        spec["completions"] = 1
    spec.setdefault("parallelism", 1)
    spec.setdefault("backoffLimit", 2147483647 if "backoffLimitPerIndex" in spec else 6)
    spec.setdefault("completionMode", "NonIndexed")
    spec.setdefault("suspend", False)
    spec.setdefault("podReplacementPolicy", "Failed" if "podFailurePolicy" in spec else "TerminatingOrFailed")


def _cron_job(value: Json) -> None:
    spec = value["spec"]
    spec.setdefault("concurrencyPolicy", "Allow")
    spec.setdefault("suspend", False)
    spec.setdefault("successfulJobsHistoryLimit", 3)
    spec.setdefault("failedJobsHistoryLimit", 1)
    template = spec.get("jobTemplate", {}).get("spec", {}).get("template", {}).get("spec")
    if template:
        pod_spec(template)


def _claim(value: Json) -> None:
    value.setdefault("spec", {}).setdefault("volumeMode", "Filesystem")


def _volume_object(value: Json) -> None:
    value["spec"].setdefault("persistentVolumeReclaimPolicy", "Retain")
    if value["spec"].get("hostPath") is not None:
        value["spec"]["hostPath"].setdefault("type", "")
    value["spec"].setdefault("volumeMode", "Filesystem")


def _namespace(value: Json) -> None:
    metadata = value["metadata"]
    if metadata.get("name"):
        metadata.setdefault("labels", {})["kubernetes.io/metadata.name"] = metadata["name"]


def _secret(value: Json) -> None:
    value.setdefault("type", "Opaque")
    plain = value.pop("stringData", None)
    if plain:
        data = value.setdefault("data", {})
        data.update({key: base64.b64encode(text.encode()).decode() for key, text in plain.items()})


def _node(value: Json) -> None:
    spec = value.setdefault("spec", {})
    if spec.get("podCIDR"):
        spec.setdefault("podCIDRs", [spec["podCIDR"]])
    status = value.setdefault("status", {})
    if "capacity" in status:
        status.setdefault("allocatable", dict(status["capacity"]))


def _autoscaler(value: Json) -> None:
    spec = value["spec"]
    spec.setdefault("minReplicas", 1)
    if not spec.get("metrics"):
        spec["metrics"] = [
            {
                "type": "Resource",
                "resource": {"name": "cpu", "target": {"type": "Utilization", "averageUtilization": 80}},
            }
        ]


def _role_binding(value: Json) -> None:
    reference = value.get("roleRef") or {}
    if reference and not reference.get("apiGroup"):
        reference["apiGroup"] = "rbac.authorization.k8s.io"
    for subject in value.get("subjects") or ():
        if subject.get("kind") in ("User", "Group") and not subject.get("apiGroup"):
            subject["apiGroup"] = "rbac.authorization.k8s.io"


def _storage_class(value: Json) -> None:
    value.setdefault("reclaimPolicy", "Delete")
    value.setdefault("volumeBindingMode", "Immediate")


def _priority_class(value: Json) -> None:
    value.setdefault("preemptionPolicy", "PreemptLowerPriority")


def _ingress(value: Json) -> None:
    for rule in value.get("spec", {}).get("rules") or ():
        for path in rule.get("http", {}).get("paths") or ():
            path.setdefault("pathType", "ImplementationSpecific")


def _network_policy(value: Json) -> None:
    spec = value.setdefault("spec", {})
    if not spec.get("policyTypes"):
        spec["policyTypes"] = ["Ingress", *(["Egress"] if spec.get("egress") else [])]
    for direction in ("ingress", "egress"):
        for rule in spec.get(direction) or ():
            for port in rule.get("ports") or ():
                port.setdefault("protocol", "TCP")


def _webhooks(value: Json) -> None:
    mutating = value.get("kind") == "MutatingWebhookConfiguration"
    for hook in value.get("webhooks") or ():
        hook.setdefault("failurePolicy", "Fail")
        hook.setdefault("matchPolicy", "Equivalent")
        hook.setdefault("namespaceSelector", {})
        hook.setdefault("objectSelector", {})
        hook.setdefault("timeoutSeconds", 10)
        if mutating:
            hook.setdefault("reinvocationPolicy", "Never")
        service = hook.get("clientConfig", {}).get("service")
        if service:
            service.setdefault("port", 443)
        for rule in hook.get("rules") or ():
            rule.setdefault("scope", "*")


def _policy(value: Json) -> None:
    spec = value.get("spec", {})
    spec.setdefault("failurePolicy", "Fail")
    constraints = spec.get("matchConstraints")
    if constraints is not None:
        _match_resources(constraints)


def _policy_binding(value: Json) -> None:
    resources = value.get("spec", {}).get("matchResources")
    if resources is not None:
        _match_resources(resources)


def _match_resources(value: Json) -> None:
    value.setdefault("matchPolicy", "Equivalent")
    value.setdefault("namespaceSelector", {})
    value.setdefault("objectSelector", {})
    for rule in value.get("resourceRules") or ():
        rule.setdefault("scope", "*")


def _endpoint_slice(value: Json) -> None:
    for port in value.get("ports") or ():
        port.setdefault("name", "")
        port.setdefault("protocol", "TCP")


def _endpoints(value: Json) -> None:
    for subset in value.get("subsets") or ():
        for port in subset.get("ports") or ():
            port.setdefault("protocol", "TCP")


def _claims(value: Json) -> None:
    _requests_of(value.get("spec", {}))


def _claim_template(value: Json) -> None:
    _requests_of(value.get("spec", {}).get("spec", {}))


def _requests_of(spec: Json) -> None:
    for request in spec.get("devices", {}).get("requests") or ():
        for part in [request.get("exactly"), *(request.get("firstAvailable") or ())]:
            if part is not None:
                part.setdefault("allocationMode", "ExactCount")
                if part["allocationMode"] == "ExactCount":
                    part.setdefault("count", 1)
                for toleration in part.get("tolerations") or ():
                    toleration.setdefault("operator", "Equal")


def _lease_like(value: Json) -> None:
    value.setdefault("spec", {})


def _crd(value: Json) -> None:
    spec = value.get("spec", {})
    names = spec.get("names") or {}
    if names.get("kind"):
        names.setdefault("singular", names["kind"].lower())
        names.setdefault("listKind", names["kind"] + "List")
    spec.setdefault("conversion", {"strategy": "None"})


_STEPS: dict[str, Callable[[Json], None]] = {
    "pods": pod_defaults,
    "replicationcontrollers": _replication_controller,
    "services": service_defaults,
    "persistentvolumeclaims": _claim,
    "persistentvolumes": _volume_object,
    "namespaces": _namespace,
    "secrets": _secret,
    "nodes": _node,
    "endpoints": _endpoints,
    "podtemplates": _pod_template,
    "limitranges": _limit_range,
    "deployments.apps": _deployment,
    "replicasets.apps": _replica_set,
    "statefulsets.apps": _stateful_set,
    "daemonsets.apps": _daemon_set,
    "jobs.batch": _job,
    "cronjobs.batch": _cron_job,
    "horizontalpodautoscalers.autoscaling": _autoscaler,
    "rolebindings.rbac.authorization.k8s.io": _role_binding,
    "clusterrolebindings.rbac.authorization.k8s.io": _role_binding,
    "storageclasses.storage.k8s.io": _storage_class,
    "priorityclasses.scheduling.k8s.io": _priority_class,
    "ingresses.networking.k8s.io": _ingress,
    "networkpolicies.networking.k8s.io": _network_policy,
    "mutatingwebhookconfigurations.admissionregistration.k8s.io": _webhooks,
    "validatingwebhookconfigurations.admissionregistration.k8s.io": _webhooks,
    "validatingadmissionpolicies.admissionregistration.k8s.io": _policy,
    "mutatingadmissionpolicies.admissionregistration.k8s.io": _policy,
    "validatingadmissionpolicybindings.admissionregistration.k8s.io": _policy_binding,
    "mutatingadmissionpolicybindings.admissionregistration.k8s.io": _policy_binding,
    "endpointslices.discovery.k8s.io": _endpoint_slice,
    "resourceclaims.resource.k8s.io": _claims,
    "resourceclaimtemplates.resource.k8s.io": _claim_template,
    "leases.coordination.k8s.io": _lease_like,
    "customresourcedefinitions.apiextensions.k8s.io": _crd,
}
