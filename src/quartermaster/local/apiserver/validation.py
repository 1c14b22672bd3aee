"""What built-in objects have to satisfy: the rules of the kinds, put together as the real server does.

Metadata of everything; specs of pods and of what makes pods, services, nodes, budgets, and those of
validation_kinds.py. Kinds without a rule are held to their published types only, and that is said in
docs/local-api.md. What did not change is not looked at again: it was let in once.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from quartermaster.local.apiserver import validation_claims as claims
from quartermaster.local.apiserver import validation_data as data
from quartermaster.local.apiserver import validation_jobs as jobs
from quartermaster.local.apiserver import validation_networks as networks
from quartermaster.local.apiserver import validation_nodes as nodes
from quartermaster.local.apiserver import validation_pods as pods
from quartermaster.local.apiserver import validation_services as services
from quartermaster.local.apiserver import validation_workloads as workloads
from quartermaster.local.apiserver.cluster import Cluster
from quartermaster.local.apiserver.definitions import changed_definition, validate_definition
from quartermaster.local.apiserver.errors import Json
from quartermaster.local.apiserver.kinds import Kind
from quartermaster.local.apiserver.validation_kinds import CHANGES, RULES, new_event
from quartermaster.local.apiserver.validation_metadata import (
    Causes,
    changed_metadata,
    new_metadata,
    own_finalizers,
)

New = Callable[[Json], Causes]
Change = Callable[[Json, Json], Causes]


@dataclass(frozen=True, slots=True)
class Rules:
    """Of one table: for an object that is made, for one that changes, and for its status."""

    new: New | None = None
    change: Change | None = None
    """Says all that is wrong with an object that was there before; None: `new` again, if it is not the same."""
    status: Change | None = None


def _again(new: New, change: Change) -> Change:
    """All that is wrong with a new one, and then with the change."""
    return lambda value, old: new(value) + change(value, old)


_RULES: dict[str, Rules] = {
    "pods": Rules(pods.new_pod, pods.changed_pod, pods.pod_status),
    "deployments.apps": Rules(workloads.deployment, workloads.changed_deployment, workloads.replicas_status),
    "replicasets.apps": Rules(workloads.workload, workloads.changed_replica_set, workloads.replicas_status),
    "daemonsets.apps": Rules(workloads.daemon_set, workloads.changed_daemon_set, workloads.daemons_status),
    "statefulsets.apps": Rules(workloads.workload, workloads.changed_stateful_set, workloads.replicas_status),
    "replicationcontrollers": Rules(workloads.replication_controller, status=workloads.replicas_status),
    "podtemplates": Rules(workloads.pod_template),
    "jobs.batch": Rules(jobs.job, jobs.changed_job, jobs.job_status),
    "cronjobs.batch": Rules(jobs.cron_job, jobs.changed_cron_job),
    "poddisruptionbudgets.policy": Rules(workloads.budget),
    "configmaps": Rules(data.config_map, _again(data.config_map, data.changed_config_map)),
    "secrets": Rules(data.secret, _again(data.secret, data.changed_secret)),
    "persistentvolumeclaims": Rules(claims.claim, _again(claims.claim, claims.changed_claim)),
    "ingresses.networking.k8s.io": Rules(networks.ingress),
    "networkpolicies.networking.k8s.io": Rules(networks.network_policy),
    "services": Rules(services.service, services.changed_service),
    "nodes": Rules(nodes.node, nodes.changed_whole_node, nodes.changed_node),
}
_NONE = Rules()


def _of_kind(table: str) -> Rules:
    new, change = RULES.get(table), CHANGES.get(table)
    return Rules(new, change if new is None or change is None else _again(new, change))


_RULES |= {table: _of_kind(table) for table in {*RULES, *CHANGES}}
_NONE = Rules()

_LATE = frozenset(("poddisruptionbudgets.policy", "events"))
"""Tables whose own rules say nothing of metadata: it is looked at when all else is well."""

_WHOLE_AGAIN = frozenset(
    (
        "nodes",
        "jobs.batch",
        "configmaps",
        "secrets",
        "storageclasses.storage.k8s.io",
        "resourceclaimtemplates.resource.k8s.io",
        *(
            f"{name}.rbac.authorization.k8s.io"
            for name in ("roles", "clusterroles", "rolebindings", "clusterrolebindings")
        ),
    )
)
"""Tables whose objects are looked at as new ones too when they change."""


def validate(kind: Kind, stored: Kind, value: Json, cluster: Cluster) -> Causes:
    """A new object, written as `kind`."""
    metadata, table = value["metadata"], stored.table
    about = new_metadata(metadata, table, namespaced=kind.namespaced)
    if kind.custom is not None:
        custom: Causes = stored.custom.validate(value, None)
        return about + custom
    if table == "customresourcedefinitions.apiextensions.k8s.io":
        return about + validate_definition(value, cluster)
    rule = new_event if kind.group == "events.k8s.io" else _RULES.get(table, _NONE).new
    causes = rule(value) if rule is not None else []
    about += own_finalizers(metadata)
    if table in _LATE:
        return causes or about
    return about + causes


def validate_update(kind: Kind, stored: Kind, value: Json, old: Json, *, subresource: str) -> Causes:
    """A changed object. Metadata is looked at for all kinds alike, and again by most."""
    metadata, known, table = value["metadata"], old["metadata"], stored.table
    if all(metadata.get(key) == known.get(key) for key in {*metadata, *known} - {"managedFields", "resourceVersion"}):
        causes: Causes = []
    else:
        again = changed_metadata(metadata, known)
        causes = new_metadata(metadata, "", namespaced=kind.namespaced) + again
        if table in _WHOLE_AGAIN and not subresource:
            causes += new_metadata(metadata, table, namespaced=kind.namespaced) + own_finalizers(metadata)
        if table not in _LATE:
            causes += again + (own_finalizers(metadata) if kind.custom is None else [])
    if kind.custom is not None:
        custom: Causes = stored.custom.validate(value, old, status=subresource == "status")
        return causes + custom
    if table == "customresourcedefinitions.apiextensions.k8s.io":
        return causes + changed_definition(value, old)
    rules = _RULES.get(table, _NONE)
    if subresource == "status":
        return causes + (rules.status(value, old) if rules.status else [])
    if table == "pods" and subresource in ("ephemeralcontainers", "resize"):
        return causes
    if rules.change is not None:
        return causes + rules.change(value, old)
    changed = any(value.get(key) != old.get(key) for key in {*value, *old} - {"metadata", "status"})
    return causes + (rules.new(value) if rules.new is not None and changed else [])
