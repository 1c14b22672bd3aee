"""``quartermaster up``, ``down``, ``status``, ``reset``: a whole GPU cluster in one process, until interrupted.

What takes long to import is imported once something has been said.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import signal
import sys
from collections import Counter
from pathlib import Path
from typing import Any

from quartermaster.cli import instance
from quartermaster.model.errors import InvalidInput

Json = dict[str, Any]


def command(options: argparse.Namespace) -> int:
    """Run a cluster; ends with Ctrl-C, ``quartermaster down`` or SIGTERM."""
    if options.demo and options.data_dir:
        raise InvalidInput("--demo", "with --data-dir", "a demonstration keeps nothing: leave one out")
    if not options.port.isdecimal() or int(options.port) > 65535:
        raise InvalidInput("--port", f"{options.port!r} is not a port", "give a number from 0 (any free one) to 65535")
    running = instance.read()
    if running is not None:
        raise InvalidInput("local cluster", f"is up already (process {running.pid})", "end it: quartermaster down")
    print("a GPU cluster is starting in this process", flush=True)
    from quartermaster.cli.running import Settings, serve  # noqa: PLC0415  # see the module
    from quartermaster.local.fleet import chaos  # noqa: PLC0415
    from quartermaster.local.fleet.presets import default_fleet, read_fleet  # noqa: PLC0415
    from quartermaster.local.stages.table import everything  # noqa: PLC0415

    settings = Settings(
        port=int(options.port),
        folder=Path(options.data_dir).expanduser() if options.data_dir else None,
        kubeconfig=Path(options.kubeconfig).expanduser() if options.kubeconfig else instance.users_kubeconfig(),
        fleet=read_fleet(Path(options.fleet).expanduser()) if options.fleet else default_fleet(),
        stages=everything([Path(path).expanduser() for path in options.stages or ()]),
        demo=options.demo,
        chaos=chaos.read(options.chaos) if options.chaos else None,
    )
    while asyncio.run(serve(settings)):
        _drop(settings.folder)
        print("reset: starting afresh")
    return 0


def _drop(folder: Path | None) -> None:
    for path in folder.glob("objects.sqlite*") if folder is not None else ():
        path.unlink()


def down(options: argparse.Namespace) -> int:
    """End the running cluster and wait for it."""
    del options
    found = instance.read()
    if found is None:
        print("nothing is running")
        return 0
    asyncio.run(_answers(found))
    handle = os.pidfd_open(found.pid)
    signal.pidfd_send_signal(handle, signal.SIGTERM)
    _gone(handle)
    print("stopped")
    return 0


def _gone(handle: int) -> None:
    import select  # noqa: PLC0415  # only here

    ready, _, _ = select.select([handle], [], [], 15.0)
    os.close(handle)
    if not ready:
        raise InvalidInput("local cluster", "does not end", "look at its terminal")


async def _answers(found: instance.Instance) -> None:
    """The process of the file is the one that serves; raises InvalidInput otherwise."""
    async with instance.client(found.kubeconfig) as api:
        await api.send("GET", "/version")


def reset(options: argparse.Namespace) -> int:
    """Empty the running cluster and start its fleet again; without one, empty a data directory."""
    found = instance.read()
    if found is not None:
        asyncio.run(_answers(found))
        os.kill(found.pid, signal.SIGHUP)
        print("the cluster starts afresh")
        return 0
    if not options.data_dir:
        raise InvalidInput("local cluster", "is not running", "name what to empty: --data-dir DIR")
    _drop(Path(options.data_dir).expanduser())
    print("emptied")
    return 0


def status(options: argparse.Namespace) -> int:
    """Nodes, GPUs and pods of the running cluster."""
    found = asyncio.run(_status(options.kubeconfig))
    if options.output == "json":
        print(json.dumps(found, indent=1))
        return 0
    sys.stdout.write(summary(found))
    return 0


async def _status(kubeconfig: str | None) -> Json:
    running = instance.read()
    async with instance.client(kubeconfig) as api:
        nodes = (await api.send("GET", "/api/v1/nodes"))["items"]
        pods = (await api.send("GET", "/api/v1/pods"))["items"]
    return status_of(nodes, pods) | ({"api": running.url, "metrics": running.metrics} if running else {})


def status_of(nodes: list[Json], pods: list[Json]) -> Json:
    """Counts: nodes, GPUs, pods by phase."""
    from quartermaster.api import nodes as api_nodes  # noqa: PLC0415
    from quartermaster.api import pods as api_pods  # noqa: PLC0415

    ready = [
        node
        for node in nodes
        if any(c["type"] == "Ready" and c["status"] == "True" for c in node["status"].get("conditions", ()))
    ]
    held = [pod for pod in pods if api_pods.node_of(pod) and not api_pods.ended(pod)]
    gpus = [api_pods.spec_from(pod).gpu for pod in held]
    return {
        "nodes": {"ready": len(ready), "total": len(nodes)},
        "gpus": {
            "used": round(sum(gpu.count * gpu.share for gpu in gpus) / 1_000_000, 2),
            "total": sum(api_nodes.gpus_in(node) for node in nodes),
        },
        "pods": dict(sorted(Counter(pod["status"].get("phase", "Unknown") for pod in pods).items())),
    }


def summary(found: Json) -> str:
    """The counts for people."""
    nodes, gpus = found["nodes"], found["gpus"]
    lines = [f"api      {found['api']}"] if "api" in found else []
    lines += [f"metrics  {found['metrics']}/targets"] if "metrics" in found else []
    lines.append(f"nodes    {nodes['ready']} ready of {nodes['total']}")
    lines.append(f"GPUs     {gpus['used']:g} in use of {gpus['total']}")
    lines.append("pods     " + (", ".join(f"{count} {phase}" for phase, count in found["pods"].items()) or "none"))
    return "\n".join(lines) + "\n"
