"""The CustomResourceDefinitions of our kinds: names, columns and schemas, as a cluster is given them. Pure."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final, get_type_hints

from quartermaster.api import v1alpha1
from quartermaster.api.structural import Json, schema
from quartermaster.api.v1alpha1 import GROUP, VERSION


@dataclass(frozen=True, slots=True, kw_only=True)
class Column:
    """A column of ``kubectl get``; those of `wide` appear with ``-o wide`` only."""

    name: str
    path: str
    type: str = "string"
    says: str
    wide: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Definition:
    """One kind: what it is called and what ``kubectl get`` shows of it."""

    kind: str
    plural: str
    short: tuple[str, ...]
    type: type[v1alpha1.Part]
    namespaced: bool = False
    columns: tuple[Column, ...]
    selectable: tuple[str, ...] = ()

    @property
    def name(self) -> str:
        """The name of the definition's object."""
        return f"{self.plural}.{GROUP}"


_AGE: Final = Column(name="Age", path=".metadata.creationTimestamp", type="date", says="Since when it is there.")


def _condition(kind: str, what: str) -> str:
    return f'.status.conditions[?(@.type=="{kind}")].{what}'


DEFINITIONS: Final = (
    Definition(
        kind="Queue",
        plural="queues",
        short=("q", "qmq"),
        type=v1alpha1.Queue,
        selectable=(".spec.parent",),
        columns=(
            Column(name="Parent", path=".spec.parent", says="The queue above it."),
            Column(name="GPUs", path=".status.gpu.allocated", says="GPUs that it holds."),
            Column(name="Deserved", path=".status.gpu.deserved", says="GPUs that it is promised."),
            Column(name="Share", path=".status.gpu.fairShare", says="GPUs that it should have now."),
            Column(name="Limit", path=".status.gpu.limit", says="The most GPUs that it may hold."),
            Column(name="Running", path=".status.runningGroups", type="integer", says="Groups that run."),
            Column(name="Pending", path=".status.pendingGroups", type="integer", says="Groups that wait."),
            Column(name="Ready", path=_condition("Ready", "status"), says="Whether it is in use."),
            Column(name="Reason", path=_condition("Ready", "reason"), says="Why, or why not."),
            Column(name="Requested", path=".status.gpu.requested", says="GPUs that it holds or waits for.", wide=True),
            Column(name="Weight", path=".spec.gpu.weight", type="number", says="Part of the surplus.", wide=True),
            Column(name="Priority", path=".spec.priority", type="integer", says="Turn at the surplus.", wide=True),
            Column(name="CPU", path=".status.cpu.allocated", says="Cores that it holds.", wide=True),
            Column(name="Memory", path=".status.memory.allocated", says="Memory that it holds.", wide=True),
            _AGE,
        ),
    ),
    Definition(
        kind="PodGroup",
        plural="podgroups",
        short=("pg", "qmpg"),
        type=v1alpha1.PodGroup,
        namespaced=True,
        selectable=(".spec.queue",),
        columns=(
            Column(name="Queue", path=".spec.queue", says="The queue that pays."),
            Column(name="Phase", path=".status.phase", says="Where it is on its way."),
            Column(name="Running", path=".status.running", type="integer", says="Pods that have a node."),
            Column(name="Min", path=".status.minimum", type="integer", says="Pods that it needs to start."),
            Column(name="Pods", path=".status.desired", type="integer", says="Pods that exist."),
            Column(name="Reason", path=_condition("Scheduled", "reason"), says="Why it runs or waits."),
            Column(name="Start", path=".status.estimatedStart", type="date", says="When it may start.", wide=True),
            Column(name="Why", path=_condition("Scheduled", "message"), says="Why, in a sentence.", wide=True),
            _AGE,
        ),
    ),
    Definition(
        kind="Topology",
        plural="topologies",
        short=("topo", "qmt"),
        type=v1alpha1.Topology,
        columns=(
            Column(name="Domains", path=".status.domains", says="Its levels, and how many domains each has."),
            Column(name="Ready", path=_condition("Ready", "status"), says="Whether it can be used."),
            Column(name="Reason", path=_condition("Ready", "reason"), says="Why, or why not."),
            _AGE,
        ),
    ),
)
"""No kind has the `scale` subresource: how many replicas there are is said by what owns the pods."""


def manifest(one: Definition) -> Json:
    """The object that a cluster is given."""
    names = {
        "kind": one.kind,
        "listKind": f"{one.kind}List",
        "plural": one.plural,
        "singular": one.kind.lower(),
        "shortNames": list(one.short),
        "categories": ["quartermaster"],
    }
    version: Json = {
        "name": VERSION,
        "served": True,
        "storage": True,
        "subresources": {"status": {}},
        "additionalPrinterColumns": [_column(column) for column in one.columns],
        "schema": {"openAPIV3Schema": _root(one.type)},
    }
    if one.selectable:
        version["selectableFields"] = [{"jsonPath": path} for path in one.selectable]
    return {
        "apiVersion": "apiextensions.k8s.io/v1",
        "kind": "CustomResourceDefinition",
        "metadata": {"name": one.name},
        "spec": {
            "group": GROUP,
            "names": names,
            "scope": "Namespaced" if one.namespaced else "Cluster",
            "versions": [version],
        },
    }


def manifests() -> list[Json]:
    """All of them."""
    return [manifest(one) for one in DEFINITIONS]


def _column(column: Column) -> Json:
    made: Json = {"name": column.name, "type": column.type, "jsonPath": column.path, "description": column.says}
    return made | ({"priority": 1} if column.wide else {})


_TYPE_META: Final[Json] = {
    "apiVersion": {"type": "string", "description": "The version of this representation of an object."},
    "kind": {"type": "string", "description": "The kind of object that this is."},
}


def _root(kind: type[v1alpha1.Part]) -> Json:
    """The schema of an object; its metadata is the API server's business."""
    parts = get_type_hints(kind)
    return {
        "type": "object",
        "description": kind.__doc__ or "",
        "properties": _TYPE_META
        | {"metadata": {"type": "object"}, "spec": schema(parts["spec"]), "status": schema(parts["status"])},
        "required": ["spec"],
    }
