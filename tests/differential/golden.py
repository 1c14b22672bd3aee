"""The recorded answers of a real kube-apiserver, normalised: what every other server is compared with.

`golden.jsonl.gz` has one line per request, sorted by nothing but the table, plus one first line that says which release
answered. `golden.txt` is a table of contents of the same (status, kind or reason), for people and for diffs in review.
Both are written by `python -m tests.differential record` only.
"""

from collections.abc import Mapping
from functools import cache
from pathlib import Path
from typing import Any

from tests import recordings
from tests.recordings import Recording

FILE = Path(__file__).parent / "golden.jsonl.gz"
CONTENTS = FILE.with_name("golden.txt")


@cache
def load() -> tuple[str, Recording]:
    """The release that answered, and its answers."""
    return recordings.read(FILE)


def save(release: str, recording: Recording) -> None:
    """Write both files. The same recording gives the same bytes."""
    recordings.write(FILE, release, recording)
    contents = [
        f"{story}/{request}: {answer['status']} {_summary(answer)}".rstrip()
        for story, answers in recording.items()
        for request, answer in answers.items()
    ]
    CONTENTS.write_text("\n".join([f"kube-apiserver {release}", *contents, ""]), encoding="utf-8")


def _summary(answer: Mapping[str, Any]) -> str:
    if "events" in answer:
        return " ".join(str(event.get("type")) for event in answer["events"])
    body = answer.get("body")
    if not isinstance(body, dict):
        return "" if body is None else "(text)"
    if body.get("kind") == "Status":
        return str(body.get("reason", body.get("status")))
    return str(body.get("kind", ""))
