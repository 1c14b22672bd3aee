"""What a real kube-controller-manager made of each story: written by `python -m tests.controllers record` only.

One line of `golden.jsonl.gz` per step, after one that says which release it was.
"""

import gzip
import json
from functools import cache
from pathlib import Path
from typing import Any

FILE = Path(__file__).parent / "golden.jsonl.gz"
Recording = dict[str, dict[str, Any]]
"""Story → step → what there was."""


@cache
def load() -> tuple[str, Recording]:
    """The release, and what it made."""
    lines = gzip.decompress(FILE.read_bytes()).decode().splitlines()
    recording: Recording = {}
    for line in lines[1:]:
        story, step, seen = json.loads(line)
        recording.setdefault(story, {})[step] = seen
    return json.loads(lines[0])["kubernetes"], recording


def save(release: str, recording: Recording) -> None:
    """Write it. The same recording gives the same bytes."""
    lines = [json.dumps({"kubernetes": release})]
    lines += [
        json.dumps([story, step, seen], ensure_ascii=False, separators=(",", ":"))
        for story, steps in recording.items()
        for step, seen in steps.items()
    ]
    FILE.write_bytes(gzip.compress("\n".join(lines).encode(), 9, mtime=0))
