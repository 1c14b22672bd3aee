"""``quartermaster what-if``: a snapshot with changes beside the same snapshot without, both driven to rest."""

from __future__ import annotations

import argparse
import json
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

from quartermaster.cli.comparison import as_json, as_text
from quartermaster.documents import building, parts
from quartermaster.documents.quantities import Bytes, Millicores
from quartermaster.documents.reading import content, convert, json_document, yaml_documents
from quartermaster.documents.snapshot import JSON, REFERENCE, load
from quartermaster.model.errors import InvalidInput
from quartermaster.model.podgroup import PodGroup
from quartermaster.model.queue import UNLIMITED
from quartermaster.whatif import changes
from quartermaster.whatif.comparing import compare
from quartermaster.whatif.resting import as_it_is, policy_of, settle
from quartermaster.whatif.situation import Situation

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Change:
    """One flag: what it does, in words and in deed."""

    said: str
    make: Callable[[Situation], Situation]


def command(options: argparse.Namespace) -> int:
    """Read everything, decide with and without the changes, print what differs."""
    now = load(Path(options.snapshot))
    changed, said = now, []
    for flag, value in options.changes:
        try:
            change = _CHANGES[flag](value, changed)
            changed = change.make(changed)
        except InvalidInput as wrong:
            raise InvalidInput(f"{flag}: {wrong.field}", wrong.problem, wrong.fix) from None
        said.append(change.said)
    names = [group.name for group in changed.groups]
    if options.explain is not None:
        building.known("--explain", options.explain, names)
    policy = policy_of(now)
    before = settle(now, placement=policy) if said else as_it_is(now)
    found = compare(now, before, settle(changed, placement=policy))
    if options.output == "json":
        print(json.dumps(as_json(found, changes=said, group=options.explain), indent=1))
    else:
        print(as_text(found, changes=said, group=options.explain))
    return 0


# ---- the flags


def _add_nodes(value: str, situation: Situation) -> Change:
    like = re.fullmatch(r"(\d+)x(.+)", value)
    if like and not Path(value).exists():
        count, name = int(like[1]), like[2]
        if not count:
            raise InvalidInput(value, "adds no node", "give 1 or more")
        nodes = changes.nodes_like(situation, name, count)
        return Change(f"add {count} {_plural('node', count)} like {name}", lambda s: changes.add_nodes(s, nodes))
    nodes = [*building.nodes(_listed(value, parts.Nodes, key="nodes", or_else="COUNTxNODE, such as 2xnode-7"))]
    return Change(f"add {len(nodes)} {_plural('node', len(nodes))} of {value}", lambda s: changes.add_nodes(s, nodes))


def _remove_node(value: str, situation: Situation) -> Change:
    del situation
    return Change(f"remove node {value}", lambda s: changes.remove_node(s, value))


def _submit(value: str, situation: Situation) -> Change:
    written = _listed(value, parts.Workload, key="workloads", or_else="a file of workloads")
    for workload in written:
        if workload.at:
            raise InvalidInput(f"workload '{workload.name}': at", f"{workload.at}", "leave it out: it is submitted now")
    groups: list[PodGroup] = [group for _, group in building.groups(written)]
    building.check_names(groups, situation.queues, situation.topologies)
    return Change(f"submit {', '.join(group.name for group in groups)}", lambda s: changes.submit(s, groups))


def _evict(value: str, situation: Situation) -> Change:
    del situation
    return Change(f"evict {value}", lambda s: changes.evict(s, value))


def _complete(value: str, situation: Situation) -> Change:
    del situation
    return Change(f"complete {value}", lambda s: changes.complete(s, value))


_WHAT: Mapping[str, str] = {"deserved": "deserved", "limit": "limit", "weight": "over_quota_weight"}


def _quota(value: str, situation: Situation) -> Change:
    del situation
    target, is_set, amount = value.partition("=")
    queue, _, rest = target.rpartition(".")
    queue, _, resource = queue.rpartition(".")
    if not is_set or not queue or rest not in _WHAT:
        raise InvalidInput(f"'{value}'", "is no quota", "give QUEUE.RESOURCE.WHAT=VALUE, such as a.gpu.deserved=8")
    if resource not in {"gpu", "cpu", "memory"} and not resource.startswith("gpu/"):
        raise InvalidInput(f"'{value}'", f"there is no resource '{resource}'", "name gpu, gpu/MODEL, cpu or memory")
    number = _amount(amount, resource, rest)
    return Change(f"set {target} to {amount}", lambda s: changes.set_quota(s, queue, resource, **{_WHAT[rest]: number}))


def _amount(text: str, resource: str, what: str) -> float:
    if text in {"none", "unlimited"} and what != "weight":
        return UNLIMITED
    plain = re.fullmatch(r"\d+(\.\d+)?", text) is not None
    try:
        if what != "weight" and resource == "cpu":
            return Millicores.read(float(text) if plain else text)
        if what != "weight" and resource == "memory":
            return Bytes.read(text)
        if plain:
            return float(text)
    except ValueError as wrong:
        raise InvalidInput(f"'{text}'", str(wrong), "correct the amount") from None
    raise InvalidInput(f"'{text}'", "is no number", "give 0 or more" + ("" if what == "weight" else ", or `none`"))


_CHANGES: Mapping[str, Callable[[str, Situation], Change]] = {
    "--add-nodes": _add_nodes,
    "--remove-node": _remove_node,
    "--quota": _quota,
    "--submit": _submit,
    "--evict": _evict,
    "--complete": _complete,
}


def _listed(file: str, kind: type[T], *, key: str, or_else: str) -> list[T]:
    """What a file lists: one document or several, each one of `kind`, a list of them, or ``{key: list}``."""
    path = Path(file)
    if not path.is_file():
        raise InvalidInput(f"'{file}'", "does not exist", f"name a file, or give {or_else}")
    text = content(path)
    documents = [json_document(text, file=file)] if file.endswith(JSON) else yaml_documents(text, file=file)
    found: list[Any] = []
    for document in documents:
        inner = document[key] if isinstance(document, dict) and set(document) == {key} else document
        found.extend(inner if isinstance(inner, list) else [inner])
    if not found:
        raise InvalidInput(file, "is empty", f"list {key}")
    return [convert(one, kind, where=f"{file}[{number}]", reference=REFERENCE) for number, one in enumerate(found)]


def _plural(word: str, count: int) -> str:
    return word if count == 1 else f"{word}s"
