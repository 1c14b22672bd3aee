"""``quartermaster up``, ``down``, ``status``, ``reset``: a whole GPU cluster in one process, until interrupted.

What takes long to import is imported once something has been said.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import math
import os
import shutil
import signal
import socket
import sys
from pathlib import Path
from typing import Any

from quartermaster.cli import instance
from quartermaster.model.errors import InvalidInput

Json = dict[str, Any]
USUAL_PORT = 6443
DEMO_SPEED = 60.0


def command(options: argparse.Namespace) -> int:
    """Run a cluster; ends with Ctrl-C, ``quartermaster down`` or SIGTERM."""
    if options.demo and options.data_dir:
        # Its clock begins a day ago each time: what an earlier day has left would be from the future.
        raise InvalidInput("--demo", "with --data-dir", "its day always begins with nothing: leave one out")
    port = _port(options.port)
    running = instance.read()
    if running is not None:
        raise InvalidInput("local cluster", f"is up already (process {running.pid})", "end it: quartermaster down")
    print("a GPU cluster is starting in this process", flush=True)
    from quartermaster.cli.running import Settings, run  # noqa: PLC0415  # see the module
    from quartermaster.local.fleet import chaos  # noqa: PLC0415
    from quartermaster.local.fleet.presets import default_fleet, read_fleet  # noqa: PLC0415
    from quartermaster.local.real.controlplane import NotReady  # noqa: PLC0415
    from quartermaster.local.stages.table import everything  # noqa: PLC0415

    settings = Settings(
        port=port,
        folder=Path(options.data_dir).expanduser() if options.data_dir else None,
        kubeconfig=Path(options.kubeconfig).expanduser() if options.kubeconfig else instance.users_kubeconfig(),
        fleet=read_fleet(Path(options.fleet).expanduser()) if options.fleet else default_fleet(),
        stages=everything([Path(path).expanduser() for path in options.stages or ()]),
        demo=options.demo,
        speed=_speed(options),
        hours=_hours(options),
        real=_programs() if options.api == "real" else None,
        chaos=chaos.read(options.chaos) if options.chaos else None,
    )
    try:
        while run(settings):
            _drop(settings.folder)
            print("reset: starting afresh")
    except NotReady as wrong:
        sys.stderr.write(f"{wrong}\n")
        raise InvalidInput("--api real", "does not run", "its last words are above") from None
    return 0


def _speed(options: argparse.Namespace) -> float:
    return _number("--speed", options.speed, options, most=1000) or (DEMO_SPEED if options.demo else 1.0)


def _hours(options: argparse.Namespace) -> float | None:
    return _number("--hours", options.hours, options, most=24)


def _number(flag: str, text: str | None, options: argparse.Namespace, *, most: float) -> float | None:
    if text is None:
        return None
    if not options.demo:
        raise InvalidInput(flag, "without --demo", "it says how the day of --demo is played")
    try:
        number = float(text)
    except ValueError:
        number = math.nan
    if not 0 < number <= most:
        raise InvalidInput(flag, f"{text!r} is out of range", f"give a number above 0, up to {most:g}")
    return number


def _port(text: str | None) -> int:
    if text is None:
        return USUAL_PORT if _free(USUAL_PORT) else 0
    if not text.isdecimal() or int(text) > 65535:
        raise InvalidInput("--port", f"{text!r} is not a port", "give a number from 0 (any free one) to 65535")
    return int(text)


def _free(port: int) -> bool:
    with socket.socket() as trying:
        trying.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            trying.bind(("127.0.0.1", port))
        except OSError:
            return False
    return True


def _programs() -> dict[str, Path]:
    from quartermaster.local.real.binaries import locate  # noqa: PLC0415  # see the module
    from quartermaster.local.real.controlplane import MANAGER  # noqa: PLC0415

    found = locate(("kube-apiserver", "etcd"), useful=(MANAGER,))
    if MANAGER not in found:
        print(f"NO {MANAGER} beside {found['etcd']}: what a deleted owner leaves stays, and namespaces do not go")
    return found


def _drop(folder: Path | None) -> None:
    if folder is not None:
        for path in folder.glob("objects.sqlite*"):
            path.unlink()
        shutil.rmtree(folder / "etcd", ignore_errors=True)


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
    from quartermaster.local.fleet.counts import counts  # noqa: PLC0415  # see the module

    running = instance.read()
    async with instance.client(kubeconfig) as api:
        nodes = (await api.send("GET", "/api/v1/nodes"))["items"]
        pods = (await api.send("GET", "/api/v1/pods"))["items"]
    return counts(nodes, pods) | ({"api": running.url, "metrics": running.metrics} if running else {})


def summary(found: Json) -> str:
    """The counts for people."""
    nodes, gpus = found["nodes"], found["gpus"]
    lines = [f"api      {found['api']}"] if "api" in found else []
    lines += [f"metrics  {found['metrics']}/targets"] if "metrics" in found else []
    lines.append(f"nodes    {nodes['ready']} ready of {nodes['total']}")
    lines.append(f"GPUs     {gpus['used']:g} in use of {gpus['total']}")
    lines += [f"MIG      {found['mig']['used']} in use of {found['mig']['total']}"] if found["mig"]["total"] else []
    lines.append("pods     " + (", ".join(f"{count} {phase}" for phase, count in found["pods"].items()) or "none"))
    return "\n".join(lines) + "\n"
