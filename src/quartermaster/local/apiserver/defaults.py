"""Default values of built-in kinds (k8s.io/kubernetes/pkg/apis/*/v1/defaults.go).

Defaults are written into stored objects, so what a client reads back has them. Custom resources bring theirs in their
schema.
"""

from __future__ import annotations

import json
from collections.abc import Callable

from quartermaster.local.apiserver.cluster import Cluster
from quartermaster.local.apiserver.errors import Json
from quartermaster.local.apiserver.kinds import Kind
from quartermaster.local.apiserver.quantity import canonical

_PULL_ALWAYS = ("", "latest")


def set_defaults(kind: Kind, value: Json, cluster: Cluster) -> None:
    """Fill in what is not said, in place."""
    if kind.custom is not None:
        kind.custom.default(value)
        return
    step = _STEPS.get(kind.table)
    if step is not None:
        step(value, cluster)


def allocate(kind: Kind, value: Json, cluster: Cluster) -> None:
    """What a new object is given beyond defaults: addresses, selectors, a first status. Nobody owns these fields."""
    step = _NEW.get(kind.table) if kind.custom is None else None
    if step is not None:
        step(value, cluster)


def _pod(value: Json, cluster: Cluster) -> None:
    del cluster
    spec = value.setdefault("spec", {})
    pod_spec(spec)
    spec.setdefault("enableServiceLinks", True)
    if spec.get("hostNetwork"):
        _host_ports(spec)
    for container in spec.get("containers") or ():
        _requests(container)
    for container in spec.get("initContainers") or ():
        _requests(container)


def _new_pod(value: Json, cluster: Cluster) -> None:
    status = value["status"]
    status |= {"phase": "Pending", "qosClass": qos_class(value["spec"])}
    if value["spec"].get("schedulingGates"):
        status["conditions"] = [
            {
                "type": "PodScheduled",
                "status": "False",
                "lastProbeTime": None,
                "lastTransitionTime": cluster.now(),
                "reason": "SchedulingGated",
                "message": "Scheduling is blocked due to non-empty scheduling gates",
            }
        ]


def _requests(container: Json) -> None:
    resources = container.setdefault("resources", {})
    limits = resources.get("limits")
    if limits:
        requests = resources.setdefault("requests", {})
        for name, amount in limits.items():
            requests.setdefault(name, amount)


def _host_ports(spec: Json) -> None:
    for container in spec.get("containers") or ():
        for port in container.get("ports") or ():
            port.setdefault("hostPort", port.get("containerPort"))


def pod_spec(spec: Json) -> None:
    """Of pods and of pod templates."""
    fill = spec.setdefault
    fill("restartPolicy", "Always")
    fill("dnsPolicy", "ClusterFirst")
    fill("schedulerName", "default-scheduler")
    fill("terminationGracePeriodSeconds", 30)
    fill("securityContext", {})
    if spec.get("serviceAccountName"):
        spec["serviceAccount"] = spec["serviceAccountName"]
    elif spec.get("serviceAccount"):
        spec["serviceAccountName"] = spec["serviceAccount"]
    for group in ("containers", "initContainers", "ephemeralContainers"):
        for container in spec.get(group) or ():
            _container(container)
    for volume in spec.get("volumes") or ():
        _volume(volume)
    if spec.get("hostNetwork"):
        _host_ports(spec)


def _container(container: Json) -> None:
    fill = container.setdefault
    fill("terminationMessagePath", "/dev/termination-log")
    fill("terminationMessagePolicy", "File")
    if "imagePullPolicy" not in container:
        name, _, tag = container.get("image", "").rpartition("/")[2].partition(":")
        del name
        container["imagePullPolicy"] = (
            "Always" if tag in _PULL_ALWAYS and "@" not in container.get("image", "") else "IfNotPresent"
        )
    fill("resources", {})
    for port in container.get("ports") or ():
        port.setdefault("protocol", "TCP")
    for variable in container.get("env") or ():
        _references(variable.get("valueFrom") or {})
    for name in ("livenessProbe", "readinessProbe", "startupProbe"):
        probe = container.get(name)
        if probe:
            _probe(probe)
    for hook in container.get("lifecycle", {}).values():
        if isinstance(hook, dict):
            _handler(hook)


def _probe(probe: Json) -> None:
    for name, amount in (
        ("timeoutSeconds", 1),
        ("periodSeconds", 10),
        ("successThreshold", 1),
        ("failureThreshold", 3),
    ):
        probe.setdefault(name, amount)
    _handler(probe)


def _handler(handler: Json) -> None:
    get = handler.get("httpGet")
    if get is not None:
        get.setdefault("path", "/")
        get.setdefault("scheme", "HTTP")
    if handler.get("grpc") is not None:
        handler["grpc"].setdefault("service", "")


def _volume(volume: Json) -> None:
    if len(volume) == 1:
        volume["emptyDir"] = {}
    for name in ("secret", "configMap", "downwardAPI", "projected"):
        source = volume.get(name)
        if source is not None:
            source.setdefault("defaultMode", 420)
    for source in volume.get("projected", {}).get("sources") or ():
        token = source.get("serviceAccountToken")
        if token is not None:
            token.setdefault("expirationSeconds", 3600)
        for item in (source.get("downwardAPI") or {}).get("items") or ():
            _references(item)
    if volume.get("hostPath") is not None:
        volume["hostPath"].setdefault("type", "")
    for item in volume.get("downwardAPI", {}).get("items") or ():
        _references(item)


def _references(source: Json) -> None:
    """Of variables and of files that take their value from the pod."""
    if source.get("fieldRef") is not None:
        source["fieldRef"].setdefault("apiVersion", "v1")
    if source.get("resourceFieldRef") is not None:
        source["resourceFieldRef"].setdefault("divisor", "0")


def qos_class(spec: Json) -> str:
    """Guaranteed, Burstable or BestEffort (pkg/apis/core/helper/qos)."""
    guaranteed = True
    any_amount = False
    containers = [*(spec.get("containers") or ()), *(spec.get("initContainers") or ())]
    for container in containers:
        resources = container.get("resources", {})
        wanted, limits = resources.get("requests", {}), resources.get("limits", {})
        for name in ("cpu", "memory"):
            asked, limit = wanted.get(name, "0"), limits.get(name, "0")
            if asked != "0" or limit != "0":
                any_amount = True
            if limit == "0" or canonical(str(asked)) != canonical(str(limit)):
                guaranteed = False
    if not any_amount:
        return "BestEffort"
    return "Guaranteed" if guaranteed and containers else "Burstable"


def _template(value: Json) -> None:
    spec = value.get("spec", {}).get("template", {}).get("spec")
    if isinstance(spec, dict) and spec:
        pod_spec(spec)


def _pod_template(value: Json, cluster: Cluster) -> None:
    del cluster
    pod_spec(value.setdefault("template", {}).setdefault("spec", {}))


def _limit_range(value: Json, cluster: Cluster) -> None:
    del cluster
    for limit in value.get("spec", {}).get("limits") or ():
        if limit.get("type") != "Container":
            continue
        usual = {**limit.get("max", {}), **limit.get("default", {})}
        least = {**usual, **limit.get("min", {}), **limit.get("defaultRequest", {})}
        if usual:
            limit["default"] = usual
        if least:
            limit["defaultRequest"] = least


def _deployment(value: Json, cluster: Cluster) -> None:
    del cluster
    spec = value["spec"]
    _template(value)
    spec.setdefault("replicas", 1)
    strategy = spec.setdefault("strategy", {})
    strategy.setdefault("type", "RollingUpdate")
    if strategy["type"] == "RollingUpdate":
        rolling = strategy.setdefault("rollingUpdate", {})
        rolling.setdefault("maxUnavailable", "25%")
        rolling.setdefault("maxSurge", "25%")
    spec.setdefault("revisionHistoryLimit", 10)
    spec.setdefault("progressDeadlineSeconds", 600)


def _replica_set(value: Json, cluster: Cluster) -> None:
    del cluster
    _template(value)
    value["spec"].setdefault("replicas", 1)


def _replication_controller(value: Json, cluster: Cluster) -> None:
    del cluster
    _template(value)
    spec = value["spec"]
    spec.setdefault("replicas", 1)
    labels = spec.get("template", {}).get("metadata", {}).get("labels")
    if labels:
        spec.setdefault("selector", dict(labels))
        value["metadata"].setdefault("labels", dict(labels))


def _stateful_set(value: Json, cluster: Cluster) -> None:
    spec = value["spec"]
    _template(value)
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
        _claim(claim, cluster)


def _daemon_set(value: Json, cluster: Cluster) -> None:
    del cluster
    spec = value["spec"]
    _template(value)
    annotations = value["metadata"].setdefault("annotations", {})
    annotations.setdefault("deprecated.daemonset.template.generation", "1")
    spec.setdefault("revisionHistoryLimit", 10)
    strategy = spec.setdefault("updateStrategy", {})
    strategy.setdefault("type", "RollingUpdate")
    if strategy["type"] == "RollingUpdate":
        rolling = strategy.setdefault("rollingUpdate", {})
        rolling.setdefault("maxUnavailable", 1)
        rolling.setdefault("maxSurge", 0)


def _job(value: Json, cluster: Cluster) -> None:
    del cluster
    _job_spec(value["spec"])
    value["spec"].setdefault("manualSelector", False)


def _job_selector(value: Json, cluster: Cluster) -> None:
    del cluster
    spec, metadata = value["spec"], value["metadata"]
    if spec.get("manualSelector"):
        return
    labels = spec.setdefault("template", {}).setdefault("metadata", {}).setdefault("labels", {})
    uid, name = metadata["uid"], metadata.get("name", "")
    for prefix in ("batch.kubernetes.io/", ""):
        labels.setdefault(f"{prefix}controller-uid", uid)
        labels.setdefault(f"{prefix}job-name", name)
    chosen = spec.setdefault("selector", {}).setdefault("matchLabels", {})
    chosen["batch.kubernetes.io/controller-uid"] = uid
    metadata.setdefault("labels", dict(labels))


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


def _cron_job(value: Json, cluster: Cluster) -> None:
    del cluster
    spec = value["spec"]
    spec.setdefault("concurrencyPolicy", "Allow")
    spec.setdefault("suspend", False)
    spec.setdefault("successfulJobsHistoryLimit", 3)
    spec.setdefault("failedJobsHistoryLimit", 1)
    template = spec.get("jobTemplate", {}).get("spec", {}).get("template", {}).get("spec")
    if template:
        pod_spec(template)


def _service(value: Json, cluster: Cluster) -> None:
    del cluster
    spec = value.setdefault("spec", {})
    spec.setdefault("type", "ClusterIP")
    spec.setdefault("sessionAffinity", "None")
    if spec["type"] != "ExternalName":
        spec.setdefault("internalTrafficPolicy", "Cluster")
    if spec["type"] in ("NodePort", "LoadBalancer"):
        spec.setdefault("externalTrafficPolicy", "Cluster")
    if spec["type"] == "LoadBalancer":
        spec.setdefault("allocateLoadBalancerNodePorts", True)
    if spec["sessionAffinity"] == "ClientIP":
        spec.setdefault("sessionAffinityConfig", {"clientIP": {"timeoutSeconds": 10800}})
    for port in spec.get("ports") or ():
        port.setdefault("protocol", "TCP")
        port.setdefault("targetPort", port.get("port"))


def _addresses(value: Json, cluster: Cluster) -> None:
    spec = value["spec"]
    if spec.get("type") != "ExternalName":
        spec.setdefault("ipFamilies", ["IPv4"])
        spec.setdefault("ipFamilyPolicy", "SingleStack")
        if not spec.get("clusterIP"):
            spec["clusterIP"] = _cluster_ip(cluster)
        spec.setdefault("clusterIPs", [spec["clusterIP"]])
    used: set[int] | None = None
    for port in spec.get("ports") or ():
        if spec.get("type") in ("NodePort", "LoadBalancer") and not port.get("nodePort"):
            used = _node_ports(cluster) if used is None else used
            port["nodePort"] = next((number for number in range(30000, 32768) if number not in used), 0)
            used.add(port["nodePort"])


def _cluster_ip(cluster: Cluster) -> str:
    used = {record.fields[0] for record in cluster.store.table("services").records()}
    for number in range(2, 65534):
        address = f"10.96.{number >> 8}.{number & 255}"
        if address not in used:
            return address
    return "None"


def _node_ports(cluster: Cluster) -> set[int]:
    used: set[int] = set()
    for record in cluster.store.table("services").records():
        if record.fields[1] in ("NodePort", "LoadBalancer"):
            ports = json.loads(record.raw)["spec"].get("ports", ())
            used |= {port["nodePort"] for port in ports if port.get("nodePort")}
    return used


def _claim(value: Json, cluster: Cluster) -> None:
    del cluster
    value.setdefault("spec", {}).setdefault("volumeMode", "Filesystem")


def _volume_object(value: Json, cluster: Cluster) -> None:
    del cluster
    value["spec"].setdefault("persistentVolumeReclaimPolicy", "Retain")
    value["spec"].setdefault("volumeMode", "Filesystem")


def _namespace(value: Json, cluster: Cluster) -> None:
    del cluster
    metadata = value["metadata"]
    metadata.setdefault("labels", {})["kubernetes.io/metadata.name"] = metadata.get("name", "")


def _new_namespace(value: Json, cluster: Cluster) -> None:
    del cluster
    finalizers = value.setdefault("spec", {}).setdefault("finalizers", [])
    if "kubernetes" not in finalizers:
        finalizers.append("kubernetes")
    value["status"] |= {"phase": "Active"}


def _pending(value: Json, cluster: Cluster) -> None:
    del cluster
    value["status"] |= {"phase": "Pending"}


def _secret(value: Json, cluster: Cluster) -> None:
    del cluster
    value.setdefault("type", "Opaque")
    plain = value.pop("stringData", None)
    if plain:
        import base64  # noqa: PLC0415

        data = value.setdefault("data", {})
        data.update({key: base64.b64encode(text.encode()).decode() for key, text in plain.items()})


def _node(value: Json, cluster: Cluster) -> None:
    del cluster
    spec = value.setdefault("spec", {})
    if spec.get("podCIDR"):
        spec.setdefault("podCIDRs", [spec["podCIDR"]])
    status = value.setdefault("status", {})
    if "capacity" in status:
        status.setdefault("allocatable", dict(status["capacity"]))


def _autoscaler(value: Json, cluster: Cluster) -> None:
    del cluster
    spec = value["spec"]
    spec.setdefault("minReplicas", 1)
    if not spec.get("metrics"):
        spec["metrics"] = [
            {
                "type": "Resource",
                "resource": {"name": "cpu", "target": {"type": "Utilization", "averageUtilization": 80}},
            }
        ]


def _role_binding(value: Json, cluster: Cluster) -> None:
    del cluster
    reference = value.get("roleRef") or {}
    if reference and not reference.get("apiGroup"):
        reference["apiGroup"] = "rbac.authorization.k8s.io"
    for subject in value.get("subjects") or ():
        if subject.get("kind") in ("User", "Group") and not subject.get("apiGroup"):
            subject["apiGroup"] = "rbac.authorization.k8s.io"


def _storage_class(value: Json, cluster: Cluster) -> None:
    del cluster
    value.setdefault("reclaimPolicy", "Delete")
    value.setdefault("volumeBindingMode", "Immediate")


def _priority_class(value: Json, cluster: Cluster) -> None:
    del cluster
    value.setdefault("preemptionPolicy", "PreemptLowerPriority")


def _ingress(value: Json, cluster: Cluster) -> None:
    del cluster
    for rule in value.get("spec", {}).get("rules") or ():
        for path in rule.get("http", {}).get("paths") or ():
            path.setdefault("pathType", "ImplementationSpecific")


def _network_policy(value: Json, cluster: Cluster) -> None:
    del cluster
    spec = value.setdefault("spec", {})
    if not spec.get("policyTypes"):
        spec["policyTypes"] = ["Ingress", *(["Egress"] if spec.get("egress") else [])]
    for direction in ("ingress", "egress"):
        for rule in spec.get(direction) or ():
            for port in rule.get("ports") or ():
                port.setdefault("protocol", "TCP")


def _webhooks(value: Json, cluster: Cluster) -> None:
    del cluster
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


def _policy(value: Json, cluster: Cluster) -> None:
    del cluster
    spec = value.get("spec", {})
    spec.setdefault("failurePolicy", "Fail")
    constraints = spec.get("matchConstraints")
    if constraints is not None:
        _match_resources(constraints)


def _policy_binding(value: Json, cluster: Cluster) -> None:
    del cluster
    resources = value.get("spec", {}).get("matchResources")
    if resources is not None:
        _match_resources(resources)


def _match_resources(value: Json) -> None:
    value.setdefault("matchPolicy", "Equivalent")
    value.setdefault("namespaceSelector", {})
    value.setdefault("objectSelector", {})
    for rule in value.get("resourceRules") or ():
        rule.setdefault("scope", "*")


def _budget(value: Json, cluster: Cluster) -> None:
    del cluster
    names = ("disruptionsAllowed", "currentHealthy", "desiredHealthy", "expectedPods")
    value["status"] |= dict.fromkeys(names, 0)


def _endpoint_slice(value: Json, cluster: Cluster) -> None:
    del cluster
    for port in value.get("ports") or ():
        port.setdefault("name", "")
        port.setdefault("protocol", "TCP")


def _endpoints(value: Json, cluster: Cluster) -> None:
    del cluster
    for subset in value.get("subsets") or ():
        for port in subset.get("ports") or ():
            port.setdefault("protocol", "TCP")


def _claims(value: Json, cluster: Cluster) -> None:
    del cluster
    _requests_of(value.get("spec", {}))


def _claim_template(value: Json, cluster: Cluster) -> None:
    del cluster
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


def _lease_like(value: Json, cluster: Cluster) -> None:
    del cluster
    value.setdefault("spec", {})


def _crd(value: Json, cluster: Cluster) -> None:
    del cluster
    spec = value.get("spec", {})
    names = spec.get("names") or {}
    if names.get("kind"):
        names.setdefault("singular", names["kind"].lower())
        names.setdefault("listKind", names["kind"] + "List")
    spec.setdefault("conversion", {"strategy": "None"})


_STEPS: dict[str, Callable[[Json, Cluster], None]] = {
    "pods": _pod,
    "replicationcontrollers": _replication_controller,
    "services": _service,
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
    "validatingadmissionpolicybindings.admissionregistration.k8s.io": _policy_binding,
    "endpointslices.discovery.k8s.io": _endpoint_slice,
    "resourceclaims.resource.k8s.io": _claims,
    "resourceclaimtemplates.resource.k8s.io": _claim_template,
    "leases.coordination.k8s.io": _lease_like,
    "customresourcedefinitions.apiextensions.k8s.io": _crd,
}

_NEW: dict[str, Callable[[Json, Cluster], None]] = {
    "pods": _new_pod,
    "namespaces": _new_namespace,
    "services": _addresses,
    "jobs.batch": _job_selector,
    "persistentvolumeclaims": _pending,
    "persistentvolumes": _pending,
    "poddisruptionbudgets.policy": _budget,
}
