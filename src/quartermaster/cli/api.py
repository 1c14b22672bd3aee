"""``quartermaster api``: an embedded Kubernetes API server, until interrupted."""

from __future__ import annotations

import argparse
import asyncio
import os
import signal
import sys
from collections.abc import Coroutine
from pathlib import Path

from quartermaster.local.apiserver.local import LocalApi
from quartermaster.model.errors import InvalidInput


def command(options: argparse.Namespace) -> int:
    """Serve; says where on standard output, one line, when it is ready."""
    port = _port(options.port)
    folder = Path(options.data_dir).expanduser() if options.data_dir else None
    kubeconfig = Path(options.kubeconfig).expanduser() if options.kubeconfig else _default_kubeconfig(folder)
    audit = Path(options.audit_log).expanduser() if options.audit_log else None
    return asyncio.run(
        _serve(port=port, folder=folder, kubeconfig=kubeconfig, audit=audit, controllers=options.controllers)
    )


def _port(text: str) -> int:
    if not text.isdecimal() or int(text) > 65535:
        raise InvalidInput("--port", f"{text!r} is not a port", "give a number from 0 (any free one) to 65535")
    return int(text)


def _default_kubeconfig(folder: Path | None) -> Path:
    if folder is not None:
        return folder / "kubeconfig"
    runtime = os.environ.get("XDG_RUNTIME_DIR") or os.environ.get("TMPDIR") or "/tmp"  # noqa: S108  # a fixed, private name
    return Path(runtime) / f"quartermaster-{os.getuid()}" / "kubeconfig"


async def _serve(*, port: int, folder: Path | None, kubeconfig: Path, audit: Path | None, controllers: bool) -> int:
    api = LocalApi(port=port, folder=folder, kubeconfig=kubeconfig, audit=audit)
    stopped = asyncio.Event()
    loop = asyncio.get_running_loop()
    for name in (signal.SIGINT, signal.SIGTERM):
        loop.add_signal_handler(name, stopped.set)
    try:
        async with api:
            assert api.http is not None, "a port was given"
            print(f"Kubernetes API at {api.http.url}; export KUBECONFIG={kubeconfig}")
            sys.stdout.flush()
            await _until(stopped, _controllers(api) if controllers else None)
    except OSError as wrong:
        raise InvalidInput(
            "--port", f"{port} cannot be used ({wrong.strerror})", "give another, or 0 for any"
        ) from None
    return 0


async def _controllers(api: LocalApi) -> None:
    from quartermaster.local.client import LocalClient  # noqa: PLC0415  # only who asks for it pays for it
    from quartermaster.local.controllers.manager import AGENT, Manager  # noqa: PLC0415
    from quartermaster.local.controllers.registry import CONTROLLERS  # noqa: PLC0415

    client = LocalClient(api.server.handle, agent=AGENT)
    async with Manager(client, CONTROLLERS, clock=api.server.cluster.clock) as manager:
        await manager.run()


async def _until(stopped: asyncio.Event, beside: Coroutine[None, None, None] | None) -> None:
    """Wait for the end; what runs beside ends with it, and its failure is one of the whole."""
    waits = [asyncio.ensure_future(stopped.wait()), *([asyncio.ensure_future(beside)] if beside is not None else [])]
    done, pending = await asyncio.wait(waits, return_when=asyncio.FIRST_COMPLETED)
    for task in pending:
        task.cancel()
    await asyncio.gather(*pending, return_exceptions=True)
    for task in done:
        task.result()
