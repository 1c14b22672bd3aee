"""``quartermaster migrate``: what queues and topologies of another scheduler become here, why, and what is lost.

Nothing is written to a cluster: the YAML that comes out is for `kubectl apply`, after a look at it.
"""

from __future__ import annotations

import argparse
import sys
import textwrap
from pathlib import Path
from typing import TYPE_CHECKING, Any

from quartermaster.cli.clusters import add_flags, cluster
from quartermaster.model.errors import InvalidInput

if TYPE_CHECKING:
    from quartermaster.api.peers.carrying import Carrying
    from quartermaster.kube.api import Api

Json = dict[str, Any]

_EXAMPLES = """\
examples:
  quartermaster migrate --from kai -f queues.yaml
  quartermaster migrate --from kueue -f manifests/ -o yaml | kubectl apply --server-side -f -
  quartermaster migrate --from kai --context production
  kubectl get queues.scheduling.volcano.sh,hypernodes,nodes -o yaml | quartermaster migrate --from volcano -f -
"""

GROUPS = {
    "kai": ("scheduling.run.ai", "kai.scheduler"),
    "volcano": ("scheduling.volcano.sh", "topology.volcano.sh"),
    "kueue": ("kueue.x-k8s.io",),
}
"""API groups of the peers."""

PASSING = frozenset(("podgroups", "bindrequests", "workloads"))
"""Kinds of a peer that are of the moment: not read from a cluster, where there are thousands."""


def add(commands: argparse._SubParsersAction[Any]) -> None:
    """The command's words."""
    text = "say what queues and topologies of another scheduler become here, and why"
    command = commands.add_parser(
        "migrate",
        help=text,
        description=text.capitalize() + ". Nothing is changed in any cluster (docs/migrating.md).",
        epilog=_EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    command.add_argument("--from", dest="peer", choices=tuple(GROUPS), required=True, help="the other scheduler")
    command.add_argument(
        "-f", "--filename", metavar="FILE", action="append", help="manifests: a file, a folder, or - for standard input"
    )
    add_flags(command, when="without -f; ")
    command.add_argument("-o", "--output", choices=("table", "yaml"), default="table", help="form of the output")
    command.set_defaults(run=_run)


def _run(options: argparse.Namespace) -> int:
    from quartermaster.api.peers import kai, kueue, volcano  # noqa: PLC0415  # see the package docstring

    objects = _from_files(options.filename) if options.filename else _from_cluster(options)
    carry = {"kai": kai.carry, "volcano": volcano.carry, "kueue": kueue.carry}[options.peer]
    found = carry(objects)
    if not found.carried and not found.lost and not found.kept:
        groups = " and ".join(GROUPS[options.peer])
        raise InvalidInput("migrate", f"nothing of {groups} was given", "give its queues and topologies with -f")
    print(_yaml(found) if options.output == "yaml" else _table(found), end="")
    return 0


# ---- what is read


def _from_files(names: list[str]) -> list[Json]:
    from quartermaster.documents.reading import content, yaml_documents  # noqa: PLC0415

    objects: list[Json] = []
    for name in names:
        if name == "-":
            objects += _flat(yaml_documents(sys.stdin.buffer.read(), file="standard input"))
            continue
        path = Path(name)
        files = sorted(one for one in path.rglob("*") if one.suffix in (".yaml", ".yml", ".json"))
        for file in files if path.is_dir() else [path]:
            objects += _flat(yaml_documents(content(file), file=str(file)))
    return objects


def _flat(documents: list[object]) -> list[Json]:
    """The named objects, those in lists too; whatever else a folder has is none of our business."""
    found: list[Json] = []
    for value in documents:
        if not isinstance(value, dict) or not isinstance(value.get("kind"), str):
            continue
        if isinstance(value.get("items"), list):
            found += _flat(value["items"])
        elif isinstance(value.get("metadata"), dict) and isinstance(value["metadata"].get("name"), str):
            found.append(value)
    return found


def _from_cluster(options: argparse.Namespace) -> list[Json]:
    import asyncio  # noqa: PLC0415

    async def read() -> list[Json]:
        async with cluster(options) as api:
            return await gather(api, options.peer)

    return asyncio.run(read())


async def gather(api: Api, peer: str) -> list[Json]:
    """All lasting objects of a peer's groups in a cluster, and its nodes; groups that it does not serve have none."""
    from quartermaster.kube.api import Refused  # noqa: PLC0415

    objects: list[Json] = []
    for group in GROUPS[peer]:
        try:
            version = (await api.send("GET", f"/apis/{group}"))["preferredVersion"]["groupVersion"]
        except Refused as no:
            if no.code == 404:
                continue
            raise
        for resource in (await api.send("GET", f"/apis/{version}"))["resources"]:
            if "/" not in resource["name"] and resource["name"] not in PASSING and "list" in resource["verbs"]:
                items = (await api.send("GET", f"/apis/{version}/{resource['name']}"))["items"]
                objects += [{**item, "apiVersion": version, "kind": resource["kind"]} for item in items]
    if peer == "volcano":
        nodes = (await api.send("GET", "/api/v1/nodes"))["items"]
        objects += [{**node, "apiVersion": "v1", "kind": "Node"} for node in nodes]
    return objects


# ---- what is said


def _yaml(found: Carrying) -> str:
    import yaml  # noqa: PLC0415

    parts = []
    for one in found.carried:
        said = [f"from {one.source}", *one.why, *(f"NOT CARRIED OVER: {lost}" for lost in one.lost)]
        comment = "".join(f"# {line}\n" for text in said for line in textwrap.wrap(text, 116))
        parts.append(comment + yaml.safe_dump(one.manifest, sort_keys=False, width=120))
    lost = "".join(f"# NOT CARRIED OVER: {name}: {why}\n" for name, why in found.lost)
    kept = "".join(f"# {name} is understood as it is\n" for name in found.kept)
    return "---\n".join(parts) + kept + lost


def _table(found: Carrying) -> str:
    rows = [("KIND", "NAME", "FROM", "WHY")]
    losses: list[tuple[str, str]] = []
    for one in found.carried:
        kind, name = one.manifest["kind"], one.manifest["metadata"]["name"]
        rows.append((kind, name, one.source, "; ".join(one.why)))
        losses += [(one.source, lost) for lost in one.lost]
    losses += found.lost
    widths = [max(len(row[column]) for row in rows) for column in range(3)]
    lines = [
        "  ".join([*(cell.ljust(width) for cell, width in zip(row, widths, strict=False)), row[3]]) for row in rows
    ]
    if found.kept:
        lines += ["", "UNDERSTOOD AS THEY ARE:", *(f"  {name}" for name in found.kept)]
    if losses:
        lines += ["", f"NOT CARRIED OVER ({len(losses)}):", *(f"  {name}: {why}" for name, why in losses)]
    return "".join(f"{line.rstrip()}\n" for line in lines)
