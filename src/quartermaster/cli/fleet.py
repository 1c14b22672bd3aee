"""``quartermaster fleet``: list, add, remove and break the machines of a local cluster; list the presets."""

from __future__ import annotations

import argparse
import asyncio
import json

from quartermaster.api.nodes import gpus_in, lost_devices
from quartermaster.api.objects import NodeObject, read
from quartermaster.cli import instance
from quartermaster.kube.api import Json
from quartermaster.local.fleet import marks, operating
from quartermaster.local.fleet.presets import Pool, check, presets
from quartermaster.local.stages.paths import look
from quartermaster.model.errors import InvalidInput


def command(options: argparse.Namespace) -> int:
    """Dispatch."""
    if options.fleet_command == "presets":
        return _presets(options)
    return asyncio.run(_on_cluster(options))


def _presets(options: argparse.Namespace) -> int:
    known = presets()
    if options.output == "json":
        rows = [
            {
                "name": name,
                "gpu": kind.gpu,
                "gpus": kind.gpus,
                "cpu": kind.cpu,
                "memoryGib": kind.memory_gib,
                "summary": kind.summary,
            }
            for name, kind in known.machines.items()
        ]
        print(json.dumps({"presets": rows}, indent=1))
        return 0
    for name, kind in known.machines.items():
        print(f"{name:12} {kind.cpu:4} cores {kind.memory_gib:5} GiB  {kind.summary}")
    return 0


async def _on_cluster(options: argparse.Namespace) -> int:
    async with instance.client(options.kubeconfig) as api:
        if options.fleet_command == "list":
            nodes = (await api.send("GET", "/api/v1/nodes"))["items"]
            _list([_row(node) for node in nodes], options.output)
        elif options.fleet_command == "add":
            pool = Pool(
                preset=options.preset,
                name=options.name or "",
                count=_count(options.count),
                zone=options.zone,
                mig=options.mig or "",
                spot=options.spot,
            )
            check(pool, "fleet add")
            print("added " + " ".join(await operating.add(api, pool)))
        elif options.fleet_command == "remove":
            print("removed " + " ".join(await operating.remove(api, options.node)))
        else:
            fault = operating.Fault(
                kind=options.fault,
                gpus=options.gpus,
                code=_count(options.code),
                factor=_factor(options.factor),
                config=options.config or "",
            )
            await operating.break_node(api, options.node, fault)
            print(f"{options.node}: {options.fault}")
    return 0


def _count(text: str) -> int:
    if not text.isdecimal():
        raise InvalidInput("number", f"'{text}' is none", "give a whole number")
    return int(text)


def _factor(text: str) -> float:
    try:
        return float(text)
    except ValueError:
        raise InvalidInput("--factor", f"'{text}' is no number", "give 1 to 1000 times") from None


def _row(node: Json) -> Json:
    known = read(NodeObject, node)
    lost = len(lost_devices(known))
    wrong = [look(node, f'.metadata.annotations["{mark}"]') for mark in (marks.FAULT, marks.XID, marks.SLOWDOWN)]
    told = [
        text
        for text, value in zip(("{}", "xid {}", "{}x slower"), wrong, strict=True)
        if value
        for text in [text.format(value)]
    ]
    ready = look(node, ".status.conditions[type=Ready].status") == "True"
    return {
        "name": node["metadata"]["name"],
        "preset": look(node, '.metadata.labels["node.kubernetes.io/instance-type"]') or "",
        "zone": look(node, '.metadata.labels["topology.kubernetes.io/zone"]') or "",
        "ready": ready,
        "gpus": gpus_in(known) - lost,
        "mig": {
            name.removeprefix("nvidia.com/mig-"): int(amount)
            for name, amount in (look(node, ".status.allocatable") or {}).items()
            if name.startswith("nvidia.com/mig-") and str(amount) != "0"
        },
        "wrong": ", ".join(told),
    }


def _list(rows: list[Json], output: str) -> None:
    if output == "json":
        print(json.dumps({"nodes": rows}, indent=1))
        return
    form = "{:16} {:12} {:10} {:6} {:>4}  {:24} {}"
    print(form.format("NAME", "PRESET", "ZONE", "READY", "GPUS", "MIG", "WRONG").rstrip())
    for row in rows:
        parts = " ".join(f"{count}x{name}" for name, count in row["mig"].items())
        ready = "yes" if row["ready"] else "no"
        line = form.format(row["name"], row["preset"], row["zone"], ready, row["gpus"], parts, row["wrong"])
        print(line.rstrip())
