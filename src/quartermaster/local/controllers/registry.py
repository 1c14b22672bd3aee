"""All controllers, and which changes each has to look at."""

from __future__ import annotations

from typing import Any

from quartermaster.local.controllers import (
    accounts,
    cronjob,
    daemonset,
    deployment,
    disruption,
    endpoints,
    eviction,
    job,
    nodes,
    replicaset,
    resourceclaims,
    statefulset,
)
from quartermaster.local.controllers.manager import Controller, Watch
from quartermaster.local.controllers.objects import (
    ACCOUNTS,
    BUDGETS,
    CLAIM_TEMPLATES,
    CLAIMS,
    CRON_JOBS,
    DAEMON_SETS,
    DEPLOYMENTS,
    DEVICE_CLASSES,
    JOBS,
    LEASES,
    NAMESPACES,
    NODES,
    PODS,
    REPLICA_SETS,
    RESOURCE_CLAIMS,
    RESOURCE_SLICES,
    REVISIONS,
    SERVICES,
    SLICES,
    STATEFUL_SETS,
    Json,
    Key,
    Objects,
    Resource,
    key_of,
)
from quartermaster.local.controllers.pods import concerned


def itself(objects: Objects, value: Json) -> list[Key]:
    """An object concerns the controller of its kind."""
    del objects
    return [key_of(value)]


def nobody(objects: Objects, value: Json) -> list[Key]:
    """It has to be in the view, and that is all."""
    del objects, value
    return []


def nobodys(value: Json) -> Any:
    """Changes of it concern nobody: a lease that is renewed only puts off what is due anyway."""
    del value


def _fitness(node: Json) -> Any:
    """What of a node decides who may be on it."""
    spec = node.get("spec") or {}
    return node["metadata"].get("labels"), spec.get("taints"), spec.get("unschedulable")


def _replicas(value: Json) -> Any:
    return value["spec"].get("replicas"), value["metadata"].get("ownerReferences")


def _owning(resource: Resource, *children: Resource) -> tuple[Watch, ...]:
    return (Watch(resource, itself), *(Watch(child, concerned(resource)) for child in children))


CONTROLLERS = (
    Controller("serviceaccount", accounts.reconcile, (Watch(NAMESPACES, itself), Watch(ACCOUNTS, accounts.of_account))),
    Controller(
        "deployment",
        deployment.reconcile,
        (*_owning(DEPLOYMENTS, REPLICA_SETS), Watch(PODS, deployment.of_pod)),
    ),
    Controller("replicaset", replicaset.reconcile, _owning(REPLICA_SETS, PODS)),
    Controller(
        "statefulset",
        statefulset.reconcile,
        (*_owning(STATEFUL_SETS, PODS, REVISIONS), Watch(CLAIMS, nobody)),
    ),
    Controller(
        "daemonset",
        daemonset.reconcile,
        (*_owning(DAEMON_SETS, PODS, REVISIONS), Watch(NODES, daemonset.of_node, _fitness)),
    ),
    Controller("job", job.reconcile, (Watch(JOBS, itself), Watch(PODS, job.of_pod))),
    Controller("cronjob", cronjob.reconcile, _owning(CRON_JOBS, JOBS)),
    Controller(
        "disruption",
        disruption.reconcile,
        source="controllermanager",
        watches=(
            Watch(BUDGETS, itself),
            Watch(PODS, disruption.of_pod),
            *(Watch(kind, disruption.of_namespace, _replicas) for kind in (DEPLOYMENTS, REPLICA_SETS, STATEFUL_SETS)),
        ),
    ),
    Controller(
        "node-lifecycle",
        nodes.reconcile,
        (Watch(NODES, itself), Watch(LEASES, nodes.of_lease, nobodys), Watch(PODS, nodes.of_pod)),
        source="node-controller",
    ),
    Controller(
        "taint-eviction",
        eviction.reconcile,
        (Watch(PODS, itself), Watch(NODES, eviction.of_node, _fitness)),
    ),
    Controller(
        "resourceclaim",
        resourceclaims.of_pod,
        (
            Watch(PODS, itself),
            *(Watch(kind, resourceclaims.pods_of) for kind in (RESOURCE_CLAIMS, CLAIM_TEMPLATES)),
            *(Watch(kind, resourceclaims.waiting) for kind in (RESOURCE_SLICES, DEVICE_CLASSES)),
        ),
    ),
    Controller(
        "resourceclaim-release",
        resourceclaims.of_claim,
        (Watch(RESOURCE_CLAIMS, itself), Watch(PODS, resourceclaims.claims_of)),
    ),
    Controller(
        "endpointslice",
        endpoints.reconcile,
        (Watch(SERVICES, itself), Watch(PODS, endpoints.of_pod), Watch(SLICES, endpoints.of_slice)),
    ),
)
