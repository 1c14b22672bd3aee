"""``quartermaster``: parse, dispatch, and turn errors into one line and an exit code.

Exit codes: 0 done, 1 a scenario came out differently, or a bug of ours (with its traceback), 2 input that cannot be
used, 130 interrupted.
"""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Sequence
from typing import NoReturn

from quartermaster.cli import controller_arguments, crds, migrate, snapshot
from quartermaster.cli.collector import tune_collector
from quartermaster.model.errors import InvalidInput

EXIT_BAD_INPUT = 2
EXIT_INTERRUPTED = 130

_SIMULATE_EXAMPLES = """\
examples:
  quartermaster simulate --trace openb/default --policy quartermaster,fgd --seeds 10 --report report.html
  quartermaster simulate --trace philly-muri/trace1 --policy srtf,srsf,tiresias
  quartermaster simulate --trace philly-muri/trace3 --policy quartermaster,quartermaster+backfill
  quartermaster simulate --format openb --nodes nodes.csv --pods pods.csv -o json
  quartermaster simulate --format philly-muri --jobs jobs.csv --cluster 8x8
"""

_API_EXAMPLES = """\
examples:
  quartermaster api --port 0 --kubeconfig ./kubeconfig &
  KUBECONFIG=./kubeconfig kubectl get namespaces
  quartermaster api --data-dir ~/.local/share/quartermaster
"""

_UP_EXAMPLES = """\
examples:
  quartermaster up
  quartermaster up --demo --kubeconfig ./kubeconfig
  quartermaster up --demo --hours 2 --speed 240                # half a minute
  quartermaster up --fleet fleet.yaml --data-dir ~/.local/share/quartermaster
  quartermaster up --api real                                  # needs make kubernetes
"""

_FLEET_EXAMPLES = """\
examples:
  quartermaster fleet add hgx-h200 --count 2
  quartermaster fleet break h100-0 xid --code 79 --gpus 3
  quartermaster fleet break mig-0 mig --config all-balanced
  quartermaster fleet break h100-0 heal
"""

_SCENARIO_EXAMPLES = """\
examples:
  quartermaster scenario run scenarios/gang.yaml
  quartermaster scenario run scenarios/kai -o json
"""

_WHAT_IF_EXAMPLES = """\
examples:
  quartermaster what-if snapshot.yaml                          # what the scheduler does now; why the rest waits
  quartermaster what-if snapshot.yaml --explain train
  quartermaster what-if snapshot.yaml --add-nodes 2xnode-7     # two more like node-7
  quartermaster what-if snapshot.yaml --add-nodes nodes.yaml --submit train.yaml
  quartermaster what-if snapshot.yaml --quota research.gpu.deserved=16 --quota research.gpu.limit=none
  quartermaster what-if snapshot.yaml --evict study --remove-node node-3 -o json
"""

_GROUPS_EXAMPLES = """\
examples:
  quartermaster groups -f job.yaml
  quartermaster groups -f manifests/ -o json
  helm template ./chart | quartermaster groups -f -
"""


class Parser(argparse.ArgumentParser):
    """Usage errors look like all other errors."""

    def error(self, message: str) -> NoReturn:
        """Say it in one line, and where help is."""
        sys.stderr.write(f"error: {message} (see: {self.prog} --help)\n")
        raise SystemExit(EXIT_BAD_INPUT)


def parser() -> Parser:
    """The whole command line."""
    top = Parser(prog="quartermaster", description="GPU platform control plane for Kubernetes.", allow_abbrev=False)
    commands = top.add_subparsers(dest="command", metavar="COMMAND", required=True)
    _add_simulate(commands)
    _add_up(commands)
    _add_fleet(commands)
    _add_api(commands)
    _add_scenario(commands)
    _add_what_if(commands)
    controller_arguments.add(commands)
    _add_groups(commands)
    crds.add(commands)
    migrate.add(commands)
    snapshot.add(commands)
    for name, text in (
        ("policies", "list the scheduling policies, each with its source"),
        ("traces", "list the traces that are shipped, and the formats of your own"),
    ):
        command = commands.add_parser(name, help=text, description=text.capitalize() + ".", allow_abbrev=False)
        command.add_argument("-o", "--output", choices=("table", "json"), default="table", help="form of the output")
    commands.add_parser("version", help="print the version", description="Print the version.")
    return top


def _command(commands: argparse._SubParsersAction[Parser], name: str, text: str, *, more: str, examples: str) -> Parser:
    """A command; `text` is its line in the list, and with `more` what its own help begins with."""
    return commands.add_parser(
        name,
        help=text,
        description=text[0].upper() + text[1:] + more,
        epilog=examples,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )


def _add_simulate(commands: argparse._SubParsersAction[Parser]) -> None:
    text = "run a trace in virtual time and compare policies"
    command = _command(
        commands,
        "simulate",
        text,
        more=". Progress goes to standard error, results to standard output.",
        examples=_SIMULATE_EXAMPLES,
    )
    what = command.add_argument_group("what to run (one of --trace and --format)")
    what.add_argument("--trace", metavar="NAME", help="a shipped trace, see: quartermaster traces")
    what.add_argument(
        "--format",
        metavar="FORMAT",
        help="format of your own files: openb, philly-muri, philly, itp-2021, philly-pollux",
    )
    what.add_argument("--nodes", metavar="FILE", help="file of nodes (openb)")
    what.add_argument("--pods", metavar="FILE", help="file of pods (openb)")
    what.add_argument("--jobs", metavar="FILE", help="file of jobs (all other formats)")
    what.add_argument("--cluster", metavar="NODESxGPUS", help="cluster for jobs, such as 8x8")
    what.add_argument("--queue", metavar="QUEUE", default="", help="only the jobs of this virtual cluster (philly)")
    what.add_argument(
        "--allow-unknown-models", action="store_true", help="pods may name GPU models no node has (openb)"
    )
    how = command.add_argument_group("how")
    how.add_argument("--policy", metavar="A,B,...", help="policies to compare, see: quartermaster policies")
    how.add_argument("--seeds", metavar="N", default="1", help="runs per policy, each with its own chance (default 1)")
    how.add_argument("--first-seed", metavar="N", default="42", help="the first seed; others follow (default 42)")
    how.add_argument("--until", metavar="PERCENT", default="130%", help="demand to arrive, of capacity (default 130%%)")
    how.add_argument(
        "--overhead", choices=("per-start", "per-event"), help="when jobs pay their start-up (default: the trace's)"
    )
    how.add_argument(
        "--locality",
        metavar="FABRIC:NETWORK",
        help="jobs are slower far apart: shares of a step that are NVLink and network traffic, such as 0.1:0.3",
    )
    how.add_argument("--rack", metavar="NODES", help="nodes of a rack (with --locality; default: all are in one)")
    how.add_argument("--workers", metavar="N", help="processes (default: one per core)")
    out = command.add_argument_group("results")
    out.add_argument("-o", "--output", choices=("table", "json", "csv"), default="table", help="form of the output")
    out.add_argument("--report", metavar="FILE.html", help="also write a page with plots")


def _add_up(commands: argparse._SubParsersAction[Parser]) -> None:
    text = "run a whole GPU cluster in this process: API, simulated machines, scheduler"
    command = _command(commands, "up", text, more=". Ends with Ctrl-C or quartermaster down.", examples=_UP_EXAMPLES)
    command.add_argument("--port", metavar="N", help="port on 127.0.0.1, 0 for any (default 6443, or any if taken)")
    command.add_argument(
        "--api",
        choices=("embedded", "real"),
        default="embedded",
        help="real: a kube-apiserver and etcd of this machine",
    )
    command.add_argument(
        "--kubeconfig", metavar="PATH", help="write or extend this file (default: kubectl's own, context quartermaster)"
    )
    command.add_argument("--data-dir", metavar="DIR", help="keep objects, certificate and token here")
    command.add_argument("--fleet", metavar="FILE", help="pools of machines (default: a small mixed fleet)")
    command.add_argument("--stages", metavar="FILE", action="append", help="more stages, or others of the same names")
    command.add_argument("--demo", action="store_true", help="submit a mixed day of work and tell what becomes of it")
    command.add_argument("--speed", metavar="X", help="how fast the day of --demo passes (default 60)")
    command.add_argument("--hours", metavar="N", help="end with a summary after so many hours of the day of --demo")
    command.add_argument("--chaos", metavar="FILE", help="faults drawn from a seed: a file, as-published or stormy")
    for name, text in (
        ("down", "end the local cluster"),
        ("status", "say what the local cluster has and does"),
        ("reset", "empty the local cluster and start it afresh"),
    ):
        command = commands.add_parser(name, help=text, description=text.capitalize() + ".", allow_abbrev=False)
        if name == "status":
            _add_reading(command)
        if name == "reset":
            command.add_argument("--data-dir", metavar="DIR", help="empty this, when no cluster is running")


def _add_reading(command: Parser) -> None:
    command.add_argument("--kubeconfig", metavar="PATH", help="of the cluster (default: the one that is up)")
    command.add_argument("-o", "--output", choices=("table", "json"), default="table", help="form of the output")


def _add_fleet(commands: argparse._SubParsersAction[Parser]) -> None:
    text = "list, add, remove and break the machines of the local cluster"
    fleet = _command(commands, "fleet", text, more=".", examples=_FLEET_EXAMPLES)
    inner = fleet.add_subparsers(dest="fleet_command", metavar="COMMAND", required=True)
    made: dict[str, Parser] = {}
    for name, text in (
        ("presets", "list the machines there can be"),
        ("list", "list the machines there are"),
        ("add", "add machines of a preset"),
        ("remove", "take away a machine, or all of a pool"),
        ("break", "let something go wrong on a machine, or heal it"),
    ):
        made[name] = inner.add_parser(name, help=text, description=text.capitalize() + ".", allow_abbrev=False)
    _add_reading(made["presets"])
    _add_reading(made["list"])
    for name in ("add", "remove", "break"):
        made[name].add_argument("--kubeconfig", metavar="PATH", help="of the cluster (default: the one that is up)")
    add = made["add"]
    add.add_argument("preset", metavar="PRESET", help="see: quartermaster fleet presets")
    add.add_argument("--count", metavar="N", default="1", help="how many (default 1)")
    add.add_argument("--name", metavar="NAME", help="what their names begin with (default: the preset's)")
    add.add_argument("--zone", metavar="ZONE", default="a", help="their zone (default a)")
    add.add_argument("--mig", metavar="CONFIG", help="MIG configuration, such as all-1g.10gb or all-balanced")
    add.add_argument("--spot", action="store_true", help="they may be taken back")
    made["remove"].add_argument("node", metavar="NODE", help="a node or a pool")
    broken = made["break"]
    broken.add_argument("node", metavar="NODE", help="a node")
    broken.add_argument(
        "fault",
        metavar="FAULT",
        choices=("not-ready", "drain", "spot", "vanish", "xid", "straggler", "mig", "heal"),
        help="not-ready, drain, spot, vanish, xid, straggler, mig, heal",
    )
    broken.add_argument("--gpus", metavar="I,J", default="0", help="devices with an Xid error (default 0)")
    broken.add_argument("--code", metavar="N", default="79", help="which Xid error (default 79, off the bus)")
    broken.add_argument("--factor", metavar="X", default="1.5", help="how much slower a straggler is (default 1.5)")
    broken.add_argument("--config", metavar="CONFIG", help="the MIG configuration to change to")


def _add_api(commands: argparse._SubParsersAction[Parser]) -> None:
    text = "serve a Kubernetes API from this process"
    command = _command(
        commands,
        "api",
        text,
        more=", for kubectl, helm and controllers, on loopback with TLS and a token. Ends with Ctrl-C.",
        examples=_API_EXAMPLES,
    )
    command.add_argument("--port", metavar="N", default="6443", help="port on 127.0.0.1, 0 for any (default 6443)")
    command.add_argument(
        "--kubeconfig", metavar="PATH", help="write or extend this file (default: in the data or runtime directory)"
    )
    command.add_argument(
        "--data-dir", metavar="DIR", help="keep objects, certificate and token here (default: keep nothing)"
    )
    command.add_argument("--audit-log", metavar="FILE", help="append one line of JSON per request")
    command.add_argument(
        "--controllers",
        action="store_true",
        help="run the controllers too: Deployments have pods, jobs end, nodes are watched",
    )


def _add_scenario(commands: argparse._SubParsersAction[Parser]) -> None:
    text = "play scenarios and compare what comes with what was written down"
    scenario = commands.add_parser("scenario", help=text, description=text.capitalize() + ".", allow_abbrev=False)
    inner = scenario.add_subparsers(dest="scenario_command", metavar="COMMAND", required=True)
    command = _command(
        inner,
        "run",
        "play every scenario of the files and folders named",
        more="; exit with 1 if one comes out differently.",
        examples=_SCENARIO_EXAMPLES,
    )
    command.add_argument(
        "paths", nargs="+", metavar="PATH", help="a .yaml scenario, recorded .json[.gz] cases, a folder"
    )
    command.add_argument("-o", "--output", choices=("table", "json"), default="table", help="form of the output")
    command.add_argument("-v", "--verbose", action="store_true", help="also tell where equally valid cases differ")


def _add_what_if(commands: argparse._SubParsersAction[Parser]) -> None:
    text = "say what a change would do to a snapshot, and why groups wait"
    command = _command(
        commands,
        "what-if",
        text,
        more=". Changes are made together; without any, it is said what is decided as it is.",
        examples=_WHAT_IF_EXAMPLES,
    )
    command.add_argument("snapshot", metavar="SNAPSHOT", help="a .yaml or .json file, or either with .gz")
    change = command.add_argument_group("changes (each may be given several times)")
    for flag, metavar, said in (
        ("--add-nodes", "COUNTxNODE|FILE", "add nodes like NODE, or those that a file lists"),
        ("--remove-node", "NODE", "take a node away; its pods wait again"),
        ("--quota", "QUEUE.RESOURCE.WHAT=VALUE", "set deserved, limit or weight of gpu, gpu/MODEL, cpu or memory"),
        ("--submit", "FILE", "submit the workloads of a file now"),
        ("--evict", "GROUP", "evict a group; it waits again"),
        ("--complete", "GROUP", "a group has ended, or is deleted"),
    ):
        change.add_argument(flag, metavar=metavar, action=_InOrder, dest="changes", default=[], help=said)
    out = command.add_argument_group("results")
    out.add_argument("--explain", metavar="GROUP", help="say only what becomes of this group, and why")
    out.add_argument("-o", "--output", choices=("table", "json"), default="table", help="form of the output")


def _add_groups(commands: argparse._SubParsersAction[Parser]) -> None:
    text = "say which pod groups manifests get, and why"
    command = commands.add_parser(
        "groups",
        help=text,
        description=text.capitalize() + ": minimums, phases, queue and priority, without a cluster.",
        epilog=_GROUPS_EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    command.add_argument(
        "-f", "--filename", metavar="MANIFEST", dest="manifests", nargs="+", action="extend", required=True,
        help="files and folders of YAML or JSON, - for standard input; they may refer to each other",
    )  # fmt: skip
    command.add_argument("-n", "--namespace", default="default", help="of manifests that name none (default: default)")
    command.add_argument("-o", "--output", choices=("table", "json"), default="table", help="form of the output")


class _InOrder(argparse.Action):
    """Flags of several kinds, as one list in the order in which they were given."""

    def __call__(
        self,
        parser: argparse.ArgumentParser,
        namespace: argparse.Namespace,
        values: object,
        option_string: str | None = None,
    ) -> None:
        del parser
        setattr(namespace, self.dest, [*getattr(namespace, self.dest), (option_string, values)])


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command; returns the exit code."""
    try:
        options = parser().parse_args(arguments)
    except SystemExit as stop:  # argparse: help (0) or a usage error (2), already said
        return stop.code if isinstance(stop.code, int) else EXIT_BAD_INPUT
    try:
        return _dispatch(options)
    except InvalidInput as wrong:
        sys.stderr.write(f"error: {wrong}\n")
        return EXIT_BAD_INPUT
    except KeyboardInterrupt:
        sys.stderr.write("interrupted\n")
        return EXIT_INTERRUPTED


def _dispatch(options: argparse.Namespace) -> int:
    if "run" in options:
        code: int = options.run(options)
        return code
    if options.command == "version":
        from quartermaster import __version__  # noqa: PLC0415  # see the package docstring

        print(f"quartermaster {__version__}")
        return 0
    if options.command == "simulate":
        from quartermaster.cli.simulate import command  # noqa: PLC0415

        return command(options)
    if options.command == "api":
        from quartermaster.cli import api  # noqa: PLC0415

        return api.command(options)
    if options.command in ("up", "down", "status", "reset"):
        from quartermaster.cli import up  # noqa: PLC0415

        actions = {"up": up.command, "down": up.down, "status": up.status, "reset": up.reset}
        return actions[options.command](options)
    if options.command == "fleet":
        from quartermaster.cli import fleet  # noqa: PLC0415

        return fleet.command(options)
    if options.command == "scenario":
        from quartermaster.cli.scenario import command  # noqa: PLC0415

        return command(options)
    if options.command == "what-if":
        from quartermaster.cli.what_if import command  # noqa: PLC0415

        return command(options)
    if options.command == "groups":
        from quartermaster.cli.groups import command  # noqa: PLC0415

        return command(options)
    from quartermaster.cli import lists  # noqa: PLC0415

    return lists.policies(options) if options.command == "policies" else lists.traces(options)


def run() -> NoReturn:
    """The console script. A reader that hangs up (``| head``) is no error."""
    tune_collector()
    try:
        code = main()
        sys.stdout.flush()
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        code = 0
    raise SystemExit(code)
