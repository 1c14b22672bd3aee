"""Bad luck as data: which faults befall which nodes how often, drawn from a seed, so that a bad week can be had again.

Every rule has a stream of its own for every node, seeded by the names of both, so what befalls one node does not depend
on what else there is. Gaps are exponential: faults come independently of each other. Drawing is pure; `Chaos` does it
to a cluster through the API, as ``quartermaster fleet break`` does.
"""

from __future__ import annotations

import asyncio
import random
from collections.abc import Iterator, Mapping
from functools import cache
from heapq import heappop, heappush
from importlib.resources import files
from pathlib import Path
from typing import Any, Literal

import msgspec
import yaml

from quartermaster.kube.api import MERGE, Api, Json, Refused
from quartermaster.kube.clock import Clock
from quartermaster.local.fleet import marks
from quartermaster.local.fleet.operating import Fault, break_node
from quartermaster.model.errors import InvalidInput

DAY_S = 86_400.0
LOOK_EVERY_S = 60.0
"""Seconds between two looks at which nodes there are."""
SETS = ("as-published", "stormy")
_GPU_KINDS = ("xid", "straggler", "mig")
_MARK = {"xid": marks.XID, "straggler": marks.SLOWDOWN, "not-ready": marks.FAULT, "drain": marks.FAULT}


class _Part(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, rename="camel"):
    """Base of all parts of a document."""


class Rule(_Part, frozen=True):
    """One kind of fault on the nodes whose labels have all of `where`: how often, how, and for how long."""

    kind: Literal["not-ready", "drain", "spot", "xid", "straggler", "mig"]
    per_node_day: float
    where: dict[str, str] = {}
    lasts_seconds: tuple[float, float] = (600.0, 3600.0)
    codes: tuple[int, ...] = (79,)
    factor: tuple[float, float] = (1.2, 2.0)
    configs: list[str] = []


class Spec(_Part, frozen=True):
    """A seed and the rules."""

    rules: list[Rule]
    seed: int = 0


class Metadata(_Part, frozen=True):
    """The name of a set."""

    name: str


class ChaosSet(_Part, frozen=True):
    """A document of kind Chaos."""

    api_version: Literal["quartermaster.dev/v1alpha1"]
    kind: Literal["Chaos"]
    metadata: Metadata
    spec: Spec


class Strike(_Part, frozen=True):
    """One fault: when, where, what, and when it is over; a spot node comes back then, a MIG cut stays."""

    when: float
    node: str
    fault: Fault
    until: float


def parse(text: str, where: str) -> ChaosSet:
    """A set from its text; raises InvalidInput that names `where`."""
    try:
        found = msgspec.convert(yaml.safe_load(text), ChaosSet)
    except (yaml.YAMLError, msgspec.ValidationError) as wrong:
        raise InvalidInput(where, str(wrong).splitlines()[0], "see the sets that are shipped") from None
    for number, rule in enumerate(found.spec.rules):
        _check(rule, f"{where}: rule {number} ({rule.kind})")
    return found


def _check(rule: Rule, where: str) -> None:
    if not 0 <= rule.per_node_day <= 1000:
        raise InvalidInput(f"{where}: perNodeDay", f"is {rule.per_node_day}", "give 0 to 1000 times a day")
    for name, (low, high) in (("lastsSeconds", rule.lasts_seconds), ("factor", rule.factor)):
        if not 0 < low <= high:
            raise InvalidInput(f"{where}: {name}", f"is [{low}, {high}]", "give the least and the most")
    if rule.factor[0] < 1:
        raise InvalidInput(f"{where}: factor", f"begins at {rule.factor[0]}", "give 1 or more")
    if rule.kind == "xid" and not rule.codes:
        raise InvalidInput(f"{where}: codes", "are none", "name Xid codes such as 79")
    if rule.kind == "mig" and not rule.configs:
        raise InvalidInput(f"{where}: configs", "are none", "name configurations such as all-balanced")


@cache
def shipped(name: str) -> ChaosSet:
    """A set that comes with the program."""
    return parse((files(__package__) / "data" / "chaos" / f"{name}.yaml").read_text(), f"{name}.yaml")


def read(name: str) -> ChaosSet:
    """A shipped set by name, or a file; raises InvalidInput."""
    if name in SETS:
        return shipped(name)
    try:
        text = Path(name).expanduser().read_text()
    except (OSError, UnicodeDecodeError) as wrong:
        raise InvalidInput(
            f"--chaos {name}", f"cannot be read ({wrong})", f"name a file, or {', '.join(SETS)}"
        ) from None
    return parse(text, name)


def befalls(rule: Rule, labels: Mapping[str, str]) -> bool:
    """Whether a rule is for a node with these labels."""
    if rule.kind in _GPU_KINDS and not int(labels.get(marks.GPU_COUNT, "0")):
        return False
    if rule.kind == "mig" and labels.get("nvidia.com/mig.capable") != "true":
        return False
    return rule.per_node_day > 0 and rule.where.items() <= labels.items()


def strikes(chaos: ChaosSet, number: int, node: str, gpus: int, *, since: float) -> Iterator[Strike]:
    """What the rule of this number does to a node from `since` on, without end; the next begins when one is over."""
    rule = chaos.spec.rules[number]
    chance = random.Random(f"{chaos.spec.seed}/{chaos.metadata.name}/{number}/{node}")  # noqa: S311  # no secrets
    when = since
    while True:
        when += chance.expovariate(rule.per_node_day / DAY_S)
        until = when + chance.uniform(*rule.lasts_seconds)
        fault = Fault(
            kind=rule.kind,
            gpus=str(chance.randrange(max(1, gpus))),
            code=chance.choice(rule.codes),
            factor=round(chance.uniform(*rule.factor), 2),
            config=chance.choice(rule.configs) if rule.configs else "",
        )
        yield Strike(when=when, node=node, fault=fault, until=until)
        when = until


class Chaos:
    """Strikes the nodes of a cluster until cancelled."""

    def __init__(self, api: Api, chaos: ChaosSet, *, clock: Clock) -> None:
        self._api, self._set, self._clock = api, chaos, clock
        self._streams: dict[tuple[int, str], Iterator[Strike]] = {}
        self._due: list[tuple[float, int, str, Strike | Json]] = []
        self._count = 0

    async def run(self) -> None:
        """Look who is there, strike, mend, wait."""
        looked = -LOOK_EVERY_S
        while True:
            now = self._clock()
            if now - looked >= LOOK_EVERY_S:
                await self._look(now)
                looked = now
            while self._due and self._due[0][0] <= now:
                _, _, what, item = heappop(self._due)
                try:
                    await self._do(what, item)
                except (Refused, InvalidInput, OSError):
                    await asyncio.sleep(0)  # gone meanwhile, or changed: the next one comes
            next_ = self._due[0][0] if self._due else now + LOOK_EVERY_S
            await self._clock.until(min(next_, looked + LOOK_EVERY_S))

    async def _look(self, now: float) -> None:
        for node in (await self._api.send("GET", "/api/v1/nodes"))["items"]:
            name, labels = node["metadata"]["name"], node["metadata"].get("labels") or {}
            for number, rule in enumerate(self._set.spec.rules):
                if (number, name) not in self._streams and befalls(rule, labels):
                    gpus = int(labels.get(marks.GPU_COUNT, "0"))
                    stream = strikes(self._set, number, name, gpus, since=now)
                    self._streams[number, name] = stream
                    first = next(stream)
                    self._plan(first.when, f"{number}", first)

    def _plan(self, when: float, what: str, item: Strike | Json) -> None:
        self._count += 1
        heappush(self._due, (when, self._count, what, item))

    async def _do(self, what: str, item: Strike | Json) -> None:
        if not isinstance(item, Strike):
            if what == "return":
                await self._api.send("POST", "/api/v1/nodes", item)
            else:
                await self._api.send("PATCH", f"/api/v1/nodes/{what}", item, media=MERGE)
            return
        following = next(self._streams[int(what), item.node])
        self._plan(following.when, what, following)
        node = await self._api.send("GET", f"/api/v1/nodes/{item.node}")
        await break_node(self._api, item.node, item.fault)
        if item.fault.kind == "spot":
            self._plan(item.until, "return", _anew(node))
        elif item.fault.kind != "mig":
            mended: Json = {"metadata": {"annotations": {_MARK[item.fault.kind]: None}}}
            if item.fault.kind == "drain":
                mended["spec"] = {"unschedulable": None}
            self._plan(item.until, item.node, mended)


def _anew(node: Json) -> Json:
    """The same machine as it would join again."""
    about = node["metadata"]
    kept: dict[str, Any] = {key: about[key] for key in ("name", "labels") if key in about}
    annotations = about.get("annotations") or {}
    gone = (marks.FAULT, marks.SPOT_NOTICE, marks.XID, marks.SLOWDOWN)
    kept["annotations"] = {key: value for key, value in annotations.items() if key not in gone}
    spec = {key: value for key, value in node["spec"].items() if key not in ("taints", "unschedulable")}
    ours = [taint for taint in node["spec"].get("taints") or () if not _passing(taint["key"])]
    status = {key: value for key, value in node["status"].items() if key != "conditions"}
    return {"metadata": kept, "spec": spec | ({"taints": ours} if ours else {}), "status": status}


def _passing(key: str) -> bool:
    return key.startswith("node.kubernetes.io/") or key == marks.SPOT_TAINT
