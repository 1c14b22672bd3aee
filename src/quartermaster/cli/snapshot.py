"""``quartermaster snapshot`` and ``replay``: what the scheduler sees, as a file, and what it then decides."""

from __future__ import annotations

import argparse
import sys
from collections import Counter
from pathlib import Path
from typing import TYPE_CHECKING, Any

from quartermaster.cli.clusters import add_flags, cluster
from quartermaster.model.errors import InvalidInput

if TYPE_CHECKING:
    from quartermaster.controllers.scheduler.recording import Recording
    from quartermaster.controllers.scheduler.replaying import Decision
    from quartermaster.controllers.scheduler.scheduler import Options

_SNAPSHOT_EXAMPLES = """\
examples:
  quartermaster snapshot > now.json.gz
  quartermaster snapshot --context production -o production.json.gz
  quartermaster snapshot --scheduler-name kai-scheduler -o -    # as if KAI's pods were ours
"""

_REPLAY_EXAMPLES = """\
examples:
  quartermaster replay now.json.gz
  quartermaster replay now.json.gz -o json
  quartermaster replay now.json.gz --to-snapshot now.yaml && quartermaster what-if now.yaml --add-nodes 2xnode-7
"""


def add(commands: argparse._SubParsersAction[Any]) -> None:
    """The words of both commands."""
    text = "write what the scheduler sees of a cluster into a file"
    command = commands.add_parser(
        "snapshot",
        help=text,
        description=f"{text.capitalize()}; reads only, and keeps no secrets (docs/operating.md).",
        epilog=_SNAPSHOT_EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    add_flags(command)
    command.add_argument(
        "--scheduler-name",
        action="append",
        metavar="NAME",
        help="whose pods are ours (may be repeated; default: quartermaster)",
    )
    command.add_argument("--default-queue", metavar="NAME", default="default", help="for work that names none")
    command.add_argument("-o", "--output", metavar="FILE", default="-", help="default: -, standard output")
    command.set_defaults(run=_snapshot)
    text = "say what the scheduler decides on a snapshot, and why the rest waits"
    command = commands.add_parser(
        "replay",
        help=text,
        description=f"{text.capitalize()}: one cycle of the same code, the same each time (docs/operating.md).",
        epilog=_REPLAY_EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    command.add_argument("file", metavar="FILE", help="written by quartermaster snapshot; - for standard input")
    command.add_argument("-o", "--output", choices=("table", "json"), default="table", help="form of the output")
    command.add_argument(
        "--to-snapshot", metavar="FILE", help="instead: write it for quartermaster what-if (.yaml or .json, or .gz)"
    )
    command.set_defaults(run=_replay)


# ---- to a file


def _snapshot(options: argparse.Namespace) -> int:
    import asyncio  # noqa: PLC0415  # see the package docstring

    from quartermaster.controllers.scheduler.recording import packed  # noqa: PLC0415
    from quartermaster.controllers.scheduler.scheduler import Options  # noqa: PLC0415

    if options.output == "-" and sys.stdout.isatty():
        raise InvalidInput("standard output", "is a terminal", "name a file with -o, or redirect it")
    chosen = Options(names=frozenset(options.scheduler_name or ("quartermaster",)), default_queue=options.default_queue)
    recording = asyncio.run(_record(options, chosen))
    data = packed(recording)
    if options.output == "-":
        sys.stdout.buffer.write(data)
        sys.stdout.buffer.flush()
    else:
        _write(options.output, data)
    counts = Counter({(kind.path, kind.plural): len(kind.objects) for kind in recording.kinds})
    said = (
        f"{counts['/api/v1', 'nodes']} nodes, {counts['/api/v1', 'pods']} pods, {sum(counts.values())} objects in all"
    )
    sys.stderr.write(f"{said}: {len(data)} bytes\n")
    for path, why in sorted(recording.unread.items()):
        sys.stderr.write(f"not read: {path}: {why}\n")
    return 0


async def _record(options: argparse.Namespace, chosen: Options) -> Recording:
    from quartermaster import __version__  # noqa: PLC0415
    from quartermaster.controllers.scheduler.recording import record  # noqa: PLC0415
    from quartermaster.kube.clock import WallClock  # noqa: PLC0415

    async with cluster(options) as api:
        return await record(api, clock=WallClock(), options=chosen, release=__version__)


def _write(name: str, data: bytes) -> None:
    try:
        Path(name).expanduser().write_bytes(data)
    except OSError as wrong:
        raise InvalidInput(name, f"cannot be written ({wrong.strerror})", "name another file") from None


# ---- from a file


def _replay(options: argparse.Namespace) -> int:
    import asyncio  # noqa: PLC0415
    import json  # noqa: PLC0415

    from quartermaster.cli.decision import as_json, as_text  # noqa: PLC0415
    from quartermaster.controllers.scheduler.replaying import decided, situation  # noqa: PLC0415

    recording = _read(options.file)
    if options.to_snapshot is not None:
        from quartermaster.documents.snapshot import JSON, YAML  # noqa: PLC0415
        from quartermaster.documents.writing import dump  # noqa: PLC0415

        if not options.to_snapshot.endswith((*YAML, *JSON)):
            raise InvalidInput(options.to_snapshot, "has no known ending", f"end it in one of {', '.join(YAML + JSON)}")
        _write(options.to_snapshot, dump(asyncio.run(situation(recording)), name=options.to_snapshot))
        return 0
    found: Decision = asyncio.run(decided(recording))
    print(
        json.dumps(as_json(found, recording), indent=1) if options.output == "json" else as_text(found, recording),
        end="\n" if options.output == "json" else "",
    )
    return 0


def _read(name: str) -> Recording:
    from quartermaster.controllers.scheduler.recording import unpacked  # noqa: PLC0415

    if name == "-":
        return unpacked(sys.stdin.buffer.read(), file="standard input")
    try:
        data = Path(name).expanduser().read_bytes()
    except OSError as wrong:
        fix = "name a file that quartermaster snapshot wrote"
        raise InvalidInput(name, f"cannot be read ({wrong.strerror})", fix) from None
    return unpacked(data, file=name)
