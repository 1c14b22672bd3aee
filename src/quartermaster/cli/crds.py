"""``quartermaster crds``: the custom resource definitions, to be piped into kubectl."""

from __future__ import annotations

import argparse
import json
from typing import Any

_EXAMPLES = """\
examples:
  quartermaster crds | kubectl apply --server-side -f -
  quartermaster crds -o json | jq '.items[].metadata.name'
"""


def add(commands: argparse._SubParsersAction[Any]) -> None:
    """The command's words."""
    text = "print the custom resource definitions"
    command = commands.add_parser(
        "crds",
        help=text,
        description=text.capitalize() + " of Queue, PodGroup and Topology (docs/crds.md).",
        epilog=_EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    command.add_argument("-o", "--output", choices=("yaml", "json"), default="yaml", help="form of the output")
    command.set_defaults(run=_run)


def _run(options: argparse.Namespace) -> int:
    import yaml  # noqa: PLC0415  # see the package docstring

    from quartermaster.api.definitions import manifests  # noqa: PLC0415

    if options.output == "json":
        print(json.dumps({"apiVersion": "v1", "kind": "List", "items": manifests()}, indent=1))
    else:
        print(yaml.safe_dump_all(manifests(), sort_keys=False, width=120), end="")
    return 0
