"""`python -m tests.controllers`: record what a real kube-controller-manager does, or compare ours with it.

record [STORY ...]    play the stories on a real control plane, all at once, and write golden.jsonl.gz
compare [STORY ...]   play them on ours, and list the differences that nobody agreed to
"""

import argparse
import asyncio
import sys
import tempfile
from pathlib import Path

from tests.controllers import golden
from tests.controllers.story import Story, stories
from tests.controllers.suite import PROGRAMS, played_by_ours, played_by_real, unexplained
from tools.kubernetes.binaries import BINARIES, locate, version


def record(chosen: list[Story]) -> int:
    programs = {name: path for name in PROGRAMS if (path := locate(name)) is not None}
    if len(programs) < len(PROGRAMS):
        print("record: programs are missing; build them with `make kubernetes`", file=sys.stderr)
        return 1
    known = golden.load()[1] if golden.FILE.exists() else {}
    with tempfile.TemporaryDirectory() as folder:
        recording = asyncio.run(played_by_real(chosen, programs=programs, folder=Path(folder)))
    kept = {story.name: recording.get(story.name) or known.get(story.name, {}) for story in stories()}
    golden.save(version(BINARIES["kube-controller-manager"]), kept)
    print(f"record: {sum(map(len, recording.values()))} steps of {len(recording)} stories")
    return 0


def compare(chosen: list[Story]) -> int:
    left = 0
    for story in chosen:
        found = unexplained(story, asyncio.run(played_by_ours(story)))
        left += len(found)
        for difference in found:
            print(difference)
    print(f"{left} differences are not agreed to", file=sys.stderr)
    return 1 if left else 0


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.controllers")
    parser.add_argument("command", choices=("record", "compare"))
    parser.add_argument("stories", nargs="*", metavar="STORY")
    options = parser.parse_args()
    chosen = [story for story in stories() if not options.stories or story.name in options.stories]
    return record(chosen) if options.command == "record" else compare(chosen)


if __name__ == "__main__":
    sys.exit(main())
