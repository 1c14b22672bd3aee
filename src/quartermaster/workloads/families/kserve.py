"""KServe: predictors whose pods serve alone, or which span several nodes and are then a gang per replica.

Pods that the controller adds beside these (the scheduler of an LLMInferenceService's router) ask for no GPU and are
groups of one; they are told of, not listed.
"""

from __future__ import annotations

from typing import Any

from quartermaster.workloads.fields import annotation, at, count, label, mapping, optional
from quartermaster.workloads.group import Group, Json, Role
from quartermaster.workloads.reading import Reading

_PIPELINE = 2
"""Nodes of a multi-node predictor that does not say how many."""


def inference_service(read: Reading) -> tuple[Group, ...]:
    """Predictor, transformer and explainer."""
    stopped = annotation(read.top, "serving.kserve.io/stop") == "true"
    found: list[Group] = []
    for name in ("predictor", "transformer", "explainer"):
        if at(read.spec, name, where="spec") is None:
            continue
        part = mapping(read.spec, name, where="spec")
        where = f"spec.{name}"
        size = count(part, "minReplicas", 1, where=where)
        high = optional(part, "maxReplicas", where=where)
        template = {
            "metadata": {key: mapping(part, key, where=where) for key in ("labels", "annotations")},
            "spec": part,
        }
        said = f"scales itself from {size} to {high} replicas" if high and high > size else ""
        more: dict[str, Any] = {"suffix": f"-{name}", "suspended": stopped}
        if name == "predictor" and at(part, "workerSpec", where=where) is not None:
            nodes = max(1, count(part, "workerSpec.pipelineParallelSize", _PIPELINE, where=where))
            roles = [Role.of("predictor", 1, template=template), Role.of("worker", nodes - 1, template=template)]
            why = [f"a model over {nodes} nodes: its head and all workers start together", said]
            if size:
                more |= {"each": "index", "copies": size, "pooled": True}
                found.append(read.gang(roles, why=list(filter(None, why)), **more))
            continue
        why = ["pods serve each on its own", said]
        found += read.singles(name, size, template, why=list(filter(None, why)), **more)
    return tuple(found)


def llm_inference_service(read: Reading) -> tuple[Group, ...]:
    """Decode, and prefill where it is apart: pods on their own, or gangs of nodes."""
    beside = at(read.spec, "router.scheduler", where="spec") is not None
    said = ["beside it runs the router's scheduler, a CPU pod that is a group of one"] if beside else []
    found = list(_tier(read, read.spec, "spec", "decode", said))
    if at(read.spec, "prefill", where="spec") is not None:
        found += _tier(read, mapping(read.spec, "prefill", where="spec"), "spec.prefill", "prefill", [])
    return tuple(found)


def _tier(read: Reading, spec: Json, where: str, name: str, said: list[str]) -> tuple[Group, ...]:
    size = count(spec, "replicas", 1, where=where)
    template = {"spec": mapping(spec, "template", where=where)}
    suffix = "" if name == "decode" else f"-{name}"
    if at(spec, "worker", where=where) is None or not size:
        return read.singles(name, size, template, suffix=suffix, why=["pods serve each on its own", *said])
    nodes = _nodes(spec, where)
    roles = [Role.of("leader", 1, template=template)]
    if nodes > 1:
        roles.append(Role.of("worker", nodes - 1, template={"spec": mapping(spec, "worker", where=where)}))
    why = [f"a model over {nodes} nodes: they start together", *said]
    return (read.gang(roles, suffix=suffix, each="index", copies=size, why=why),)


def _nodes(spec: Json, where: str) -> int:
    """Data parallelism over what is local to a node, else the stages of a pipeline."""
    data = optional(spec, "parallelism.data", where=where)
    local = optional(spec, "parallelism.dataLocal", where=where)
    if data:
        return max(1, -(-data // max(1, local or 1)))
    return max(1, count(spec, "parallelism.pipeline", 1, where=where))


def seat(pod: Json) -> tuple[str, int | None]:
    """The component. Head and workers of a predictor over several nodes are not told apart: all are needed anyway."""
    return label(pod, "component"), None
