"""Which group a pod belongs to: itself, unless it or its owner says otherwise."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable
from dataclasses import dataclass

from quartermaster.api import pods as api_pods
from quartermaster.api.objects import PodObject
from quartermaster.kube.api import Api
from quartermaster.model.pod import Pod
from quartermaster.model.podgroup import PodGroup, SubGroup


@dataclass(frozen=True, slots=True)
class Plain:
    """So many pods, all or none."""

    size: int
    priority: int
    may_preempt: bool
    queue: str = ""

    def group(self, pods: Iterable[tuple[Pod, object]], *, done: int) -> PodGroup | str:
        """The pods that exist; why it cannot start while some are still to come."""
        found = tuple(pod for pod, _ in pods)
        if len(found) + done < self.size:
            return f"{len(found) + done} of {self.size} pods exist"
        least = max(0, min(self.size, len(found)) - done)
        root = SubGroup(pods=found, min=min(least, len(found)))
        return PodGroup(name="", queue="", root=root, priority=self.priority, may_preempt=self.may_preempt)


@dataclass(frozen=True, slots=True)
class Found:
    """A group, what it wants, and the pod's place in it."""

    group: str
    wish: Plain
    place: object


class Membership:
    """Finds groups. `joined` is told of every pod whose group is known, or known anew."""

    def __init__(self, api: Api, *, changed: Callable[[], None], joined: Callable[[str], None]) -> None:
        self._api, self._changed, self._joined = api, changed, joined
        self._found: dict[str, Found] = {}

    def start(self, group: asyncio.TaskGroup) -> None:
        """Begin to watch owners."""

    def of(self, pod: str) -> Found | None:
        """The group of a pod; None while it is not known."""
        return self._found.get(pod)

    def look(self, name: str, pod: PodObject) -> None:
        """Find the group of a pod that came or changed."""
        title, size = api_pods.group_of(pod) or (name, 1)
        found = Found(title, Plain(size, pod.spec.priority or 0, api_pods.may_preempt(pod)), None)
        if self._found.get(name) != found:
            self._found[name] = found
            self._joined(name)

    def gone(self, name: str) -> None:
        """A pod is no more."""
        self._found.pop(name, None)
