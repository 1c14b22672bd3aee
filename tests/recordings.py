"""Recordings of real components: one line of JSON per story, step and what there was, after one with the release."""

import gzip
import json
from pathlib import Path
from typing import Any

Recording = dict[str, dict[str, Any]]
"""Story → step → what there was."""


def read(file: Path) -> tuple[str, Recording]:
    """The release, and what was recorded of it."""
    lines = gzip.decompress(file.read_bytes()).decode().splitlines()
    recording: Recording = {}
    for line in lines[1:]:
        story, step, seen = json.loads(line)
        recording.setdefault(story, {})[step] = seen
    return json.loads(lines[0])["kubernetes"], recording


def write(file: Path, release: str, recording: Recording) -> None:
    """The same recording gives the same bytes."""
    lines = [json.dumps({"kubernetes": release})]
    lines += [
        json.dumps([story, step, seen], ensure_ascii=False, separators=(",", ":"))
        for story, steps in recording.items()
        for step, seen in steps.items()
    ]
    file.write_bytes(gzip.compress("\n".join(lines).encode(), 9, mtime=0))
