"""What one pod asks for. Pods that ask for the same are decided together, so the request is a value of its own."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from quartermaster.model.errors import InvalidInput
from quartermaster.model.labels import AffinityTerm, LabelSelector, Toleration
from quartermaster.model.node import MAX_DEVICES
from quartermaster.model.units import DEVICE


@dataclass(frozen=True, slots=True, kw_only=True)
class GpuRequest:
    """`count` devices, each wholly, by `share` (micro-GPU) or by `memory` (bytes per device).

    `models` lists the GPU models that are acceptable; empty means any.
    """

    count: int = 0
    share: int = DEVICE
    memory: int = 0
    models: frozenset[str] = frozenset()

    def __post_init__(self) -> None:
        if not 0 <= self.count <= MAX_DEVICES:
            raise InvalidInput("gpu request: count", f"{self.count} devices", f"ask for 0 to {MAX_DEVICES}")
        if not 0 < self.share <= DEVICE:
            raise InvalidInput(
                "gpu request: share", f"{self.share} micro-GPU", f"a share is more than 0 and at most {DEVICE}"
            )
        if self.memory < 0:
            raise InvalidInput("gpu request: memory", f"{self.memory} bytes", "give a positive number of bytes")
        if self.memory and self.share != DEVICE:
            raise InvalidInput("gpu request: memory", "given beside a share", "ask for a share or for memory")

    @property
    def whole(self) -> bool:
        """Whether the devices are taken wholly."""
        return self.share == DEVICE and not self.memory

    def share_on(self, gpu_memory: int) -> int | None:
        """Micro-GPU taken from each device of a node whose devices have `gpu_memory` bytes; None if it cannot be met.

        Memory is rounded down to the micro-GPU, less than 100 kB of any GPU there is: so equal requests whose memory
        fits together always fit (three thirds are one device), which rounding up would deny.
        """
        if not self.memory:
            return self.share
        if self.memory > gpu_memory:
            return None
        return max(1, self.memory * DEVICE // gpu_memory)


@dataclass(frozen=True, slots=True, kw_only=True)
class PodSpec:
    """Everything about a pod that placement looks at; two pods with equal specs are interchangeable.

    `node_affinity` is a disjunction: at least one selector holds (none given: no constraint); `node_selector` and it
    both apply. `affinity` and `anti_affinity` are required terms. `host_ports` are (protocol, port).
    """

    cpu: int = 0
    memory: int = 0
    ephemeral_storage: int = 0
    extended: tuple[tuple[str, int], ...] = ()
    gpu: GpuRequest = field(default_factory=GpuRequest)
    node_selector: LabelSelector = field(default_factory=LabelSelector)
    node_affinity: tuple[LabelSelector, ...] = ()
    tolerations: tuple[Toleration, ...] = ()
    affinity: tuple[AffinityTerm, ...] = ()
    anti_affinity: tuple[AffinityTerm, ...] = ()
    host_ports: tuple[tuple[str, int], ...] = ()
    namespace: str = ""
    labels: tuple[tuple[str, str], ...] = ()
    _hash: int = field(init=False, repr=False, compare=False, default=0)

    def __post_init__(self) -> None:
        amounts = {"cpu": self.cpu, "memory": self.memory, "ephemeral_storage": self.ephemeral_storage}
        for what, amount in (*amounts.items(), *self.extended):
            if amount < 0:
                raise InvalidInput(f"pod: {what}", f"{amount} is negative", "requests are 0 or more")
        object.__setattr__(self, "_hash", hash((self.cpu, self.memory, self.gpu, self.extended, self.labels)))

    def __hash__(self) -> int:
        """Computed once: a spec is looked up for every pod that has it."""
        return self._hash

    def __reduce__(self) -> tuple[object, tuple[object, ...]]:
        """Hashes of strings differ between processes, so a spec is rebuilt, not copied, when it is sent to one."""
        names = [name for name in self.__slots__ if name != "_hash"]
        return _rebuild_spec, ({name: getattr(self, name) for name in names},)

    @property
    def label_map(self) -> Mapping[str, str]:
        """The pod's labels as a mapping."""
        return dict(self.labels)


def _rebuild_spec(fields: dict[str, object]) -> PodSpec:
    return PodSpec(**fields)  # type: ignore[arg-type]  # the fields of a PodSpec, by name


@dataclass(frozen=True, slots=True)
class Pod:
    """A pod by its unique name (``namespace/name`` or a trace's id) and what it asks for.

    `priority` orders pods inside their sub-group: larger first, those without one last. A `gated` pod is not to be
    scheduled yet (scheduling gates, or it has ended): it counts as neither waiting nor there.
    """

    name: str
    spec: PodSpec
    priority: int | None = None
    gated: bool = False
