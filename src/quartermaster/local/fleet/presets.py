"""The format of machines and of fleets, and reading both: `data/presets.yaml` and ``quartermaster up --fleet FILE``.

A fleet is a list of pools; a pool is COUNT machines of one preset, named NAME-0, NAME-1, ... Unknown keys are refused.
"""

from __future__ import annotations

from functools import cache
from importlib.resources import files
from pathlib import Path
from typing import Any

import msgspec
import yaml

from quartermaster.local.apiserver.names import subdomain_problem
from quartermaster.local.fleet import mig
from quartermaster.model.errors import InvalidInput
from quartermaster.model.node import MAX_DEVICES

MOST_NODES = 5_000
"""Of one pool: beyond it a laptop is busy for minutes."""


class _Part(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, rename="camel"):
    """Base of all parts of a document."""


class Gpu(_Part, frozen=True):
    """One GPU model: names, what GFD says of it, and what DCGM would measure at rest and at full load."""

    product: str
    name: str
    family: str
    compute: str
    memory_mib: int
    mig: str
    idle_w: int = msgspec.field(name="idleW")
    tdp_w: int = msgspec.field(name="tdpW")
    sm_mhz: int
    mem_mhz: int
    multiprocessors: int


class Machine(_Part, frozen=True):
    """One machine; `rack` is how many of them share an NVLink domain."""

    summary: str
    machine: str
    gpus: int
    cpu: int
    memory_gib: int
    numa: list[int]
    nics: int
    storage_gib: int
    gpu: str = ""
    mig: str = "all-disabled"
    rack: int = 0
    arch: str = "amd64"


class Driver(_Part, frozen=True):
    """Versions of the NVIDIA driver that all machines run."""

    version: str
    cuda: str


class Presets(_Part, frozen=True):
    """The shipped file."""

    gpus: dict[str, Gpu]
    machines: dict[str, Machine]
    driver: Driver


class Pool(_Part, frozen=True):
    """`count` machines. `mig` in place of the preset's; `spot`: may be taken back.

    `dynamic_mig`: GPUs are for DRA claims alone, which also cut them.
    """

    preset: str
    name: str = ""
    count: int = 1
    zone: str = "a"
    mig: str = ""
    dynamic_mig: bool = False
    spot: bool = False
    labels: dict[str, str] = {}
    taints: list[dict[str, str]] = []


class Fleet(_Part, frozen=True):
    """A file of pools."""

    pools: list[Pool]


@cache
def presets() -> Presets:
    """What is shipped."""
    return msgspec.convert(yaml.safe_load((files(__package__) / "data" / "presets.yaml").read_text()), Presets)


def machine(name: str) -> Machine:
    """A machine by its preset's name; raises InvalidInput."""
    known = presets().machines
    if name not in known:
        raise InvalidInput(f"preset '{name}'", "does not exist", f"use one of: {', '.join(known)}")
    return known[name]


def default_fleet() -> Fleet:
    """What there is when nothing is asked for."""
    return parse((files(__package__) / "data" / "default.yaml").read_text(), "default fleet")


def read_fleet(path: Path) -> Fleet:
    """A fleet file; raises InvalidInput."""
    try:
        text = path.read_text()
    except (OSError, UnicodeDecodeError) as wrong:
        raise InvalidInput(f"--fleet {path}", f"cannot be read ({wrong})", "name a fleet file") from None
    return parse(text, str(path))


def parse(text: str, where: str) -> Fleet:
    """A fleet from its text; raises InvalidInput that names `where`."""
    try:
        document: Any = yaml.safe_load(text)
        fleet = msgspec.convert(document, Fleet)
    except (yaml.YAMLError, msgspec.ValidationError) as wrong:
        raise InvalidInput(where, str(wrong).splitlines()[0], "give pools: [{preset: dgx-h100, count: 2}]") from None
    seen: set[str] = set()
    for pool in fleet.pools:
        check(pool, where)
        if stem(pool) in seen:
            raise InvalidInput(f"{where}: pool '{stem(pool)}'", "is there twice", "give each pool a name of its own")
        seen.add(stem(pool))
    return fleet


def check(pool: Pool, where: str) -> None:
    """Raises InvalidInput for a pool that cannot be."""
    kind = machine(pool.preset)
    if not 1 <= pool.count <= MOST_NODES:
        raise InvalidInput(f"{where}: pool '{stem(pool)}': count", f"is {pool.count}", f"give 1 to {MOST_NODES}")
    if subdomain_problem(stem(pool)):
        raise InvalidInput(f"{where}: pool '{stem(pool)}': name", "is no node name", "use a-z, 0-9, - and .")
    assert kind.gpus <= MAX_DEVICES, "presets are checked by tests"
    if pool.mig:
        mig.layout(presets().gpus[kind.gpu].mig if kind.gpu else "", pool.mig)
    if pool.dynamic_mig and (pool.mig or not (kind.gpu and presets().gpus[kind.gpu].mig)):
        raise InvalidInput(
            f"{where}: pool '{stem(pool)}': dynamicMig",
            "needs GPUs that can be cut and are not cut already",
            "leave out mig, or name another preset",
        )
    for taint in pool.taints:
        if "key" not in taint or taint.get("effect") not in ("NoSchedule", "PreferNoSchedule", "NoExecute"):
            raise InvalidInput(f"{where}: pool '{stem(pool)}': taints", f"{taint}", "give each key and effect")


def stem(pool: Pool) -> str:
    """What its machines' names begin with."""
    return pool.name or pool.preset
