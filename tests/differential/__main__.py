"""`python -m tests.differential`: record the truth, or compare a server with it.

encode               make the protobuf bodies of protobuf.yaml anew (needs Go)
record               start a real kube-apiserver, play the table, write golden.jsonl.gz and golden.txt
compare KUBECONFIG   play the table against a running server; the differences, and how much agrees
"""

import argparse
import dataclasses
import fnmatch
import sys
import tempfile
from pathlib import Path

from quartermaster.local.real.controlplane import running
from tests.differential import golden
from tests.differential.compare import Difference, load_accepted, split
from tests.differential.encode import encode
from tests.differential.suite import ACCEPTED, Server, differences, play, stories
from tests.kubernetes.server import from_kubeconfig, of
from tools.kubernetes.binaries import BINARIES, locate, version


def record() -> int:
    apiserver, etcd = locate("kube-apiserver"), locate("etcd")
    if apiserver is None or etcd is None:
        print("record: no kube-apiserver or etcd; build them with `make kubernetes`", file=sys.stderr)
        return 1
    with (
        tempfile.TemporaryDirectory() as folder,
        running({"kube-apiserver": apiserver, "etcd": etcd}, folder=Path(folder)) as plane,
    ):
        recording = {story.name: play(of(plane), story) for story in stories()}
    golden.save(version(BINARIES["kube-apiserver"]), recording)
    print(f"record: {sum(map(len, recording.values()))} answers of {len(recording)} stories")
    return 0


def compare_with(server: Server, *, pattern: str, everything: bool, causes: bool) -> int:
    found: list[Difference] = []
    same = total = 0
    for story in stories():
        if not fnmatch.fnmatchcase(story.name, pattern):
            continue
        answers = play(server, story)
        new = differences(story, answers)
        total += len(story.requests)
        same += len(story.requests) - len({difference.where for difference in new})
        found += new
    rest, counts = split(found, [] if everything else load_accepted(ACCEPTED))
    for line in _causes(rest) if causes else map(str, rest):
        print(line)
    stale = [entry for entry, count in counts.items() if not count and pattern == "*"]
    for entry in stale:
        print(f"accepted.yaml: fits nothing any more: {entry.stories} {entry.places}")
    print(f"{same} of {total} answers are equal; {len(rest)} differences are not agreed to", file=sys.stderr)
    return 1 if rest or stale else 0


def _causes(differences: list[Difference]) -> list[str]:
    """One line for all differences that say the same of the same field, most frequent first: likely one cause each."""
    alike: dict[str, list[Difference]] = {}
    for difference in differences:
        field = difference.place.rpartition("].")[2]
        alike.setdefault(str(dataclasses.replace(difference, where="", place=field)), []).append(difference)
    return [
        f"{len(group)} x{key.removeprefix(':')} (first in {group[0].where} at {group[0].place})"
        for key, group in sorted(alike.items(), key=lambda item: -len(item[1]))
    ]


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.differential")
    commands = parser.add_subparsers(dest="command", required=True)
    commands.add_parser("encode")
    commands.add_parser("record")
    other = commands.add_parser("compare")
    other.add_argument("kubeconfig", type=Path)
    other.add_argument("--story", default="*", help="only stories that fit this pattern")
    other.add_argument("--all", action="store_true", help="agreed differences too")
    other.add_argument("--causes", action="store_true", help="like differences as one line, most frequent first")
    options = parser.parse_args()
    if options.command == "encode":
        encode()
        return 0
    if options.command == "record":
        return record()
    server = from_kubeconfig(options.kubeconfig)
    return compare_with(server, pattern=options.story, everything=options.all, causes=options.causes)


if __name__ == "__main__":
    sys.exit(main())
