"""``quartermaster api``: an embedded Kubernetes API server, until interrupted."""

from __future__ import annotations

import argparse
import asyncio
import os
import signal
import sys
from pathlib import Path

from quartermaster.local.apiserver.local import LocalApi
from quartermaster.model.errors import InvalidInput


def command(options: argparse.Namespace) -> int:
    """Serve; says where on standard output, one line, when it is ready."""
    port = _port(options.port)
    folder = Path(options.data_dir).expanduser() if options.data_dir else None
    kubeconfig = Path(options.kubeconfig).expanduser() if options.kubeconfig else _default_kubeconfig(folder)
    audit = Path(options.audit_log).expanduser() if options.audit_log else None
    return asyncio.run(_serve(port=port, folder=folder, kubeconfig=kubeconfig, audit=audit))


def _port(text: str) -> int:
    if not text.isdecimal() or int(text) > 65535:
        raise InvalidInput("--port", f"{text!r} is not a port", "give a number from 0 (any free one) to 65535")
    return int(text)


def _default_kubeconfig(folder: Path | None) -> Path:
    if folder is not None:
        return folder / "kubeconfig"
    runtime = os.environ.get("XDG_RUNTIME_DIR") or os.environ.get("TMPDIR") or "/tmp"  # noqa: S108  # a fixed, private name
    return Path(runtime) / f"quartermaster-{os.getuid()}" / "kubeconfig"


async def _serve(*, port: int, folder: Path | None, kubeconfig: Path, audit: Path | None) -> int:
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
            await stopped.wait()
    except OSError as wrong:
        raise InvalidInput(
            "--port", f"{port} cannot be used ({wrong.strerror})", "give another, or 0 for any"
        ) from None
    return 0
