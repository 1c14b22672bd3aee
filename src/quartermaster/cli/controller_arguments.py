"""What ``quartermaster controller`` can be told; apart from what it does, so that ``--help`` stays quick."""

from __future__ import annotations

import argparse
from typing import Any

from quartermaster.cli import webhook

EXAMPLES = """\
examples:
  quartermaster controller --kubeconfig ~/.kube/config
  quartermaster controller --scheduler-name quartermaster --scheduler-name kai-scheduler
  quartermaster controller --no-leader-elect --metrics-port 0 --log-format json
"""


def add(commands: argparse._SubParsersAction[Any]) -> None:
    """The command line of it."""
    text = "schedule a cluster, until interrupted"
    command = commands.add_parser(
        "controller",
        help=text,
        description=text.capitalize() + ". Credentials are found as kubectl finds them, or are those of the pod.",
        epilog=EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    command.add_argument("--kubeconfig", metavar="FILE", help="default: KUBECONFIG, ~/.kube/config, then the pod's own")
    command.add_argument("--context", metavar="NAME", default="", help="of the kubeconfig; default: its current one")
    command.add_argument(
        "--scheduler-name",
        action="append",
        metavar="NAME",
        help="schedule pods with this schedulerName (may be repeated; default: quartermaster)",
    )
    command.add_argument("--default-queue", metavar="NAME", default="default", help="for work that names none")
    command.add_argument(
        "--metrics-port", metavar="PORT", default="8080", help="/metrics, /healthz, /readyz; 0: any free"
    )
    command.add_argument("--metrics-host", metavar="ADDRESS", default="", help="to listen on; default: all")
    command.add_argument("--log-format", choices=("text", "json"), default="text", help="of standard error")
    command.add_argument(
        "--log-level", choices=("debug", "info", "warning", "error"), default="info", help="what to log"
    )
    command.add_argument(
        "--leader-elect",
        action=argparse.BooleanOptionalAction,
        default=False,
        help="act only while holding a Lease, so that several can run",
    )
    command.add_argument("--lease", metavar="NAMESPACE/NAME", default="", help="default: OWN-NAMESPACE/quartermaster")
    webhook.add(command)
    command.set_defaults(run=_run)
    command.add_argument("--seed", metavar="NUMBER", default="0", help="of policies that draw")


def _run(options: argparse.Namespace) -> int:
    from quartermaster.cli import controller  # noqa: PLC0415  # see the package docstring

    return controller.command(options)
