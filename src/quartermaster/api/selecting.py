"""Selectors, taints, tolerations and affinity of Kubernetes JSON as model values."""

from __future__ import annotations

from typing import Any

from quartermaster.model.labels import AffinityTerm, Effect, LabelSelector, Operator, Requirement, Taint, Toleration

Json = dict[str, Any]

FIELD_NAME = "metadata.name"
HOSTNAME = "kubernetes.io/hostname"


def taint(value: Json) -> Taint:
    """From ``spec.taints[]``."""
    return Taint(key=value["key"], value=value.get("value", ""), effect=Effect(value["effect"]))


def toleration(value: Json) -> Toleration:
    """From ``spec.tolerations[]``."""
    effect = value.get("effect")
    return Toleration(
        key=value.get("key", ""),
        value=value.get("value", ""),
        exists=value.get("operator") == "Exists",
        effect=Effect(effect) if effect else None,
    )


def label_selector(value: Json | None) -> LabelSelector:
    """From a LabelSelector with matchLabels and matchExpressions."""
    value = value or {}
    exact = LabelSelector.of(value.get("matchLabels") or {}).requirements
    return LabelSelector(requirements=exact + tuple(map(requirement, value.get("matchExpressions") or ())))


def requirement(value: Json) -> Requirement:
    """From a matchExpression."""
    return Requirement(key=value["key"], operator=Operator(value["operator"]), values=tuple(value.get("values") or ()))


def node_affinity(affinity: Json) -> tuple[LabelSelector, ...]:
    """The required terms, any of which is enough."""
    node = affinity.get("nodeAffinity") or {}
    return node_terms(node.get("requiredDuringSchedulingIgnoredDuringExecution") or {})


def node_terms(selector: Json) -> tuple[LabelSelector, ...]:
    """From a NodeSelector. A node's name (matchFields) is asked by its hostname label."""
    found = []
    for term in selector.get("nodeSelectorTerms") or ():
        fields = [{**field, "key": HOSTNAME} for field in term.get("matchFields") or () if field["key"] == FIELD_NAME]
        wanted = tuple(map(requirement, [*(term.get("matchExpressions") or ()), *fields]))
        found.append(LabelSelector(requirements=wanted))
    return tuple(found)


def pod_terms(affinity: Json, kind: str, namespace: str) -> tuple[AffinityTerm, ...]:
    """The required terms of ``podAffinity`` or ``podAntiAffinity``; without namespaces they speak of the pod's own."""
    terms = (affinity.get(kind) or {}).get("requiredDuringSchedulingIgnoredDuringExecution") or ()
    return tuple(
        AffinityTerm(
            selector=label_selector(term.get("labelSelector")),
            topology_key=term["topologyKey"],
            namespaces=frozenset(term.get("namespaces") or (namespace,)),
        )
        for term in terms
    )
