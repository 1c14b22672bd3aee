"""The openb format: a node list and a pod list, from Alibaba's 2023 GPU-sharing cluster.

Columns that the published experiments ignore are known and not used: quality of service, phase and scheduling time.
A few hundred distinct requests make up thousands of pods, so equal requests share one `PodSpec`: comparing them is
then an identity test, and their hash is computed once.
"""

from __future__ import annotations

from collections.abc import Collection
from typing import Final

from quartermaster.model.node import MAX_DEVICES, Node
from quartermaster.model.pod import GpuRequest, Pod, PodSpec
from quartermaster.model.units import DEVICE, MIB
from quartermaster.simulation.traces.cluster import ClusterTrace
from quartermaster.simulation.traces.column import integer, number, text
from quartermaster.simulation.traces.table import File, Table, read_table

MILLI: Final = 1000

_NODE_NAME = text(name="sn", wanted="the node's name", unique=True)
_NODE_CPU = integer(name="cpu_milli", wanted="thousandths of a CPU")
_NODE_MEMORY = integer(name="memory_mib", wanted="MiB of memory", high=2**40)
_NODE_GPUS = integer(name="gpu", wanted="GPUs of the node", high=MAX_DEVICES)
_NODE_MODEL = text(name="model", wanted="the model of its GPUs", default="")

NODE_COLUMNS: Final = (_NODE_NAME, _NODE_CPU, _NODE_MEMORY, _NODE_GPUS, _NODE_MODEL)

_NAME = text(name="name", wanted="the pod's name", unique=True)
_CPU = integer(name="cpu_milli", wanted="thousandths of a CPU")
_MEMORY = integer(name="memory_mib", wanted="MiB of memory", high=2**40)
_GPUS = integer(name="num_gpu", wanted="GPUs the pod asks for", high=MAX_DEVICES)
_GPU_MILLI = integer(name="gpu_milli", wanted="thousandths of each GPU", high=MILLI)
_MODELS = text(name="gpu_spec", wanted="GPU models joined by '|'", default="")
_CREATED = number(name="creation_time", wanted="seconds from the start of the trace", default=0.0)
_DELETED = number(name="deletion_time", wanted="seconds from the start of the trace", default=0.0)
_UNUSED = (
    text(name="qos", wanted="the quality of service", default=""),
    text(name="pod_phase", wanted="the phase", default=""),
    text(name="scheduled_time", wanted="seconds from the start of the trace", default=""),
)

POD_COLUMNS: Final = (
    _NAME,
    _CPU,
    _MEMORY,
    _GPUS,
    _GPU_MILLI,
    _MODELS,
    _CREATED,
    _DELETED,
    *_UNUSED,
)


def read_openb(*, nodes: File, pods: File, name: str = "openb", allow_unknown_models: bool = False) -> ClusterTrace:
    """A node list and a pod list as a trace.

    A pod that names a GPU model of which the list has no node is most likely misspelt, and would wait for ever;
    `allow_unknown_models` is for pod lists that are replayed on a part of their cluster.
    """
    cluster = read_nodes(nodes)
    models = None if allow_unknown_models else {node.gpu_model for node in cluster if node.gpus and node.gpu_model}
    table = read_table(file=pods, columns=POD_COLUMNS)
    return ClusterTrace(name=name, nodes=cluster, pods=_pods(table, models), lifetimes=_lifetimes(table))


def read_nodes(file: File) -> tuple[Node, ...]:
    """A node list, in file order."""
    table = read_table(file=file, columns=NODE_COLUMNS)
    columns = (
        table[_NODE_NAME],
        table[_NODE_CPU],
        table[_NODE_MEMORY],
        table[_NODE_GPUS],
        table[_NODE_MODEL],
    )
    return tuple(
        Node(name=name, cpu=cpu, memory=memory * MIB, gpus=gpus, gpu_model=model)
        for name, cpu, memory, gpus, model in zip(*columns, strict=True)
    )


def read_pods(file: File, *, models: Collection[str] | None = None) -> tuple[Pod, ...]:
    """A pod list, in file order; with `models`, pods may ask for no others."""
    return _pods(read_table(file=file, columns=POD_COLUMNS), models)


def _pods(table: Table, models: Collection[str] | None) -> tuple[Pod, ...]:
    requests = zip(
        table[_CPU],
        table[_MEMORY],
        table[_GPUS],
        table[_GPU_MILLI],
        table[_MODELS],
        strict=True,
    )
    of_request: dict[tuple[int, int, int, int, str], PodSpec] = {}
    of_value: dict[PodSpec, PodSpec] = {}
    pods = []
    for row, (name, request) in enumerate(zip(table[_NAME], requests, strict=True)):
        spec = of_request.get(request)
        if spec is None:
            cpu, memory, gpus, milli, accepted = request
            gpu = _gpu_request(table, row, gpus, milli, accepted, models)
            spec = PodSpec(cpu=cpu, memory=memory * MIB, gpu=gpu)
            spec = of_request[request] = of_value.setdefault(spec, spec)
        pods.append(Pod(name, spec))
    return tuple(pods)


def _gpu_request(  # noqa: PLR0917  # a row's cells, in their order
    table: Table,
    row: int,
    gpus: int,
    milli: int,
    accepted: str,
    models: Collection[str] | None,
) -> GpuRequest:
    if gpus == 0:
        if milli:
            problem = f"'{milli}', but the pod asks for no GPU"
            raise table.error(row=row, column=_GPU_MILLI, problem=problem, fix="give 0 with num_gpu 0")
        if accepted:
            problem = f"'{accepted}', but the pod asks for no GPU"
            raise table.error(
                row=row,
                column=_MODELS,
                problem=problem,
                fix="leave it empty with num_gpu 0",
            )
        return GpuRequest()
    if milli == 0:
        problem = f"'0', but the pod asks for {gpus} GPU{'s' if gpus > 1 else ''}"
        fix = f"give 1 to {MILLI} thousandths, {MILLI} for whole GPUs"
        raise table.error(row=row, column=_GPU_MILLI, problem=problem, fix=fix)
    if milli < MILLI and gpus > 1:
        problem = f"'{milli}', but the pod asks for {gpus} GPUs"
        raise table.error(
            row=row,
            column=_GPU_MILLI,
            problem=problem,
            fix=f"give {MILLI}: only one GPU can be shared",
        )
    names = frozenset(accepted.split("|")) if accepted else frozenset()
    if "" in names:
        problem = f"'{accepted}' has an empty model name"
        raise table.error(row=row, column=_MODELS, problem=problem, fix=f"expected {_MODELS.wanted}")
    unknown = sorted(names.difference(models)) if models is not None else []
    if unknown and models is not None:
        problem = f"no node has a GPU of model '{unknown[0]}'"
        known = ", ".join(sorted(models)) or "none"
        raise table.error(
            row=row,
            column=_MODELS,
            problem=problem,
            fix=f"the node list's models are {known}",
        )
    return GpuRequest(count=gpus, share=milli * (DEVICE // MILLI), models=names)


def _lifetimes(table: Table) -> tuple[tuple[float, float], ...] | None:
    if _CREATED not in table or _DELETED not in table:
        return None
    lifetimes = tuple(zip(table[_CREATED], table[_DELETED], strict=True))
    for row, (created, deleted) in enumerate(lifetimes):
        if deleted < created:
            problem = f"'{deleted:.15g}' is before its creation at {created:.15g}"
            raise table.error(row=row, column=_DELETED, problem=problem, fix="give a later time")
    return lifetimes
