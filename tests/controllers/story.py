"""The stories: what somebody does to a cluster, written in stories/*.yaml, several documents a file.

A story has a namespace of its own and names its nodes after itself, so stories can be played side by side. After every
step the cluster is left alone until nothing changes any more, and is looked at. One key of a step says what is done:

    create: OBJECT or [OBJECT, ...]
    patch: Kind/name        body: ...; `as: merge` for a merge patch; `subresource: status`
    delete: Kind/name       body: delete options
    node: name              a node that is Ready and renews its lease; labels, taints
    silent: name            that node's lease is no longer renewed
    kubelet: true           binds what is unbound to the story's first node, starts what is pending, lets go what is
                            told to go, again and again until nothing is left to do
    bind: N or all          only binds
    pods: SAYING            with `which: {name, labels, phase, image, bound, going}`, `count: N`: their status
    let-go: true            only lets go
    pass: SECONDS

`unseen: true` leaves out the look after a step, and the rest before it: for what does not last.

A saying is `phase`, `ready`, `exit` (code of the container), `restarts`, `condition`, `ip`. In strings, `$node` is the
story's first node, `$namespace` its namespace, `$pod` its first pod that is not told to go, `$ago-N` the time N seconds
ago.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import yaml

FOLDER = Path(__file__).parent
ACTIONS = {"create", "patch", "delete", "node", "silent", "kubelet", "bind", "pods", "let-go", "pass"}
_OPTIONS = {"name", "body", "as", "subresource", "labels", "taints", "which", "count", "unseen"}


@dataclass(frozen=True, kw_only=True)
class Step:
    """One row: what is done, to what, how."""

    name: str
    action: str
    value: Any
    options: Mapping[str, Any]


@dataclass(frozen=True, kw_only=True)
class Story:
    """Steps in order."""

    name: str
    about: str
    steps: tuple[Step, ...]

    @property
    def namespace(self) -> str:
        return f"c-{self.name}"

    @property
    def seen(self) -> list[str]:
        """The names of the steps after which it is looked at."""
        return [step.name for step in self.steps if not step.options.get("unseen")]

    @property
    def node(self) -> str:
        """Its first node, or the one that all stories without a node of their own share."""
        return next((step.value for step in self.steps if step.action == "node"), "worker")

    @property
    def nodes(self) -> set[str]:
        return {step.value for step in self.steps if step.action == "node"}


@cache
def stories() -> tuple[Story, ...]:
    """All of them. Raises `ValueError` for a row that is not understood."""
    found = [
        _story(document)
        for path in sorted((FOLDER / "stories").glob("*.yaml"))
        for document in yaml.safe_load_all(path.read_text(encoding="utf-8"))
    ]
    if len({story.name for story in found}) < len(found):
        raise ValueError("stories of the same name")
    return tuple(found)


def _story(document: dict[str, Any]) -> Story:
    name = document["story"]
    if unknown := document.keys() - {"story", "about", "steps"}:
        raise ValueError(f"{name}: {sorted(unknown)}: not a key of a story")
    return Story(
        name=name,
        about=document["about"],
        steps=tuple(_step(row, f"{name}, row {number}", number) for number, row in enumerate(document["steps"], 1)),
    )


def _step(row: dict[str, Any], where: str, number: int) -> Step:
    actions = row.keys() & ACTIONS
    options = {key: value for key, value in row.items() if key not in actions}
    if len(actions) != 1 or options.keys() - _OPTIONS:
        raise ValueError(f"{where}: wants one of {sorted(ACTIONS)} and options of {sorted(_OPTIONS)}")
    action = actions.pop()
    return Step(name=f"{number:02} {options.pop('name', action)}", action=action, value=row[action], options=options)
